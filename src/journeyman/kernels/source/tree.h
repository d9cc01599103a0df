// Queries, keys and values of a line of tokens whose rows are a tree, and what a query sees of it.
#pragma once

#include <algorithm>
#include <vector>

#include "tile.h"

namespace {

constexpr index_t block_queries = 48, block_keys = 96;

// One node: its tokens are [start, end), those of its descendants [end, reach).
struct Span {
  std::int64_t start, end, reach;
};

}  // namespace

// What both passes read; the caller fills it in. Token t of head h is t * query_step + h * size elements after
// the first of `query`.
extern "C" struct JourneymanHeads {
  const void* query;
  const void* key;
  const void* value;
  std::int64_t query_step, key_step, value_step;
  const std::int64_t* spans;  // (span_count, 3), parents before their children
  std::int64_t span_count, tokens, heads, groups, size;
  std::int64_t element_bytes;  // of all that is read and written but logarithms: 4 are a float32, 2 a bfloat16
  float scale;
};

namespace {

using Heads = JourneymanHeads;

struct Node : Span {
  index_t parent, first_panel, first_row;
};

// A query sees the keys of its ancestors, and of its own node those up to itself. Descendants follow their
// node, so key k is seen by all queries from k to the node's reach: how many keys from `key` on query `q` sees.
inline index_t seen(index_t query, index_t key, index_t keys) { return std::clamp<index_t>(query - key + 1, 0, keys); }

struct Tree {
  std::vector<Node> nodes;
  // Of what is laid out for products: a node's rows begin where a word may.
  index_t panels = 0, rows = 0;

  explicit Tree(const Heads& heads) {
    std::vector<index_t> open;
    for (index_t i = 0; i < heads.span_count; ++i) {
      const Span span{heads.spans[3 * i], heads.spans[3 * i + 1], heads.spans[3 * i + 2]};
      while (!open.empty() && nodes[open.back()].reach <= span.start) open.pop_back();
      nodes.push_back({span, open.empty() ? -1 : open.back(), panels, rows});
      panels += divide_up(span.end - span.start, tile_width);
      rows += round_up(span.end - span.start, most_together);
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

}  // namespace
