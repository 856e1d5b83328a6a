/* A call of a convolution done by a library: in the library's terms, with its operands where it
 * wants them. Owns: which calls a library may do, the places of operands in scratch, and the order
 * of passes around it (library_passes.h). */
#ifndef RVX_CUDA_LIBRARY_CALL_H
#define RVX_CUDA_LIBRARY_CALL_H

#include "kernels/cuda/library.h"

namespace rvx
{
/* What the library writes is that of `conv.phase`: y, x or the weight. */
struct LibraryCall {
    rvx_phase phase;
    LibraryConv conv;
    bool transposed;           /* the op is: its y is the library's x */
    bool anywhere;             /* what is read may lie elsewhere when it runs */
    rvx_tensor x, y;           /* of the call, as the library calls them */
    rvx_tensor fold;           /* of what the op calls x; data NULL: none */
    rvx_tensor bias, residual; /* of forward passes and inverses; data NULL: none */
    int sign;                  /* target = residual + or - sum */
    rvx_tensor target;         /* where the result goes in the end; weights: nowhere */

    rvx_cuda_device *device; /* from here on: once it is open */
    void *opened;
    rvx_tensor library_x, library_y;
    char *weight;
    double *sums;
};

/* False: no library takes such a call of `op`, conv or conv_transpose. Knows types, shapes and
 * which tensors there are, not where they lie. */
bool library_call_make(LibraryCall *l, const char *op, rvx_phase phase, const rvx_call *call);
/* Algorithms that may do it within the call's scratch: at most `most`. */
int library_call_list(LibraryAlgorithm *list, int most, rvx_cuda_device *device,
                      const LibraryCall &l, int64_t scratch_bytes);
/* For this very call. False: there is no such algorithm, or no room for it. */
bool library_call_open(LibraryCall *l, rvx_cuda_device *device, const char *name,
                       const rvx_call *call);
/* Streams may be on other grids than when it was opened. */
void library_call_run(const LibraryCall &l, const rvx_call *call);
} // namespace rvx

#endif
