/* Normalisation, activation and convolution as one op on the GPU (see kernels/norm_conv.c): its two
 * halves, and the walk over slabs in the backward of the data. Owns no kernel. */
#include "kernels/cuda/norm_act.h"
#include "kernels/cuda/norm_conv.h"

#include <assert.h>

extern "C" {
void rvx__cuda_norm_act_forward(const rvx_call *call);
void rvx__cuda_conv_forward(const rvx_call *call);
void rvx__cuda_conv_inverse(const rvx_call *call);
void rvx__cuda_conv_backward_data(const rvx_call *call);
void rvx__cuda_conv_backward_parameters(const rvx_call *call);
}

namespace
{
/* The gradient of the convolution's input for one slab, in scratch, as a call. */
rvx_call slab_call(const rvx_call *call, const rvx__slab_range &range, int64_t n,
                   const rvx__slab_cuda &at)
{
    char *const scratch = static_cast<char *>(call->scratch);
    rvx_call conv = {};
    rvx_tensor &made = conv.grad_in[0];
    made.data = scratch;
    made.shape = call->in[RVX_NORM_CONV_X].shape;
    made.shape.n = 1;
    made.shape.d = range.made;
    made.pitch = made.shape.c;
    made.dtype = RVX_F32;
    conv.params = &range.params;
    conv.in[0] = made;
    conv.in[0].data = nullptr;
    conv.in[1] = call->in[RVX_NORM_CONV_WEIGHT];
    conv.grad_out[0] =
        rvx__slab_slices_of(&call->grad_out[0], n, range.source_first, range.source_count);
    conv.out[0].shape = conv.grad_out[0].shape;
    conv.scratch = scratch + at.conv;
    conv.scratch_bytes = call->scratch_bytes - at.conv;
    conv.queue = call->queue;
    return conv;
}

void make_own(const rvx_call *conv, const void *) { rvx__cuda_conv_backward_data(conv); }

/* The padding follows from these. */
bool one_kind(const rvx__slab_range &a, const rvx__slab_range &b)
{
    return a.source_count == b.source_count && a.made == b.made;
}
} // namespace

extern "C" void rvx__cuda_norm_conv_forward(const rvx_call *call)
{
    const rvx_call norm = rvx__norm_conv_norm(call), conv = rvx__norm_conv_conv(call);
    rvx__cuda_norm_act_forward(&norm);
    rvx__cuda_conv_forward(&conv);
}

extern "C" void rvx__cuda_norm_conv_inverse(const rvx_call *call)
{
    const rvx_call conv = rvx__norm_conv_conv(call);
    rvx__cuda_conv_inverse(&conv);
}

extern "C" void rvx__cuda_norm_conv_backward_parameters(const rvx_call *call)
{
    const rvx_call conv = rvx__norm_conv_conv(call);
    rvx__cuda_conv_backward_parameters(&conv);
}

namespace rvx
{
int norm_conv_slabs(SlabKind (&kinds)[SLAB_KINDS], const rvx_call *call)
{
    const rvx_shape &x = call->grad_in[RVX_NORM_CONV_X].shape;
    const rvx__slab_cuda at = rvx__slab_cuda_of(x, call->params);
    const int64_t bytes = rvx__slab_bytes_cuda(call->params);
    int count = 0;
    for (int64_t first = 0; first < x.d; first += rvx__slab_slices(x, bytes)) {
        const rvx__slab_range range = rvx__slab_make(x, call->params, bytes, first);
        int same = 0;
        while (same < count && !one_kind(kinds[same].range, range))
            same++;
        if (same < count)
            continue;
        assert(count < SLAB_KINDS);
        SlabKind &kind = kinds[count++];
        kind.range = range;
        kind.conv = slab_call(call, kind.range, 0, at);
    }
    return count;
}

void norm_conv_backward_data(const rvx_call *call, SlabConv make, const void *context)
{
    const rvx_tensor &x = call->in[RVX_NORM_CONV_X], &dx = call->grad_in[RVX_NORM_CONV_X];
    const rvx__slab_cuda at = rvx__slab_cuda_of(x.shape, call->params);
    const int64_t bytes = rvx__slab_bytes_cuda(call->params);
    const int64_t slices = rvx__slab_slices(x.shape, bytes);
    char *const scratch = static_cast<char *>(call->scratch);
    double *const totals = reinterpret_cast<double *>(scratch + at.totals);
    const rvx_call whole = rvx__norm_conv_norm(call);
    for (int64_t n = 0; n < x.shape.n; n++) {
        rvx_call sample = whole;
        sample.in[0] = rvx__slab_slices_of(&x, n, 0, x.shape.d);
        sample.grad_in[0] = rvx__slab_slices_of(&dx, n, 0, x.shape.d);
        sample.out[1] = rvx__slab_table(&call->out[1], n);
        sample.out[2] = rvx__slab_table(&call->out[2], n);
        const NormSlab slab = {reinterpret_cast<double *>(scratch + at.partial),
                               totals + n * 2 * x.shape.c,
                               reinterpret_cast<float *>(scratch + at.corrections)};
        for (int64_t first = 0; first < x.shape.d; first += slices) {
            const rvx__slab_range range = rvx__slab_make(x.shape, call->params, bytes, first);
            const rvx_call conv = slab_call(call, range, n, at);
            make(&conv, context);
            rvx_call part = sample;
            part.in[0] = rvx__slab_slices_of(&x, n, first, range.count);
            part.grad_in[0] = rvx__slab_slices_of(&dx, n, first, range.count);
            part.grad_out[0] = rvx__slab_slices_of(&conv.grad_in[0], 0, range.skip, range.count);
            norm_slab_add(&part, slab, first == 0);
        }
        norm_slab_close(&sample, slab);
    }
    norm_parameters(&whole, totals);
}
} // namespace rvx

extern "C" void rvx__cuda_norm_conv_backward_data(const rvx_call *call)
{
    rvx::norm_conv_backward_data(call, make_own, nullptr);
}
