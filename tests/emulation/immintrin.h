// Stands before the compiler's own header: AVX-512 by SIMDe's emulation of its instructions (libsimde-dev).
#ifndef JOURNEYMAN_EMULATION
#define JOURNEYMAN_EMULATION

#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/avx512/dpbf16.h>
#include <simde/x86/avx512/dpbusd.h>
#include <simde/x86/avx512/roundscale.h>

// What SIMDe lacks.
inline __m512i journeyman_cvtps_epi32(__m512 x) {
  alignas(64) float from[16];
  alignas(64) int to[16];
  _mm512_storeu_ps(from, x);
  for (int half = 0; half < 16; half += 8) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to + half), _mm256_cvtps_epi32(_mm256_load_ps(from + half)));
  }
  return _mm512_loadu_si512(to);
}
#define _mm512_cvtps_epi32 journeyman_cvtps_epi32

inline __m512i journeyman_cvtepu16_epi32(__m256i x) {
  alignas(64) int to[16];
  _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm256_cvtepu16_epi32(_mm256_castsi256_si128(x)));
  _mm256_store_si256(reinterpret_cast<__m256i*>(to + 8), _mm256_cvtepu16_epi32(_mm256_extracti128_si256(x, 1)));
  return _mm512_loadu_si512(to);
}
#define _mm512_cvtepu16_epi32 journeyman_cvtepu16_epi32

inline __m256i journeyman_cvtepi32_epi16(__m512i x) {
  alignas(64) int from[16];
  alignas(32) short to[16];
  _mm512_storeu_si512(from, x);
  for (int i = 0; i < 16; ++i) to[i] = static_cast<short>(from[i]);
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(to));
}
#define _mm512_cvtepi32_epi16 journeyman_cvtepi32_epi16

// SIMDe has a type of its own for registers of bfloat16.
#define __m512bh simde__m512bh

#endif
