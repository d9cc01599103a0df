// Stands before the compiler's own header: AVX-512 by SIMDe's emulation of its instructions (libsimde-dev).
#ifndef JOURNEYMAN_EMULATION
#define JOURNEYMAN_EMULATION

#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/avx512/dpbf16.h>
#include <simde/x86/avx512/dpbusd.h>
#include <simde/x86/avx512/roundscale.h>

#include <cmath>
#include <cstdint>
#include <cstring>

// What SIMDe lacks: 16 values of one type as 16 of another, each by itself.
template <typename Out, typename From, typename To, typename In, typename Each>
inline Out journeyman_converted(In x, Each each) {
  From from[16];
  To to[16];
  static_assert(sizeof from == sizeof(In) && sizeof to == sizeof(Out));
  std::memcpy(from, &x, sizeof x);
  for (int i = 0; i < 16; ++i) to[i] = static_cast<To>(each(from[i]));
  Out out;
  std::memcpy(&out, to, sizeof out);
  return out;
}

inline __m512i journeyman_cvtps_epi32(__m512 x) {
  // What no int32 holds becomes its lowest value.
  return journeyman_converted<__m512i, float, std::int32_t>(
      x, [](float one) { return std::fabs(one) < 2147483648.0f ? std::nearbyint(one) : -2147483648.0; });
}
inline __m512 journeyman_cvtepi32_ps(__m512i x) {
  return journeyman_converted<__m512, std::int32_t, float>(x, [](std::int32_t one) { return one; });
}
inline __m512i journeyman_cvtepu16_epi32(__m256i x) {
  return journeyman_converted<__m512i, std::uint16_t, std::uint32_t>(x, [](std::uint16_t one) { return one; });
}
inline __m256i journeyman_cvtepi32_epi16(__m512i x) {
  return journeyman_converted<__m256i, std::uint32_t, std::uint16_t>(x, [](std::uint32_t one) { return one; });
}
inline __m128i journeyman_cvtepi32_epi8(__m512i x) {
  return journeyman_converted<__m128i, std::uint32_t, std::uint8_t>(x, [](std::uint32_t one) { return one; });
}
#define _mm512_cvtps_epi32 journeyman_cvtps_epi32
#define _mm512_cvtepi32_ps journeyman_cvtepi32_ps
#define _mm512_cvtepu16_epi32 journeyman_cvtepu16_epi32
#define _mm512_cvtepi32_epi16 journeyman_cvtepi32_epi16
#define _mm512_cvtepi32_epi8 journeyman_cvtepi32_epi8

// SIMDe has a type of its own for registers of bfloat16.
#define __m512bh simde__m512bh

#endif
