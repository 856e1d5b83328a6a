/* Convolutions of libraries, beside our own kernels: what prepared.cu asks of cuDNN and cuBLAS
 * (library_gpu.cu), or of the plain loops that stand for them in the emulation
 * (library_emulated.cc). Owns: that interface.
 *
 * Operands are dense and on 256 bytes: x and y NDHWC, the weight [co][kd][kh][kw][ci], all bf16 or
 * all f32; the weight that WEIGHT writes is f32 always, and so is what else is written where `wide`
 * says so. Sums are f32. */
#ifndef RVX_CUDA_LIBRARY_H
#define RVX_CUDA_LIBRARY_H

#include "kernels/cuda/plugin.h"

namespace rvx
{
enum LibraryPhase { LIBRARY_FORWARD, LIBRARY_DATA, LIBRARY_WEIGHT }; /* writes y, x, the weight */

struct LibraryConv {
    LibraryPhase phase;
    bool bf16, tf32; /* tf32: products of f32 numbers may be of numbers rounded to tf32 */
    bool add;        /* to what y or x holds before */
    bool wide;       /* of bf16 operands: the y or x that is written is f32 */
    rvx_shape x, y;
    int32_t kernel[3], stride[3], pad[3];
};

struct LibraryAlgorithm {
    char name[RVX_CUDA_CHOICE_BYTES]; /* "LIBRARY:ALGORITHM" */
    int64_t workspace_bytes;
    bool repeatable; /* the same bits each time */
    bool faithful;   /* f32 sums of products of the operands' own numbers, in some order */
};

struct LibraryOperands {
    void *x, *weight, *y, *workspace;
    int64_t workspace_bytes;
};

/* The libraries that are there and their versions; "" where there is none. */
const char *library_versions(rvx_cuda_device *device);
int library_list(LibraryAlgorithm *list, int most, rvx_cuda_device *device, const LibraryConv &c);
/* Everything that a run needs, so that this allocates nothing. Null: there is no such algorithm. */
void *library_open(rvx_cuda_device *device, const LibraryConv &c, const char *name,
                   const LibraryOperands &operands);
/* Queues the work; a failure shows at synchronize. */
void library_run(void *opened, rvx_cuda_device *device);
void library_close(void *opened);
#ifdef __CUDACC__
/* What library_gpu.cu keeps for a device; null is legal. Nothing of it may be open. */
void libraries_close(void *kept);
#endif
} // namespace rvx

#endif
