/* Calls of convolutions by libraries: see library_call.h.
 *
 * A library gets dense operands of one type, bf16 where our kernels would multiply numbers rounded
 * to bf16, else f32: what is of another type, folded, a slice of more channels or not on 256 bytes
 * is copied first, rounded as our kernels round it, and weights are packed. Room for all copies is
 * counted whether they are needed or not, so that what is chosen does not depend on where tensors
 * lie.
 *
 * What a library writes is of that type too where it can stay so. A sum that meets a residual, or
 * that is stored in another type, is left in f32 and finished by kernels of ours: then an inverse,
 * which asks the same algorithm for the same sum, gives back what was added to it, bit for bit. A
 * bias is what the result holds before; as bf16 it is rounded to bf16. Its gradient is summed here.
 *
 * A transposed convolution is the data gradient of a convolution whose x is its y, and the other
 * way round. */
#include "kernels/conv.h"
#include "kernels/cuda/library_call.h"
#include "kernels/cuda/library_passes.h"

#include <string.h>

namespace
{
using namespace rvx;

enum { ALIGNMENT = 256 };

const rvx_tensor none = {};

/* ---- a call as a library sees it --------------------------------------------------------------
 */

/* Of what a library has as x and as y. */
rvx_dtype type_of_x(const LibraryConv &c)
{
    return c.bf16 && !(c.wide && c.phase == LIBRARY_DATA) ? RVX_BF16 : RVX_F32;
}
rvx_dtype type_of_y(const LibraryConv &c)
{
    return c.bf16 && !(c.wide && c.phase == LIBRARY_FORWARD) ? RVX_BF16 : RVX_F32;
}

bool to_result(const LibraryCall &l) { return l.phase == RVX_FORWARD || l.phase == RVX_INVERSE; }

/* The tensors of a call of this op and phase. */
void set_tensors(LibraryCall *l, const rvx_call *call)
{
    const rvx_tensor &source = l->phase == RVX_BACKWARD_DATA ? call->grad_in[0] : call->in[0];
    const rvx_tensor &result = to_result(*l) ? call->out[0] : call->grad_out[0];
    l->x = l->transposed ? result : source;
    l->y = l->transposed ? source : result;
    l->fold = l->phase == RVX_BACKWARD_DATA ? none : call->fold;
    l->bias = to_result(*l) ? call->in[2] : none;
    l->target = l->phase == RVX_BACKWARD_DATA ? source : to_result(*l) ? result : none;
    l->residual = none;
    l->sign = 1;
    if (l->phase == RVX_FORWARD && !l->transposed) {
        l->residual = call->in[RVX_CONV_RESIDUAL];
    } else if (l->phase == RVX_INVERSE) {
        l->residual = l->target;
        l->target = call->in[RVX_CONV_RESIDUAL];
        l->sign = -1;
    }
}

void set_conv(LibraryCall *l, const rvx_call *call)
{
    LibraryConv *c = &l->conv;
    c->phase = l->phase == RVX_BACKWARD_PARAMETERS ? LIBRARY_WEIGHT
               : to_result(*l) != l->transposed    ? LIBRARY_FORWARD
                                                   : LIBRARY_DATA;
    c->bf16 = l->x.dtype == RVX_BF16 || l->y.dtype == RVX_BF16 || call->params->bf16_products;
    c->tf32 = call->params->tf32_products != 0;
    c->add = l->bias.data || (l->phase == RVX_BACKWARD_DATA && (call->accumulate & 1) != 0);
    c->wide =
        c->bf16 && c->phase != LIBRARY_WEIGHT && (l->residual.data || l->target.dtype != RVX_BF16);
    c->x = l->x.shape;
    c->y = l->y.shape;
    memcpy(c->kernel, call->params->kernel, sizeof c->kernel);
    memcpy(c->stride, call->params->stride, sizeof c->stride);
    memcpy(c->pad, call->params->pad, sizeof c->pad);
}

/* ---- operands in scratch ----------------------------------------------------------------------
 */

/* Each from where it begins. */
struct Layout {
    int64_t x, y, weight, sums, workspace;
};

int64_t up(int64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

LibraryWeights weights_of(const LibraryCall &l)
{
    const LibraryConv &c = l.conv;
    return {c.x.c, c.y.c, (int64_t)c.kernel[0] * c.kernel[1] * c.kernel[2], l.transposed};
}

Layout layout_of(const LibraryCall &l)
{
    const LibraryConv &c = l.conv;
    const LibraryWeights w = weights_of(l);
    const int64_t sums =
        c.phase == LIBRARY_WEIGHT ? library_sum_bytes(l.transposed ? c.x : c.y) : 0;
    Layout at = {};
    at.y = at.x + up(rvx__shape_count(c.x) * rvx__dtype_bytes(type_of_x(c)));
    at.weight = at.y + up(rvx__shape_count(c.y) * rvx__dtype_bytes(type_of_y(c)));
    at.sums = at.weight + up(w.x * w.y * w.taps * (int64_t)sizeof(float));
    at.workspace = at.sums + up(sums);
    return at;
}

/* The tensor itself, or room for what is made of it. */
rvx_tensor place(const rvx_tensor &tensor, rvx_dtype type, bool copied, char *room)
{
    const bool dense = tensor.dtype == type && tensor.pitch == tensor.shape.c &&
                       reinterpret_cast<uintptr_t>(tensor.data) % ALIGNMENT == 0;
    if (dense && !copied)
        return tensor;
    rvx_tensor t = {};
    t.data = room;
    t.shape = tensor.shape;
    t.pitch = t.shape.c;
    t.dtype = type;
    return t;
}

/* ---- runs -------------------------------------------------------------------------------------
 */

/* Forward passes, inverses, data gradients: one side is read, the other written. */
void run_gather(const LibraryCall &l, const rvx_call *call)
{
    const bool to_y = l.conv.phase == LIBRARY_FORWARD;
    const rvx_tensor &made = to_y ? l.library_y : l.library_x;
    library_bring(call, to_y ? l.library_x : l.library_y, to_y ? l.x : l.y, l.fold);
    library_pack(call, l.weight, l.conv.bf16 ? RVX_BF16 : RVX_F32,
                 static_cast<const float *>(call->in[1].data), weights_of(l));
    if (l.bias.data)
        library_spread_bias(call, made, l.bias);
    else if (l.conv.add)
        library_bring(call, made, l.target, none);
    library_run(l.opened, l.device);
    library_finish(call, l.target, made, l.residual, l.sign);
}

void run_weight(const LibraryCall &l, const rvx_call *call)
{
    library_bring(call, l.library_x, l.x, l.transposed ? none : l.fold);
    library_bring(call, l.library_y, l.y, l.transposed ? l.fold : none);
    library_run(l.opened, l.device);
    library_unpack(call, static_cast<float *>(call->grad_in[1].data),
                   reinterpret_cast<const float *>(l.weight), weights_of(l),
                   (call->accumulate >> 1 & 1) != 0);
    if (call->grad_in[2].data)
        library_sum_bias(call, static_cast<float *>(call->grad_in[2].data),
                         l.transposed ? l.library_x : l.library_y, l.sums,
                         (call->accumulate >> 2 & 1) != 0);
}
} // namespace

namespace rvx
{
bool library_call_make(LibraryCall *l, const char *op, rvx_phase phase, const rvx_call *call)
{
    *l = {};
    l->phase = phase;
    l->transposed = strcmp(op, "conv_transpose") == 0;
    set_tensors(l, call);
    set_conv(l, call);
    if (phase == RVX_INVERSE && (l->transposed || !l->target.data))
        return false;
    if (phase == RVX_BACKWARD_PARAMETERS && !call->grad_in[1].data)
        return false;
    return l->x.data && l->y.data;
}

int library_call_list(LibraryAlgorithm *list, int most, rvx_cuda_device *device,
                      const LibraryCall &l, int64_t scratch_bytes)
{
    const int64_t room = scratch_bytes - layout_of(l).workspace;
    const int count = room < 0 ? 0 : library_list(list, most, device, l.conv);
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (list[i].repeatable && list[i].faithful && list[i].workspace_bytes <= room)
            list[kept++] = list[i];
    return kept;
}

bool library_call_open(LibraryCall *l, rvx_cuda_device *device, const char *name,
                       const rvx_call *call)
{
    const LibraryConv &c = l->conv;
    const Layout at = layout_of(*l);
    char *const scratch = static_cast<char *>(call->scratch);
    /* A sum that meets a residual is never made in its target: the residual may lie there. */
    const bool x_copied = (l->fold.data && !l->transposed) ||
                          (l->residual.data && c.phase == LIBRARY_DATA),
               y_copied = (l->fold.data && l->transposed) || l->anywhere ||
                          (l->residual.data && c.phase == LIBRARY_FORWARD);
    if (call->scratch_bytes < at.workspace)
        return false;
    l->device = device;
    l->library_x = place(l->x, type_of_x(c), x_copied, scratch + at.x);
    l->library_y = place(l->y, type_of_y(c), y_copied, scratch + at.y);
    l->weight = scratch + at.weight;
    l->sums = reinterpret_cast<double *>(scratch + at.sums);
    const LibraryOperands operands = {l->library_x.data, l->weight, l->library_y.data,
                                      scratch + at.workspace, call->scratch_bytes - at.workspace};
    l->opened = library_open(device, c, name, operands);
    return l->opened != nullptr;
}

void library_call_run(const LibraryCall &l, const rvx_call *call)
{
    LibraryCall now = l;
    set_tensors(&now, call);
    if (l.conv.phase == LIBRARY_WEIGHT)
        run_weight(now, call);
    else
        run_gather(now, call);
}
} // namespace rvx
