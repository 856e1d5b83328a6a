/* Where the memory of a test's tensors comes from, and kernels of an op by instruction set. With
 * device_use() memory is such that the CPU and a GPU both see it, and RVX_ISA_CUDA is one more
 * instruction set: on the GPU where RVX_TEST_CUDA names librevoxel_cuda.so, else in the emulation.
 */
#ifndef RVX_TEST_DEVICE_H
#define RVX_TEST_DEVICE_H

#include "kernels/cuda/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define DEVICE_FUNCTION __attribute__((unused)) static

static const rvx_cuda *device_interface;
static rvx_cuda_device *device_used;

/* False, with a diagnostic line, where the library cannot be used. */
DEVICE_FUNCTION int device_use(void)
{
    const char *path = getenv("RVX_TEST_CUDA");
    path = path ? path : "build/librevoxel_cuda_emulated.so";
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    rvx_cuda_entry entry = NULL;
    rvx_error error = {RVX_OK, ""};
    if (library)
        *(void **)&entry = dlsym(library, RVX_CUDA_SYMBOL);
    if (!entry) {
        printf("# %s\n", dlerror());
        return 0;
    }
    device_interface = entry();
    if (device_interface->interface != RVX_CUDA_INTERFACE ||
        device_interface->device_open(&device_used, 0, &error) != RVX_OK) {
        printf("# %s: %s\n", path, error.message);
        device_interface = NULL;
        return 0;
    }
    return 1;
}

/* On 64 bytes at least. */
DEVICE_FUNCTION void *device_allocate(int64_t bytes)
{
    void *memory = NULL;
    if (!device_interface)
        return aligned_alloc(64, (size_t)bytes);
    device_interface->allocate_shared(&memory, device_used, bytes, NULL);
    return memory;
}

DEVICE_FUNCTION void device_free(void *memory)
{
    if (device_interface && memory)
        device_interface->release(device_used, memory);
    else
        free(memory);
}

DEVICE_FUNCTION rvx_kernel device_kernel(const rvx_op *op, rvx_phase phase, rvx_isa isa)
{
    if (isa != RVX_ISA_CUDA)
        return op->cpu[phase][isa];
    return op->cuda & RVX_CUDA_HAS(phase) ? device_interface->kernel(op->name, phase) : NULL;
}

DEVICE_FUNCTION int64_t device_scratch(const rvx_op *op, rvx_phase phase, const rvx_shape *in,
                                       const rvx_shape *out, const rvx_op_params *params,
                                       int threads, rvx_isa isa)
{
    if (isa == RVX_ISA_CUDA)
        return op->cuda_scratch ? op->cuda_scratch(phase, in, out, params) : 0;
    return op->scratch ? op->scratch(phase, in, out, params, threads) : 0;
}

/* The instruction sets that a test goes through: those of this processor, or the CUDA backend alone
 * for tests of tests/cuda, which define DEVICE_ONLY and include one of tests/kernels. To be asked
 * before memory is. */
DEVICE_FUNCTION int device_isa_first(void)
{
#ifdef DEVICE_ONLY
    if (!device_interface && !device_use()) {
        printf("Bail out! no CUDA backend\n");
        exit(1);
    }
    return RVX_ISA_CUDA;
#else
    return RVX_ISA_BASE;
#endif
}

DEVICE_FUNCTION int device_isa_last(void)
{
#ifdef DEVICE_ONLY
    return RVX_ISA_CUDA;
#else
    return (int)rvx__isa_detect();
#endif
}

/* Runs a kernel to its end. */
DEVICE_FUNCTION void device_run(rvx_kernel kernel, rvx_call *call, rvx_isa isa)
{
    rvx_error error = {RVX_OK, ""};
    if (isa == RVX_ISA_CUDA)
        call->queue = device_interface->device_queue(device_used);
    kernel(call);
    if (isa == RVX_ISA_CUDA && device_interface->synchronize(device_used, &error) != RVX_OK) {
        printf("Bail out! %s\n", error.message);
        exit(1);
    }
}

#endif
