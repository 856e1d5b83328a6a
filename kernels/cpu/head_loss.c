/* A segmentation head and its loss on the CPU (see kernels/head_loss.c). Owns: the sums over voxels
 * and the gradients. Invariant: what is summed over voxels is f32 for one run, double for one piece
 * or group of pieces, and those are combined in order. */
#include "kernels/cpu/head_block.h"
#include "kernels/cpu/loss_block.h"

#include <omp.h>

static float *thread_part(const rvx_call *call, const rvx__head_scratch *s)
{
    return (float *)((char *)call->scratch + s->threads + omp_get_thread_num() * s->thread_bytes);
}

/* ---- forward -----------------------------------------------------------------------------------
 * partial[0] = cross entropy, then PART_COUNT sums a class. */
static void piece_sums(double *partial, const rvx_call *call, rvx_piece p, rvx_vec *columns)
{
    int64_t classes = call->in[1].shape.c;
    memset(partial, 0, (size_t)(1 + PART_COUNT * classes) * sizeof *partial);
    run_sums r;
    rvx_vec z[CLASSES_MAX];
    block b = {.z = z};
    for (int64_t begin = 0; begin < p.count; begin += RUN_VOXELS) {
        int64_t end = begin + RUN_VOXELS < p.count ? begin + RUN_VOXELS : p.count;
        run_clear(&r, classes);
        for (int64_t v = begin; v < end; v += RVX_LANES) {
            int64_t count = end - v < RVX_LANES ? end - v : RVX_LANES;
            voxels_load(columns, NULL, call, p.n, p.first + v, count);
            logits_form(z, columns, call);
            block_labels(&b, &call->in[3], p.first + v, count, classes, call->params->ignore_label);
            block_add(&r, &b, classes);
        }
        run_promote(partial, &r, classes);
    }
}

void RVX_KERNEL(rvx__head_loss_forward)(const rvx_call *call)
{
    rvx_shape x = call->in[0].shape;
    int64_t classes = call->in[1].shape.c, width = 1 + PART_COUNT * classes;
    int64_t voxels = x.d * x.h * x.w, pieces = rvx__head_pieces(x);
    rvx__head_scratch s = rvx__head_layout(RVX_FORWARD, x, classes, call->threads);
    double *partial = (double *)((char *)call->scratch + s.partial);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < pieces; i++)
        piece_sums(partial + i * width, call, rvx__piece_of(i, voxels, x.c),
                   (rvx_vec *)thread_part(call, &s));
    outputs_write(call, partial, pieces / x.n);
}

/* ---- backward ----------------------------------------------------------------------------------
 * With dz the gradient of the logits: da[c] = sum over k of dz[k] w[c][k],
 * dw[c][k] = sum over voxels of a[c] dz[k], db[k] = sum over voxels of dz[k]. Lanes are voxels up
 * to dz, channels from there on: dz is read one number at a time and need not be turned back. */
enum { TILE_CLASSES = 8, TILE_VOXELS = RVX_LANES < 8 ? RVX_LANES : 8 };

typedef struct backward {
    const rvx_call *call;
    const float *table, *weight; /* coefficients; weight as [class][channels_padded] */
    float ce_factor;
    int64_t channels, padded, classes;
} backward;

/* sums[k][padded], `count` classes and RVX_LANES channels, over the blocks of one run. */
RVX_INLINE void weight_tile(double *sums, const backward *t, const float *rows, const float *dz,
                            int64_t blocks, int count, int chains)
{
    rvx_vec sum[16];
    EACH(i, count * chains) sum[i] = (rvx_vec){0};
    for (int64_t j = 0; j < blocks; j++, dz += t->classes * RVX_LANES)
        for (int v = 0; v < RVX_LANES; v += chains, rows += chains * RVX_LANES)
            EACH(i, chains)
            {
                rvx_vec a = rvx__load(rows + i * RVX_LANES);
                EACH(k, count)
                sum[i * count + k] =
                    rvx__vec_fma(a, rvx__splat(dz[k * RVX_LANES + v + i]), sum[i * count + k]);
            }
    EACH(k, count)
    {
        EACH(i, chains) sum[k] = i == 0 ? sum[k] : sum[k] + sum[i * count + k];
        rvx__promote(sums + k * t->padded, sum[k], RVX_LANES);
    }
}

