// Products of float32 activations with int8 weights, for processors with AVX2 and no dot product of int8.
//
// Each row of activations becomes int16 with a scale of its own, weights are widened to int16 while they
// are packed, and `vpmaddwd` multiplies: 16 products an instruction, against 8 of a float32 FMA. Sums are
// exact in int32 over one block of the reduction (`block`), and float32 over the blocks.
//
// No overflow by construction: |weight| <= 128, |activation| <= 32767, block = 512, and
// 128 * 32767 * 512 = 2,147,418,112 < 2^31.
//
// Each output is computed in the same order whatever the threads and the division of the work.
//
// Blocking after Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (ACM TOMS 34:12).

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>

#include "activations.h"
#include "product.h"
#include "team.h"
#include "weights.h"

namespace {

// One pair of a row's activations by 16 columns' pairs. Written out, for left to itself GCC reorders eight of
// these and keeps sums in memory for it, which costs up to a third of the speed.
inline void add_products(const std::int16_t* two, __m256i left, __m256i right, __m256i& sum_left, __m256i& sum_right) {
  __m256i x, products;
  asm("vpbroadcastd %[two], %[x]\n\t"
      "vpmaddwd %[left], %[x], %[products]\n\t"
      "vpmaddwd %[right], %[x], %[x]\n\t"
      "vpaddd %[products], %[sum_left], %[sum_left]\n\t"
      "vpaddd %[x], %[sum_right], %[sum_right]"
      : [x] "=&x"(x), [products] "=&x"(products), [sum_left] "+x"(sum_left), [sum_right] "+x"(sum_right)
      : [two] "m"(*reinterpret_cast<const std::int16_t(*)[2]>(two)), [left] "x"(left), [right] "x"(right));
}

// sums (4, 16) = or += activations (4 rows of 512) by packed weights, over `steps` of 16.
template <bool first>
void multiply_tile(const std::int16_t* activations, const std::int16_t* weights, index_t steps, float* sums) {
  const std::int16_t* next_rows = activations + tile_rows * block;
  // Every loop over rows is unrolled: only then do the sums live in registers.
  __m256i sum[tile_rows][2];
#pragma GCC unroll 4
  for (index_t row = 0; row < tile_rows; ++row) sum[row][0] = sum[row][1] = _mm256_setzero_si256();
  for (index_t step = 0; step < steps; ++step, activations += 16, weights += 16 * tile_columns) {
    // The next tile's rows follow these: four rows of 1 KiB in 32 steps are two cache lines each.
    const char* next = reinterpret_cast<const char*>(next_rows) + step * 128;
    _mm_prefetch(next, _MM_HINT_T0);
    _mm_prefetch(next + 64, _MM_HINT_T0);
#pragma GCC unroll 8
    for (index_t pair = 0; pair < 8; ++pair) {
      const __m256i left = _mm256_load_si256(reinterpret_cast<const __m256i*>(weights + pair * 32));
      const __m256i right = _mm256_load_si256(reinterpret_cast<const __m256i*>(weights + pair * 32 + 16));
#pragma GCC unroll 4
      for (index_t row = 0; row < tile_rows; ++row) {
        add_products(activations + row * block + pair * 2, left, right, sum[row][0], sum[row][1]);
      }
    }
  }
#pragma GCC unroll 4
  for (index_t row = 0; row < tile_rows; ++row) {
#pragma GCC unroll 2
    for (index_t half = 0; half < 2; ++half) {
      float* to = sums + row * tile_columns + half * 8;
      const __m256 value = _mm256_cvtepi32_ps(sum[row][half]);
      _mm256_store_ps(to, first ? value : _mm256_add_ps(_mm256_load_ps(to), value));
    }
  }
}

// One unit of work: some rows of a chunk by one strip of columns.
struct Unit {
  index_t row, rows, column, tiles;
};

// Sixteen or fewer outputs of one row: sums by the row's scale and the columns'.
void write_row(const float* sums, float row_scale, const float* column_scale, index_t count, bool accumulate,
               float* out) {
  for (index_t i = 0; i < count; i += 8) {
    const __m256i mask = tail_mask(count - i);
    __m256 value = _mm256_mul_ps(_mm256_load_ps(sums + i), _mm256_set1_ps(row_scale));
    if (column_scale != nullptr) value = _mm256_mul_ps(value, _mm256_maskload_ps(column_scale + i, mask));
    if (accumulate) value = _mm256_add_ps(_mm256_maskload_ps(out + i, mask), value);
    if (count - i >= 8) {
      _mm256_storeu_ps(out + i, value);  // masked stores are slow on some processors
    } else {
      _mm256_maskstore_ps(out + i, mask, value);
    }
  }
}

void write_out(const Product& product, const Quantised& from, const Unit& unit, index_t first_row,
               const float* sums) {
  const index_t padded = round_up(unit.rows, tile_rows);
  for (index_t row = 0; row < unit.rows; ++row) {
    float* out = product.out + (first_row + unit.row + row) * product.columns;
    for (index_t tile = 0; tile < unit.tiles; ++tile) {
      const index_t left = unit.column + tile * tile_columns;
      const float* scale = product.column_scale == nullptr ? nullptr : product.column_scale + left;
      write_row(sums + (tile * padded + row) * tile_columns, from.scales[unit.row + row], scale,
                std::min(tile_columns, product.columns - left), product.accumulate, out + left);
    }
  }
}

void multiply(const Product& product, const Quantised& from, const Unit& unit, index_t first_row) {
  const index_t rows = round_up(unit.rows, tile_rows);
  const auto weights = allocate<std::int16_t>(unit.tiles * tile_columns * block);
  const auto sums = allocate<float>(unit.tiles * tile_columns * rows);
  for (index_t start = 0; start < product.reduction; start += block) {
    const index_t length = std::min(block, product.reduction - start);
    pack(product, unit.column, unit.tiles, start, length, weights.get());
    for (index_t group = 0; group < rows; group += group_rows) {
      for (index_t tile = 0; tile < unit.tiles; ++tile) {
        const std::int16_t* packed = weights.get() + tile * tile_columns * block;
        for (index_t row = group; row < std::min(rows, group + group_rows); row += tile_rows) {
          const std::int16_t* x = from.at(start / block, unit.row + row);
          float* to = sums.get() + (tile * rows + row) * tile_columns;
          const auto kernel = start == 0 ? multiply_tile<true> : multiply_tile<false>;
          kernel(x, packed, divide_up(length, 16), to);
        }
      }
    }
  }
  write_out(product, from, unit, first_row, sums.get());
}

// Strips of columns, and rows in as few parts as give each thread several units.
void multiply_chunk(const Product& product, index_t first_row, index_t rows, int threads) {
  const Quantised from = quantise(product, first_row, rows, threads);
  const index_t strips = divide_up(product.columns, strip_columns);
  const index_t wanted = divide_up(4 * static_cast<index_t>(std::max(threads, 1)), strips);
  const index_t parts = std::clamp<index_t>(wanted, 1, divide_up(rows, group_rows));
  const index_t part_rows = round_up(divide_up(rows, parts), tile_rows);
  in_parallel(strips * parts, threads, [&](index_t i) {
    const index_t row = i % parts * part_rows, column = i / parts * strip_columns;
    if (row >= rows) return;
    const index_t width = std::min(strip_columns, product.columns - column);
    multiply(product, from, Unit{row, std::min(part_rows, rows - row), column, divide_up(width, tile_columns)},
             first_row);
  });
}

int run(const Product& product, int threads) {
  try {
    for (index_t row = 0; row < product.rows; row += chunk_rows) {
      multiply_chunk(product, row, std::min(chunk_rows, product.rows - row), threads);
    }
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}

}  // namespace

// Both give 0, or 1 where memory is lacking. All matrices are contiguous, rows first; every size >= 1.

// out (rows, outputs) = or += x (rows, inputs) by (weight (outputs, inputs) * scale (outputs))^T.
extern "C" int journeyman_forward(const float* x, const std::int8_t* weight, const float* scale, float* out,
                                  std::int64_t rows, std::int64_t outputs, std::int64_t inputs, int accumulate,
                                  int threads) {
  return run({x, nullptr, weight, scale, out, rows, outputs, inputs, false, accumulate != 0}, threads);
}

// out (rows, inputs) = or += dy (rows, outputs) by (weight (outputs, inputs) * scale (outputs)).
extern "C" int journeyman_backward(const float* dy, const std::int8_t* weight, const float* scale, float* out,
                                   std::int64_t rows, std::int64_t outputs, std::int64_t inputs, int accumulate,
                                   int threads) {
  return run({dy, scale, weight, nullptr, out, rows, inputs, outputs, true, accumulate != 0}, threads);
}
