/* Gathers on the GPU (see conv_sizes.h): what forward passes and data gradients of both
 * convolutions are. Owns nothing. */
#ifndef RVX_CUDA_CORRELATE_H
#define RVX_CUDA_CORRELATE_H

#include "kernels/cuda/conv_sizes.h"
#include "kernels/cuda/view.h"

namespace rvx
{
enum Kernel : int32_t {
    CHOSEN,
#define RVX_CUDA_CONV_KERNEL(NAME, name) NAME,
#include "kernels/cuda/conv_kernels.def"
#undef RVX_CUDA_CONV_KERNEL
    KERNELS
};

struct Correlation {
    rvx__cuda_gather gather;
    rvx_tensor source, target;
    rvx_tensor weight;     /* [kd][kh][kw][ci][co] */
    rvx_tensor bias, fold; /* data NULL: absent */
    rvx_tensor residual;   /* like the target, which may lie there; data NULL: absent */
    int sign;              /* target = residual + or - sum */
    bool accumulate;       /* add to the target */
    bool bf16;             /* products of numbers rounded to bf16 */
    bool tf32;             /* else to tf32 */
    Kernel kernel;         /* CHOSEN, or the one that is to run, which must take the call */
    void *scratch;         /* rvx__cuda_correlate_bytes */
};

/* Runs the pinned kernel, or chooses one by device, shapes, types and parameters. The bits do not
 * depend on where tensors lie, nor on what is done with the sum. */
void correlate(const Correlation &c, simt::Stream queue);
/* The kernels that take it on this device, the one that is chosen first; how many. */
int correlate_kernels(Kernel (&list)[KERNELS], const Correlation &c);

/* The kernels: for any shape; with bf16 products for what rvx__cuda_halo_fits says; the same on
 * devices of sm_90a for what rvx__cuda_stream_fits says. */
void correlate_any(const Correlation &c, simt::Stream queue);
void correlate_halo(const Correlation &c, simt::Stream queue);
void correlate_stream(const Correlation &c, simt::Stream queue);
} // namespace rvx

#endif
