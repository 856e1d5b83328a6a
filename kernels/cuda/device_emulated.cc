/* Devices and memory of the emulation: one device, whose memory is ordinary memory and whose queue
 * runs everything at once. See device.h. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/emulate.h"

#include <cstdio>
#include <cstdlib>
#include <new>

struct rvx_cuda_device {
    bool open;
};

namespace rvx
{
enum { ALIGNMENT = 256 };

rvx_status device_count(int *count, rvx_error *)
{
    *count = 1;
    return RVX_OK;
}

rvx_status device_open(rvx_cuda_device **device, int index, rvx_error *error)
{
    *device = nullptr;
    if (index != 0)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "cuda:%d: there is one device, cuda:0", index);
    *device = new (std::nothrow) rvx_cuda_device{true};
    return *device ? RVX_OK : rvx__fail(error, RVX_ERROR_MEMORY, "cuda: out of memory");
}

void device_close(rvx_cuda_device *device) { delete device; }

/* Tests of what is refused set RVX_EMULATE_MEMORY. */
rvx_status device_info(rvx_cuda_info *info, const rvx_cuda_device *, rvx_error *)
{
    const char *memory = getenv("RVX_EMULATE_MEMORY");
    *info = {};
    snprintf(info->name, sizeof info->name, "emulated on the CPU");
    info->major = 8;
    info->multiprocessors = 1;
    info->memory_bytes = memory ? strtoll(memory, nullptr, 10) : (int64_t)8 << 30;
    info->free_bytes = info->memory_bytes;
    return RVX_OK;
}

void *device_queue(rvx_cuda_device *) { return nullptr; }

/* Fresh memory is NaN: nothing may count on zeros. */
rvx_status allocate(void **memory, rvx_cuda_device *, int64_t bytes, rvx_error *error)
{
    size_t size = (size_t)((bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    *memory = aligned_alloc(ALIGNMENT, size ? size : (size_t)ALIGNMENT);
    if (!*memory)
        return rvx__fail(error, RVX_ERROR_MEMORY, "cuda: cannot allocate %.2f GiB",
                         (double)bytes / 0x1p30);
    memset(*memory, 0xFF, size);
    return RVX_OK;
}

rvx_status allocate_host(void **memory, rvx_cuda_device *device, int64_t bytes, rvx_error *error)
{
    return allocate(memory, device, bytes, error);
}

rvx_status allocate_shared(void **memory, rvx_cuda_device *device, int64_t bytes, rvx_error *error)
{
    return allocate(memory, device, bytes, error);
}

void release(rvx_cuda_device *, void *memory) { free(memory); }
void release_host(rvx_cuda_device *, void *memory) { free(memory); }

void upload(rvx_cuda_device *, void *device_to, const void *from, int64_t bytes)
{
    memcpy(device_to, from, (size_t)bytes);
}

void download(rvx_cuda_device *, void *to, const void *device_from, int64_t bytes)
{
    memcpy(to, device_from, (size_t)bytes);
}

void fill(rvx_cuda_device *, void *device_to, int byte, int64_t bytes)
{
    memset(device_to, byte, (size_t)bytes);
}

rvx_status synchronize(rvx_cuda_device *, rvx_error *) { return RVX_OK; }

/* Queued work has run by the time that a recording could begin: callers queue it themselves. */
rvx_status record_begin(rvx_cuda_device *, rvx_error *error)
{
    return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "cuda: the emulation makes no recordings");
}
rvx_status record_end(void **recording, rvx_cuda_device *, rvx_error *error)
{
    *recording = nullptr;
    return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "cuda: the emulation makes no recordings");
}
void record_play(rvx_cuda_device *, void *) {}
void record_free(rvx_cuda_device *, void *) {}

void range_push(const char *) {}
void range_pop(void) {}
} // namespace rvx
