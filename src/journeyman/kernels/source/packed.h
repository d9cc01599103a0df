// Keys and values laid out for products, and the products of a block of queries with them.
#pragma once

#include <cstring>

#include "team.h"
#include "tree.h"

namespace {

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

inline float widened(float x) { return x; }
inline float widened(Brain x) {
  const std::uint32_t bits = std::uint32_t{x.bits} << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

template <typename Element>
void pack_panel(const Element* from, index_t step, index_t count, index_t size, float* panel) {
  if (count < tile_width) std::fill_n(panel, size * tile_width, 0.0f);
  for (index_t token = 0; token < count; ++token) {
    for (index_t i = 0; i < size; ++i) panel[i * tile_width + token] = widened(from[token * step + i]);
  }
}

// Fills what `packed` has of some keys or values.
template <typename Element>
void pack(const Heads& heads, const Tree& tree, const void* from, index_t step, bool has_rows, bool has_panels,
          const Packed& packed, int threads) {
  const auto nodes = static_cast<index_t>(tree.nodes.size());
  in_parallel(nodes * heads.groups, threads, [&](index_t i) {
    const index_t group = i / nodes;
    const Node& node = tree.nodes[i % nodes];
    const Element* first = static_cast<const Element*>(from) + group * heads.size;
    for (index_t token = node.start; token < node.end && has_rows; ++token) {
      copy_row(first + token * step, heads.size, packed.row(group, token));
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
