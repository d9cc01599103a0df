// The matrix products of a LoRA adapter, in three functions that each read the wide array once: the input reduced to
// the adapter's rank, and the gradients by both of its matrices and by the input.
//
// The narrow arrays have 8 to 64 columns, for which general products are slow. Dropout is applied on the fly
// (`dropout_mask.h`), so neither a mask nor the masked input is stored. Wide arrays are float32 or bfloat16; sums and
// narrow arrays are float32.
//
// Sums over tokens are made for each chunk of tokens and then added in order, so that the order of each sum does not
// depend on the number of threads. The numbers of wide columns are multiples of tile_width.

#include <algorithm>
#include <cstring>

#include "dropout_mask.h"
#include "team.h"
#include "tile.h"

namespace {

constexpr index_t chunk_tokens = 96;    // tokens with a separate sum; a multiple of tile_height
constexpr index_t block_columns = 512;  // of the wide array: a chunk's block is 192 KiB, stays in L2

}  // namespace

// The wide array: one token per row, rows `step` apart. Values that dropout keeps are multiplied by `scale`; without
// keys there is no dropout.
extern "C" struct JourneymanWide {
  const void* values;
  std::int64_t narrow;  // bfloat16, else float32
  std::int64_t tokens, columns, step;
  const std::uint32_t* keys;  // two per 2^20 values, or null
  std::uint32_t threshold;
  float scale;
};

namespace {

using Wide = JourneymanWide;

// Dropout of `x`, the values of the array from number `place` on.
inline Lanes dropped(const Wide& wide, Lanes x, index_t place) {
  if (wide.keys == nullptr) return x;
  const index_t part = place / part_values;
  const Chance chance{wide.keys[2 * part], wide.keys[2 * part + 1], wide.threshold};
  return chance.kept(x * Lanes::all(wide.scale), static_cast<std::uint32_t>(place - part * part_values));
}

// The values of some tokens in columns [first, first + count) after dropout, as float32 (tokens, count).
template <typename T>
void widen(const Wide& wide, index_t token, index_t tokens, index_t first, index_t count, float* to) {
  for (index_t row = token; row < token + tokens; ++row) {
    const T* from = static_cast<const T*>(wide.values) + row * wide.step + first;
    for (index_t i = 0; i < count; i += Lanes::count, to += Lanes::count) {
      dropped(wide, Lanes::load(from + i), row * wide.columns + first + i).store(to);
    }
  }
}

// Calls act(first column, number of columns, values) for each block of columns of up to chunk_tokens tokens.
template <typename Act>
void in_blocks(const Wide& wide, index_t token, index_t tokens, Act act) {
  const auto values = allocate<float>(tokens * std::min(block_columns, wide.columns));
  const auto widened = wide.narrow ? widen<Brain> : widen<float>;
  for (index_t first = 0; first < wide.columns; first += block_columns) {
    const index_t count = std::min(block_columns, wide.columns - first);
    widened(wide, token, tokens, first, count, values.get());
    act(first, count, static_cast<const float*>(values.get()));
  }
}

// out (rows, columns) += left (rows, depth) by right (depth, columns), columns a multiple of tile_width.
void multiply(index_t rows, Left<float> left, const float* right, index_t columns, index_t depth, float* out) {
  for (index_t row = 0; row < rows; row += tile_height) {
    const index_t height = std::min(tile_height, rows - row);
    const float* at = left.at + (left.turned ? row : row * left.step);
    for (index_t column = 0; column < columns; column += tile_width) {
      multiply_tile(height, Left<float>{at, left.step, left.turned}, right + column, columns, depth, out + row * columns + column,
                    columns);
    }
  }
}

// A narrow matrix (rows, rank) times `factor`, padded with zeros to `width` columns.
Buffer<float> padded(const float* from, index_t rows, index_t rank, index_t width, float factor) {
  auto to = allocate<float>(rows * width);
  for (index_t row = 0; row < rows; ++row) {
    float* at = to.get() + row * width;
    for (index_t i = 0; i < rank; ++i) at[i] = from[row * rank + i] * factor;
    std::fill(at + rank, at + width, 0.0f);
  }
  return to;
}

// Sums over tokens: one for each chunk, added up in order.
class Partial {
 public:
  Partial(index_t tokens, index_t values)
      : count_(divide_up(tokens, chunk_tokens)), values_(values), sums_(allocate<float>(count_ * values)) {
    std::fill_n(sums_.get(), count_ * values, 0.0f);
  }

