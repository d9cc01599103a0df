// Products of small matrices of words, with the float32 sums in registers.
#pragma once

#include "words.h"

namespace {

constexpr index_t tile_height = 6;                 // with two registers of columns: 12 sums
constexpr index_t tile_width = 2 * Lanes::count;

// The left matrix of a product: word (row, k) is at row * step + k, or at k * step + row if it is transposed.
template <typename Word>
struct Left {
  const Word* at;
  index_t step;
  bool turned;
};

// out (rows, tile_width) += left (rows, depth) by right (depth, tile_width), with `depth` in words. The rows of
// `right` and `out` are `right_step` and `out_step` apart.
template <index_t rows, bool turned, typename Word>
void multiply_rows(const Word* left, index_t left_step, const Word* right, index_t right_step, index_t depth,
                   float* out, index_t out_step) {
  // Every loop over rows is unrolled: only then are the sums in registers.
  Lanes sum[rows][2];
#pragma GCC unroll 6
  for (index_t row = 0; row < rows; ++row) {
    sum[row][0] = Lanes::load(out + row * out_step);
    sum[row][1] = Lanes::load(out + row * out_step + Lanes::count);
  }
  for (index_t k = 0; k < depth; ++k, right += right_step) {
    const auto one = several(right), two = several(right + Lanes::count);
#pragma GCC unroll 6
    for (index_t row = 0; row < rows; ++row) {
      const auto x = everywhere(left + (turned ? k * left_step + row : row * left_step + k));
      sum[row][0] = multiply_add(x, one, sum[row][0]);
      sum[row][1] = multiply_add(x, two, sum[row][1]);
    }
  }
#pragma GCC unroll 6
  for (index_t row = 0; row < rows; ++row) {
    sum[row][0].store(out + row * out_step);
    sum[row][1].store(out + row * out_step + Lanes::count);
  }
}

template <bool turned, typename Word>
void multiply_some(index_t rows, const Word* left, index_t left_step, const Word* right, index_t right_step,
                   index_t depth, float* out, index_t out_step) {
  switch (rows) {
    case 6: return multiply_rows<6, turned>(left, left_step, right, right_step, depth, out, out_step);
    case 5: return multiply_rows<5, turned>(left, left_step, right, right_step, depth, out, out_step);
    case 4: return multiply_rows<4, turned>(left, left_step, right, right_step, depth, out, out_step);
    case 3: return multiply_rows<3, turned>(left, left_step, right, right_step, depth, out, out_step);
    case 2: return multiply_rows<2, turned>(left, left_step, right, right_step, depth, out, out_step);
    case 1: return multiply_rows<1, turned>(left, left_step, right, right_step, depth, out, out_step);
  }
}

// The same for up to tile_height rows.
template <typename Word>
void multiply_tile(index_t rows, Left<Word> left, const Word* right, index_t right_step, index_t depth, float* out,
                   index_t out_step) {
  const auto multiply = left.turned ? multiply_some<true, Word> : multiply_some<false, Word>;
  multiply(rows, left.at, left.step, right, right_step, depth, out, out_step);
}

}  // namespace
