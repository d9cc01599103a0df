// What a product is, how it is cut into blocks, and memory for its parts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace {

using index_t = std::int64_t;

constexpr index_t tile_rows = 4, tile_columns = 16;  // 8 sums in registers, 8 registers to work with
constexpr index_t block = 512;                       // reduction per int32 sum; a tile's weights are 16 KiB
constexpr index_t strip_columns = 128;               // packed weights of a strip: 128 KiB, stay in L2
constexpr index_t group_rows = 128;                  // activations of a group: 128 KiB, stay in L2
constexpr index_t chunk_rows = 2048;                 // bounds the memory of the quantised activations
constexpr float largest = 32767.0f;

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

// One product: out (rows, columns) from activations (rows, reduction) and weights in either order.
struct Product {
  const float* activations;
  const float* activation_scale;  // (reduction) folded into the activations, or null
  const std::int8_t* weight;
  const float* column_scale;  // (columns) on the outputs, or null
  float* out;
  index_t rows, columns, reduction;
  bool reduce_rows;  // weight is (reduction, columns); else (columns, reduction)
  bool accumulate;
};

}  // namespace
