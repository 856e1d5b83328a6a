/* The emulation as the device of bench_gpu (see device.h), and its plain loops as cuDNN: so every
 * line of the benchmark but device.cu is run in the tests. Its times mean nothing. */
#include "bench/gpu/cublas.h"
#include "bench/gpu/device.h"
#include "kernels/cuda/cudnn_gpu.h"

#include <stdio.h>
#include <stdlib.h>

extern "C" const rvx_cuda *rvx_cuda_interface(void);

namespace bench
{
const rvx_cuda *plugin;
rvx_cuda_device *device;
simt::Stream stream;

namespace
{
double begun;
}

int64_t amount(int64_t, int64_t emulated) { return emulated; }

bool device_open(const char *)
{
    rvx_error error = {};
    plugin = rvx_cuda_interface();
    if (plugin->device_open(&device, 0, &error) != RVX_OK)
        return false;
    stream = plugin->device_queue(device);
    return true;
}

void device_describe(char (&name)[256], int *multiprocessors, int64_t *l2_bytes)
{
    snprintf(name, sizeof name, "emulated");
    *multiprocessors = 1;
    *l2_bytes = 4096;
}

void *device_bytes(int64_t bytes)
{
    void *p = nullptr;
    rvx_error error = {};
    if (plugin->allocate(&p, device, bytes, &error) != RVX_OK)
        abort();
    return p;
}

void device_free(void *memory) { plugin->release(device, memory); }

bool settled()
{
    rvx_error error = {};
    return plugin->synchronize(device, &error) == RVX_OK;
}

void to_device(void *to, const void *from, int64_t bytes)
{
    settled();
    memcpy(to, from, (size_t)bytes);
}

void to_host(void *to, const void *from, int64_t bytes)
{
    settled();
    memcpy(to, from, (size_t)bytes);
}

void clock_begin()
{
    settled();
    begun = now();
}

double clock_end()
{
    if (!settled())
        abort();
    return 1e3 * (now() - begun);
}
} // namespace bench

namespace rvx
{
struct Cudnn {
    int none;
};

Cudnn *cudnn_open(void *, int64_t *version)
{
    static Cudnn one;
    *version = 90000;
    return &one;
}

int cudnn_list(Cudnn *, LibraryAlgorithm *list, int most, const LibraryConv &c, double)
{
    return library_list(list, most, bench::device, c);
}

void *cudnn_prepare(Cudnn *, const LibraryConv &c, const char *name,
                    const LibraryOperands &operands)
{
    return library_open(bench::device, c, name, operands);
}

bool cudnn_run(Cudnn *, void *prepared)
{
    library_run(prepared, bench::device);
    return true;
}

void cudnn_unprepare(Cudnn *, void *prepared)
{
    bench::settled();
    library_close(prepared);
}
} // namespace rvx

namespace bench
{
bool cublas_open(void *) { return false; }
bool cublas_there() { return false; }
bool cublas_product(void *, const void *, const void *, int64_t, int64_t, int64_t) { return false; }
} // namespace bench
