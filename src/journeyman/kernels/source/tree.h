// Queries, keys and values of packed tokens that form a prefix tree, and which keys a query sees.
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

// The input of both passes, from the caller. Token t of head h is t * query_step + h * size elements after the first
// one of `query`.
extern "C" struct JourneymanHeads {
  const void* query;
  const void* key;
  const void* value;
  std::int64_t query_step, key_step, value_step;
  const std::int64_t* spans;  // (span_count, 3), parents before their children
  std::int64_t span_count, tokens, heads, groups, size;
  std::int64_t element_bytes;  // of all arrays except logarithms: 4 for float32, 2 for bfloat16
  float scale;
};

namespace {

using Heads = JourneymanHeads;

struct Node : Span {
  index_t parent, first_panel, first_row;
};

// How many of `keys` keys from `key` on a query sees. It sees the keys of its ancestors, and those of its own node up
// to itself. Descendants follow their node, so key k is seen by all queries from k to the node's reach.
inline index_t seen(index_t query, index_t key, index_t keys) { return std::clamp<index_t>(query - key + 1, 0, keys); }

struct Tree {
  std::vector<Node> nodes;
  // The numbers of panels and rows of `Packed`; each node begins with a new word.
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
