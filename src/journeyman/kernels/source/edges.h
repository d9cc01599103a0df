// Loads and stores at the end of a row, where fewer values are left than a register holds.
#pragma once

#include <algorithm>

#include "lanes.h"

namespace {

// The next `left` values, followed by zeros.
template <typename T>
inline Lanes load_some(const T* from, index_t left) {
  if (left >= Lanes::count) return Lanes::load(from);
  T values[Lanes::count] = {};
  std::copy_n(from, std::max<index_t>(left, 0), values);
  return Lanes::load(values);
}

template <typename T>
inline void store_some(Lanes x, T* to, index_t left) {
  if (left >= Lanes::count) return x.store(to);
  T values[Lanes::count];
  x.store(values);
  std::copy_n(values, std::max<index_t>(left, 0), to);
}

}  // namespace
