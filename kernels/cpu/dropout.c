/* Dropout on the CPU (see kernels/dropout.h): the bits of a block of elements by Philox on vectors
 * of counters, then elements by vectors. Blocks of elements are dense numbers of the whole tensor;
 * runs within them end with the channels of a voxel, where voxels are not dense. */
#include "kernels/dropout.h"
#include "kernels/cpu/vec.h"

enum { BLOCK = 4096 };

/* Two lanes of 32 bits hold one counter word: products of 32 by 32 bits need 64. */
typedef uint64_t words __attribute__((vector_size(4 * RVX_LANES)));
typedef uint16_t halves __attribute__((vector_size(RVX_LANES)));
typedef uint16_t vec_u16 __attribute__((vector_size(2 * RVX_LANES), aligned(2), may_alias));
enum { WORDS = RVX_LANES / 2 };

/* Of the lower 32 bits of each lane; the upper ones may hold anything. */
RVX_INLINE words product(words a, words b)
{
#if defined(__AVX512F__)
    return (words)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (words)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (words)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

RVX_INLINE words fill(uint64_t value) { return value - (words){0}; }

RVX_INLINE void halves_store(uint16_t *to, words w)
{
    halves low = __builtin_convertvector(w, halves);
    memcpy(to, &low, sizeof low);
}

/* 128 times 16 bits. The rounds are those of rvx__philox. */
static void chunk_bits(uint16_t *bits, uint32_t key, uint32_t layer, uint64_t chunk)
{
    uint64_t first = chunk * RVX_DROPOUT_BLOCKS;
    for (int lane = 0; lane < RVX_DROPOUT_BLOCKS; lane += WORDS) {
        words c0 = fill((uint32_t)first), c1 = fill(first >> 32), c2 = fill(layer), c3 = fill(0);
        uint32_t k0 = key, k1 = 0;
        for (int i = 0; i < WORDS; i++)
            c0[i] += (uint64_t)(lane + i);
        for (int round = 0; round < 10; round++) {
            words p0 = product(c0, fill(0xD2511F53u)), p1 = product(c2, fill(0xCD9E8D57u));
            c0 = (p1 >> 32) ^ c1 ^ fill(k0);
            c2 = (p0 >> 32) ^ c3 ^ fill(k1);
            c1 = p1;
            c3 = p0;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        const words out[4] = {c0, c1, c2, c3};
        for (int k = 0; k < 4; k++) {
            halves_store(bits + k * 32 + lane, out[k]);
            halves_store(bits + k * 32 + 16 + lane, out[k] >> 16);
        }
    }
}

typedef struct dropping {
    uint32_t key, layer;
    int threshold; /* 0: nothing is dropped */
    float scale;
} dropping;

static dropping dropping_of(const rvx_call *call)
{
    dropping d = {.layer = (uint32_t)call->params->layer, .scale = 1};
    float key = *rvx__f32(&call->in[1]);
    if (!(key > 0))
        return d;
    memcpy(&d.key, &key, sizeof d.key);
    d.threshold = rvx__dropout_threshold(call->params->rate);
    d.scale = 65536.0f / (float)(65536 - d.threshold);
    return d;
}

/* Elements of one run; bits: theirs. Channels begin at c, for the fold. */
RVX_INLINE void run_drop(rvx_plane to, rvx_plane from, const uint16_t *bits, int64_t count,
                         const dropping *d, const rvx_fold *fold, int64_t c, int accumulate)
{
    for (int64_t i = 0; i < count; i += RVX_LANES) {
        int64_t lanes = i + RVX_LANES <= count ? RVX_LANES : count - i;
        rvx_vec v = rvx__fold_load(from, -c, fold, c + i, lanes) * rvx__splat(d->scale);
        rvx_vec_int random =
            __builtin_convertvector(*(const vec_u16 *)(const void *)(bits + i), rvx_vec_int);
        v = (rvx_vec)((rvx_vec_int)v & (random >= d->threshold));
        rvx__plane_put(to, i, v, lanes, accumulate);
    }
}

/* Elements begin .. end of y = drop(x). */
static void block_drop(const rvx_tensor *y, const rvx_tensor *x, const rvx_tensor *folds,
                       const dropping *d, int64_t begin, int64_t end, int accumulate)
{
    uint16_t bits[BLOCK + 2 * RVX_LANES];
    int64_t c_count = y->shape.c, sample = y->shape.d * y->shape.h * y->shape.w * c_count;
    int dense = y->pitch == c_count && x->pitch == c_count && !folds->data;
    memset(bits, 0xFF, sizeof bits);
    for (int64_t i = 0; i < BLOCK && d->threshold && begin + i < end; i += RVX_DROPOUT_CHUNK)
        chunk_bits(bits + i, d->key, d->layer, (uint64_t)(begin + i) / RVX_DROPOUT_CHUNK);
    for (int64_t e = begin; e < end;) {
        int64_t voxel = dense ? 0 : e / c_count, c = dense ? 0 : e % c_count;
        int64_t count = dense || c_count - c > end - e ? end - e : c_count - c;
        rvx_fold fold = rvx__fold_of(folds, e / sample);
        rvx_plane to = rvx__plane_of(y, dense ? e : voxel * y->pitch + c);
        rvx_plane from = rvx__plane_of(x, dense ? e : voxel * x->pitch + c);
        const uint16_t *own = bits + (e - begin);
        RVX_PLANES_TYPED(to, from, from, run_drop(to, from, own, count, d, &fold, c, accumulate));
        e += count;
    }
}

static void drop(const rvx_call *call, const rvx_tensor *y, const rvx_tensor *x,
                 const rvx_tensor *fold, int accumulate)
{
    dropping d = dropping_of(call);
    int64_t count = rvx__shape_count(y->shape);
    if (!d.threshold && y->data == x->data && !fold->data)
        return;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t begin = 0; begin < count; begin += BLOCK)
        block_drop(y, x, fold, &d, begin, begin + BLOCK < count ? begin + BLOCK : count,
                   accumulate);
}

void RVX_KERNEL(rvx__dropout_forward)(const rvx_call *call)
{
    drop(call, &call->out[0], &call->in[0], &call->fold, 0);
}

void RVX_KERNEL(rvx__dropout_backward)(const rvx_call *call)
{
    const rvx_tensor none = {0};
    drop(call, &call->grad_in[0], &call->grad_out[0], &none, (call->accumulate & 1u) != 0);
}
