/* The optimiser on the GPU: sum of squares and one update of all parameters. The arithmetic is that
 * of engine/run/optimizer.c, number by number. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/simt.h"

namespace
{
enum { THREADS = 256, PARTIALS = RVX_CUDA_NORM_BYTES / 8 };

/* Sum over a block, the same order whatever the machine; the result is thread 0's. */
RVX_DEVICE double block_sum(double v, double *shared)
{
    for (int mask = 1; mask < 32; mask *= 2)
        v += simt::shuffle_xor(v, mask);
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = v;
    simt::barrier();
    double sum = 0;
    if (threadIdx.x == 0)
        for (int w = 0; w < THREADS / 32; w++)
            sum += shared[w];
    return sum;
}

RVX_GLOBAL void RVX_BOUNDS(THREADS)
    square_partial(double *partial, const float *__restrict__ x, int64_t count)
{
    RVX_SHARED(double, shared);
    double sum = 0;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count;
         i += (int64_t)gridDim.x * THREADS)
        sum += (double)x[i] * (double)x[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

RVX_GLOBAL void RVX_BOUNDS(THREADS) square_total(double *total, const double *partial, int count)
{
    RVX_SHARED(double, shared);
    double sum = 0;
    for (int i = (int)threadIdx.x; i < count; i += THREADS)
        sum += partial[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        *total = sum;
}

/* g += wd p; m = mu m + g; p -= lr (g + mu m) */
RVX_GLOBAL void RVX_BOUNDS(THREADS) sgd_kernel(rvx_cuda_update u)
{
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < u.count;
         i += (int64_t)gridDim.x * THREADS) {
        const float p = u.device_parameters[i];
        const float gradient = u.device_gradients[i] * u.scale + u.weight_decay * p;
        const float moment = u.momentum * u.device_first[i] + gradient;
        u.device_first[i] = moment;
        u.device_parameters[i] =
            p - u.rate * (u.nesterov ? gradient + u.momentum * moment : moment);
    }
}

RVX_GLOBAL void RVX_BOUNDS(THREADS) adamw_kernel(rvx_cuda_update u)
{
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < u.count;
         i += (int64_t)gridDim.x * THREADS) {
        const float gradient = u.device_gradients[i] * u.scale;
        const float first = u.beta1 * u.device_first[i] + u.new1 * gradient;
        const float second = u.beta2 * u.device_second[i] + u.new2 * gradient * gradient;
        u.device_first[i] = first;
        u.device_second[i] = second;
        u.device_parameters[i] = u.device_parameters[i] * u.keep -
                                 u.size * first / (sqrtf(second) / u.correction2 + u.epsilon);
    }
}
} // namespace

namespace rvx
{
void square_sum(rvx_cuda_device *device, double *device_sum, const float *device_x, int64_t count,
                void *device_scratch)
{
    double *partial = static_cast<double *>(device_scratch);
    simt::Stream queue = (simt::Stream)device_queue(device);
    simt::launch(square_partial, dim3(PARTIALS), THREADS, THREADS / 32 * sizeof(double), queue,
                 partial, device_x, count);
    simt::launch(square_total, dim3(1), THREADS, THREADS / 32 * sizeof(double), queue, device_sum,
                 (const double *)partial, (int)PARTIALS);
}

void update(rvx_cuda_device *device, const rvx_cuda_update *u)
{
    int64_t blocks = (u->count + THREADS - 1) / THREADS;
    dim3 grid((unsigned)(blocks < 1 ? 1 : blocks > 4096 ? 4096 : blocks));
    simt::launch(u->adamw ? adamw_kernel : sgd_kernel, grid, THREADS, 0,
                 (simt::Stream)device_queue(device), *u);
}
} // namespace rvx
