// Queries, keys and values of a line of tokens whose rows are a tree, and its keys laid out for products.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "team.h"
#include "tile.h"

namespace {

constexpr index_t block_queries = 48, block_keys = 96;
constexpr index_t block_panels = block_keys / tile_width;

// One node: its tokens are [start, end), those of its descendants [end, reach).
struct Span {
  std::int64_t start, end, reach;
};

}  // namespace

// What both passes read; the caller fills it in. Token t of head h is at query + t * query_step + h * size.
extern "C" struct JourneymanHeads {
  const float* query;
  const float* key;
  const float* value;
  std::int64_t query_step, key_step, value_step;
  const std::int64_t* spans;  // (span_count, 3), parents before their children
  std::int64_t span_count, tokens, heads, groups, size;
  float scale;
};

namespace {

using Heads = JourneymanHeads;

struct Node : Span {
  index_t parent, first_panel;
};

// A query sees the keys of its ancestors, and of its own node those up to itself. Descendants follow their
// node, so key k is seen by all queries from k to the node's reach: how many keys from `key` on query `q` sees.
inline index_t seen(index_t query, index_t key, index_t keys) { return std::clamp<index_t>(query - key + 1, 0, keys); }

struct Tree {
  std::vector<Node> nodes;
  index_t panels = 0;

  explicit Tree(const Heads& heads) {
    std::vector<index_t> open;
    for (index_t i = 0; i < heads.span_count; ++i) {
      const Span span{heads.spans[3 * i], heads.spans[3 * i + 1], heads.spans[3 * i + 2]};
      while (!open.empty() && nodes[open.back()].reach <= span.start) open.pop_back();
      nodes.push_back({span, open.empty() ? -1 : open.back(), panels});
      panels += divide_up(span.end - span.start, tile_width);
      open.push_back(i);
    }
  }

  // From the root to the node itself.
  std::vector<index_t> path(index_t node) const {
    std::vector<index_t> found;
    for (; node >= 0; node = nodes[node].parent) found.insert(found.begin(), node);
    return found;
  }
};

// Keys or values of all groups, once in rows (groups, tokens, size) and once turned into panels (groups, panels,
// size, tile_width) of neighbouring tokens, zeros to the right. Either may be left out.
struct Packed {
  Buffer<float> rows, panels;
  index_t tokens, panel_count, size;

  Packed(const Heads& heads, const Tree& tree, bool has_rows, bool has_panels)
      : rows(allocate<float>(has_rows ? heads.groups * heads.tokens * heads.size : 0)),
        panels(allocate<float>(has_panels ? heads.groups * tree.panels * heads.size * tile_width : 0)),
        tokens(heads.tokens), panel_count(tree.panels), size(heads.size) {}

  float* row(index_t group, index_t token) const { return rows.get() + (group * tokens + token) * size; }
  float* panel(index_t group, index_t number) const {
    return panels.get() + (group * panel_count + number) * size * tile_width;
  }
};

inline void pack_panel(const float* from, index_t step, index_t count, index_t size, float* panel) {
  if (count < tile_width) std::fill_n(panel, size * tile_width, 0.0f);
  for (index_t token = 0; token < count; ++token) {
    for (index_t i = 0; i < size; ++i) panel[i * tile_width + token] = from[token * step + i];
  }
}

// Fills what `packed` has of some keys or values.
inline void pack(const Heads& heads, const Tree& tree, const float* from, index_t step, bool has_rows,
                 bool has_panels, const Packed& packed, int threads) {
  const auto nodes = static_cast<index_t>(tree.nodes.size());
  in_parallel(nodes * heads.groups, threads, [&](index_t i) {
    const index_t group = i / nodes;
    const Node& node = tree.nodes[i % nodes];
    const float* first = from + group * heads.size;
    for (index_t token = node.start; token < node.end && has_rows; ++token) {
      std::memcpy(packed.row(group, token), first + token * step, heads.size * sizeof(float));
    }
    for (index_t at = node.start, panel = node.first_panel; at < node.end && has_panels; at += tile_width, ++panel) {
      const index_t count = std::min(tile_width, node.end - at);
      pack_panel(first + at * step, step, count, heads.size, packed.panel(group, panel));
    }
  });
}

// out (rows, block_keys) = left (rows, size) by the turned panels of a block, where something is to be seen.
// `query` and `key` are the first of the block, `keys` how many it has.
inline void multiply_panels(Left left, index_t rows, index_t query, index_t key, index_t keys, const float* panels,
                            index_t size, float* out) {
  for (index_t column = 0; column < keys; column += tile_width, panels += size * tile_width) {
    for (index_t row = 0; row < rows; row += tile_height) {
      const index_t height = std::min(tile_height, rows - row);
      if (seen(query + row + height - 1, key, keys) <= column) continue;
      float* to = out + row * block_keys + column;
      for (index_t i = 0; i < height; ++i) std::fill_n(to + i * block_keys, tile_width, 0.0f);
      multiply_tile(height, {left.at + row * left.step, left.step, false}, panels, tile_width, size, to, block_keys);
    }
  }
}

// out (rows, size) += shares (rows, block_keys) by `right` (keys, size), leaving out what no row sees.
inline void multiply_seen(const float* shares, index_t rows, index_t query, index_t key, index_t keys,
                          const float* right, index_t size, float* out, index_t out_step) {
  for (index_t row = 0; row < rows; row += tile_height) {
    const index_t height = std::min(tile_height, rows - row);
    const index_t depth = seen(query + row + height - 1, key, keys);
    for (index_t column = 0; column < size && depth > 0; column += tile_width) {
      multiply_tile(height, {shares + row * block_keys, block_keys, false}, right + column, size, depth,
                    out + row * out_step + column, out_step);
    }
  }
}

}  // namespace
