/* Haar wavelet of blocks on the CPU (see kernels/haar.c): butterflies on the s = 2^levels rows of
 * channels of a block, held in registers. Whatever axes have stride 2, the pairs of the first stand
 * 1 apart, those of the second 2, of the third 4. */
#include "kernels/haar.h"
#include "kernels/cpu/block_transform.h"

typedef struct haar {
    int levels, spread, integer, orthonormal;
    int undoes;      /* an inverse: what does not fit was counted when it was made */
    float low, high; /* weights of the butterfly on numbers */
} haar;

/* Rotation by 45 degrees in units of 2^-15: tan(pi / 8) and sqrt(1 / 2). */
enum { TANGENT = 13573, SINE = 23170 };

/* spread 0: a, b -> low (a + b), high (a - b); 1: a, b -> low a + high b, low a - high b */
RVX_INLINE void number_butterfly(rvx_vec *a, rvx_vec *b, const haar *h, int spread)
{
    rvx_vec low = rvx__splat(h->low), high = rvx__splat(h->high), p = *a, q = *b;
    if (spread) {
        *a = rvx__vec_fma(high, q, low * p);
        *b = rvx__vec_fma(-high, q, low * p);
    } else {
        *a = low * (p + q);
        *b = high * (p - q);
    }
}

RVX_INLINE rvx_vec_int times(rvx_vec_int v, int factor) { return (v * factor + 16384) >> 15; }

RVX_INLINE void mean_butterfly(rvx_vec_int *a, rvx_vec_int *b, int spread, rvx_vec_int *lost)
{
    if (spread) {
        *a = rvx__lift(*a - (*b >> 1), lost); /* b, in a's place */
        rvx_vec_int second = *a;
        *a = rvx__lift(second + *b, lost);
        *b = second;
    } else {
        rvx_vec_int high = rvx__lift(*a - *b, lost);
        *a = rvx__lift(*b + (high >> 1), lost);
        *b = high;
    }
}

RVX_INLINE void turn_butterfly(rvx_vec_int *a, rvx_vec_int *b, int spread, rvx_vec_int *lost)
{
    if (spread) {
        *b = rvx__lift(-*b, lost);
        *a = rvx__lift(*a - times(*b, TANGENT), lost);
        *b = rvx__lift(*b + times(*a, SINE), lost);
        *a = rvx__lift(*a - times(*b, TANGENT), lost);
    } else {
        *a = rvx__lift(*a + times(*b, TANGENT), lost);
        *b = rvx__lift(*b - times(*a, SINE), lost);
        *a = rvx__lift(*a + times(*b, TANGENT), lost);
        *b = rvx__lift(-*b, lost);
    }
}

RVX_INLINE void integer_chunk(const rvx_block_job *job, int64_t voxel, int64_t c, int64_t count,
                              int levels, int spread, int orthonormal, int64_t *overflow)
{
    const rvx_block_side *to = &job->to, *from = &job->from;
    rvx_vec_int v[8], lost = {0};
    const int s = 1 << levels;
    for (int i = 0; i < s; i++)
        v[i] = rvx__load_i16(
            (const int16_t *)from->plane.data + from->offset[i] + voxel * from->step + c, count);
    for (int level = 0; level < levels; level++) {
        int apart = 1 << (spread ? levels - 1 - level : level);
        for (int i = 0; i < s; i++)
            if (!(i & apart)) {
                if (orthonormal)
                    turn_butterfly(&v[i], &v[i + apart], spread, &lost);
                else
                    mean_butterfly(&v[i], &v[i + apart], spread, &lost);
            }
    }
    for (int i = 0; i < s; i++)
        rvx__store_i16((int16_t *)to->plane.data + to->offset[i] + voxel * to->step + c, v[i],
                       count, NULL);
    rvx__lift_count(lost, overflow);
}

