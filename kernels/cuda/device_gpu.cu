/* Devices, memory and recordings on CUDA's runtime: see device.h. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/library.h"

#include <cuda_runtime.h>
#include <nvtx3/nvToolsExt.h>
#include <stdio.h>
#include <stdlib.h>

struct rvx_cuda_device {
    int index;
    cudaStream_t queue, aside;
    cudaEvent_t ready, arrived; /* of the queue for aside, of aside for the queue */
    void *libraries;            /* library_gpu.cu */
    cudaError_t failed;         /* the first failure of a queued call since synchronize */
};

namespace rvx
{
/* What is reported here is done with: the runtime would tell it again at the next synchronize. */
static rvx_status report(rvx_error *error, cudaError_t code, const char *doing)
{
    if (code == cudaSuccess)
        return RVX_OK;
    cudaGetLastError();
    rvx_status status =
        code == cudaErrorMemoryAllocation ? RVX_ERROR_MEMORY : RVX_ERROR_UNSUPPORTED;
    return rvx__fail(error, status, "cuda: %s: %s (%s)", doing, cudaGetErrorString(code),
                     cudaGetErrorName(code));
}

static void keep(rvx_cuda_device *device, cudaError_t code)
{
    if (device->failed == cudaSuccess)
        device->failed = code;
}

/* A queue belongs to the device it was made on, and a thread that has not said otherwise works with
 * the first one: every way in says it. */
static void use(const rvx_cuda_device *device) { cudaSetDevice(device->index); }

/* The runtime says the same of a driver that is too old and of none. */
static rvx_status no_driver(rvx_error *error)
{
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    cudaGetLastError();
    if (driver == 0)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "cuda: no driver of a GPU is installed");
    return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                     "cuda: the driver knows CUDA %d.%d; this library needs one for CUDA %d.0",
                     driver / 1000, driver % 1000 / 10, runtime / 1000);
}

rvx_status device_count(int *count, rvx_error *error)
{
    cudaError_t code = cudaGetDeviceCount(count);
    if (code != cudaSuccess)
        *count = 0;
    if (code == cudaErrorNoDevice) {
        cudaGetLastError();
        return RVX_OK;
    }
    return code == cudaErrorInsufficientDriver ? no_driver(error)
                                               : report(error, code, "no usable GPU");
}

/* Kernels keep within what sm_80 gives a block; sm_86, sm_89 and sm_120 give it less. */
static rvx_status check_shared(int index, rvx_error *error)
{
    enum { NEEDED = 163 << 10 };
    int bytes = 0;
    cudaError_t code =
        cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, index);
    if (code == cudaSuccess && bytes < NEEDED)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "cuda:%d: a block gets %d KiB of shared memory here, the kernels need %d "
                         "(A100, H100)",
                         index, bytes >> 10, NEEDED >> 10);
    return report(error, code, "device properties");
}

rvx_status device_open(rvx_cuda_device **device, int index, rvx_error *error)
{
    int count;
    *device = nullptr;
    rvx_status status = device_count(&count, error);
    if (status != RVX_OK)
        return status;
    if (index < 0 || index >= count)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "cuda:%d: this machine has %d GPU%s", index,
                         count, count == 1 ? "" : "s");
    status = check_shared(index, error);
    if (status != RVX_OK)
        return status;
    rvx_cuda_device *made = static_cast<rvx_cuda_device *>(calloc(1, sizeof(rvx_cuda_device)));
    if (!made)
        return rvx__fail(error, RVX_ERROR_MEMORY, "cuda: out of memory");
    made->index = index;
    cudaError_t code = cudaSetDevice(index);
    if (code == cudaSuccess)
        code = cudaStreamCreateWithFlags(&made->queue, cudaStreamNonBlocking);
    if (code == cudaSuccess)
        code = cudaStreamCreateWithFlags(&made->aside, cudaStreamNonBlocking);
    if (code == cudaSuccess)
        code = cudaEventCreateWithFlags(&made->ready, cudaEventDisableTiming);
    if (code == cudaSuccess)
        code = cudaEventCreateWithFlags(&made->arrived, cudaEventDisableTiming);
    if (code != cudaSuccess) {
        device_close(made);
        return report(error, code, "open");
    }
    *device = made;
    return RVX_OK;
}

