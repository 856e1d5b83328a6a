/* Dropout: the rule of its mask, which forward, rerun and backward follow each by itself. Owns: the
 * meaning of the key and of an element's bits.
 *
 * Element e (as in a dense tensor, whatever the pitch) has 16 random bits: chunk e / 128 takes 16
 * Philox blocks, and place p = e % 128 of it half p / 16 % 2 of word p / 32 of block p % 16. It is
 * kept where they are at least `threshold` = rate 2^16, rounded. So a mask is a pure function of
 * key, layer and element, on any processor and any number of threads. */
#ifndef RVX_DROPOUT_H
#define RVX_DROPOUT_H

#include "kernels/op.h"
#include "kernels/random.h"

RVX_DECLARE_KERNEL(rvx__dropout_forward)
RVX_DECLARE_KERNEL(rvx__dropout_backward)

enum { RVX_DROPOUT_CHUNK = 128, RVX_DROPOUT_BLOCKS = 16 };

static inline int rvx__dropout_threshold(float rate) { return (int)(rate * 65536.0f + 0.5f); }

static inline int rvx__dropout_keeps(uint32_t key, uint32_t layer, int threshold, int64_t element)
{
    uint64_t chunk = (uint64_t)element / RVX_DROPOUT_CHUNK;
    uint32_t place = (uint32_t)(element % RVX_DROPOUT_CHUNK);
    rvx_random_block block = rvx__philox(key, layer, chunk * RVX_DROPOUT_BLOCKS + place % 16);
    return (int)(block.word[place / 32] >> (place / 16 % 2 * 16) & 0xFFFF) >= threshold;
}

/* The key of a training step: 1 to 2^24 - 1, exact as f32. */
static inline float rvx__dropout_key(uint64_t seed, int64_t step)
{
    rvx_random random = {.seed = seed, .stream = 0x64726F706F7574u, .counter = (uint64_t)step};
    return (float)(1 + rvx__random_below(&random, 0xFFFFFF));
}

#endif
