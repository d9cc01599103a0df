// A register of float32: 16 with AVX-512, 8 with AVX2 and FMA.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "blocks.h"

// Tests compile the AVX-512 form for other processors, with headers that emulate its instructions.
#if defined(__AVX512F__) || defined(JOURNEYMAN_EMULATED)
#define JOURNEYMAN_AVX512 1
#endif

namespace {

// A bfloat16 in memory: the upper half of a float32.
struct Brain {
  std::uint16_t bits;
};

inline float widened(float x) { return x; }
inline float widened(Brain x) {
  const std::uint32_t bits = std::uint32_t{x.bits} << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

#if defined(JOURNEYMAN_AVX512)

struct Lanes {
  static constexpr index_t count = 16;
  __m512 value;

  static Lanes load(const float* from) { return {_mm512_loadu_ps(from)}; }
  static Lanes load(const Brain* from) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
  }
  static Lanes all(float x) { return {_mm512_set1_ps(x)}; }
  void store(float* to) const { _mm512_storeu_ps(to, value); }
  // Rounds to nearest, ties to even; NaN stays NaN.
  void store(Brain* to) const {
    const __m512i bits = _mm512_castps_si512(value);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(
        _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    const __m512i kept = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc0));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(kept));
  }

  friend Lanes operator+(Lanes a, Lanes b) { return {_mm512_add_ps(a.value, b.value)}; }
  friend Lanes operator-(Lanes a, Lanes b) { return {_mm512_sub_ps(a.value, b.value)}; }
  friend Lanes operator*(Lanes a, Lanes b) { return {_mm512_mul_ps(a.value, b.value)}; }
  // a b + c, rounded once.
  static Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.value, b.value, c.value)}; }
  // The larger one; `b` if either is NaN.
  static Lanes larger(Lanes a, Lanes b) { return {_mm512_max_ps(a.value, b.value)}; }
  Lanes rounded() const { return {_mm512_roundscale_ps(value, 8)}; }
  Lanes magnitude() const { return larger(*this, all(0.0f) - *this); }
  // 2 to the power of integers from -126 to 127.
  Lanes power_of_two() const {
    const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(value), _mm512_set1_epi32(127));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23))};
  }
  // This value where `x` is not below `least` (NaN is not), else zero.
  Lanes where_not_below(Lanes x, Lanes least) const {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.value, least.value, _CMP_NLT_UQ), value)};
  }
  // The first `kept` lanes of this, the others from `other`.
  Lanes first(index_t kept, Lanes other) const {
    const auto mask = static_cast<__mmask16>(kept >= 16 ? 0xffff : kept <= 0 ? 0 : (1 << kept) - 1);
    return {_mm512_mask_mov_ps(other.value, mask, value)};
  }
};

#else

struct Lanes {
  static constexpr index_t count = 8;
  __m256 value;

  static Lanes load(const float* from) { return {_mm256_loadu_ps(from)}; }
  static Lanes load(const Brain* from) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16))};
  }
  static Lanes all(float x) { return {_mm256_set1_ps(x)}; }
  void store(float* to) const { _mm256_storeu_ps(to, value); }
  // Rounds to nearest, ties to even; NaN stays NaN.
  void store(Brain* to) const {
    const __m256i bits = _mm256_castps_si256(value);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_srli_epi32(
        _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
    const __m256i kept = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), nan);
    const __m256i narrow = _mm256_permute4x64_epi64(_mm256_packus_epi32(kept, kept), 0xd8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(narrow));
  }

  friend Lanes operator+(Lanes a, Lanes b) { return {_mm256_add_ps(a.value, b.value)}; }
  friend Lanes operator-(Lanes a, Lanes b) { return {_mm256_sub_ps(a.value, b.value)}; }
  friend Lanes operator*(Lanes a, Lanes b) { return {_mm256_mul_ps(a.value, b.value)}; }
  // a b + c, rounded once.
  static Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return {_mm256_fmadd_ps(a.value, b.value, c.value)}; }
  // The larger one; `b` if either is NaN.
  static Lanes larger(Lanes a, Lanes b) { return {_mm256_max_ps(a.value, b.value)}; }
  Lanes rounded() const { return {_mm256_round_ps(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
  Lanes magnitude() const { return larger(*this, all(0.0f) - *this); }
  // 2 to the power of integers from -126 to 127.
  Lanes power_of_two() const {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(value), _mm256_set1_epi32(127));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))};
  }
  // This value where `x` is not below `least` (NaN is not), else zero.
  Lanes where_not_below(Lanes x, Lanes least) const {
    return {_mm256_and_ps(value, _mm256_cmp_ps(x.value, least.value, _CMP_NLT_UQ))};
  }
  // The first `kept` lanes of this, the others from `other`.
  Lanes first(index_t kept, Lanes other) const {
    const __m256i numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const auto limit = static_cast<int>(std::clamp<index_t>(kept, 0, 8));
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(limit), numbers);
    return {_mm256_blendv_ps(other.value, value, _mm256_castsi256_ps(mask))};
  }
};

#endif

inline float sum_of(Lanes x) {
  float parts[Lanes::count], total = 0;
  x.store(parts);
  for (const float part : parts) total += part;
  return total;
}

inline float largest_of(Lanes x) {
  float parts[Lanes::count];
  x.store(parts);
  float most = parts[0];
  for (const float part : parts) most = most < part || part != part ? part : most;
  return most;
}

// e to the power of x <= 0, within 2 units in the last place; 0 if that is below the smallest normal number.
// Reduced by ln 2 in two parts (Cody and Waite, 1980), then the Taylor series to the seventh power.
inline Lanes exponential(Lanes x) {
  const Lanes least = Lanes::all(-87.33654f);
  // NaN as the second argument stays NaN.
  const Lanes bounded = Lanes::larger(least, x);
  const Lanes power = (bounded * Lanes::all(1.44269504f)).rounded();
  Lanes rest = Lanes::multiply_add(power, Lanes::all(-0.693359375f), bounded);
  rest = Lanes::multiply_add(power, Lanes::all(2.12194440e-4f), rest);
  Lanes sum = Lanes::all(1.0f / 5040);
  for (const float term : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) {
    sum = Lanes::multiply_add(sum, rest, Lanes::all(term));
  }
  return (sum * power.power_of_two()).where_not_below(x, least);
}

// `size` is a multiple of Lanes::count; float32 or bfloat16; `from` and `to` may be the same row.
template <typename From, typename To>
void copy_row(const From* from, index_t size, To* to) {
  for (index_t i = 0; i < size; i += Lanes::count) Lanes::load(from + i).store(to + i);
}

template <typename From, typename To>
void scale_row(const From* from, index_t size, float factor, To* to) {
  for (index_t i = 0; i < size; i += Lanes::count) (Lanes::load(from + i) * Lanes::all(factor)).store(to + i);
}

}  // namespace
