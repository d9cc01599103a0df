// Causal attention of float32 heads over a tree of tokens, forward and backward, without a mask.
//
// Scores never leave the cache: a block of queries meets one block of keys after the other, with a running
// largest score and sum (Milakov and Gimelshein 2018, arXiv 1805.02867; FlashAttention, Dao 2022, arXiv
// 2205.14135), and the backward makes them again from the logarithms of the sums. What no query of six sees
// is not computed, so blocks on the diagonal cost little more than their half.
//
// Each output is computed in the same order whatever the threads. NaN and infinity come out as NaN.

#include <cmath>
#include <limits>
#include <numeric>

#include "tree.h"

namespace {

// ------------------------------------------------------------------------------------------------ forward

struct Running {
  float largest[block_queries], sum[block_queries];
  alignas(64) float scores[block_queries * block_keys];
};

// One row of scores to its shares, unscaled; zeros where the query sees nothing. Gives what the earlier sum
// and output must be multiplied by.
inline float soften(float* scores, index_t kept, index_t width, float& largest, float& sum) {
  const Lanes nothing = Lanes::all(-std::numeric_limits<float>::infinity()), zero = Lanes::all(0.0f);
  Lanes most = nothing;
  for (index_t i = 0; i < kept; i += Lanes::count) {
    most = Lanes::larger(most, Lanes::load(scores + i).first(kept - i, nothing));
  }
  const float now = std::max(largest, largest_of(most));
  const float earlier = std::exp(largest - now);
  Lanes total = zero;
  for (index_t i = 0; i < width; i += Lanes::count) {
    Lanes share = zero;
    if (i < kept) share = exponential(Lanes::load(scores + i) - Lanes::all(now)).first(kept - i, zero);
    share.store(scores + i);
    total = total + share;
  }
  largest = now;
  sum = sum * earlier + sum_of(total);
  return earlier;
}

inline void scale_row(float* row, index_t size, float factor) {
  for (index_t i = 0; i < size; i += Lanes::count) (Lanes::load(row + i) * Lanes::all(factor)).store(row + i);
}

struct Forward {
  const Heads& heads;
  const Tree& tree;
  const Packed& keys;
  const Packed& values;
  float* output;   // (tokens, heads, size)
  float* log_sum;  // (heads, tokens)

  // Queries [first, last) of one node and one head.
  void block(index_t node, index_t first, index_t last, index_t head) const {
    const index_t rows = last - first, size = heads.size, group = head / (heads.heads / heads.groups);
    const auto queries = allocate<float>(rows * size), sums = allocate<float>(rows * size);
    const auto running = allocate<Running>(1);
    for (index_t row = 0; row < rows; ++row) {
      const float* from = heads.query + (first + row) * heads.query_step + head * size;
      for (index_t i = 0; i < size; ++i) queries[row * size + i] = from[i] * heads.scale;
      running[0].largest[row] = -std::numeric_limits<float>::infinity();
      running[0].sum[row] = 0.0f;
    }
    std::fill_n(sums.get(), rows * size, 0.0f);
    for (const index_t of : tree.path(node)) {
      const Node& one = tree.nodes[of];
      for (index_t key = one.start; key < std::min(one.end, last); key += block_keys) {
        const index_t count = std::min(block_keys, one.end - key);
        const float* panels = keys.panel(group, one.first_panel + (key - one.start) / tile_width);
        multiply_panels({queries.get(), size, false}, rows, first, key, count, panels, size, running[0].scores);
        soften_rows(running[0], rows, first, key, count, sums.get());
        multiply_seen(running[0].scores, rows, first, key, count, values.row(group, key), size, sums.get(), size);
      }
    }
    for (index_t row = 0; row < rows; ++row) {
      float* to = output + ((first + row) * heads.heads + head) * size;
      for (index_t i = 0; i < size; ++i) to[i] = sums[row * size + i] / running[0].sum[row];
      log_sum[head * heads.tokens + first + row] = running[0].largest[row] + std::log(running[0].sum[row]);
    }
  }

