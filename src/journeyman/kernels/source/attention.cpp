// Causal attention of float32 or bfloat16 heads over a prefix tree of tokens, forward and backward, without a mask.
//
// Scores never leave the cache: a block of queries is multiplied with one block of keys after another, with a running
// maximum and sum (Milakov and Gimelshein 2018, arXiv 1805.02867; FlashAttention, Dao 2022, arXiv 2205.14135), and the
// backward pass recomputes the scores from the logarithms of the sums. Keys that none of six queries sees are skipped,
// so a block on the diagonal costs little more than half of a full one.
//
// With bfloat16, sums and softmax are float32 and each output is rounded once. If the processor can multiply bfloat16,
// inputs are multiplied unchanged, and attention weights and gradients by scores are rounded before they are
// multiplied; otherwise inputs are widened when they are rearranged.
//
// The order of each sum does not depend on the number of threads. NaN and infinity give NaN.

#include "attention_backward.h"
#include "attention_forward.h"

namespace {

// Calls task(Element{}) with the heads' element type. Returns 0, or 1 if memory runs out.
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

// Both return 0, or 1 if memory runs out. Outputs and the gradient are contiguous, tokens first, with the heads'
// element type; logarithms are float32. The head size is a multiple of `journeyman_width()`, and the spans cover all
// tokens.

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
