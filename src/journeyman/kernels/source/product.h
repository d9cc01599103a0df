// The arguments of a product, and its block sizes for the available instructions.
#pragma once

#include "lanes.h"

#if defined(JOURNEYMAN_EMULATED) || (defined(JOURNEYMAN_AVX512) && defined(__AVX512VNNI__))
#define JOURNEYMAN_VNNI 1
#endif

namespace {

#if defined(JOURNEYMAN_VNNI)

using Value = std::int8_t;                            // an activation
using PackedWeight = std::uint8_t;                    // weight + 128: one operand of `vpdpbusd` is unsigned
constexpr float largest = 127.0f;
constexpr index_t tile_rows = 6, tile_columns = 64;   // 24 sums in registers, 5 others
constexpr index_t most_block = 256;                   // reduction per int32 sum and scale; a tile's weights: 16 KiB
constexpr index_t strip_columns = 256;                // packed weights of a strip: 64 KiB, stay in L2
constexpr index_t group_rows = 192;                   // activations of a group: 48 KiB, stay in L2
constexpr index_t part_rows = 510;                    // sums of a strip: 512 KiB, stay in L2

#else

using Value = std::int16_t;
using PackedWeight = std::int16_t;
constexpr float largest = 32767.0f;
constexpr index_t tile_rows = 4, tile_columns = 16;   // 8 sums in registers, 8 others
constexpr index_t most_block = 512;                   // reduction per int32 sum and scale; a tile's weights: 16 KiB
constexpr index_t strip_columns = 128;                // packed weights of a strip: 128 KiB, stay in L2
constexpr index_t group_rows = 128;                   // activations of a group: 128 KiB, stay in L2
constexpr index_t part_rows = 2048;

#endif

constexpr index_t unit = 16;          // blocks are padded to a multiple of it
constexpr index_t chunk_rows = 2040;  // limits the memory of the quantised activations

}  // namespace

// One product: out (rows, columns) of activations (rows, reduction) and weights in either order, all contiguous.
extern "C" struct JourneymanProduct {
  const void* activations;        // float32, or bfloat16 with `narrow_in`
  const float* activation_scale;  // (reduction) folded into the activations, or null
  const std::int8_t* weight;
  const float* column_scale;  // (columns) multiplied with the outputs, or null
  const float* bias;          // (columns) added to the outputs, or null
  void* out;                  // float32, or bfloat16 with `narrow_out`
  std::int64_t rows, columns, reduction;
  std::int32_t reduce_rows;  // weight is (reduction, columns); else (columns, reduction)
  std::int32_t accumulate;   // add the product to `out` before the only rounding
  std::int32_t narrow_in, narrow_out;
};

namespace {

using Product = JourneymanProduct;

// Splits the reduction into as few blocks as possible, of equal length except the last.
struct Blocks {
  index_t count, length;

  explicit Blocks(index_t reduction)
      : count(divide_up(reduction, most_block)), length(round_up(divide_up(reduction, count), unit)) {}
};

}  // namespace
