// Stands before the compiler's own header: AVX-512 by SIMDe's emulation of its instructions (libsimde-dev).
#ifndef JOURNEYMAN_EMULATION
#define JOURNEYMAN_EMULATION

#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
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

#endif
