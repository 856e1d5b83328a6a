/* Devices: see device.h. */
#include "engine/run/device.h"

#include "engine/base/library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INDEX_MAX = 1023, ROOM_PARTS = 64 };

rvx_status rvx__device_parse(int *index, const char *name, rvx_error *error)
{
    *index = -1;
    if (!name || strcmp(name, "cpu") == 0)
        return RVX_OK;
    const char *digits = strncmp(name, "cuda:", 5) == 0 ? name + 5 : "";
    size_t count = strspn(digits, "0123456789");
    if (strcmp(name, "cuda") == 0)
        *index = 0;
    else if (count > 0 && count <= 4 && !digits[count] && atoi(digits) <= INDEX_MAX)
        *index = atoi(digits);
    else
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "device expected \"cpu\", \"cuda\" or \"cuda:0\" to \"cuda:%d\", found "
                         "\"%s\"",
                         INDEX_MAX, name);
    return RVX_OK;
}

rvx_status rvx__device_isa(rvx_isa *isa, const char *name, rvx_error *error)
{
    int index;
    rvx_status status = rvx__device_parse(&index, name, error);
    *isa = index < 0 ? rvx__isa_detect() : RVX_ISA_CUDA;
    return status;
}

/* ---- the plug-in -------------------------------------------------------------------------------
 */

static rvx_status load(const rvx_cuda **cuda, const char *given, const char *name, rvx_error *error)
{
    const void *found;
    const rvx_library_request request = {
        .file = RVX_DEVICE_LIBRARY,
        .given = given,
        .symbol = RVX_CUDA_SYMBOL,
        .what = "Revoxel's CUDA library",
        .advice = "'make cuda' builds it where CUDA's compiler is",
        .name = name,
    };
    rvx_status status = rvx__library_open(&found, &request, RVX_CUDA_INTERFACE, error);
    *cuda = found;
    return status;
}

/* ---- devices -----------------------------------------------------------------------------------
 */

rvx_status rvx__device_open(rvx_device **device, const char *name, const char *library,
                            rvx_error *error)
{
    rvx_status status;
    rvx_device *made = NULL;
    int index, count = 0;
    *device = NULL;
    RVX_TRY(rvx__device_parse(&index, name, error));
    if (index < 0)
        return RVX_OK;
    if (!(made = calloc(1, sizeof *made)))
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", name);
    snprintf(made->name, sizeof made->name, "cuda:%d", index);
    RVX_TRY(load(&made->cuda, library, made->name, error));
    RVX_TRY(made->cuda->device_count(&count, error));
    if (index >= count)
        RVX_TRY(rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                          count == 0   ? "%s: this machine has no GPU that CUDA can use"
                          : count == 1 ? "%s: this machine has one GPU, cuda:0"
                                       : "%s: this machine has %d GPUs, cuda:0 to cuda:%d",
                          made->name, count, count - 1));
    RVX_TRY(made->cuda->device_open(&made->handle, index, error));
    RVX_TRY(made->cuda->device_info(&made->info, made->handle, error));
    if (made->info.major < 8)
        RVX_TRY(rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                          "%s: %s has compute capability %d.%d; the kernels need 8.0 (A100) or "
                          "more",
                          made->name, made->info.name, made->info.major, made->info.minor));
    *device = made;
    made = NULL;
cleanup:
    rvx__device_close(made);
    return status;
}

void rvx__device_close(rvx_device *device)
{
    if (device && device->handle)
        device->cuda->device_close(device->handle);
    free(device);
}

int64_t rvx__device_room(const rvx_device *device)
{
    return device->info.free_bytes - device->info.free_bytes / ROOM_PARTS;
}
