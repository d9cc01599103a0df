// Rounding of sizes, and aligned memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace {

using index_t = std::int64_t;

inline index_t divide_up(index_t a, index_t b) { return (a + b - 1) / b; }
inline index_t round_up(index_t a, index_t b) { return divide_up(a, b) * b; }

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
template <typename T>
using Buffer = std::unique_ptr<T[], Free>;

template <typename T>
Buffer<T> allocate(index_t count) {
  const auto bytes = static_cast<std::size_t>(round_up(std::max<index_t>(count, 1) * sizeof(T), 64));
  void* memory = std::aligned_alloc(64, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return Buffer<T>(static_cast<T*>(memory));
}

}  // namespace
