// Gradients of softmax attention over a tree by queries, keys and values.
#pragma once

#include <iterator>

#include "packed.h"

namespace {

// The rows of one head: separate for the left side of a product, and joined into words for the right side, which is
// the same if a word holds one number.
template <typename Word>
class Rows {
 public:
  Rows(index_t count, index_t size)
      : apart_(allocate<Word>(count * size / together<Word>)),
        joined_(allocate<Word>(is_same ? 0 : divide_up(count, together<Word>) * size)), count_(count), size_(size) {}

  Word* row(index_t at) const { return apart_.get() + at * size_ / together<Word>; }
  Word* joined(index_t at) const { return (is_same ? apart_ : joined_).get() + at / together<Word> * size_; }

  template <typename Element>
  void lay(const Element* from, index_t step, float scale) const {
    for (index_t i = 0; i < count_; ++i) lay_row(from + i * step, size_, scale, row(i));
    for (index_t i = 0; i < count_ && !is_same; i += together<Word>) {
      join_rows(from + i * step, step, count_ - i, size_, joined(i));
    }
  }

 private:
  static constexpr bool is_same = together<Word> == 1;

  Buffer<Word> apart_, joined_;
  index_t count_, size_;
};

template <typename Element>
struct Backward {
  using Word = typename Words<Element>::Word;
  using Factor = typename Words<Element>::Factor;

  const Heads& heads;
  const Tree& tree;
  const Packed<Word>& keys;
  const Packed<Word>& values;
  const Element* gradient;  // (tokens, heads, size), like the output and the gradient by the queries
  const Element* output;
  const float* log_sum;  // (heads, tokens)
  Element* by_query;
  float* by_key;  // (heads, tokens, size), for each head separately; so is by_value
  float* by_value;

  // The arrays that one head's pass over one tree uses repeatedly, contiguous: rows from `first` on.
  struct Side {
    Rows<Word> queries, given;
    Buffer<float> dots, by_query;
    index_t first;
  };

  // One head for all descendants of one root.
  void head(const Node& root, index_t head) const {
    const index_t size = heads.size;
    const Side side = beside(root, head);
    const index_t block_size = block_queries * block_keys;
    const auto shares = allocate<float>(block_size), slopes = allocate<float>(block_size);
    std::fill_n(by_key + (head * heads.tokens + root.start) * size, (root.reach - root.start) * size, 0.0f);
    std::fill_n(by_value + (head * heads.tokens + root.start) * size, (root.reach - root.start) * size, 0.0f);
    for (const Node& node : tree.nodes) {
      if (node.start < root.start || node.start >= root.reach) continue;
      for (index_t key = node.start; key < node.end; key += block_keys) {
        // Rows are joined from the root on; a row before the key does not see it.
        const index_t first = key - (key - root.start) % together<Word>;
        for (index_t query = first; query < node.reach; query += block_queries) {
          block(node, key, query, head, side, shares.get(), slopes.get());
        }
      }
    }
    for (index_t token = root.start; token < root.reach; ++token) {
      scale_row(side.by_query.get() + (token - root.start) * size, size, heads.scale,
                by_query + (token * heads.heads + head) * size);
    }
  }

  Side beside(const Node& root, index_t head) const {
    const index_t count = root.reach - root.start, size = heads.size;
    const index_t step = heads.heads * size;
    Side side{{count, size}, {count, size}, allocate<float>(count), allocate<float>(count * size), root.start};
    side.queries.lay(static_cast<const Element*>(heads.query) + root.start * heads.query_step + head * size,
                     heads.query_step, heads.scale);
    side.given.lay(gradient + root.start * step + head * size, step, 1.0f);
    std::fill_n(side.by_query.get(), count * size, 0.0f);
    for (index_t i = 0; i < count; ++i) {
      const index_t at = (root.start + i) * step + head * size;
      Lanes dot = Lanes::all(0.0f);
      for (index_t j = 0; j < size; j += Lanes::count) {
        dot = Lanes::multiply_add(Lanes::load(gradient + at + j), Lanes::load(output + at + j), dot);
      }
      side.dots[i] = sum_of(dot);
    }
    return side;
  }

  void block(const Node& node, index_t key, index_t query, index_t head, const Side& side, float* shares,
             float* slopes) const {
    const index_t size = heads.size, group = head / (heads.heads / heads.groups);
    const index_t count = std::min(block_keys, node.end - key), rows = std::min(block_queries, node.reach - query);
    const index_t width = round_up(count, tile_width), at = query - side.first;
    multiply_panels(side.queries.row(at), rows, query, key, count, keys.panel(group, node, key), size, shares);
    multiply_panels(side.given.row(at), rows, query, key, count, values.panel(group, node, key), size, slopes);
    for (index_t row = 0; row < rows; ++row) {
      slope(shares + row * block_keys, slopes + row * block_keys, seen(query + row, key, count), width,
            log_sum[head * heads.tokens + query + row], side.dots[at + row]);
    }
    // A last row without a partner is joined with zeros.
    if (rows % together<Word> != 0) {
      std::fill_n(shares + rows * block_keys, width, 0.0f);
      std::fill_n(slopes + rows * block_keys, width, 0.0f);
    }
    auto *const share_words = reinterpret_cast<Word*>(shares), *const slope_words = reinterpret_cast<Word*>(slopes);
    multiply_seen<Word>(slope_words, rows, query, key, count, keys.row(group, node, key), size,
                        side.by_query.get() + at * size);
    turn_rows(share_words, block_keys, rows, width);
    turn_rows(slope_words, block_keys, rows, width);
    multiply_turned(share_words, rows, query, key, count, side.given.joined(at),
                    by_value + (head * heads.tokens + key) * size);
    multiply_turned(slope_words, rows, query, key, count, side.queries.joined(at),
                    by_key + (head * heads.tokens + key) * size);
  }

