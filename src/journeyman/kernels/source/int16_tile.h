// Products of pairs of int16 with `vpmaddwd`, for processors without VNNI: widening and packing of weights, and one
// tile.
//
// Sums cannot overflow: |weight| <= 128, |activation| <= 32767, most_block = 512, and
// 128 * 32767 * 512 = 2,147,418,112 < 2^31.
#pragma once

#include "weights.h"

namespace {

// Packed weights of a tile: [pair of the reduction][column][2] int16, so that one register holds the pairs of eight
// columns; zeros beyond the matrix.

inline void store_wide(std::int16_t* to, __m128i bytes) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm256_cvtepi8_epi16(bytes));
}

// For a weight (columns, reduction): eight columns by 16 of the reduction, transposed in units of pairs.
void turn_eight(const std::int8_t* const* columns, index_t at, index_t length, std::int16_t* to) {
  __m128i a[8], b[8];
  for (int i = 0; i < 8; ++i) a[i] = columns[i] ? load_bytes(columns[i] + at, length - at) : _mm_setzero_si128();
  for (int i = 0; i < 4; ++i) {
    b[i] = _mm_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
    b[i + 4] = _mm_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
  }
  for (int half = 0; half < 2; ++half) {
    const __m128i* c = b + 4 * half;
    const __m128i d[4] = {_mm_unpacklo_epi32(c[0], c[1]), _mm_unpackhi_epi32(c[0], c[1]),
                          _mm_unpacklo_epi32(c[2], c[3]), _mm_unpackhi_epi32(c[2], c[3])};
    std::int16_t* out = to + half * 4 * 2 * tile_columns;
    store_wide(out + 0 * 2 * tile_columns, _mm_unpacklo_epi64(d[0], d[2]));
    store_wide(out + 1 * 2 * tile_columns, _mm_unpackhi_epi64(d[0], d[2]));
    store_wide(out + 2 * 2 * tile_columns, _mm_unpacklo_epi64(d[1], d[3]));
    store_wide(out + 3 * 2 * tile_columns, _mm_unpackhi_epi64(d[1], d[3]));
  }
}

void pack_turned(const Product& product, index_t column, index_t start, index_t length, std::int16_t* to) {
  const std::int8_t* columns[tile_columns];
  for (index_t i = 0; i < tile_columns; ++i) {
    columns[i] = column + i < product.columns ? product.weight + (column + i) * product.reduction + start : nullptr;
  }
  for (index_t at = 0; at < length; at += 16, to += 16 * tile_columns) {
    turn_eight(columns, at, length, to);
    turn_eight(columns + 8, at, length, to + 16);
  }
}

// For a weight (reduction, columns): two rows interleaved give the pairs of 16 columns.
void pack_straight(const Product& product, index_t column, index_t tiles, index_t start, index_t length,
                   std::int16_t* to) {
  const index_t padded = round_up(length, 16);
  for (index_t at = 0; at < padded; at += 2) {
    const std::int8_t* row = product.weight + (start + at) * product.columns;
    for (index_t tile = 0; tile < tiles; ++tile) {
      const index_t left = column + tile * tile_columns, count = product.columns - left;
      const __m128i a = at < length ? load_bytes(row + left, count) : _mm_setzero_si128();
      const __m128i b = at + 1 < length ? load_bytes(row + product.columns + left, count) : _mm_setzero_si128();
      std::int16_t* out = to + tile * tile_columns * most_block + at * tile_columns;
      store_wide(out, _mm_unpacklo_epi8(a, b));
      store_wide(out + 16, _mm_unpackhi_epi8(a, b));
    }
  }
}

void pack(const Product& product, index_t column, index_t tiles, index_t start, index_t length, std::int16_t* to) {
  if (product.reduce_rows) {
    pack_straight(product, column, tiles, start, length, to);
  } else {
    for (index_t tile = 0; tile < tiles; ++tile) {
      pack_turned(product, column + tile * tile_columns, start, length, to + tile * tile_columns * most_block);
    }
  }
}

// One pair of a row's activations by the pairs of 16 columns. In assembly, because GCC would reorder eight of these
// and keep sums in memory, which costs up to a third of the speed.
inline void add_products(const std::int16_t* two, __m256i left, __m256i right, __m256i& sum_left, __m256i& sum_right) {
  __m256i x, products;
  asm("vpbroadcastd %[two], %[x]\n\t"
      "vpmaddwd %[left], %[x], %[products]\n\t"
      "vpmaddwd %[right], %[x], %[x]\n\t"
      "vpaddd %[products], %[sum_left], %[sum_left]\n\t"
      "vpaddd %[x], %[sum_right], %[sum_right]"
      : [x] "=&x"(x), [products] "=&x"(products), [sum_left] "+x"(sum_left), [sum_right] "+x"(sum_right)
      : [two] "m"(*reinterpret_cast<const std::int16_t(*)[2]>(two)), [left] "x"(left), [right] "x"(right));
}

// to (tile_rows, tile_columns) = activations (rows of most_block) by packed weights, over `units` of 16, plus `from`
// if it is given. Not inlined: that would leave it fewer registers.
[[gnu::noinline]] void multiply_tile(const std::int16_t* activations, const std::int32_t*, const float* scales,
                          const std::int16_t* weights, index_t units, const float* from, float* to) {
  const std::int16_t* next_rows = activations + tile_rows * most_block;
  // Every loop over rows is unrolled: only then are the sums in registers.
  __m256i sum[tile_rows][2];
#pragma GCC unroll 4
  for (index_t row = 0; row < tile_rows; ++row) sum[row][0] = sum[row][1] = _mm256_setzero_si256();
  for (index_t at = 0; at < units; ++at, activations += unit, weights += unit * tile_columns) {
    // The next tile's rows follow these. Two units read one cache line of each of the four rows.
    const std::int16_t* next = next_rows + at % 2 * 2 * most_block + at / 2 * 32;
    _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(next + most_block), _MM_HINT_T0);
#pragma GCC unroll 8
    for (index_t pair = 0; pair < 8; ++pair) {
      const __m256i left = _mm256_load_si256(reinterpret_cast<const __m256i*>(weights + pair * 32));
      const __m256i right = _mm256_load_si256(reinterpret_cast<const __m256i*>(weights + pair * 32 + 16));
#pragma GCC unroll 4
      for (index_t row = 0; row < tile_rows; ++row) {
        add_products(activations + row * most_block + pair * 2, left, right, sum[row][0], sum[row][1]);
      }
    }
  }
#pragma GCC unroll 4
  for (index_t row = 0; row < tile_rows; ++row) {
    const __m256 scale = _mm256_set1_ps(scales[row]);
#pragma GCC unroll 2
    for (index_t half = 0; half < 2; ++half) {
      const index_t at = row * tile_columns + half * 8;
      const __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[row][half]), scale);
      _mm256_store_ps(to + at, from == nullptr ? value : _mm256_add_ps(value, _mm256_load_ps(from + at)));
    }
  }
}

}  // namespace
