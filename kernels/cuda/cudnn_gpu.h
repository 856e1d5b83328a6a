/* cuDNN's convolutions through its backend API (version 9), loaded at run time where they are.
 * Owns: that interface, for library_gpu.cu and the benchmark; see library.h for operands. */
#ifndef RVX_CUDA_CUDNN_GPU_H
#define RVX_CUDA_CUDNN_GPU_H

#include "kernels/cuda/library.h"

namespace rvx
{
/* Null: not there, or refused. `version`: as cuDNN counts, 91002 is 9.10.2. */
struct Cudnn;
Cudnn *cudnn_open(void *queue, int64_t *version);
void cudnn_close(Cudnn *cudnn); /* null is legal */
/* No algorithm is looked at after so many seconds, but for the first. */
int cudnn_list(Cudnn *cudnn, LibraryAlgorithm *list, int most, const LibraryConv &c,
               double seconds = 3600);
void *cudnn_prepare(Cudnn *cudnn, const LibraryConv &c, const char *name,
                    const LibraryOperands &operands);
bool cudnn_run(Cudnn *cudnn, void *prepared);
void cudnn_unprepare(Cudnn *cudnn, void *prepared);
} // namespace rvx

#endif
