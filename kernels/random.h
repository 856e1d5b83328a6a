/* Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011). Owns: every random bit in
 * the project. Invariant: a number is a pure function of (seed, stream, counter); nothing is
 * carried from one draw to the next, so results do not depend on threads, order or resume. */
#ifndef RVX_RANDOM_H
#define RVX_RANDOM_H

#include <math.h>
#include <stdint.h>

/* Functions that device code uses too. */
#ifdef __CUDACC__
#define RVX_RANDOM_FUNCTION static inline __host__ __device__
#else
#define RVX_RANDOM_FUNCTION static inline
#endif

typedef struct rvx_random {
    uint64_t seed;    /* the run */
    uint64_t stream;  /* what for: a case, a parameter, a step */
    uint64_t counter; /* next draw; advanced by the functions that take a pointer */
} rvx_random;

typedef struct rvx_random_block {
    uint32_t word[4];
} rvx_random_block;

RVX_RANDOM_FUNCTION rvx_random_block rvx__philox(uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (rvx_random_block){{c0, c1, c2, c3}};
}

/* 24-bit uniform in [0, 1) from one word. */
static inline float rvx__word_uniform(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

static inline float rvx__random_uniform(rvx_random *random)
{
    return rvx__word_uniform(rvx__philox(random->seed, random->stream, random->counter++).word[0]);
}

static inline float rvx__random_range(rvx_random *random, float low, float high)
{
    return low + (high - low) * rvx__random_uniform(random);
}

/* Uniform integer in [0, count), count <= 2^62; the bias is below 2^-64 * count. */
static inline int64_t rvx__random_below(rvx_random *random, int64_t count)
{
    rvx_random_block b = rvx__philox(random->seed, random->stream, random->counter++);
    uint64_t bits = (uint64_t)b.word[1] << 32 | b.word[0];
    return (int64_t)(((unsigned __int128)bits * (uint64_t)count) >> 64);
}

/* Standard normal (Box-Muller). */
static inline float rvx__random_normal(rvx_random *random)
{
    rvx_random_block b = rvx__philox(random->seed, random->stream, random->counter++);
    float u = ((float)(b.word[0] >> 8) + 1.0f) * 0x1p-24f, v = rvx__word_uniform(b.word[1]);
    return sqrtf(-2.0f * logf(u)) * cosf(6.28318530718f * v);
}

#endif
