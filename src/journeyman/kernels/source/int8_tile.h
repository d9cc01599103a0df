// Products of groups of four int8 with `vpdpbusd` (AVX-512 VNNI): packing of weights, and one tile.
//
// The instruction multiplies unsigned by signed bytes, so weights are packed with 128 added, and a sum starts at -128
// times the sum of the activations. Sums cannot overflow: 255 * 127 * 4 fits into 18 bits, and a block of 256 into 24.
#pragma once

#include <cstring>

#include "weights.h"

namespace {

// Packed weights of a tile: [group of the reduction][column][4], so that one register holds the groups of 16 columns.

inline void store_raised(std::uint8_t* to, __m128i bytes) {
  _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm_xor_si128(bytes, _mm_set1_epi8(-128)));
}

// Transposes four registers of four 32-bit values each, `step` bytes apart.
inline void store_turned(__m128i a, __m128i b, __m128i c, __m128i d, std::uint8_t* to, index_t step) {
  const __m128i ab_low = _mm_unpacklo_epi32(a, b), ab_high = _mm_unpackhi_epi32(a, b);
  const __m128i cd_low = _mm_unpacklo_epi32(c, d), cd_high = _mm_unpackhi_epi32(c, d);
  store_raised(to, _mm_unpacklo_epi64(ab_low, cd_low));
  store_raised(to + step, _mm_unpackhi_epi64(ab_low, cd_low));
  store_raised(to + 2 * step, _mm_unpacklo_epi64(ab_high, cd_high));
  store_raised(to + 3 * step, _mm_unpackhi_epi64(ab_high, cd_high));
}

// For a weight (columns, reduction): four columns by 16 of the reduction at a time.
void pack_turned(const Product& product, index_t column, index_t start, index_t length, std::uint8_t* to) {
  for (index_t i = 0; i < tile_columns; i += 4) {
    const std::int8_t* from[4];
    for (index_t j = 0; j < 4; ++j) {
      const index_t at = column + i + j;
      from[j] = at < product.columns ? product.weight + at * product.reduction + start : nullptr;
    }
    const auto bytes = [&](index_t j, index_t at) {
      return from[j] == nullptr ? _mm_setzero_si128() : load_bytes(from[j] + at, length - at);
    };
    for (index_t at = 0; at < length; at += unit) {
      store_turned(bytes(0, at), bytes(1, at), bytes(2, at), bytes(3, at), to + at * tile_columns + i * 4,
                   4 * tile_columns);
    }
  }
}

// For a weight (reduction, columns): four rows interleaved give the groups of 16 columns.
void pack_straight(const Product& product, index_t column, index_t start, index_t length, std::uint8_t* to) {
  for (index_t at = 0; at < round_up(length, unit); at += 4) {
    const std::int8_t* first = product.weight + (start + at) * product.columns + column;
    for (index_t i = 0; i < tile_columns; i += 16) {
      __m128i row[4];
      for (index_t j = 0; j < 4; ++j) {
        const index_t count = at + j < length ? product.columns - column - i : 0;
        row[j] = load_bytes(first + j * product.columns + i, count);
      }
      const __m128i low = _mm_unpacklo_epi8(row[0], row[1]), high = _mm_unpackhi_epi8(row[0], row[1]);
      const __m128i next_low = _mm_unpacklo_epi8(row[2], row[3]), next_high = _mm_unpackhi_epi8(row[2], row[3]);
      std::uint8_t* out = to + (at * tile_columns) + i * 4;
      store_raised(out, _mm_unpacklo_epi16(low, next_low));
      store_raised(out + 16, _mm_unpackhi_epi16(low, next_low));
      store_raised(out + 32, _mm_unpacklo_epi16(high, next_high));
      store_raised(out + 48, _mm_unpackhi_epi16(high, next_high));
    }
  }
}

void pack(const Product& product, index_t column, index_t tiles, index_t start, index_t length, std::uint8_t* to) {
  for (index_t tile = 0; tile < tiles; ++tile, column += tile_columns, to += tile_columns * most_block) {
    if (product.reduce_rows) {
      pack_straight(product, column, start, length, to);
    } else {
      pack_turned(product, column, start, length, to);
    }
  }
}

constexpr index_t registers = tile_columns / 16;

// One group of a row's activations by the groups of 64 columns. In assembly, because GCC 12 would keep most sums in
// memory.
inline void add_products(const std::int8_t* four, const __m512i (&weight)[registers], __m512i (&sum)[registers]) {
#if defined(JOURNEYMAN_EMULATED)
  std::int32_t bytes;
  std::memcpy(&bytes, four, sizeof bytes);
  for (index_t i = 0; i < registers; ++i) sum[i] = _mm512_dpbusd_epi32(sum[i], weight[i], _mm512_set1_epi32(bytes));
#else
  __m512i x;
  asm("vpbroadcastd %[four], %[x]\n\t"
      "vpdpbusd %[x], %[w0], %[s0]\n\t"
      "vpdpbusd %[x], %[w1], %[s1]\n\t"
      "vpdpbusd %[x], %[w2], %[s2]\n\t"
      "vpdpbusd %[x], %[w3], %[s3]"
      : [x] "=&v"(x), [s0] "+v"(sum[0]), [s1] "+v"(sum[1]), [s2] "+v"(sum[2]), [s3] "+v"(sum[3])
      : [four] "m"(*reinterpret_cast<const std::int8_t(*)[4]>(four)), [w0] "v"(weight[0]), [w1] "v"(weight[1]),
        [w2] "v"(weight[2]), [w3] "v"(weight[3]));
#endif
}

// to (tile_rows, tile_columns) = activations (rows of most_block) by packed weights, over `units` of 16, plus `from`
// if it is given. Not inlined: that would leave it fewer registers.
[[gnu::noinline]] void multiply_tile(const std::int8_t* activations, const std::int32_t* starts, const float* scales,
                          const std::uint8_t* weights, index_t units, const float* from, float* to) {
  // Every loop over rows is unrolled: only then are the sums in registers.
  __m512i sum[tile_rows][registers];
#pragma GCC unroll 6
  for (index_t row = 0; row < tile_rows; ++row) {
#pragma GCC unroll 4
    for (index_t i = 0; i < registers; ++i) sum[row][i] = _mm512_set1_epi32(starts[row]);
  }
  for (index_t four = 0; four < 4 * units; ++four, activations += 4, weights += 4 * tile_columns) {
    __m512i weight[registers];
#pragma GCC unroll 4
    for (index_t i = 0; i < registers; ++i) weight[i] = _mm512_load_si512(weights + i * 64);
#pragma GCC unroll 6
    for (index_t row = 0; row < tile_rows; ++row) add_products(activations + row * most_block, weight, sum[row]);
  }
#pragma GCC unroll 6
  for (index_t row = 0; row < tile_rows; ++row) {
    const __m512 scale = _mm512_set1_ps(scales[row]);
#pragma GCC unroll 4
    for (index_t i = 0; i < registers; ++i) {
      const index_t at = row * tile_columns + i * 16;
      const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[row][i]), scale);
      _mm512_store_ps(to + at, from == nullptr ? value : _mm512_add_ps(value, _mm512_load_ps(from + at)));
    }
  }
}

}  // namespace
