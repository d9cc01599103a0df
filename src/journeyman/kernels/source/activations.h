// Activations as int16 with a scale for each row.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cfloat>
#include <cstring>
#include <limits>

#include "product.h"
#include "team.h"

namespace {

// Quantised activations of one chunk: [block of the reduction][row][512], zeros to the right and below.
struct Quantised {
  Buffer<std::int16_t> values;
  Buffer<float> scales;
  index_t rows, padded_rows;
  const std::int16_t* at(index_t block_index, index_t row) const {
    return values.get() + (block_index * padded_rows + row) * block;
  }
  std::int16_t* at(index_t block_index, index_t row) {
    return values.get() + (block_index * padded_rows + row) * block;
  }
};

__m256i tail_mask(index_t count) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(std::min<index_t>(count, 8))), lanes);
}

// Eight activations from `at` on, scaled; zeros after the end of the row.
inline __m256 load_scaled(const float* row, const float* scale, index_t at, index_t length) {
  if (at + 8 <= length) {
    const __m256 x = _mm256_loadu_ps(row + at);
    return scale == nullptr ? x : _mm256_mul_ps(x, _mm256_loadu_ps(scale + at));
  }
  if (at >= length) return _mm256_setzero_ps();
  const __m256i mask = tail_mask(length - at);
  const __m256 x = _mm256_maskload_ps(row + at, mask);
  return scale == nullptr ? x : _mm256_mul_ps(x, _mm256_maskload_ps(scale + at, mask));
}

// Largest magnitude of a row as bits: they order like the numbers, and NaN comes after infinity.
float largest_magnitude(const float* row, const float* scale, index_t length) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i most = _mm256_setzero_si256(), other = most;
  for (index_t i = 0; i < length; i += 16) {
    const __m256i a = _mm256_castps_si256(load_scaled(row, scale, i, length));
    const __m256i b = _mm256_castps_si256(load_scaled(row, scale, i + 8, length));
    most = _mm256_max_epi32(most, _mm256_and_si256(a, magnitude));
    other = _mm256_max_epi32(other, _mm256_and_si256(b, magnitude));
  }
  alignas(32) std::int32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), _mm256_max_epi32(most, other));
  const std::int32_t bits = *std::max_element(lanes, lanes + 8);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Write one row as int16 and give its scale. A row that holds NaN or infinity has the scale NaN, so
// that every output of it is NaN: wrong numbers never look like right ones.
float quantise_row(const float* row, const float* scale, index_t length, index_t index, Quantised& to) {
  const float most = largest_magnitude(row, scale, length);
  const bool finite = most <= FLT_MAX;
  // At least FLT_MIN: its inverse is finite, and a row of zeros stays one. Only rows whose largest value
  // is below 4e-34 are cut more coarsely for it.
  const float step = finite ? std::max(most / largest, FLT_MIN) : std::numeric_limits<float>::quiet_NaN();
  const __m256 inverse = _mm256_set1_ps(finite ? 1.0f / step : 0.0f);
  for (index_t start = 0; start < length; start += block) {
    std::int16_t* out = to.at(start / block, index);
    const index_t end = std::min(start + block, round_up(length, 16));
    for (index_t i = start; i < end; i += 16, out += 16) {
      const __m256 a = _mm256_mul_ps(load_scaled(row, scale, i, length), inverse);
      const __m256 b = _mm256_mul_ps(load_scaled(row, scale, i + 8, length), inverse);
      const __m256i both = _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
      // Saturation leaves -32768 possible by name only: |value * inverse| rounds to 32767 at most.
      _mm256_store_si256(reinterpret_cast<__m256i*>(out), _mm256_permute4x64_epi64(both, 0xd8));
    }
  }
  return step;
}

void clear_row(index_t length, index_t index, Quantised& to) {
  for (index_t start = 0; start < length; start += block) {
    const index_t count = std::min(block, round_up(length, 16) - start);
    std::memset(to.at(start / block, index), 0, static_cast<std::size_t>(count) * sizeof(std::int16_t));
  }
}

Quantised quantise(const Product& product, index_t first_row, index_t rows, int threads) {
  const index_t padded = round_up(rows, tile_rows), length = product.reduction;
  Quantised to{allocate<std::int16_t>(divide_up(length, block) * padded * block), allocate<float>(padded), rows,
               padded};
  in_parallel(divide_up(padded, 16), threads, [&](index_t part) {
    for (index_t row = part * 16; row < std::min(padded, part * 16 + 16); ++row) {
      if (row < rows) {
        const float* from = product.activations + (first_row + row) * length;
        to.scales[row] = quantise_row(from, product.activation_scale, length, row, to);
      } else {
        clear_row(length, row, to);
        to.scales[row] = 0.0f;
      }
    }
  });
  return to;
}

}  // namespace
