// What a product is, and how it is cut into blocks.
#pragma once

#include "blocks.h"

namespace {

constexpr index_t tile_rows = 4, tile_columns = 16;  // 8 sums in registers, 8 registers to work with
constexpr index_t block = 512;                       // reduction per int32 sum; a tile's weights are 16 KiB
constexpr index_t strip_columns = 128;               // packed weights of a strip: 128 KiB, stay in L2
constexpr index_t group_rows = 128;                  // activations of a group: 128 KiB, stay in L2
constexpr index_t chunk_rows = 2048;                 // bounds the memory of the quantised activations
constexpr float largest = 32767.0f;

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