void device_close(rvx_cuda_device *device)
{
    if (!device)
        return;
    use(device);
    libraries_close(device->libraries);
    if (device->arrived)
        cudaEventDestroy(device->arrived);
    if (device->ready)
        cudaEventDestroy(device->ready);
    if (device->aside)
        cudaStreamDestroy(device->aside);
    if (device->queue)
        cudaStreamDestroy(device->queue);
    free(device);
}

rvx_status device_info(rvx_cuda_info *info, const rvx_cuda_device *device, rvx_error *error)
{
    cudaDeviceProp properties;
    size_t free_bytes, total_bytes;
    *info = {};
    use(device);
    cudaError_t code = cudaGetDeviceProperties(&properties, device->index);
    if (code == cudaSuccess)
        code = cudaMemGetInfo(&free_bytes, &total_bytes);
    if (code == cudaSuccess)
        code = cudaDriverGetVersion(&info->driver);
    if (code == cudaSuccess)
        code = cudaRuntimeGetVersion(&info->runtime);
    if (code != cudaSuccess)
        return report(error, code, "device properties");
    snprintf(info->name, sizeof info->name, "%s", properties.name);
    info->major = properties.major;
    info->minor = properties.minor;
    info->multiprocessors = properties.multiProcessorCount;
    info->memory_bytes = (int64_t)total_bytes;
    info->free_bytes = (int64_t)free_bytes;
    return RVX_OK;
}

void *device_queue(rvx_cuda_device *device)
{
    use(device);
    return device->queue;
}

void **device_libraries(rvx_cuda_device *device)
{
    use(device);
    return &device->libraries;
}

void device_failed(rvx_cuda_device *device) { keep(device, cudaErrorUnknown); }

static rvx_status allocated(rvx_error *error, cudaError_t code, int64_t bytes, const char *which)
{
    char doing[96];
    snprintf(doing, sizeof doing, "%.1f MiB of memory %s", (double)bytes / 0x1p20, which);
    return report(error, code, doing);
}

rvx_status allocate(void **memory, rvx_cuda_device *device, int64_t bytes, rvx_error *error)
{
    use(device);
    return allocated(error, cudaMalloc(memory, (size_t)bytes), bytes, "of the device");
}

rvx_status allocate_host(void **memory, rvx_cuda_device *device, int64_t bytes, rvx_error *error)
{
    use(device);
    return allocated(error, cudaMallocHost(memory, (size_t)bytes), bytes, "that copies run from");
}

rvx_status allocate_shared(void **memory, rvx_cuda_device *device, int64_t bytes, rvx_error *error)
{
    use(device);
    return allocated(error, cudaMallocManaged(memory, (size_t)bytes), bytes, "that both see");
}

void release(rvx_cuda_device *, void *memory) { cudaFree(memory); }
void release_host(rvx_cuda_device *, void *memory) { cudaFreeHost(memory); }

void upload(rvx_cuda_device *device, void *device_to, const void *from, int64_t bytes)
{
    use(device);
    keep(device,
         cudaMemcpyAsync(device_to, from, (size_t)bytes, cudaMemcpyHostToDevice, device->queue));
}

void download(rvx_cuda_device *device, void *to, const void *device_from, int64_t bytes)
{
    use(device);
    keep(device,
         cudaMemcpyAsync(to, device_from, (size_t)bytes, cudaMemcpyDeviceToHost, device->queue));
}

void copy(rvx_cuda_device *device, void *device_to, const void *device_from, int64_t bytes)
{
    use(device);
    keep(device, cudaMemcpyAsync(device_to, device_from, (size_t)bytes, cudaMemcpyDeviceToDevice,
                                 device->queue));
}

void fill(rvx_cuda_device *device, void *device_to, int byte, int64_t bytes)
{
    use(device);
    keep(device, cudaMemsetAsync(device_to, byte, (size_t)bytes, device->queue));
}

rvx_status synchronize(rvx_cuda_device *device, rvx_error *error)
{
    use(device);
    keep(device, cudaGetLastError()); /* launches that were refused */
    keep(device, cudaStreamSynchronize(device->queue));
    cudaError_t code = device->failed;
    device->failed = cudaSuccess;
    return report(error, code, "run");
}

