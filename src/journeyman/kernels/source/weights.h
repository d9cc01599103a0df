// Loading int8 weights.
#pragma once

#include <cstring>

#include "product.h"

namespace {

// The next 16 bytes, zeros after the first `count`.
inline __m128i load_bytes(const std::int8_t* from, index_t count) {
  if (count >= 16) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  alignas(16) std::int8_t bytes[16] = {};
  if (count > 0) std::memcpy(bytes, from, static_cast<std::size_t>(count));
  return _mm_load_si128(reinterpret_cast<const __m128i*>(bytes));
}

}  // namespace
