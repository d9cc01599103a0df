// A counter-based dropout mask: whether a value is kept depends only on its position and two keys, so that no mask is
// stored and no generator has a state. `kernels/dropout_mask.py` explains the hash and makes the keys.
#pragma once

#include "lanes.h"

namespace {

// A register of as many 32-bit integers as Lanes has floats.
#if defined(JOURNEYMAN_AVX512)

struct Whole {
  __m512i value;

  static Whole all(std::uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
  static Whole counted() { return {_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)}; }
  friend Whole operator+(Whole a, Whole b) { return {_mm512_add_epi32(a.value, b.value)}; }
  friend Whole operator*(Whole a, Whole b) { return {_mm512_mullo_epi32(a.value, b.value)}; }
  friend Whole operator^(Whole a, Whole b) { return {_mm512_xor_si512(a.value, b.value)}; }
  template <int bits>
  Whole shifted() const {
    return {_mm512_srli_epi32(value, bits)};
  }
  // `x` where this is not below `least`, else zero.
  Lanes where_not_below(Whole least, Lanes x) const {
    return {_mm512_maskz_mov_ps(_mm512_cmpge_epu32_mask(value, least.value), x.value)};
  }
};

#else

struct Whole {
  __m256i value;

  static Whole all(std::uint32_t x) { return {_mm256_set1_epi32(static_cast<int>(x))}; }
  static Whole counted() { return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)}; }
  friend Whole operator+(Whole a, Whole b) { return {_mm256_add_epi32(a.value, b.value)}; }
  friend Whole operator*(Whole a, Whole b) { return {_mm256_mullo_epi32(a.value, b.value)}; }
  friend Whole operator^(Whole a, Whole b) { return {_mm256_xor_si256(a.value, b.value)}; }
  template <int bits>
  Whole shifted() const {
    return {_mm256_srli_epi32(value, bits)};
  }
  // `x` where this is not below `least`, else zero.
  Lanes where_not_below(Whole least, Lanes x) const {
    const __m256i kept = _mm256_cmpeq_epi32(_mm256_max_epu32(value, least.value), value);
    return {_mm256_and_ps(x.value, _mm256_castsi256_ps(kept))};
  }
};

#endif

// lowbias32 of Chris Wellons' hash prospector.
inline Whole mixed(Whole x) {
  x = (x ^ x.shifted<16>()) * Whole::all(0x7feb352d);
  x = (x ^ x.shifted<15>()) * Whole::all(0x846ca68b);
  return x ^ x.shifted<16>();
}

// How many values share a pair of keys, as in `kernels/dropout_mask.py`.
constexpr index_t part_values = index_t{1} << 20;

// The mask of one part of an array.
struct Chance {
  std::uint32_t first_key, second_key, threshold;

  // `x` where it is kept, else zero; its lanes are the values `at`, `at` + 1, ... of the part.
  Lanes kept(Lanes x, std::uint32_t at) const {
    const Whole places = Whole::all(at) + Whole::counted();
    const Whole drawn = mixed(mixed(places ^ Whole::all(first_key)) ^ Whole::all(second_key));
    return drawn.where_not_below(Whole::all(threshold), x);
  }
};

}  // namespace