  void soften_rows(Running& running, index_t rows, index_t query, index_t key, index_t keys_here,
                   float* sums) const {
    for (index_t row = 0; row < rows; ++row) {
      float* scores = running.scores + row * block_keys;
      const index_t kept = seen(query + row, key, keys_here), width = round_up(keys_here, tile_width);
      if (kept == 0) {
        std::fill_n(scores, width, 0.0f);
        continue;
      }
      const float earlier = soften(scores, kept, width, running.largest[row], running.sum[row]);
      if (earlier != 1.0f) scale_row(sums + row * heads.size, heads.size, earlier);
    }
  }
};

void attend(const Heads& heads, float* output, float* log_sum, int threads) {
  const Tree tree(heads);
  const Packed keys(heads, tree, false, true), values(heads, tree, true, false);
  pack(heads, tree, heads.key, heads.key_step, false, true, keys, threads);
  pack(heads, tree, heads.value, heads.value_step, true, false, values, threads);
  const Forward forward{heads, tree, keys, values, output, log_sum};
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
  // The last blocks of a row have the most to do, and come first.
  const auto count = static_cast<index_t>(blocks.size());
  in_parallel(count * heads.heads, threads, [&](index_t i) {
    const Block& block = blocks[count - 1 - i / heads.heads];
    forward.block(block.node, block.first, block.last, i % heads.heads);
  });
}

// ----------------------------------------------------------------------------------------------- backward

struct Backward {
  const Heads& heads;
  const Tree& tree;
  const Packed& keys;
  const Packed& values;
  const float* gradient;  // (tokens, heads, size), like the output and the gradient by the queries
  const float* output;
  const float* log_sum;  // (heads, tokens)
  float* by_query;
  float* by_key;  // (heads, tokens, size): of each head by itself, like the next
  float* by_value;

  // What one head's pass over one tree reads again and again, side by side: rows from `first` on.
  struct Side {
    Buffer<float> queries, given, dots;
    index_t first;
  };

  // All of one head that descends from one root.
  void head(const Node& root, index_t head) const {
    const index_t size = heads.size;
    const Side side = beside(root, head);
    const auto shares = allocate<float>(block_queries * block_keys), slopes = allocate<float>(block_queries * block_keys);
    std::fill_n(by_key + (head * heads.tokens + root.start) * size, (root.reach - root.start) * size, 0.0f);
    std::fill_n(by_value + (head * heads.tokens + root.start) * size, (root.reach - root.start) * size, 0.0f);
    for (const Node& node : tree.nodes) {
      if (node.start < root.start || node.start >= root.reach) continue;
      for (index_t key = node.start; key < node.end; key += block_keys) {
        for (index_t query = key; query < node.reach; query += block_queries) {
          block(node, key, query, head, side, shares.get(), slopes.get());
        }
      }
    }
    for (index_t token = root.start; token < root.reach; ++token) {
      scale_row(by_query + (token * heads.heads + head) * size, size, heads.scale);
    }
  }

  Side beside(const Node& root, index_t head) const {
    const index_t count = root.reach - root.start, size = heads.size;
    Side side{allocate<float>(count * size), allocate<float>(count * size), allocate<float>(count), root.start};
    for (index_t i = 0; i < count; ++i) {
      const index_t token = root.start + i, at = (token * heads.heads + head) * size;
      const float* query = heads.query + token * heads.query_step + head * size;
      Lanes dot = Lanes::all(0.0f);
      for (index_t j = 0; j < size; j += Lanes::count) {
        const Lanes given = Lanes::load(gradient + at + j);
        dot = Lanes::multiply_add(given, Lanes::load(output + at + j), dot);
        given.store(side.given.get() + i * size + j);
        (Lanes::load(query + j) * Lanes::all(heads.scale)).store(side.queries.get() + i * size + j);
        Lanes::all(0.0f).store(by_query + at + j);
      }
      side.dots[i] = sum_of(dot);
    }
    return side;
  }

  void block(const Node& node, index_t key, index_t query, index_t head, const Side& side, float* shares,
             float* slopes) const {
    const index_t size = heads.size, group = head / (heads.heads / heads.groups);
    const index_t count = std::min(block_keys, node.end - key), rows = std::min(block_queries, node.reach - query);
    const index_t panel = node.first_panel + (key - node.start) / tile_width;
    const float* queries = side.queries.get() + (query - side.first) * size;
    const float* given = side.given.get() + (query - side.first) * size;
    multiply_panels({queries, size, false}, rows, query, key, count, keys.panel(group, panel), size, shares);
    multiply_panels({given, size, false}, rows, query, key, count, values.panel(group, panel), size, slopes);
    for (index_t row = 0; row < rows; ++row) {
      slope(shares + row * block_keys, slopes + row * block_keys, seen(query + row, key, count),
            round_up(count, tile_width), log_sum[head * heads.tokens + query + row],
            side.dots[query - side.first + row]);
    }
    multiply_turned(shares, rows, query, key, count, given, by_value + (head * heads.tokens + key) * size);
    multiply_turned(slopes, rows, query, key, count, queries, by_key + (head * heads.tokens + key) * size);
    multiply_seen(slopes, rows, query, key, count, keys.row(group, key), size,
                  by_query + (query * heads.heads + head) * size, heads.heads * size);
  }