/* Adds one run to the sums of its group: [class][padded] of the weight, [class] of the bias. */
__attribute__((noinline)) static void weight_run(double *sums, const backward *t, const float *rows,
                                                 const float *dz, int64_t blocks)
{
    for (int64_t c = 0; c < t->channels; c += RVX_LANES) {
        int64_t k = 0;
#define WEIGHTS(count, chains)                                                                     \
    weight_tile(sums + k * t->padded + c, t, rows + c * RVX__HEAD_RUN_VOXELS, dz + k * RVX_LANES,  \
                blocks, count, chains)
        for (; k + TILE_CLASSES <= t->classes; k += TILE_CLASSES)
            WEIGHTS(TILE_CLASSES, 1);
        for (; k + 3 <= t->classes; k += 3)
            WEIGHTS(3, 4);
        if (t->classes - k == 2)
            WEIGHTS(2, 4);
        else if (t->classes - k == 1)
            WEIGHTS(1, 4);
#undef WEIGHTS
    }
    double *bias = sums + t->classes * t->padded;
    for (int64_t k = 0; k < t->classes; k++) {
        rvx_vec sum = {0};
        for (int64_t j = 0; j < blocks; j++)
            sum += rvx__load(dz + (j * t->classes + k) * RVX_LANES);
        bias[k] += lanes_total(sum);
    }
}

RVX_INLINE void data_tile(rvx_plane dx, const backward *t, const float *dz, int64_t c,
                          int64_t channels, int64_t count)
{
    const float *weight = t->weight + c;
    int accumulate = (t->call->accumulate & 1u) != 0;
    rvx_vec sum[TILE_VOXELS];
    EACH(v, TILE_VOXELS) sum[v] = (rvx_vec){0};
    for (int64_t k = 0; k < t->classes; k++) {
        rvx_vec w = rvx__load(weight + k * t->padded);
        EACH(v, TILE_VOXELS)
        sum[v] = rvx__vec_fma(w, rvx__splat(dz[k * RVX_LANES + v]), sum[v]);
    }
    EACH(v, TILE_VOXELS)
    if (v < count)
        rvx__plane_put(dx, v * dx.pitch + c, sum[v], channels, accumulate);
}

RVX_INLINE void data_block(rvx_plane dx, const backward *t, const float *dz, int64_t count)
{
    for (int64_t v = 0; v < count; v += TILE_VOXELS) {
        rvx_plane to = rvx__plane_at(dx, v * dx.pitch);
        int64_t c = 0;
        for (; c + RVX_LANES <= t->channels; c += RVX_LANES)
            data_tile(to, t, dz + v, c, RVX_LANES, count - v);
        if (c < t->channels)
            data_tile(to, t, dz + v, c, t->channels - c, count - v);
    }
}

/* dx of `count` voxels from `first` on, at most one block. */
__attribute__((noinline)) static void data_write(const backward *t, const float *dz, int64_t first,
                                                 int64_t count)
{
    const rvx_tensor *dx = &t->call->grad_in[0];
    rvx_plane p = rvx__plane_at(rvx__plane_of(dx, 0), first * dx->pitch);
    if (p.dtype == RVX_F32) {
        p.dtype = RVX_F32; /* a constant for what is inlined */
        data_block(p, t, dz, count);
    } else {
        p.dtype = RVX_BF16;
        data_block(p, t, dz, count);
    }
}

