// The elements of products: words of one float32, or of two bfloat16 if the processor can add their products.
//
// A word holds the `together` neighbours along the depth of a product that one instruction adds up.
#pragma once

#include <cstring>

#include "lanes.h"

#if defined(__AVX512BF16__) || defined(JOURNEYMAN_EMULATED)
#define JOURNEYMAN_PAIRS 1
#endif

namespace {

// ---------------------------------------------------------------------------------------------- one float32

// The word that elements are multiplied as, and the type that is stored between products.
template <typename Element>
struct Words {
  using Word = float;
  using Factor = float;
};

template <typename Word>
constexpr index_t together = 1;
constexpr index_t most_together = 2;

inline Lanes several(const float* from) { return Lanes::load(from); }
inline Lanes everywhere(const float* from) { return Lanes::all(*from); }
inline Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return Lanes::multiply_add(a, b, c); }

// Reads the word that begins at `from`.
template <typename Element>
void read_word(const Element* from, float& to) {
  to = widened(*from);
}

// Copies a row for the left side of a product.
template <typename Element>
void lay_row(const Element* from, index_t size, float scale, float* to) {
  scale_row(from, size, scale, to);
}

// Makes a row of the right side from as many rows as a word holds elements, of which only `count` may exist.
template <typename Element>
void join_rows(const Element* from, index_t, index_t, index_t size, float* to) {
  copy_row(from, size, to);
}

// Prepares rows of a left side, `step` words apart, to be read transposed, in place.
inline void turn_rows(float*, index_t, index_t, index_t) {}

// The factor still missing in scores: float32 queries are scaled; scaling bfloat16 ones would round them again.
template <typename Word>
float late_scale(float scale) {
  return together<Word> == 1 ? 1.0f : scale;
}

// ------------------------------------------------------------------------------------------ two bfloat16

#if defined(JOURNEYMAN_PAIRS)

struct Pair {
  Brain first, second;
};

template <>
struct Words<Brain> {
  using Word = Pair;
  using Factor = Brain;
};

template <>
constexpr index_t together<Pair> = 2;

struct Pairs {
  __m512i value;
};

inline Pairs several(const Pair* from) { return {_mm512_loadu_si512(from)}; }
inline Pairs everywhere(const Pair* from) {
  std::int32_t bits;  // copied, because these bytes were written as another type
  std::memcpy(&bits, from, sizeof bits);
  return {_mm512_set1_epi32(bits)};
}
// a.first b.first + a.second b.second + c; denormal numbers count as zero.
inline Lanes multiply_add(Pairs a, Pairs b, Lanes c) {
  return {_mm512_dpbf16_ps(c.value, (__m512bh)a.value, (__m512bh)b.value)};
}

inline void read_word(const Brain* from, Pair& to) { std::memcpy(&to, from, sizeof to); }

inline void lay_row(const Brain* from, index_t size, float, Pair* to) { std::memcpy(to, from, size * sizeof(Brain)); }

// From the end, so that `to` may be the same memory as `first`.
inline void zip_rows(const Brain* first, const Brain* second, index_t size, Pair* to) {
  for (index_t i = size - Lanes::count; i >= 0; i -= Lanes::count) {
    const auto low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first + i));
    const auto high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second + i));
    const auto upper = _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16);
    _mm512_storeu_si512(to + i, _mm512_or_si512(_mm512_cvtepu16_epi32(low), upper));
  }
}

inline void join_rows(const Brain* from, index_t step, index_t count, index_t size, Pair* to) {
  if (count > 1) {
    zip_rows(from, from + step, size, to);
  } else {
    for (index_t i = 0; i < size; ++i) to[i] = {from[i], {0}};
  }
}

inline void turn_rows(Pair* at, index_t step, index_t rows, index_t width) {
  for (index_t row = 0; row < rows; row += 2) {
    Pair* to = at + row * step;
    zip_rows(reinterpret_cast<const Brain*>(to), reinterpret_cast<const Brain*>(to + step), width, to);
  }
}

#endif

}  // namespace
