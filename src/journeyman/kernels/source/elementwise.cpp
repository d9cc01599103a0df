// Softmax cross-entropy of logits, dropout, and rotary positions, each in one pass over memory: a row of logits stays
// in the cache from the search for its maximum to its gradient.
//
// Values are float32 or bfloat16, arithmetic is float32, and each result is rounded once. The order of each sum does
// not depend on the number of threads. A logit that is NaN or infinite gives a loss of NaN, or of infinity if the
// target's logit is -inf.

#include <cmath>
#include <cstring>
#include <limits>

#include "dropout_mask.h"
#include "edges.h"
#include "team.h"

namespace {

// ------------------------------------------------------------------------------------------ cross-entropy

constexpr float nothing = -std::numeric_limits<float>::infinity();

// The last `left` logits of a row, followed by -inf.
template <typename T>
Lanes load_logits(const T* from, index_t left) {
  return load_some(from, left).first(left, Lanes::all(nothing));
}

// How many values are summed in float32 before their sum is added to a double.
constexpr index_t summed_values = 4096;

template <typename T>
float largest_logit(const T* row, index_t classes) {
  Lanes most = Lanes::all(nothing);
  index_t i = 0;
  for (; i + Lanes::count <= classes; i += Lanes::count) most = Lanes::larger(most, Lanes::load(row + i));
  if (i < classes) most = Lanes::larger(most, load_logits(row + i, classes - i));
  return largest_of(most);
}

template <typename T>
double sum_of_exponentials(const T* row, index_t classes, float largest) {
  const Lanes most = Lanes::all(largest);
  double total = 0;
  for (index_t first = 0; first < classes; first += summed_values) {
    const index_t end = std::min(first + summed_values, classes);
    Lanes sum = Lanes::all(0.0f);
    index_t i = first;
    for (; i + Lanes::count <= end; i += Lanes::count) sum = sum + exponential(Lanes::load(row + i) - most);
    if (i < end) sum = sum + exponential(load_logits(row + i, end - i) - most);
    total += sum_of(sum);
  }
  return total;
}

// Replaces logits by their softmax, minus one at the target.
template <typename T>
void to_gradient(T* row, index_t classes, index_t target, float largest, double sum) {
  const Lanes most = Lanes::all(largest), inverse = Lanes::all(static_cast<float>(1 / sum));
  const Lanes right = exponential(Lanes::all(widened(row[target])) - most) * inverse - Lanes::all(1.0f);
  index_t i = 0;
  for (; i + Lanes::count <= classes; i += Lanes::count) {
    (exponential(Lanes::load(row + i) - most) * inverse).store(row + i);
  }
  if (i < classes) {
    store_some(exponential(load_logits(row + i, classes - i) - most) * inverse, row + i, classes - i);
  }
  store_some(right, row + target, 1);
}

// The loss of each row in nats; if wanted, its gradient overwrites the logits.
template <typename T>
void cross_entropy(T* logits, index_t rows, index_t classes, const index_t* targets, bool with_gradient,
                   double* losses, int threads) {
  in_parallel(rows, threads, [&](index_t i) {
    T* row = logits + i * classes;
    const float largest = largest_logit(row, classes);
    const double sum = sum_of_exponentials(row, classes, largest);
    losses[i] = std::log(sum) - (static_cast<double>(widened(row[targets[i]])) - largest);
    if (with_gradient) to_gradient(row, classes, targets[i], largest, sum);
  });
}

// ------------------------------------------------------------------------------------------------ dropout

// The values of one task; a part is a multiple of it.
constexpr index_t block_values = index_t{1} << 14;

// to[i] = scale * from[i] if it is kept, else zero; with `adds`, added to to[i].
template <typename T, bool adds>
void drop(const T* from, T* to, index_t count, const std::uint32_t* keys, std::uint32_t threshold, float scale,
          int threads) {
  in_parallel(divide_up(count, block_values), threads, [&](index_t block) {
    const index_t first = block * block_values, end = std::min(count, first + block_values);
    const index_t part = first / part_values;
    const Chance chance{keys[2 * part], keys[2 * part + 1], threshold};
    const auto result = [&](Lanes given, Lanes there, index_t at) {
      const Lanes kept = chance.kept(given * Lanes::all(scale), static_cast<std::uint32_t>(at - part * part_values));
      return adds ? there + kept : kept;
    };
    index_t i = first;
    for (; i + Lanes::count <= end; i += Lanes::count) {
      result(Lanes::load(from + i), adds ? Lanes::load(to + i) : Lanes::all(0.0f), i).store(to + i);
    }
    if (i < end) {
      const Lanes there = adds ? load_some(to + i, end - i) : Lanes::all(0.0f);
      store_some(result(load_some(from + i, end - i), there, i), to + i, end - i);
    }
  });
}

template <typename T>
void drop(const void* from, void* to, index_t count, const std::uint32_t* keys, std::uint32_t threshold, float scale,
          bool adds, int threads) {
  const auto* given = static_cast<const T*>(from);
  auto* found = static_cast<T*>(to);
  if (adds) {
    drop<T, true>(given, found, count, keys, threshold, scale, threads);
  } else {
    drop<T, false>(given, found, count, keys, threshold, scale, threads);
  }
}

// ----------------------------------------------------------------------------------------------- positions

// Rotates heads (tokens, heads, size), tokens `step` apart, in place by the angles of cosine and sine (tokens, size),
// whose two halves are equal; `sign` -1 undoes it.
template <typename T>
void rotate(T* states, index_t tokens, index_t step, index_t heads, index_t size, const float* cosine,
            const float* sine, float sign, int threads) {
  constexpr index_t some = 16;
  in_parallel(divide_up(tokens, some), threads, [&](index_t part) {
    for (index_t token = part * some; token < std::min(tokens, part * some + some); ++token) {
      for (index_t i = 0; i < size / 2; i += Lanes::count) {
        const Lanes c = Lanes::load(cosine + token * size + i);
        const Lanes s = Lanes::load(sine + token * size + i) * Lanes::all(sign);
        for (index_t head = 0; head < heads; ++head) {
          T* left = states + token * step + head * size + i;
          T* right = left + size / 2;
          const Lanes x = Lanes::load(left), y = Lanes::load(right);
          (x * c - y * s).store(left);
          (y * c + x * s).store(right);
        }
      }
    }
  });
}

}  // namespace

