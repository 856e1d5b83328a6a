/* Packing for correlations on matrix tiles: see correlate.h. */
#include "kernels/cpu/amx/correlate.h"
#include "kernels/cpu/amx/tile.h"

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

typedef struct row {
    uint16_t *to;
    const char *from;
    int64_t parts, part_stride, pitch, channels, elements, count, bytes;
    numbers numbers;
} row;

/* Sixteen elements at a time from voxel to voxel; those behind the channels are zero. */
static inline __attribute__((always_inline)) void
voxels_pack(const row *r, rvx_dtype dtype, int64_t parts, const float *fold, int64_t fold_pitch)
{
    const __m512 zero = _mm512_setzero_ps();
    numbers kind = r->numbers;
    kind.dtype = dtype;
    for (int64_t c = 0; c < r->elements; c += 16) {
        const __mmask16 mask = lanes_mask(larger(r->channels - c, 0));
        const __mmask16 written = lanes_mask(r->elements - c);
        __m512 scale = zero, shift = zero, slope = zero;
        if (fold) {
            scale = _mm512_maskz_loadu_ps(mask, fold + c);
            shift = _mm512_maskz_loadu_ps(mask, fold + fold_pitch + c);
            slope = _mm512_maskz_loadu_ps(mask, fold + 2 * fold_pitch + c);
        }
        const char *from = r->from + c * r->bytes;
        uint16_t *to = r->to + c;
        for (int64_t i = 0; i < r->count; i++) {
            __m512 v = numbers_load(from, kind, mask);
            if (fold) {
                v = _mm512_fmadd_ps(v, scale, shift);
                /* Not less, so that NaN stays NaN. */
                v = _mm512_mask_mul_ps(v, _mm512_cmp_ps_mask(v, zero, _CMP_NGE_UQ), v, slope);
            }
            parts_store(to, parts, r->part_stride, v, written);
            from += r->pitch * r->bytes;
            to += r->elements;
        }
    }
}

/* One loop for each type of source and number of parts. */
static void voxels_typed(const row *r, const float *fold, int64_t fold_pitch)
{
    const rvx_dtype dtype = r->numbers.dtype;
    if (r->parts == 1 && dtype == RVX_BF16)
        voxels_pack(r, RVX_BF16, 1, fold, fold_pitch);
    else if (r->parts == 1 && dtype == RVX_I16)
        voxels_pack(r, RVX_I16, 1, fold, fold_pitch);
    else if (r->parts == 1)
        voxels_pack(r, RVX_F32, 1, fold, fold_pitch);
    else if (dtype == RVX_I16)
        voxels_pack(r, RVX_I16, 3, fold, fold_pitch);
    else
        voxels_pack(r, dtype, 3, fold, fold_pitch);
}

static void voxels_copy(const row *r)
{
    row whole = *r;
    if (r->pitch == r->channels && r->channels == r->elements) { /* one voxel of many channels */
        whole.channels = whole.elements = r->count * r->channels;
        whole.count = 1;
        if (r->numbers.dtype == RVX_BF16) {
            memcpy(r->to, r->from, (size_t)whole.channels * 2);
            return;
        }
    }
    voxels_typed(&whole, NULL, 0);
}

void rvx__amx_pack_row(uint16_t *to, const rvx__amx_plan *plan, const rvx_tensor *source,
                       const rvx_tensor *fold, int64_t n, int64_t z, int64_t y, int64_t x)
{
    const rvx_shape *s = &source->shape;
    const int64_t count = plan->row_voxels, elements = plan->voxel_elements;
    int64_t left = smaller(x < 0 ? -x : 0, count);
    int64_t right = smaller(x + count > s->w ? x + count - s->w : 0, count - left);
    int64_t inside = count - left - right;
    if (z < 0 || z >= s->d || y < 0 || y >= s->h) {
        left = count;
        right = inside = 0;
    }
    for (int64_t p = 0; p < plan->parts; p++) {
        uint16_t *part = to + p * plan->part_elements;
        memset(part, 0, (size_t)(left * elements) * 2);
        memset(part + (left + inside) * elements, 0, (size_t)(right * elements) * 2);
    }
    if (inside == 0)
        return;
    const int64_t bytes = rvx__dtype_bytes(source->dtype);
    const int64_t voxel = ((n * s->d + z) * s->h + y) * s->w + x + left;
    const row r = {.to = to + left * elements,
                   .from = (const char *)source->data + voxel * source->pitch * bytes,
                   .parts = plan->parts,
                   .part_stride = plan->part_elements,
                   .pitch = source->pitch,
                   .channels = s->c,
                   .elements = elements,
                   .count = inside,
                   .bytes = bytes,
                   .numbers = numbers_of(source)};
    if (fold)
        voxels_typed(&r, rvx__f32(fold) + n * 3 * fold->pitch, fold->pitch);
    else
        voxels_copy(&r);
}

/* Weights of product k of a tap row for sixteen target channels from `channel` on. */
typedef struct weight_rows {
    const float *base; /* tap (tap_d, tap_h, 0) */
    const rvx_tensor *weight;
    const rvx__correlation_axis *axis;
    int turned;
    int64_t elements, sources, targets, channel;
} weight_rows;

static __m512 weight_row(const weight_rows *w, int64_t k)
{
    const int64_t tap = k / w->elements, source = k % w->elements, pitch = w->weight->pitch;
    if (tap >= w->axis->taps || source >= w->sources)
        return _mm512_setzero_ps();
    const __mmask16 mask = lanes_mask(w->targets - w->channel);
    const float *from =
        w->base + (w->axis->tap_first + w->axis->tap_step * tap) * w->weight->shape.w * pitch;
    if (!w->turned)
        return _mm512_maskz_loadu_ps(mask, from + source * pitch + w->channel);
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i index = _mm512_mullo_epi32(lane, _mm512_set1_epi32((int)pitch));
    return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, index,
                                    from + w->channel * pitch + source, 4);
}

void rvx__amx_pack_weights(uint16_t *to, const rvx__amx_plan *plan, const rvx_tensor *weight,
                           int64_t tap_d, int64_t tap_h, const rvx__correlation_axis *axis_w,
                           int64_t channel, int64_t tiles, int64_t tile_stride)
{
    const rvx_shape *s = &weight->shape; /* n, d, h: taps; w: ci; c: co */
    const weight_rows rows = {.base = rvx__f32(weight) +
                                      (tap_d * s->d + tap_h) * s->h * s->w * weight->pitch,
                              .weight = weight,
                              .axis = axis_w,
                              .turned = plan->weight_turned,
                              .elements = plan->voxel_elements,
                              .sources = plan->problem.source.c,
                              .targets = plan->problem.target.c,
                              .channel = channel};
    for (int64_t t = 0; t < tiles; t++)
        for (int64_t pair = 0; pair < RVX__AMX_DEPTH / 2; pair++) {
            const int64_t k = t * RVX__AMX_DEPTH + 2 * pair;
            __m512 even = weight_row(&rows, k), odd = weight_row(&rows, k + 1);
            for (int64_t p = 0; p < plan->parts; p++) {
                const __m256i low = bf16_of(even), high = bf16_of(odd);
                const __m512i both = _mm512_or_si512(
                    _mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
                _mm512_storeu_si512(to + p * plan->weight_elements + t * tile_stride + pair * 32,
                                    both);
                even = _mm512_sub_ps(even, f32_of(low));
                odd = _mm512_sub_ps(odd, f32_of(high));
            }
        }
}