static void piece_gradients(double *sums, const backward *t, rvx_piece p, rvx_vec *columns,
                            float *rows, float *dz)
{
    const rvx_call *call = t->call;
    int wants_weight = call->grad_in[1].data || call->grad_in[2].data;
    for (int64_t begin = 0; begin < p.count; begin += RVX__HEAD_RUN_VOXELS) {
        int64_t end = begin + RVX__HEAD_RUN_VOXELS;
        end = end < p.count ? end : p.count;
        int64_t blocks = 0;
        for (int64_t v = begin; v < end; v += RVX_LANES, blocks++) {
            int64_t count = end - v < RVX_LANES ? end - v : RVX_LANES;
            block b = {.z = (rvx_vec *)dz + blocks * t->classes};
            voxels_load(columns, rows + (v - begin) * RVX_LANES, call, p.n, p.first + v, count);
            logits_form(b.z, columns, call);
            block_labels(&b, &call->in[3], p.first + v, count, t->classes,
                         call->params->ignore_label);
            block_gradient(&b, t->table + p.n * t->classes * 2, t->classes, t->ce_factor);
            if (call->grad_in[0].data)
                data_write(t, (const float *)b.z, p.first + v, count);
        }
        if (wants_weight)
            weight_run(sums, t, rows, dz, blocks);
    }
}

static void weight_turn(float *to, const rvx_tensor *weight, int64_t padded)
{
    const float *from = rvx__f32(weight);
    int64_t channels = weight->shape.w, classes = weight->shape.c;
    for (int64_t k = 0; k < classes; k++)
        for (int64_t c = 0; c < padded; c++)
            to[k * padded + c] = c < channels ? from[c * classes + k] : 0;
}

/* Sums the groups in order. */
static void parameters_write(const backward *t, const double *sums, int64_t groups)
{
    const rvx_call *call = t->call;
    float *dw = rvx__f32(&call->grad_in[1]), *db = rvx__f32(&call->grad_in[2]);
    int64_t stride = t->classes * (t->padded + 1);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t k = 0; k < t->classes; k++) {
        for (int64_t c = 0; c < t->channels && dw; c++) {
            double sum = call->accumulate >> 1 & 1 ? (double)dw[c * t->classes + k] : 0;
            for (int64_t g = 0; g < groups; g++)
                sum += sums[g * stride + k * t->padded + c];
            dw[c * t->classes + k] = (float)sum;
        }
        if (!db)
            continue;
        double sum = call->accumulate >> 2 & 1 ? (double)db[k] : 0;
        for (int64_t g = 0; g < groups; g++)
            sum += sums[g * stride + t->classes * t->padded + k];
        db[k] = (float)sum;
    }
}

void RVX_KERNEL(rvx__head_loss_backward)(const rvx_call *call)
{
    rvx_shape x = call->in[0].shape;
    int64_t classes = call->in[1].shape.c, padded = channels_padded(x.c);
    int64_t voxels = x.d * x.h * x.w, pieces = rvx__head_pieces(x);
    int64_t groups = rvx__head_groups(x, classes), stride = classes * (padded + 1);
    rvx__head_scratch s = rvx__head_layout(RVX_BACKWARD_DATA, x, classes, call->threads);
    double *sums = (double *)((char *)call->scratch + s.partial);
    float *table = (float *)((char *)call->scratch + s.table);
    float *weight = (float *)((char *)call->scratch + s.weight);
    coefficients_write(call, table);
    weight_turn(weight, &call->in[1], padded);
    const backward t = {call, table, weight, cross_entropy_factor(call), x.c, padded, classes};
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t g = 0; g < groups; g++) {
        float *own = thread_part(call, &s);
        memset(sums + g * stride, 0, (size_t)stride * sizeof *sums);
        for (int64_t i = g * pieces / groups; i < (g + 1) * pieces / groups; i++)
            piece_gradients(sums + g * stride, &t, rvx__piece_of(i, voxels, x.c), (rvx_vec *)own,
                            own + s.rows / (int64_t)sizeof *own,
                            own + s.logits / (int64_t)sizeof *own);
    }
    parameters_write(&t, sums, groups);
}