  float* of(index_t chunk) const { return sums_.get() + chunk * values_; }

  // to[i] = the sum over all chunks of value i.
  void add_up(float* to, int threads) const {
    constexpr index_t part = 4096;
    in_parallel(divide_up(values_, part), threads, [&](index_t task) {
      for (index_t i = task * part; i < std::min(values_, task * part + part); ++i) {
        float sum = 0;
        for (index_t chunk = 0; chunk < count_; ++chunk) sum += sums_[chunk * values_ + i];
        to[i] = sum;
      }
    });
  }

 private:
  index_t count_, values_;
  Buffer<float> sums_;
};

// Calls act(chunk, first token, number of tokens) for each chunk of tokens.
template <typename Act>
void in_chunks(index_t tokens, int threads, Act act) {
  in_parallel(divide_up(tokens, chunk_tokens), threads, [&](index_t chunk) {
    act(chunk, chunk * chunk_tokens, std::min(chunk_tokens, tokens - chunk * chunk_tokens));
  });
}

// The transpose (columns, width) of (rank, columns), padded with zeros.
Buffer<float> turned(const float* from, index_t rank, index_t columns, index_t width) {
  auto to = allocate<float>(columns * width);
  std::fill_n(to.get(), columns * width, 0.0f);
  for (index_t i = 0; i < rank; ++i) {
    for (index_t column = 0; column < columns; ++column) to[column * width + i] = from[i * columns + column];
  }
  return to;
}

void reduce(const Wide& wide, const float* firsts, index_t rank, float* reduced, int threads) {
  const index_t width = round_up(rank, tile_width);
  const auto right = turned(firsts, rank, wide.columns, width);
  in_chunks(wide.tokens, threads, [&](index_t, index_t token, index_t tokens) {
    const auto sums = allocate<float>(tokens * width);
    std::fill_n(sums.get(), tokens * width, 0.0f);
    in_blocks(wide, token, tokens, [&](index_t first, index_t count, const float* values) {
      multiply(tokens, {values, count, false}, right.get() + first * width, width, count, sums.get());
    });
    for (index_t row = 0; row < tokens; ++row) {
      std::memcpy(reduced + (token + row) * rank, sums.get() + row * width, rank * sizeof(float));
    }
  });
}

void by_second(const Wide& gradient, const float* second, const float* reduced, index_t rank, index_t step,
               float factor, float* by_reduced, float* out, int threads) {
  const index_t width = round_up(rank, tile_width);
  const auto right = padded(second, gradient.columns, rank, width, factor);
  const Partial partial(gradient.tokens, gradient.columns * width);
  in_chunks(gradient.tokens, threads, [&](index_t chunk, index_t token, index_t tokens) {
    const auto sums = allocate<float>(tokens * width), other = allocate<float>(tokens * width);
    std::fill_n(sums.get(), tokens * width, 0.0f);
    std::fill_n(other.get(), tokens * width, 0.0f);
    for (index_t row = 0; row < tokens; ++row) {
      for (index_t i = 0; i < rank; ++i) other[row * width + i] = reduced[(token + row) * step + i] * factor;
    }
    in_blocks(gradient, token, tokens, [&](index_t first, index_t count, const float* values) {
      multiply(tokens, {values, count, false}, right.get() + first * width, width, count, sums.get());
      multiply(count, {values, count, true}, other.get(), width, tokens, partial.of(chunk) + first * width);
    });
    for (index_t row = 0; row < tokens; ++row) {
      std::memcpy(by_reduced + (token + row) * step, sums.get() + row * width, rank * sizeof(float));
    }
  });
  const auto whole = allocate<float>(gradient.columns * width);
  partial.add_up(whole.get(), threads);
  for (index_t row = 0; row < gradient.columns; ++row) {
    for (index_t i = 0; i < rank; ++i) out[row * rank + i] += whole[row * width + i];
  }
}

// Adds the gradient through the adapter to some tokens of `by_input`, in columns [first, first + count).
template <typename T>
void add_input(const Wide& wide, index_t token, index_t tokens, index_t first, index_t count, const float* through,
               void* by_input) {
  for (index_t row = token; row < token + tokens; ++row) {
    T* to = static_cast<T*>(by_input) + row * wide.columns + first;
    for (index_t i = 0; i < count; i += Lanes::count, through += Lanes::count) {
      (Lanes::load(to + i) + dropped(wide, Lanes::load(through), row * wide.columns + first + i)).store(to + i);
    }
  }
}

void by_first(const Wide& wide, const float* firsts, const float* by_reduced, index_t rank, float* out,
              void* by_input, int threads) {
  const Partial partial(wide.tokens, rank * wide.columns);
  in_chunks(wide.tokens, threads, [&](index_t chunk, index_t token, index_t tokens) {
    const float* narrow = by_reduced + token * rank;
    const auto sums = allocate<float>(std::max(rank, tokens) * std::min(block_columns, wide.columns));
    const auto right = allocate<float>(rank * std::min(block_columns, wide.columns));
    in_blocks(wide, token, tokens, [&](index_t first, index_t count, const float* values) {
      std::fill_n(sums.get(), rank * count, 0.0f);
      multiply(rank, {narrow, rank, true}, values, count, tokens, sums.get());
      for (index_t i = 0; i < rank; ++i) {
        std::memcpy(partial.of(chunk) + i * wide.columns + first, sums.get() + i * count, count * sizeof(float));
        std::memcpy(right.get() + i * count, firsts + i * wide.columns + first, count * sizeof(float));
      }
      if (by_input == nullptr) return;
      std::fill_n(sums.get(), tokens * count, 0.0f);
      multiply(tokens, {narrow, rank, false}, right.get(), count, rank, sums.get());
      const auto add = wide.narrow ? add_input<Brain> : add_input<float>;
      add(wide, token, tokens, first, count, sums.get(), by_input);
    });
  });
  partial.add_up(out, threads);
}

template <typename Act>
int guarded(Act act) {
  try {
    act();
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}

}  // namespace

extern "C" int journeyman_width() { return static_cast<int>(tile_width); }

// All return 0, or 1 if memory runs out.

// reduced (tokens, rank) = dropout(wide) by firsts (rank, columns)^T.
extern "C" int journeyman_reduce(const JourneymanWide* wide, const float* firsts, std::int64_t rank, float* reduced,
                                 int threads) {
  return guarded([&] { reduce(*wide, firsts, rank, reduced, threads); });
}

// by_reduced (tokens, rank of `step`) = factor * gradient by second (columns, rank);
// out (columns, rank) += factor * gradient^T by reduced (tokens, rank of `step`).
extern "C" int journeyman_by_second(const JourneymanWide* gradient, const float* second, const float* reduced,
                                    std::int64_t rank, std::int64_t step, float factor, float* by_reduced, float* out,
                                    int threads) {
  return guarded([&] { by_second(*gradient, second, reduced, rank, step, factor, by_reduced, out, threads); });
}

// out (rank, columns) = by_reduced (tokens, rank)^T by dropout(wide); by_input (tokens, columns), of the wide array's
// dtype, += dropout(by_reduced by firsts (rank, columns)) with the same mask. by_input may be null.
extern "C" int journeyman_by_first(const JourneymanWide* wide, const float* firsts, const float* by_reduced,
                                   std::int64_t rank, float* out, void* by_input, int threads) {
  return guarded([&] { by_first(*wide, firsts, by_reduced, rank, out, by_input, threads); });
}
