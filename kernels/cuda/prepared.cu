/* Calls of the convolution done by libraries: see prepared.h.
 *
 * Eligible are forward passes and both gradients of the op conv whose tensors are all bf16 or all
 * f32, without a residual and without gradients of parameters that are added. A library gets dense
 * operands: what is folded, a slice of more channels or not on 256 bytes is copied first, as the
 * kernels of our own round it, and weights are packed. Room for all copies is counted whether they
 * are needed or not, so that what is chosen does not depend on where tensors lie. A bias is what y
 * holds before: of bf16 tensors it is rounded to bf16 first. Its gradient is summed here. */
#include "kernels/conv.h"
#include "kernels/cuda/combine.h"
#include "kernels/cuda/library.h"
#include "kernels/cuda/prepared.h"
#include "kernels/cuda/view.h"

#include <stdio.h>
#include <stdlib.h>

namespace
{
using namespace rvx;

enum { ALIGNMENT = 256, SUM_THREADS = 256, SUM_PIECES = 256, LIST = 256 };

/* Bytes of scratch, each from where it begins. */
struct Layout {
    int64_t x, y, weight, sums, workspace;
};

struct Prepared {
    rvx_cuda_device *device;
    LibraryConv conv;
    void *opened;
    rvx_tensor x, y; /* as the library sees them */
    char *weight;
    float *sums; /* [pieces][co] */
    char name[RVX_CUDA_CHOICE_BYTES];
};

/* ---- passes beside the library ----------------------------------------------------------------
 */

/* y = fold(x), of any type and pitch. */
template <int N> RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) fold_kernel(View y, View x, Fold f)
{
    const int32_t groups = y.c / N;
    const int64_t a_sample = (int64_t)y.d * y.h * y.w;
    for (int64_t i = first_item(); i < y.voxels * groups; i += item_step()) {
        const int64_t voxel = i / groups;
        const int32_t c = (int32_t)(i % groups) * N;
        float v[N];
        load(x, x.at(voxel, c), v);
        fold(f, (int32_t)(voxel / a_sample), c, v);
        store(y, y.at(voxel, c), v);
    }
}

/* Every voxel of y becomes the bias. */
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) bias_kernel(View y, const float *bias)
{
    for (int64_t i = first_item(); i < y.voxels * y.c; i += item_step()) {
        const float v[1] = {bias[i % y.c]};
        store(y, y.at(i / y.c, (int32_t)(i % y.c)), v);
    }
}

/* to[co][k ci] = from[k ci][co] */
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) pack_kernel(View to, const float *from)
{
    for (int64_t i = first_item(); i < to.voxels * to.c; i += item_step()) {
        const float v[1] = {from[i % to.c * to.voxels + i / to.c]};
        store(to, i, v);
    }
}

/* to[k ci][co] = from[co][k ci] */
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS)
    unpack_kernel(float *to, const float *from, int64_t rows, int64_t columns)
{
    for (int64_t i = first_item(); i < rows * columns; i += item_step())
        to[i] = from[i % columns * rows + i / columns];
}

/* Sums over the voxels of a piece, in order: sums[piece][c]. */
RVX_GLOBAL void RVX_BOUNDS(SUM_THREADS) sum_kernel(float *sums, View dy, int64_t a_piece)
{
    const int64_t begin = blockIdx.x * a_piece;
    const int64_t end = begin + a_piece < dy.voxels ? begin + a_piece : dy.voxels;
    for (int32_t c = (int32_t)threadIdx.x; c < dy.c; c += SUM_THREADS) {
        float sum = 0;
        for (int64_t voxel = begin; voxel < end; voxel++) {
            float v[1];
            load(dy, dy.at(voxel, c), v);
            sum += v[0];
        }
        sums[(int64_t)blockIdx.x * dy.c + c] = sum;
    }
}

RVX_GLOBAL void RVX_BOUNDS(SUM_THREADS)
    sum_total_kernel(float *to, const float *sums, int32_t pieces, int32_t channels)
{
    const int32_t c = (int32_t)(blockIdx.x * SUM_THREADS + threadIdx.x);
    double sum = 0;
    if (c >= channels)
        return;
    for (int32_t p = 0; p < pieces; p++)
        sum += (double)sums[(int64_t)p * channels + c];
    to[c] = (float)sum;
}

/* ---- which calls ------------------------------------------------------------------------------
 */

