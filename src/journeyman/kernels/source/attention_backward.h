// Gradients of softmax attention over a tree by its queries, keys and values.
#pragma once

#include <iterator>

#include "packed.h"

namespace {

template <typename Element>
struct Backward {
  const Heads& heads;
  const Tree& tree;
  const Packed& keys;
  const Packed& values;
  const Element* gradient;  // (tokens, heads, size), like the output and the gradient by the queries
  const Element* output;
  const float* log_sum;  // (heads, tokens)
  Element* by_query;
  float* by_key;  // (heads, tokens, size): of each head by itself, like the next
  float* by_value;

  // What one head's pass over one tree reads and adds to again and again, side by side: rows from `first` on.
  struct Side {
    Buffer<float> queries, given, dots, by_query;
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
      scale_row(side.by_query.get() + (token - root.start) * size, size, heads.scale,
                by_query + (token * heads.heads + head) * size);
    }
  }

  Side beside(const Node& root, index_t head) const {
    const index_t count = root.reach - root.start, size = heads.size;
    Side side{allocate<float>(count * size), allocate<float>(count * size), allocate<float>(count),
              allocate<float>(count * size), root.start};
    std::fill_n(side.by_query.get(), count * size, 0.0f);
    for (index_t i = 0; i < count; ++i) {
      const index_t token = root.start + i, at = (token * heads.heads + head) * size;
      const Element* query = static_cast<const Element*>(heads.query) + token * heads.query_step + head * size;
      Lanes dot = Lanes::all(0.0f);
      for (index_t j = 0; j < size; j += Lanes::count) {
        const Lanes given = Lanes::load(gradient + at + j);
        dot = Lanes::multiply_add(given, Lanes::load(output + at + j), dot);
        given.store(side.given.get() + i * size + j);
      }
      scale_row(query, size, heads.scale, side.queries.get() + i * size);
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
                  side.by_query.get() + (query - side.first) * size, size);
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
template <typename Element>
void add_heads(const Heads& heads, const float* parts, Element* out, int threads) {
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

template <typename Element>
void attend_backward(const Heads& heads, const Element* gradient, const Element* output, const float* log_sum,
                     Element* by_query, Element* by_key, Element* by_value, int threads) {
  const Tree tree(heads);
  const Packed keys(heads, tree, true, true), values(heads, tree, false, true);
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
  add_heads(heads, key_parts.get(), by_key, threads);
  add_heads(heads, value_parts.get(), by_value, threads);
}

}  // namespace
