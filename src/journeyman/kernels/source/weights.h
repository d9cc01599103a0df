// Weights widened to int16 and packed for one tile after the other, from either order in memory.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "product.h"

namespace {

// Packed weights of a tile: [pair of the reduction][column][2] int16, so that one register holds eight
// columns' pairs; zeros where the matrix ends.

inline __m128i load_bytes(const std::int8_t* from, index_t count) {
  if (count >= 16) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  alignas(16) std::int8_t bytes[16] = {};
  if (count > 0) std::memcpy(bytes, from, static_cast<std::size_t>(count));
  return _mm_load_si128(reinterpret_cast<const __m128i*>(bytes));
}

inline void store_wide(std::int16_t* to, __m128i bytes) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm256_cvtepi8_epi16(bytes));
}

// weight is (columns, reduction): eight columns by 16 of the reduction, turned round in units of pairs.
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

// weight is (reduction, columns): two rows interleaved give the pairs of 16 columns.
void pack_straight(const Product& product, index_t column, index_t tiles, index_t start, index_t length,
                   std::int16_t* to) {
  const index_t padded = round_up(length, 16);
  for (index_t at = 0; at < padded; at += 2) {
    const std::int8_t* row = product.weight + (start + at) * product.columns;
    for (index_t tile = 0; tile < tiles; ++tile) {
      const index_t left = column + tile * tile_columns, count = product.columns - left;
      const __m128i a = at < length ? load_bytes(row + left, count) : _mm_setzero_si128();
      const __m128i b = at + 1 < length ? load_bytes(row + product.columns + left, count) : _mm_setzero_si128();
      std::int16_t* out = to + tile * tile_columns * block + at * tile_columns;
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
      pack_turned(product, column + tile * tile_columns, start, length, to + tile * tile_columns * block);
    }
  }
}

}  // namespace