bool eligible(LibraryConv *c, const char *op, rvx_phase phase, const rvx_call *call)
{
    const rvx_tensor &x = phase == RVX_BACKWARD_DATA ? call->grad_in[0] : call->in[0];
    const rvx_tensor &y = phase == RVX_FORWARD ? call->out[0] : call->grad_out[0];
    *c = {};
    if (strcmp(op, "conv") != 0 || phase == RVX_INVERSE || !x.data || !y.data)
        return false;
    const bool f32 = x.dtype == RVX_F32 && y.dtype == RVX_F32 && !call->params->bf16_products;
    c->bf16 = x.dtype == RVX_BF16 && y.dtype == RVX_BF16;
    if (!c->bf16 && !f32)
        return false;
    if (phase == RVX_FORWARD && call->in[RVX_CONV_RESIDUAL].data)
        return false;
    if (phase == RVX_BACKWARD_PARAMETERS && (call->accumulate & 6))
        return false;
    if (phase == RVX_BACKWARD_PARAMETERS && !call->grad_in[1].data)
        return false;
    c->phase = phase == RVX_FORWARD         ? LIBRARY_FORWARD
               : phase == RVX_BACKWARD_DATA ? LIBRARY_DATA
                                            : LIBRARY_WEIGHT;
    c->tf32 = call->params->tf32_products != 0;
    c->add = phase == RVX_FORWARD         ? call->in[2].data != nullptr
             : phase == RVX_BACKWARD_DATA ? (call->accumulate & 1) != 0
                                          : false;
    c->x = x.shape;
    c->y = y.shape;
    memcpy(c->kernel, call->params->kernel, sizeof c->kernel);
    memcpy(c->stride, call->params->stride, sizeof c->stride);
    memcpy(c->pad, call->params->pad, sizeof c->pad);
    return true;
}

int64_t up(int64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

Layout layout_of(const LibraryConv &c)
{
    const int64_t element = c.bf16 ? 2 : 4, taps = (int64_t)c.kernel[0] * c.kernel[1] * c.kernel[2];
    Layout at = {};
    at.y = at.x + up(rvx__shape_count(c.x) * element);
    at.weight = at.y + up(rvx__shape_count(c.y) * element);
    at.sums = at.weight + up(taps * c.x.c * c.y.c * (int64_t)sizeof(float));
    at.workspace =
        at.sums + up(c.phase == LIBRARY_WEIGHT ? SUM_PIECES * c.y.c * (int64_t)sizeof(float) : 0);
    return at;
}

/* Listed again by each caller: libraries keep their lists themselves. */
int list_fitting(LibraryAlgorithm *list, rvx_cuda_device *device, const LibraryConv &c,
                 int64_t scratch_bytes)
{
    const int64_t room = scratch_bytes - layout_of(c).workspace;
    int count = room < 0 ? 0 : library_list(list, LIST, device, c), kept = 0;
    for (int i = 0; i < count; i++)
        if (list[i].repeatable && list[i].faithful && list[i].workspace_bytes <= room)
            list[kept++] = list[i];
    return kept;
}

/* ---- a run ------------------------------------------------------------------------------------
 */

bool dense(const rvx_tensor &t)
{
    return t.pitch == t.shape.c && reinterpret_cast<uintptr_t>(t.data) % ALIGNMENT == 0;
}

rvx_tensor dense_at(void *data, const rvx_tensor &like)
{
    rvx_tensor t = like;
    t.data = data;
    t.pitch = t.shape.c;
    return t;
}

void bring(const rvx_call *call, const rvx_tensor &to, const rvx_tensor &from,
           const rvx_tensor &folded_by)
{
    if (to.data == from.data)
        return;
    const View y = view_of(to), x = view_of(from);
    const Fold f = fold_of(folded_by);
    if (wide(to) && wide(from))
        simt::launch(fold_kernel<8>, pointwise_grid(y.voxels * y.c / 8), POINTWISE_THREADS, 0,
                     queue_of(call), y, x, f);
    else
        simt::launch(fold_kernel<1>, pointwise_grid(y.voxels * y.c), POINTWISE_THREADS, 0,
                     queue_of(call), y, x, f);
}

void pack_weight(const rvx_call *call, const Prepared &p)
{
    rvx_tensor t = {};
    t.data = p.weight;
    t.dtype = p.conv.bf16 ? RVX_BF16 : RVX_F32;
    t.shape = {1, 1, 1, p.conv.y.c,
               p.conv.x.c * p.conv.kernel[0] * p.conv.kernel[1] * p.conv.kernel[2]};
    t.pitch = t.shape.c;
    simt::launch(pack_kernel, pointwise_grid(rvx__shape_count(t.shape)), POINTWISE_THREADS, 0,
                 queue_of(call), view_of(t), (const float *)call->in[1].data);
}

void sum_bias(const rvx_call *call, const Prepared &p)
{
    const View dy = view_of(call->grad_out[0]);
    const int64_t a_piece = (dy.voxels + SUM_PIECES - 1) / SUM_PIECES;
    const int32_t pieces = (int32_t)((dy.voxels + a_piece - 1) / a_piece);
    simt::launch(sum_kernel, dim3((unsigned)pieces), SUM_THREADS, 0, queue_of(call), p.sums, dy,
                 a_piece);
    simt::launch(sum_total_kernel, dim3((unsigned)((dy.c + SUM_THREADS - 1) / SUM_THREADS)),
                 SUM_THREADS, 0, queue_of(call), static_cast<float *>(call->grad_in[2].data),
                 (const float *)p.sums, pieces, dy.c);
}

void run_forward(const rvx_call *call, const Prepared &p)
{
    bring(call, p.x, call->in[0], call->fold);
    pack_weight(call, p);
    if (p.conv.add)
        simt::launch(bias_kernel, pointwise_grid(rvx__shape_count(p.y.shape)), POINTWISE_THREADS, 0,
                     queue_of(call), view_of(p.y), (const float *)call->in[2].data);
    library_run(p.opened, p.device);
    if (p.y.data != call->out[0].data)
        combine(call, call->out[0], p.y, p.y, COPY);
}

void run_data(const rvx_call *call, const Prepared &p)
{
    bring(call, p.y, call->grad_out[0], {});
    pack_weight(call, p);
    if (p.conv.add)
        bring(call, p.x, call->grad_in[0], {});
    library_run(p.opened, p.device);
    if (p.x.data != call->grad_in[0].data)
        combine(call, call->grad_in[0], p.x, p.x, COPY);
}

void run_weight(const rvx_call *call, const Prepared &p)
{
    const int64_t columns = p.conv.y.c, rows = (int64_t)p.conv.kernel[0] * p.conv.kernel[1] *
                                               p.conv.kernel[2] * p.conv.x.c;
    bring(call, p.x, call->in[0], call->fold);
    bring(call, p.y, call->grad_out[0], {});
    library_run(p.opened, p.device);
    simt::launch(unpack_kernel, pointwise_grid(rows * columns), POINTWISE_THREADS, 0,
                 queue_of(call), static_cast<float *>(call->grad_in[1].data),
                 reinterpret_cast<const float *>(p.weight), rows, columns);
    if (call->grad_in[2].data)
        sum_bias(call, p);
}
} // namespace