// Arrays are contiguous; `brain`: bfloat16 instead of float32.

extern "C" void journeyman_cross_entropy(void* logits, int brain, index_t rows, index_t classes,
                                         const index_t* targets, int with_gradient, double* losses, int threads) {
  if (brain) {
    cross_entropy(static_cast<Brain*>(logits), rows, classes, targets, with_gradient != 0, losses, threads);
  } else {
    cross_entropy(static_cast<float*>(logits), rows, classes, targets, with_gradient != 0, losses, threads);
  }
}

// keys: two per part of the array.
extern "C" void journeyman_drop(const void* from, void* to, int brain, index_t count, const std::uint32_t* keys,
                                std::uint32_t threshold, float scale, int adds, int threads) {
  if (brain) {
    drop<Brain>(from, to, count, keys, threshold, scale, adds != 0, threads);
  } else {
    drop<float>(from, to, count, keys, threshold, scale, adds != 0, threads);
  }
}

// In place. The heads of a token are contiguous, tokens are `step` apart, and half of a head's size is a multiple of
// `journeyman_lanes()`.
extern "C" void journeyman_rotate(void* states, int brain, index_t tokens, index_t step, index_t heads, index_t size,
                                  const float* cosine, const float* sine, float sign, int threads) {
  if (brain) {
    rotate(static_cast<Brain*>(states), tokens, step, heads, size, cosine, sine, sign, threads);
  } else {
    rotate(static_cast<float*>(states), tokens, step, heads, size, cosine, sine, sign, threads);
  }
}

extern "C" int journeyman_lanes() { return static_cast<int>(Lanes::count); }
