/* A GPU, through CUDA's runtime: see device.h. */
#include "bench/gpu/device.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

namespace bench
{
const rvx_cuda *plugin;
rvx_cuda_device *device;
simt::Stream stream;

namespace
{
cudaEvent_t begun, ended;

void must(cudaError_t code, const char *doing)
{
    if (code == cudaSuccess)
        return;
    fprintf(stderr, "bench_gpu: %s: %s\n", doing, cudaGetErrorString(code));
    exit(1);
}

} // namespace

void clock_begin() { must(cudaEventRecord(begun, stream), "time"); }

double clock_end()
{
    float ms;
    must(cudaEventRecord(ended, stream), "time");
    must(cudaEventSynchronize(ended), "run");
    must(cudaGetLastError(), "launch");
    must(cudaEventElapsedTime(&ms, begun, ended), "time");
    return ms;
}

bool device_open(const char *path)
{
    int devices = 0;
    rvx_error error = {};
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
        return false;
    must(cudaSetDevice(0), "device");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    rvx_cuda_entry entry =
        library ? reinterpret_cast<rvx_cuda_entry>(dlsym(library, RVX_CUDA_SYMBOL)) : nullptr;
    if (!entry) {
        fprintf(stderr, "bench_gpu: %s\n", dlerror());
        exit(1);
    }
    plugin = entry();
    if (plugin->interface != RVX_CUDA_INTERFACE ||
        plugin->device_open(&device, 0, &error) != RVX_OK) {
        fprintf(stderr, "bench_gpu: %s: %s\n", path,
                error.message[0] ? error.message : "built for another version");
        exit(1);
    }
    stream = static_cast<cudaStream_t>(plugin->device_queue(device));
    must(cudaEventCreate(&begun), "event");
    must(cudaEventCreate(&ended), "event");
    return true;
}

int64_t amount(int64_t on_a_gpu, int64_t) { return on_a_gpu; }

void device_describe(char (&name)[256], int *multiprocessors, int64_t *l2_bytes)
{
    cudaDeviceProp properties;
    must(cudaGetDeviceProperties(&properties, 0), "device");
    snprintf(name, sizeof name, "%s", properties.name);
    *multiprocessors = properties.multiProcessorCount;
    *l2_bytes = properties.l2CacheSize;
}

void *device_bytes(int64_t bytes)
{
    void *p = nullptr;
    must(cudaMalloc(&p, (size_t)bytes), "allocate");
    return p;
}

void device_free(void *memory) { cudaFree(memory); }

void to_device(void *to, const void *from, int64_t bytes)
{
    must(cudaMemcpy(to, from, (size_t)bytes, cudaMemcpyHostToDevice), "copy");
}

void to_host(void *to, const void *from, int64_t bytes)
{
    must(cudaStreamSynchronize(stream), "run");
    must(cudaMemcpy(to, from, (size_t)bytes, cudaMemcpyDeviceToHost), "copy");
}

bool settled() { return cudaStreamSynchronize(stream) == cudaSuccess; }
} // namespace bench