namespace rvx
{
int choices(char (*names)[RVX_CUDA_CHOICE_BYTES], int most, rvx_cuda_device *device, const char *op,
            rvx_phase phase, const rvx_call *call)
{
    LibraryConv c;
    if (!eligible(&c, op, phase, call))
        return 0;
    LibraryAlgorithm *list = static_cast<LibraryAlgorithm *>(calloc(LIST, sizeof *list));
    int count = list ? list_fitting(list, device, c, call->scratch_bytes) : 0;
    count = count < most ? count : most;
    for (int i = 0; i < count; i++)
        memcpy(names[i], list[i].name, sizeof names[i]);
    free(list);
    return count;
}

rvx_status prepare(void **implementation, rvx_cuda_device *device, const char *op, rvx_phase phase,
                   const rvx_call *call, const char *name, rvx_error *error)
{
    LibraryConv c;
    *implementation = nullptr;
    if (!eligible(&c, op, phase, call) || call->scratch_bytes < layout_of(c).workspace)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "cuda: %s: no library takes such a call",
                         name);
    Prepared *p = static_cast<Prepared *>(calloc(1, sizeof *p));
    if (!p)
        return rvx__fail(error, RVX_ERROR_MEMORY, "cuda: out of memory");
    const Layout at = layout_of(c);
    char *const scratch = static_cast<char *>(call->scratch);
    const rvx_tensor &x = phase == RVX_BACKWARD_DATA ? call->grad_in[0] : call->in[0];
    const rvx_tensor &y = phase == RVX_FORWARD ? call->out[0] : call->grad_out[0];
    const bool folded = phase != RVX_BACKWARD_DATA && call->fold.data;
    p->device = device;
    p->conv = c;
    p->x = dense(x) && !folded ? x : dense_at(scratch + at.x, x);
    p->y = dense(y) ? y : dense_at(scratch + at.y, y);
    p->weight = scratch + at.weight;
    p->sums = reinterpret_cast<float *>(scratch + at.sums);
    snprintf(p->name, sizeof p->name, "%s", name);
    const LibraryOperands operands = {p->x.data, p->weight, p->y.data, scratch + at.workspace,
                                      call->scratch_bytes - at.workspace};
    p->opened = library_open(device, c, name, operands);
    if (!p->opened) {
        free(p);
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "cuda: %s is not there for such a call with %.1f MiB of workspace", name,
                         (double)call->scratch_bytes / 0x1p20);
    }
    *implementation = p;
    return RVX_OK;
}

void unprepare(rvx_cuda_device *, void *implementation)
{
    if (implementation)
        library_close(static_cast<Prepared *>(implementation)->opened);
    free(implementation);
}

void run_prepared(const rvx_call *call)
{
    const Prepared &p = *static_cast<const Prepared *>(call->implementation);
    if (p.conv.phase == LIBRARY_FORWARD)
        run_forward(call, p);
    else if (p.conv.phase == LIBRARY_DATA)
        run_data(call, p);
    else
        run_weight(call, p);
}

const char *prepared_name(const rvx_call *call)
{
    return call->implementation ? static_cast<const Prepared *>(call->implementation)->name : "own";
}
} // namespace rvx
