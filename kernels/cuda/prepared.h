/* Calls of convolutions done by who is asked for by name, a kernel of ours or a library: who may be
 * asked, and what a call is prepared with. Owns nothing; see plugin.h for what is promised. */
#ifndef RVX_CUDA_PREPARED_H
#define RVX_CUDA_PREPARED_H

#include "kernels/cuda/plugin.h"

namespace rvx
{
int choices(char (*names)[RVX_CUDA_CHOICE_BYTES], int most, rvx_cuda_device *device, const char *op,
            rvx_phase phase, const rvx_call *call);
rvx_status prepare(void **implementation, rvx_cuda_device *device, const char *op, rvx_phase phase,
                   const rvx_call *call, const char *name, rvx_error *error);
void unprepare(rvx_cuda_device *device, void *implementation);
void run_prepared(const rvx_call *call);
/* RVX_CUDA_OWN for calls without an implementation. */
const char *prepared_name(const rvx_call *call);
} // namespace rvx

#endif
