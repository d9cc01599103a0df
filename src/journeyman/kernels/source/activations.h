// Quantising activations to integers, with a scale for each row and block of the reduction.
#pragma once

#include <cfloat>
#include <limits>

#include "edges.h"
#include "product.h"
#include "team.h"

namespace {

// Quantised activations of one chunk: [block][row][most_block], padded with zeros to the right and below.
struct Quantised {
  Buffer<Value> values;
  Buffer<float> scales;          // [block][row]
  Buffer<std::int32_t> starts;   // [block][row]: the initial value of a sum, see `start_of`
  index_t padded_rows;

  Quantised(index_t rows, const Blocks& blocks)
      : values(allocate<Value>(blocks.count * round_up(rows, tile_rows) * most_block)),
        scales(allocate<float>(blocks.count * round_up(rows, tile_rows))),
        starts(allocate<std::int32_t>(blocks.count * round_up(rows, tile_rows))),
        padded_rows(round_up(rows, tile_rows)) {}

  index_t number(index_t block, index_t row) const { return block * padded_rows + row; }
};

#if defined(JOURNEYMAN_VNNI)

inline void store_integers(Lanes x, std::int8_t* to) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x.value)));
}

// Packed weights are 128 too large, so a sum would be too large by 128 times the sum of the activations.
inline std::int32_t start_of(float sum) { return -128 * static_cast<std::int32_t>(sum); }

#else

inline void store_integers(Lanes x, std::int16_t* to) {
#if defined(JOURNEYMAN_AVX512)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x.value)));
#else
  const __m256i wide = _mm256_cvtps_epi32(x.value);
  const __m256i narrow = _mm256_permute4x64_epi64(_mm256_packs_epi32(wide, wide), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(narrow));
#endif
}

inline std::int32_t start_of(float) { return 0; }

#endif

template <typename T>
inline Lanes load_scaled(const T* row, const float* scale, index_t at, index_t end) {
  const Lanes x = load_some(row + at, end - at);
  return scale == nullptr ? x : x * load_some(scale + at, end - at);
}

// The scale of the integers of row[start, end). NaN if a value is NaN or infinite, so that every output of the row
// is NaN and never a wrong number.
template <typename T>
float step_of(const T* row, const float* scale, index_t start, index_t end) {
  const Lanes zero = Lanes::all(0.0f);
  Lanes most = zero, strange = zero;
  for (index_t i = start; i < end; i += Lanes::count) {
    const Lanes x = load_scaled(row, scale, i, end);
    most = Lanes::larger(x.magnitude(), most);
    strange = Lanes::multiply_add(x, zero, strange);  // stays NaN after the first x that is not finite
  }
  if (sum_of(strange) != 0.0f) return std::numeric_limits<float>::quiet_NaN();
  // At least FLT_MIN, so that its inverse is finite and zeros stay zeros. Only rows whose largest value is below
  // 4e-34 lose precision by this.
  return std::max(largest_of(most) / largest, FLT_MIN);
}

template <typename T>
void quantise_block(const T* row, const float* scale, index_t start, index_t end, index_t number, Quantised& to) {
  const float step = step_of(row, scale, start, end);
  const Lanes inverse = Lanes::all(step == step ? 1.0f / step : 0.0f);
  Value* out = to.values.get() + number * most_block;
  Lanes sum = Lanes::all(0.0f);
  for (index_t i = start; i < start + round_up(end - start, unit); i += Lanes::count, out += Lanes::count) {
    const Lanes whole = (load_scaled(row, scale, i, end) * inverse).rounded();
    sum = sum + whole;
    store_integers(whole, out);
  }
  to.scales[number] = step;
  // A sum of integers below 2^24 is exact; a NaN has made the scale NaN, and then the sum does not matter.
  to.starts[number] = step == step ? start_of(sum_of(sum)) : 0;
}

template <typename T>
Quantised quantise(const Product& product, const Blocks& blocks, index_t first_row, index_t rows, int threads) {
  Quantised to(rows, blocks);
  const T* activations = static_cast<const T*>(product.activations) + first_row * product.reduction;
  in_parallel(divide_up(to.padded_rows, 16), threads, [&](index_t part) {
    for (index_t row = part * 16; row < std::min(to.padded_rows, part * 16 + 16); ++row) {
      for (index_t block = 0; block < blocks.count; ++block) {
        const index_t number = to.number(block, row), start = block * blocks.length;
        if (row < rows) {
          const index_t end = std::min(start + blocks.length, product.reduction);
          quantise_block(activations + row * product.reduction, product.activation_scale, start, end, number, to);
        } else {
          std::fill_n(to.values.get() + number * most_block, blocks.length, Value{0});
          to.scales[number] = 0.0f;
          to.starts[number] = 0;
        }
      }
    }
  });
  return to;
}

}  // namespace