  // One row: scores to shares, and the gradient by the shares to that by the scores.
  static void slope(float* shares, float* slopes, index_t kept, index_t width, float log_sum, float dot) {
    const Lanes zero = Lanes::all(0.0f);
    for (index_t i = 0; i < width; i += Lanes::count) {
      Lanes share = zero, by_score = zero;
      if (i < kept) {
        share = exponential(Lanes::load(shares + i) - Lanes::all(log_sum)).first(kept - i, zero);
        by_score = (share * (Lanes::load(slopes + i) - Lanes::all(dot))).first(kept - i, zero);
      }
      share.store(shares + i);
      by_score.store(slopes + i);
    }
  }

  // out (keys, size) += left (rows, block_keys)^T by right (rows, size), from the first row that sees a key.
  void multiply_turned(const float* left, index_t rows, index_t query, index_t key, index_t count,
                       const float* right, float* out) const {
    const index_t size = heads.size;
    for (index_t at = 0; at < count; at += tile_height) {
      const index_t height = std::min(tile_height, count - at), from = std::max<index_t>(0, key + at - query);
      for (index_t column = 0; column < size && from < rows; column += tile_width) {
        multiply_tile(height, {left + from * block_keys + at, block_keys, true}, right + from * size + column, size,
                      rows - from, out + at * size + column, size);
      }
    }
  }
};

// parts (heads, tokens, size) summed over the heads of each group, (tokens, groups, size).
void add_heads(const Heads& heads, const float* parts, float* out, int threads) {
  const index_t size = heads.size, each = heads.heads / heads.groups;
  in_parallel(divide_up(heads.tokens, 64), threads, [&](index_t part) {
    for (index_t token = part * 64; token < std::min(heads.tokens, part * 64 + 64); ++token) {
      for (index_t group = 0; group < heads.groups; ++group) {
        for (index_t i = 0; i < size; i += Lanes::count) {
          Lanes sum = Lanes::all(0.0f);
          for (index_t head = group * each; head < group * each + each; ++head) {
            sum = sum + Lanes::load(parts + (head * heads.tokens + token) * size + i);
          }
          sum.store(out + (token * heads.groups + group) * size + i);
        }
      }
    }
  });
}

void attend_backward(const Heads& heads, const float* gradient, const float* output, const float* log_sum,
                     float* by_query, float* by_key, float* by_value, int threads) {
  const Tree tree(heads);
  const Packed keys(heads, tree, true, true), values(heads, tree, false, true);
  pack(heads, tree, heads.key, heads.key_step, true, true, keys, threads);
  pack(heads, tree, heads.value, heads.value_step, false, true, values, threads);
  const index_t all = heads.heads * heads.tokens * heads.size;
  const auto key_parts = allocate<float>(all), value_parts = allocate<float>(all);
  const Backward backward{heads,   tree,    keys,     values,          gradient,
                          output,  log_sum, by_query, key_parts.get(), value_parts.get()};
  std::vector<Node> roots;
  std::copy_if(tree.nodes.begin(), tree.nodes.end(), std::back_inserter(roots), [](auto& x) { return x.parent < 0; });
  std::stable_sort(roots.begin(), roots.end(), [](auto& a, auto& b) { return a.reach - a.start > b.reach - b.start; });
  in_parallel(static_cast<index_t>(roots.size()) * heads.heads, threads,
              [&](index_t i) { backward.head(roots[i / heads.heads], i % heads.heads); });
  add_heads(heads, key_parts.get(), by_key, threads);
  add_heads(heads, value_parts.get(), by_value, threads);
}

}  // namespace

// Both give 0, or 1 where memory is lacking. Outputs and the gradient are contiguous, tokens first; the head
// size is a multiple of what `journeyman_width` says, and the spans cover all tokens.

extern "C" int journeyman_width() { return static_cast<int>(tile_width); }

extern "C" int journeyman_attend(const JourneymanHeads* heads, float* output, float* log_sum, int threads) {
  try {
    attend(*heads, output, log_sum, threads);
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}

extern "C" int journeyman_attend_backward(const JourneymanHeads* heads, const float* gradient, const float* output,
                                          const float* log_sum, float* by_query, float* by_key, float* by_value,
                                          int threads) {
  try {
    attend_backward(*heads, gradient, output, log_sum, by_query, by_key, by_value, threads);
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}