  // One row: scores to attention weights, and the gradient by the weights to that by the scores. Both overwrite their
  // input, from the beginning of the row.
  void slope(float* scores, float* by_shares, index_t kept, index_t width, float log_sum, float dot) const {
    const Lanes zero = Lanes::all(0.0f);
    auto *const shares = reinterpret_cast<Factor*>(scores), *const slopes = reinterpret_cast<Factor*>(by_shares);
    for (index_t i = 0; i < width; i += Lanes::count) {
      Lanes share = zero, by_score = zero;
      if (i < kept) {
        share = exponential(scaled_less(scores + i, late_scale<Word>(heads.scale), log_sum)).first(kept - i, zero);
        by_score = (share * (Lanes::load(by_shares + i) - Lanes::all(dot))).first(kept - i, zero);
      }
      share.store(shares + i);
      by_score.store(slopes + i);
    }
  }

  // out (keys, size) += left (rows, block_keys)^T by right (joined rows, size), from the first row that sees a key.
  void multiply_turned(const Word* left, index_t rows, index_t query, index_t key, index_t count, const Word* right,
                       float* out) const {
    constexpr index_t step = together<Word>;
    const index_t size = heads.size;
    for (index_t at = 0; at < count; at += tile_height) {
      const index_t height = std::min(tile_height, count - at);
      const index_t from = std::max<index_t>(0, key + at - query) / step;
      const index_t depth = divide_up(rows, step) - from;
      for (index_t column = 0; column < size && depth > 0; column += tile_width) {
        multiply_tile<Word>(height, {left + from * step * block_keys + at, step * block_keys, true},
                            right + from * size + column, size, depth, out + at * size + column, size);
      }
    }
  }
};

// out (tokens, groups, size) = parts (heads, tokens, size) times `scale`, summed over the heads of each group.
template <typename Element>
void add_heads(const Heads& heads, const float* parts, float scale, Element* out, int threads) {
  const index_t size = heads.size, each = heads.heads / heads.groups;
  in_parallel(divide_up(heads.tokens, 64), threads, [&](index_t part) {
    for (index_t token = part * 64; token < std::min(heads.tokens, part * 64 + 64); ++token) {
      for (index_t group = 0; group < heads.groups; ++group) {
        for (index_t i = 0; i < size; i += Lanes::count) {
          Lanes sum = Lanes::all(0.0f);
          for (index_t head = group * each; head < group * each + each; ++head) {
            sum = sum + Lanes::load(parts + (head * heads.tokens + token) * size + i);
          }
          (sum * Lanes::all(scale)).store(out + (token * heads.groups + group) * size + i);
        }
      }
    }
  });
}

template <typename Element>
void attend_backward(const Heads& heads, const Element* gradient, const Element* output, const float* log_sum,
                     Element* by_query, Element* by_key, Element* by_value, int threads) {
  const Tree tree(heads);
  using Word = typename Words<Element>::Word;
  const Packed<Word> keys(heads, tree, true, true), values(heads, tree, false, true);
  pack<Element>(heads, tree, heads.key, heads.key_step, true, true, keys, threads);
  pack<Element>(heads, tree, heads.value, heads.value_step, false, true, values, threads);
  const index_t all = heads.heads * heads.tokens * heads.size;
  const auto key_parts = allocate<float>(all), value_parts = allocate<float>(all);
  const Backward<Element> backward{heads,  tree,    keys,     values,          gradient,
                                   output, log_sum, by_query, key_parts.get(), value_parts.get()};
  std::vector<Node> roots;
  std::copy_if(tree.nodes.begin(), tree.nodes.end(), std::back_inserter(roots), [](auto& x) { return x.parent < 0; });
  std::stable_sort(roots.begin(), roots.end(), [](auto& a, auto& b) { return a.reach - a.start > b.reach - b.start; });
  in_parallel(static_cast<index_t>(roots.size()) * heads.heads, threads,
              [&](index_t i) { backward.head(roots[i / heads.heads], i % heads.heads); });
  add_heads(heads, key_parts.get(), late_scale<Word>(heads.scale), by_key, threads);
  add_heads(heads, value_parts.get(), 1.0f, by_value, threads);
}

}  // namespace
