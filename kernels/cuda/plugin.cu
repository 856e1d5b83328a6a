/* The plug-in's table: devices, memory, kernels by name. Owns: what is the same on a GPU and in the
 * emulation; device.h has the difference. */
#include "kernels/cuda/combine.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/library.h"
#include "kernels/cuda/prepared.h"

#include <string.h>

#define RVX_CUDA_ROW(op, phase, function) extern "C" void function(const rvx_call *call);
#include "kernels/cuda/rows.def"
#undef RVX_CUDA_ROW

namespace
{
struct Row {
    const char *op;
    rvx_phase phase;
    rvx_kernel kernel;
};

const Row rows[] = {
#define RVX_CUDA_ROW(op, phase, function) {#op, phase, function},
#include "kernels/cuda/rows.def"
#undef RVX_CUDA_ROW
};

rvx_kernel find_kernel(const char *op, rvx_phase phase)
{
    for (const Row &row : rows)
        if (row.phase == phase && strcmp(row.op, op) == 0)
            return row.kernel;
    return nullptr;
}

void clear(rvx_cuda_device *device, const rvx_tensor *tensor)
{
    rvx_call call = {};
    call.queue = rvx::device_queue(device);
    rvx::combine(&call, *tensor, *tensor, *tensor, rvx::ZERO);
}

const rvx_cuda table = {
    RVX_CUDA_INTERFACE,
#ifdef __CUDACC__
    0,
#else
    1,
#endif
    rvx::device_count,
    rvx::device_open,
    rvx::device_close,
    rvx::device_info,
    rvx::device_queue,
    rvx::allocate,
    rvx::allocate_host,
    rvx::allocate_shared,
    rvx::release,
    rvx::release_host,
    rvx::upload,
    rvx::download,
    rvx::copy,
    rvx::fill,
    clear,
    rvx::synchronize,
    rvx::upload_aside,
    rvx::aside_waits,
    rvx::wait_aside,
    rvx::synchronize_aside,
    find_kernel,
    rvx::library_versions,
    rvx::choices,
    rvx::prepare,
    rvx::unprepare,
    rvx::run_prepared,
    rvx::measure,
    rvx::square_sum,
    rvx::update,
    rvx::record_begin,
    rvx::record_end,
    rvx::record_play,
    rvx::record_free,
    rvx::range_push,
    rvx::range_pop,
};
} // namespace

extern "C" __attribute__((visibility("default"))) const rvx_cuda *rvx_cuda_interface(void)
{
    return &table;
}
