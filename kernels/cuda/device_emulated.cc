/* Devices and memory of the emulation: as many devices as RVX_EMULATE_DEVICES says, one by default,
 * whose memory is ordinary memory and whose queues run when they are waited for. What device_gpu.cu
 * says of the device that a thread works with is said here in the same places. See device.h,
 * queue_emulated.h. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/prepared.h"
#include "kernels/cuda/queue_emulated.h"
#include "kernels/cuda/simt_hopper.h"

#include <cstdio>
#include <cstdlib>
#include <new>

struct rvx_cuda_device {
    int index;
    simt::Queues queues;
    bool failed = false; /* a library's call, since synchronize */
    explicit rvx_cuda_device(int index_) : index(index_), queues(index_) {}
};

namespace rvx
{
enum { ALIGNMENT = 256 };

static void use(const rvx_cuda_device *device) { simt::use_device(device->index); }

rvx_status device_count(int *count, rvx_error *)
{
    const char *devices = getenv("RVX_EMULATE_DEVICES");
    *count = devices ? atoi(devices) : 1;
    return RVX_OK;
}

rvx_status device_open(rvx_cuda_device **device, int index, rvx_error *error)
{
    int count;
    *device = nullptr;
    device_count(&count, error);
    if (index < 0 || index >= count)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "cuda:%d: there are %d devices", index, count);
    *device = new (std::nothrow) rvx_cuda_device(index);
    simt::use_device(index);
    return *device ? RVX_OK : rvx__fail(error, RVX_ERROR_MEMORY, "cuda: out of memory");
}

static void finish(rvx_cuda_device *device)
{
    simt::queue_finish(&device->queues.main);
    simt::queue_finish(&device->queues.aside);
}

void device_close(rvx_cuda_device *device)
{
    if (device)
        finish(device);
    delete device;
}

/* Tests of what is refused set RVX_EMULATE_MEMORY. */
rvx_status device_info(rvx_cuda_info *info, const rvx_cuda_device *device, rvx_error *)
{
    use(device);
    const char *memory = getenv("RVX_EMULATE_MEMORY");
    *info = {};
    snprintf(info->name, sizeof info->name, "emulated on the CPU");
    info->major = simt::hopper() ? 9 : 8;
    info->multiprocessors = 1;
    info->memory_bytes = memory ? strtoll(memory, nullptr, 10) : (int64_t)8 << 30;
    info->free_bytes = info->memory_bytes;
    return RVX_OK;
}

void *device_queue(rvx_cuda_device *device)
{
    use(device);
    return &device->queues.main;
}

/* Fresh memory is NaN: nothing may count on zeros. */
rvx_status allocate(void **memory, rvx_cuda_device *device, int64_t bytes, rvx_error *error)
{
    use(device);
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

/* As on a GPU, memory is given back when nothing is under way. */
void release(rvx_cuda_device *device, void *memory)
{
    finish(device);
    free(memory);
}

void release_host(rvx_cuda_device *device, void *memory) { release(device, memory); }

static void queue_copy(simt::Queue *queue, void *to, const void *from, int64_t bytes)
{
    simt::enqueue(queue, [=] { memmove(to, from, (size_t)bytes); });
}

void upload(rvx_cuda_device *device, void *device_to, const void *from, int64_t bytes)
{
    use(device);
    queue_copy(&device->queues.main, device_to, from, bytes);
}

void download(rvx_cuda_device *device, void *to, const void *device_from, int64_t bytes)
{
    use(device);
    queue_copy(&device->queues.main, to, device_from, bytes);
}

void copy(rvx_cuda_device *device, void *device_to, const void *device_from, int64_t bytes)
{
    use(device);
    queue_copy(&device->queues.main, device_to, device_from, bytes);
}

void fill(rvx_cuda_device *device, void *device_to, int byte, int64_t bytes)
{
    use(device);
    simt::enqueue(&device->queues.main, [=] { memset(device_to, byte, (size_t)bytes); });
}

void device_failed(rvx_cuda_device *device) { device->failed = true; }

rvx_status synchronize(rvx_cuda_device *device, rvx_error *error)
{
    const bool failed = device->failed;
    use(device);
    simt::queue_finish(&device->queues.main);
    device->failed = false;
    return failed ? rvx__fail(error, RVX_ERROR_UNSUPPORTED, "cuda: run: a library refused its call")
                  : RVX_OK;
}

void upload_aside(rvx_cuda_device *device, void *device_to, const void *from, int64_t bytes)
{
    use(device);
    queue_copy(&device->queues.aside, device_to, from, bytes);
}

void aside_waits(rvx_cuda_device *device)
{
    use(device);
    simt::queue_wait(&device->queues.aside);
}

void wait_aside(rvx_cuda_device *device)
{
    use(device);
    simt::queue_wait(&device->queues.main);
}

rvx_status synchronize_aside(rvx_cuda_device *device, rvx_error *)
{
    simt::queue_finish(&device->queues.aside);
    return RVX_OK;
}

/* "NAME=SECONDS,NAME=SECONDS": the seconds of a name; those before where it is not there. */
static double seconds_of(const char *times, const char *name, double before)
{
    const size_t length = strlen(name);
    for (const char *p = times; *p; p++)
        if ((p == times || p[-1] == ',') && strncmp(p, name, length) == 0 && p[length] == '=')
            return strtod(p + length + 1, nullptr);
    return before;
}

/* Runs the call once, and tells a time that tests choose: RVX_EMULATE_SECONDS holds them by name;
 * "own" is all kernels of ours that it does not name; else 1. */
rvx_status measure(double *seconds, rvx_cuda_device *device, rvx_kernel kernel,
                   const rvx_call *call, double, rvx_error *error)
{
    const char *given = getenv("RVX_EMULATE_SECONDS"), *name = prepared_name(call);
    const char *times = given ? given : "";
    use(device);
    kernel(call);
    *seconds = strchr(name, ':') ? 1 : seconds_of(times, RVX_CUDA_OWN, 1);
    *seconds = seconds_of(times, name, *seconds);
    return synchronize(device, error);
}

typedef std::vector<simt::Work> Recording;

rvx_status record_begin(rvx_cuda_device *device, rvx_error *error)
{
    use(device);
    device->queues.main.recording = new (std::nothrow) Recording;
    return device->queues.main.recording ? RVX_OK
                                         : rvx__fail(error, RVX_ERROR_MEMORY, "cuda: no memory");
}

rvx_status record_end(void **recording, rvx_cuda_device *device, rvx_error *)
{
    use(device);
    *recording = device->queues.main.recording;
    device->queues.main.recording = nullptr;
    return RVX_OK;
}

void record_play(rvx_cuda_device *device, void *recording)
{
    use(device);
    for (const simt::Work &work : *static_cast<Recording *>(recording))
        simt::enqueue(&device->queues.main, work);
}

void record_free(rvx_cuda_device *, void *recording) { delete static_cast<Recording *>(recording); }

void range_push(const char *) {}
void range_pop(void) {}
} // namespace rvx