RVX_INLINE void number_chunk(const rvx_block_job *job, const haar *h, int64_t voxel, int64_t c,
                             int64_t count, int levels, int spread)
{
    const rvx_block_side *to = &job->to, *from = &job->from;
    rvx_vec v[8];
    const int s = 1 << levels;
    for (int i = 0; i < s; i++)
        v[i] = rvx__plane_load(from->plane, from->offset[i] + voxel * from->step + c, count);
    for (int level = 0; level < levels; level++) {
        int apart = 1 << (spread ? levels - 1 - level : level);
        for (int i = 0; i < s; i++)
            if (!(i & apart))
                number_butterfly(&v[i], &v[i + apart], h, spread);
    }
    for (int i = 0; i < s; i++)
        rvx__plane_put(to->plane, to->offset[i] + voxel * to->step + c, v[i], count,
                       job->accumulate);
}

RVX_INLINE void line_with(const rvx_block_job *job, const haar *h, int levels, int spread,
                          int integer, int orthonormal)
{
    for (int64_t v = 0; v < job->voxels; v++)
        for (int64_t c = 0; c < job->c; c += RVX_LANES) {
            int64_t count = c + RVX_LANES <= job->c ? RVX_LANES : job->c - c;
            if (integer)
                integer_chunk(job, v, c, count, levels, spread, orthonormal,
                              h->undoes ? NULL : job->to.plane.overflow);
            else
                number_chunk(job, h, v, c, count, levels, spread);
        }
}

RVX_INLINE void line_levels(const rvx_block_job *job, const haar *h, int levels)
{
    if (h->integer && h->orthonormal && h->spread)
        line_with(job, h, levels, 1, 1, 1);
    else if (h->integer && h->orthonormal)
        line_with(job, h, levels, 0, 1, 1);
    else if (h->integer && h->spread)
        line_with(job, h, levels, 1, 1, 0);
    else if (h->integer)
        line_with(job, h, levels, 0, 1, 0);
    else if (h->spread)
        line_with(job, h, levels, 1, 0, 0);
    else
        line_with(job, h, levels, 0, 0, 0);
}

static void haar_line(const rvx_block_job *job)
{
    const haar *h = (const haar *)job->context;
    if (h->levels == 3)
        line_levels(job, h, 3);
    else if (h->levels == 2)
        line_levels(job, h, 2);
    else if (h->levels == 1)
        line_levels(job, h, 1);
    else
        line_levels(job, h, 0);
}

/* low, high: the weights for pairs that are not orthonormal. */
static void haar_run(const rvx_call *call, const rvx_tensor *coarse, const rvx_tensor *fine, haar h,
                     float low, float high)
{
    const rvx_op_params *p = call->params;
    const float half_root = 0.70710678f;
    h.levels = p->stride[0] / 2 + p->stride[1] / 2 + p->stride[2] / 2;
    h.orthonormal = p->orthonormal;
    h.low = p->orthonormal ? half_root : low;
    h.high = p->orthonormal ? half_root : high;
    h.integer =
        coarse->dtype == RVX_I16 && fine->dtype == RVX_I16 && coarse->grid_log2 == fine->grid_log2;
    movement m = movement_of(call, coarse, fine, !h.spread, (call->accumulate & 1u) != 0);
    rvx__blocks_transform(&m, haar_line, &h);
}

void RVX_KERNEL(rvx__haar_forward)(const rvx_call *call)
{
    haar_run(call, &call->out[0], &call->in[0], (haar){.spread = 0}, 0.5f, 1);
}

void RVX_KERNEL(rvx__haar_backward)(const rvx_call *call)
{
    haar_run(call, &call->grad_out[0], &call->grad_in[0], (haar){.spread = 1}, 0.5f, 1);
}

void RVX_KERNEL(rvx__haar_inverse)(const rvx_call *call)
{
    haar_run(call, &call->out[0], &call->in[0], (haar){.spread = 1, .undoes = 1}, 1, 0.5f);
}

void RVX_KERNEL(rvx__haar_up_forward)(const rvx_call *call)
{
    haar_run(call, &call->in[0], &call->out[0], (haar){.spread = 1}, 1, 0.5f);
}

void RVX_KERNEL(rvx__haar_up_backward)(const rvx_call *call)
{
    haar_run(call, &call->grad_in[0], &call->grad_out[0], (haar){.spread = 0}, 1, 0.5f);
}

void RVX_KERNEL(rvx__haar_up_inverse)(const rvx_call *call)
{
    haar_run(call, &call->in[0], &call->out[0], (haar){.spread = 0, .undoes = 1}, 0.5f, 1);
}
