// Causal attention of float32 or bfloat16 heads over a tree of tokens, forward and backward, without a mask.
//
// Scores never leave the cache: a block of queries meets one block of keys after the other, with a running
// largest score and sum (Milakov and Gimelshein 2018, arXiv 1805.02867; FlashAttention, Dao 2022, arXiv
// 2205.14135), and the backward makes them again from the logarithms of the sums. What no query of six sees
// is not computed, so blocks on the diagonal cost little more than their half.
//
// Of bfloat16, sums and softmax are float32 and each output is rounded once. Where the processor adds up products
// of bfloat16, they stay as they are and shares and gradients by scores are rounded for the products they enter;
// else all is widened where it is laid out.
//
// Each output is computed in the same order whatever the threads. NaN and infinity come out as NaN.

#include "attention_backward.h"
#include "attention_forward.h"

namespace {

// Calls task(Element{}) with the heads' element. Gives 0, or 1 where memory is lacking.
template <typename Task>
int with_element(const Heads& heads, Task task) {
  try {
    if (heads.element_bytes == sizeof(Brain)) {
      task(Brain{});
    } else {
      task(float{});
    }
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}

}  // namespace

// Both give 0, or 1 where memory is lacking. Outputs and the gradient are contiguous, tokens first, and of the
// heads' element; logarithms are float32. The head size is a multiple of what `journeyman_width` says, and the
// spans cover all tokens.

extern "C" int journeyman_width() { return static_cast<int>(tile_width); }

extern "C" int journeyman_attend(const JourneymanHeads* heads, void* output, float* log_sum, int threads) {
  return with_element(*heads, [&](auto element) {
    using Element = decltype(element);
    attend(*heads, static_cast<Element*>(output), log_sum, threads);
  });
}

extern "C" int journeyman_attend_backward(const JourneymanHeads* heads, const void* gradient, const void* output,
                                          const float* log_sum, void* by_query, void* by_key, void* by_value,
                                          int threads) {
  return with_element(*heads, [&](auto element) {
    using Element = decltype(element);
    attend_backward(*heads, static_cast<const Element*>(gradient), static_cast<const Element*>(output), log_sum,
                    static_cast<Element*>(by_query), static_cast<Element*>(by_key), static_cast<Element*>(by_value),
                    threads);
  });
}
