// Keys and values rearranged for products, and the products of a block of queries with them.
#pragma once

#include "team.h"
#include "tree.h"

namespace {

// Keys or values of all groups, as rows (groups, rows, size) of joined tokens, and transposed as panels (groups,
// panels, words of a head, tile_width) of neighbouring tokens, padded with zeros. Either may be left out.
template <typename Word>
struct Packed {
  Buffer<Word> rows, panels;
  index_t row_count, panel_count, size;

  Packed(const Heads& heads, const Tree& tree, bool has_rows, bool has_panels)
      : rows(allocate<Word>(has_rows ? heads.groups * tree.rows / together<Word> * heads.size : 0)),
        panels(allocate<Word>(has_panels ? heads.groups * tree.panels * heads.size / together<Word> * tile_width : 0)),
        row_count(tree.rows / together<Word>), panel_count(tree.panels), size(heads.size) {}

  // The row or the panel that begins with a token of a node.
  Word* row(index_t group, const Node& node, index_t token) const {
    return rows.get() + (group * row_count + (node.first_row + token - node.start) / together<Word>) * size;
  }
  Word* panel(index_t group, const Node& node, index_t token) const {
    const index_t number = node.first_panel + (token - node.start) / tile_width;
    return panels.get() + (group * panel_count + number) * size / together<Word> * tile_width;
  }
};

template <typename Element, typename Word>
void pack_panel(const Element* from, index_t step, index_t count, index_t size, Word* panel) {
  const index_t words = size / together<Word>;
  if (count < tile_width) std::fill_n(panel, words * tile_width, Word{});
  for (index_t token = 0; token < count; ++token) {
    const Element* row = from + token * step;
    for (index_t i = 0; i < words; ++i) read_word(row + i * together<Word>, panel[i * tile_width + token]);
  }
}

// Fills the rows and panels of `packed` with keys or values.
template <typename Element, typename Word>
void pack(const Heads& heads, const Tree& tree, const void* from, index_t step, bool has_rows, bool has_panels,
          const Packed<Word>& packed, int threads) {
  const auto nodes = static_cast<index_t>(tree.nodes.size());
  in_parallel(nodes * heads.groups, threads, [&](index_t i) {
    const index_t group = i / nodes;
    const Node& node = tree.nodes[i % nodes];
    const Element* first = static_cast<const Element*>(from) + group * heads.size;
    for (index_t token = node.start; token < node.end && has_rows; token += together<Word>) {
      join_rows(first + token * step, step, node.end - token, heads.size, packed.row(group, node, token));
    }
    for (index_t token = node.start; token < node.end && has_panels; token += tile_width) {
      const index_t count = std::min(tile_width, node.end - token);
      pack_panel(first + token * step, step, count, heads.size, packed.panel(group, node, token));
    }
  });
}

// out (rows, block_keys) = left (rows, words of a head) by the panels of a block of keys, without the tiles in which no
// query sees a key. `query` and `key` are the first ones, `keys` is the number of keys.
template <typename Word>
void multiply_panels(const Word* left, index_t rows, index_t query, index_t key, index_t keys, const Word* panels,
                     index_t size, float* out) {
  const index_t words = size / together<Word>;
  for (index_t column = 0; column < keys; column += tile_width, panels += words * tile_width) {
    for (index_t row = 0; row < rows; row += tile_height) {
      const index_t height = std::min(tile_height, rows - row);
      if (seen(query + row + height - 1, key, keys) <= column) continue;
      float* to = out + row * block_keys + column;
      for (index_t i = 0; i < height; ++i) std::fill_n(to + i * block_keys, tile_width, 0.0f);
      multiply_tile<Word>(height, {left + row * words, words, false}, panels, tile_width, words, to, block_keys);
    }
  }
}

// scores * scale - less
inline Lanes scaled_less(const float* scores, float scale, float less) {
  return Lanes::multiply_add(Lanes::load(scores), Lanes::all(scale), Lanes::all(-less));
}

// out (rows, size) += left by `right` (joined keys, size), without keys that no row sees. The rows of `left` have a
// word for each row of `right` and are block_keys words apart.
template <typename Word>
void multiply_seen(const Word* left, index_t rows, index_t query, index_t key, index_t keys, const Word* right,
                   index_t size, float* out) {
  for (index_t row = 0; row < rows; row += tile_height) {
    const index_t height = std::min(tile_height, rows - row);
    const index_t depth = divide_up(seen(query + row + height - 1, key, keys), together<Word>);
    for (index_t column = 0; column < size && depth > 0; column += tile_width) {
      multiply_tile<Word>(height, {left + row * block_keys, block_keys, false}, right + column, size, depth,
                          out + row * size + column, size);
    }
  }
}

}  // namespace
