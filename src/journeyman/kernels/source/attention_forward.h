// Softmax attention over a tree: outputs and the logarithms of the softmax sums.
#pragma once

#include <cmath>
#include <limits>

#include "packed.h"

namespace {

struct Running {
  float largest[block_queries], sum[block_queries];
  alignas(64) float scores[block_queries * block_keys];
};

// Turns one row of scores, times `scale`, into attention weights that are not yet divided by their sum; zeros for keys
// that the query does not see. Gives the factor for the earlier sum and output. `shares` may overwrite the scores.
template <typename Factor>
float soften(const float* scores, index_t kept, index_t width, float scale, Factor* shares, float& largest,
             float& sum) {
  const Lanes nothing = Lanes::all(-std::numeric_limits<float>::infinity()), zero = Lanes::all(0.0f);
  Lanes most = nothing;
  for (index_t i = 0; i < kept; i += Lanes::count) {
    most = Lanes::larger(most, Lanes::load(scores + i).first(kept - i, nothing));
  }
  const float now = std::max(largest, largest_of(most) * scale);
  const float earlier = std::exp(largest - now);
  Lanes total = zero;
  for (index_t i = 0; i < width; i += Lanes::count) {
    Lanes share = zero;
    if (i < kept) share = exponential(scaled_less(scores + i, scale, now)).first(kept - i, zero);
    share.store(shares + i);
    total = total + share;
  }
  largest = now;
  sum = sum * earlier + sum_of(total);
  return earlier;
}

template <typename Element>
struct Forward {
  using Word = typename Words<Element>::Word;
  using Factor = typename Words<Element>::Factor;

  const Heads& heads;
  const Tree& tree;
  const Packed<Word>& keys;
  const Packed<Word>& values;
  Element* output;  // (tokens, heads, size)
  float* log_sum;   // (heads, tokens)

  // Queries [first, last) of one node and one head.
  void block(index_t node, index_t first, index_t last, index_t head) const {
    const index_t rows = last - first, size = heads.size, group = head / (heads.heads / heads.groups);
    const auto queries = allocate<Word>(rows * size / together<Word>);
    const auto sums = allocate<float>(rows * size);
    const auto running = allocate<Running>(1);
    for (index_t row = 0; row < rows; ++row) {
      const index_t at = (first + row) * heads.query_step + head * size;
      lay_row(static_cast<const Element*>(heads.query) + at, size, heads.scale,
              queries.get() + row * size / together<Word>);
      running[0].largest[row] = -std::numeric_limits<float>::infinity();
      running[0].sum[row] = 0.0f;
    }
    std::fill_n(sums.get(), rows * size, 0.0f);
    for (const index_t of : tree.path(node)) {
      const Node& one = tree.nodes[of];
      for (index_t key = one.start; key < std::min(one.end, last); key += block_keys) {
        const index_t count = std::min(block_keys, one.end - key);
        multiply_panels<Word>(queries.get(), rows, first, key, count, keys.panel(group, one, key), size,
                              running[0].scores);
        soften_rows(running[0], rows, first, key, count, sums.get());
        multiply_seen(reinterpret_cast<const Word*>(running[0].scores), rows, first, key, count,
                      values.row(group, one, key), size, sums.get());
      }
    }
    for (index_t row = 0; row < rows; ++row) {
      float* total = sums.get() + row * size;
      for (index_t i = 0; i < size; ++i) total[i] /= running[0].sum[row];
      copy_row(total, size, output + ((first + row) * heads.heads + head) * size);
      log_sum[head * heads.tokens + first + row] = running[0].largest[row] + std::log(running[0].sum[row]);
    }
  }

  // The attention weights overwrite the scores, from the beginning of each row.
  void soften_rows(Running& running, index_t rows, index_t query, index_t key, index_t keys_here,
                   float* sums) const {
    for (index_t row = 0; row < rows; ++row) {
      float* scores = running.scores + row * block_keys;
      const index_t kept = seen(query + row, key, keys_here), width = round_up(keys_here, tile_width);
      if (kept == 0) {
        std::fill_n(scores, width, 0.0f);
        continue;
      }
      const float earlier = soften(scores, kept, width, late_scale<Word>(heads.scale),
                                   reinterpret_cast<Factor*>(scores), running.largest[row], running.sum[row]);
      float* so_far = sums + row * heads.size;
      if (earlier != 1.0f) scale_row(so_far, heads.size, earlier, so_far);
    }
  }
};

template <typename Element>
void attend(const Heads& heads, Element* output, float* log_sum, int threads) {
  const Tree tree(heads);
  using Word = typename Words<Element>::Word;
  const Packed<Word> keys(heads, tree, false, true), values(heads, tree, true, false);
  pack<Element>(heads, tree, heads.key, heads.key_step, false, true, keys, threads);
  pack<Element>(heads, tree, heads.value, heads.value_step, true, false, values, threads);
  const Forward<Element> forward{heads, tree, keys, values, output, log_sum};
  struct Block {
    index_t node, first, last;
  };
  std::vector<Block> blocks;
  for (index_t node = 0; node < static_cast<index_t>(tree.nodes.size()); ++node) {
    const Node& one = tree.nodes[node];
    for (index_t first = one.start; first < one.end; first += block_queries) {
      blocks.push_back({node, first, std::min(first + block_queries, one.end)});
    }
  }
  // The last blocks of a row have the most work, so they come first.
  const auto count = static_cast<index_t>(blocks.size());
  in_parallel(count * heads.heads, threads, [&](index_t i) {
    const Block& block = blocks[count - 1 - i / heads.heads];
    forward.block(block.node, block.first, block.last, i % heads.heads);
  });
}

}  // namespace