void upload_aside(rvx_cuda_device *device, void *device_to, const void *from, int64_t bytes)
{
    use(device);
    keep(device,
         cudaMemcpyAsync(device_to, from, (size_t)bytes, cudaMemcpyHostToDevice, device->aside));
}

void aside_waits(rvx_cuda_device *device)
{
    use(device);
    keep(device, cudaEventRecord(device->ready, device->queue));
    keep(device, cudaStreamWaitEvent(device->aside, device->ready, 0));
}

void wait_aside(rvx_cuda_device *device)
{
    use(device);
    keep(device, cudaEventRecord(device->arrived, device->aside));
    keep(device, cudaStreamWaitEvent(device->queue, device->arrived, 0));
}

rvx_status synchronize_aside(rvx_cuda_device *device, rvx_error *error)
{
    return report(error, cudaStreamSynchronize(device->aside), "upload beside a run");
}

static rvx_status time_once(float *milliseconds, rvx_cuda_device *device, cudaEvent_t begin,
                            cudaEvent_t end, rvx_kernel kernel, const rvx_call *call,
                            rvx_error *error)
{
    keep(device, cudaEventRecord(begin, device->queue));
    kernel(call);
    keep(device, cudaEventRecord(end, device->queue));
    rvx_status status = synchronize(device, error);
    if (status == RVX_OK)
        status = report(error, cudaEventElapsedTime(milliseconds, begin, end), "measure");
    return status;
}

/* Before the first run that is counted there is another: a driver may load kernels then. */
rvx_status measure(double *seconds, rvx_cuda_device *device, rvx_kernel kernel,
                   const rvx_call *call, double enough, rvx_error *error)
{
    enum { RUNS = 7 };
    cudaEvent_t begin = nullptr, end = nullptr;
    float times[RUNS], warm;
    int runs = RUNS;
    use(device);
    rvx_status status = report(error, cudaEventCreate(&begin), "measure");
    if (status == RVX_OK)
        status = report(error, cudaEventCreate(&end), "measure");
    if (status == RVX_OK)
        status = time_once(&warm, device, begin, end, kernel, call, error);
    for (int i = 0; i < runs && status == RVX_OK; i++) {
        status = time_once(&times[i], device, begin, end, kernel, call, error);
        for (int k = i; status == RVX_OK && k > 0 && times[k] < times[k - 1]; k--) {
            const float t = times[k];
            times[k] = times[k - 1];
            times[k - 1] = t;
        }
        if (i == 0 && 1e-3 * (double)times[0] > enough)
            runs = 1;
    }
    if (status == RVX_OK)
        *seconds = 1e-3 * (double)times[runs / 2];
    if (begin)
        cudaEventDestroy(begin);
    if (end)
        cudaEventDestroy(end);
    return status;
}

rvx_status record_begin(rvx_cuda_device *device, rvx_error *error)
{
    use(device);
    keep(device, cudaGetLastError()); /* of what was queued before */
    return report(error, cudaStreamBeginCapture(device->queue, cudaStreamCaptureModeThreadLocal),
                  "begin a recording");
}

rvx_status record_end(void **recording, rvx_cuda_device *device, rvx_error *error)
{
    cudaGraph_t graph;
    cudaGraphExec_t made;
    *recording = nullptr;
    use(device);
    const cudaError_t launches = cudaGetLastError(); /* one that was refused is not in the graph */
    cudaError_t code = cudaStreamEndCapture(device->queue, &graph);
    if (code == cudaSuccess) {
        code = launches == cudaSuccess ? cudaGraphInstantiate(&made, graph, 0) : launches;
        cudaGraphDestroy(graph);
    }
    if (code == cudaSuccess)
        *recording = made;
    return report(error, code, "end a recording");
}

void record_play(rvx_cuda_device *device, void *recording)
{
    use(device);
    keep(device, cudaGraphLaunch(static_cast<cudaGraphExec_t>(recording), device->queue));
}

void record_free(rvx_cuda_device *, void *recording)
{
    if (recording)
        cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(recording));
}

void range_push(const char *name) { nvtxRangePushA(name); }
void range_pop(void) { nvtxRangePop(); }
} // namespace rvx
