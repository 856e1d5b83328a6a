/* What plugin.h promises of devices, memory and queues. Owns nothing: device_gpu.cu implements it
 * on CUDA's runtime, device_emulated.cc in ordinary memory, update.cu the optimiser for both. */
#ifndef RVX_CUDA_DEVICE_H
#define RVX_CUDA_DEVICE_H

#include "kernels/cuda/plugin.h"

namespace rvx
{
rvx_status device_count(int *count, rvx_error *error);
rvx_status device_open(rvx_cuda_device **device, int index, rvx_error *error);
void device_close(rvx_cuda_device *device);
rvx_status device_info(rvx_cuda_info *info, const rvx_cuda_device *device, rvx_error *error);
void *device_queue(rvx_cuda_device *device);
#ifdef __CUDACC__
/* For library_gpu.cu: what it keeps for a device, which becomes that of this thread. */
void **device_libraries(rvx_cuda_device *device);
#endif
/* A library's call was refused. */
void device_failed(rvx_cuda_device *device);
rvx_status allocate(void **memory, rvx_cuda_device *device, int64_t bytes, rvx_error *error);
rvx_status allocate_host(void **memory, rvx_cuda_device *device, int64_t bytes, rvx_error *error);
rvx_status allocate_shared(void **memory, rvx_cuda_device *device, int64_t bytes, rvx_error *error);
void release(rvx_cuda_device *device, void *memory);
void release_host(rvx_cuda_device *device, void *memory);
void upload(rvx_cuda_device *device, void *device_to, const void *from, int64_t bytes);
void download(rvx_cuda_device *device, void *to, const void *device_from, int64_t bytes);
void copy(rvx_cuda_device *device, void *device_to, const void *device_from, int64_t bytes);
void fill(rvx_cuda_device *device, void *device_to, int byte, int64_t bytes);
rvx_status synchronize(rvx_cuda_device *device, rvx_error *error);
void upload_aside(rvx_cuda_device *device, void *device_to, const void *from, int64_t bytes);
void aside_waits(rvx_cuda_device *device);
void wait_aside(rvx_cuda_device *device);
rvx_status synchronize_aside(rvx_cuda_device *device, rvx_error *error);
void square_sum(rvx_cuda_device *device, double *device_sum, const float *device_x, int64_t count,
                void *device_scratch);
void update(rvx_cuda_device *device, const rvx_cuda_update *update);
rvx_status measure(double *seconds, rvx_cuda_device *device, rvx_kernel kernel,
                   const rvx_call *call, double enough, rvx_error *error);
rvx_status record_begin(rvx_cuda_device *device, rvx_error *error);
rvx_status record_end(void **recording, rvx_cuda_device *device, rvx_error *error);
void record_play(rvx_cuda_device *device, void *recording);
void record_free(rvx_cuda_device *device, void *recording);
void range_push(const char *name);
void range_pop(void);
} // namespace rvx

#endif
