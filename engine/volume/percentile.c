/* Percentiles of a stream of voxels: see percentile.h. */
#include "engine/volume/percentile.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BINS = 1 << 16, RANKS = 4, NO_BIN = RANKS };

typedef struct rank {
    int64_t within; /* of the voxels of its bin, from 0 on */
    uint32_t bin;
} rank;

struct rvx_percentiles {
    int64_t count;
    int64_t upper[BINS];
    int64_t lower[RANKS][BINS];
    uint8_t slot[BINS]; /* of a bin: which of `lower`, or NO_BIN */
    rank ranks[RANKS];  /* the two on both sides of each percentile */
    double fraction[2]; /* of the way from the one to the other */
    int second;         /* pass */
};

int64_t rvx__percentiles_bytes(void) { return (int64_t)sizeof(rvx_percentiles); }

rvx_percentiles *rvx__percentiles_create(void) { return calloc(1, sizeof(rvx_percentiles)); }

void rvx__percentiles_free(rvx_percentiles *p) { free(p); }

/* Ascending with the value: negative numbers have all bits turned, others the sign alone. Both
 * zeros are one value. */
static uint32_t key_of(float v)
{
    uint32_t bits;
    v = v == 0 ? 0.0f : v;
    memcpy(&bits, &v, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static float value_of(uint32_t key)
{
    const uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

void rvx__percentiles_add(rvx_percentiles *p, const float *voxels, int64_t count)
{
    if (!p->second) {
        for (int64_t i = 0; i < count; i++)
            p->upper[key_of(voxels[i]) >> 16]++;
        p->count += count;
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        const uint32_t key = key_of(voxels[i]);
        const uint8_t slot = p->slot[key >> 16];
        if (slot != NO_BIN)
            p->lower[slot][key & 0xffff]++;
    }
}

/* The place of rank k among `counts`: what it is preceded by within its entry. */
static rank rank_find(const int64_t *counts, int64_t k)
{
    uint32_t bin = 0;
    while (k >= counts[bin])
        k -= counts[bin++];
    return (rank){.within = k, .bin = bin};
}

void rvx__percentiles_again(rvx_percentiles *p, const double percent[2])
{
    assert(p->count > 0 && !p->second);
    p->second = 1;
    memset(p->slot, NO_BIN, sizeof p->slot);
    for (int i = 0; i < 2; i++) {
        const double at = (double)(p->count - 1) * (percent[i] / 100);
        const int64_t below = (int64_t)floor(at);
        p->fraction[i] = at - (double)below;
        p->ranks[2 * i] = rank_find(p->upper, below);
        p->ranks[2 * i + 1] = rank_find(p->upper, below + (below + 1 < p->count));
    }
    for (uint8_t i = 0; i < RANKS; i++)
        if (p->slot[p->ranks[i].bin] == NO_BIN)
            p->slot[p->ranks[i].bin] = i;
}

void rvx__percentiles_get(const rvx_percentiles *p, double values[2])
{
    double at[RANKS];
    for (int i = 0; i < RANKS; i++) {
        const rank *r = &p->ranks[i];
        const rank low = rank_find(p->lower[p->slot[r->bin]], r->within);
        at[i] = value_of(r->bin << 16 | low.bin);
    }
    for (int i = 0; i < 2; i++)
        values[i] = at[2 * i] + p->fraction[i] * (at[2 * i + 1] - at[2 * i]);
}
