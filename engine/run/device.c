/* Devices: see device.h. */
#include "engine/run/device.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* The folder of the shared library or the program that this code is part of. */
static bool own_folder(char folder[PATH_MAX])
{
    Dl_info info;
    static const char here;
    bool shared = dladdr(&here, &info) && info.dli_fname && strstr(info.dli_fname, ".so");
    if (!shared || !realpath(info.dli_fname, folder)) {
        ssize_t length = readlink("/proc/self/exe", folder, PATH_MAX - 1);
        if (length <= 0)
            return false;
        folder[length] = 0;
    }
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
    return slash != NULL;
}

static rvx_status find_library(char path[PATH_MAX], const char *given, const char *name,
                               rvx_error *error)
{
    char folder[PATH_MAX];
    if (given) {
        if (snprintf(path, PATH_MAX, "%s%s", strchr(given, '/') ? "" : "./", given) < PATH_MAX &&
            access(path, R_OK) == 0)
            return RVX_OK;
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "%s: cannot read the CUDA library %s", name,
                         given);
    }
    if (own_folder(folder) &&
        snprintf(path, PATH_MAX, "%s/%s", folder, RVX_DEVICE_LIBRARY) < PATH_MAX &&
        access(path, R_OK) == 0)
        return RVX_OK;
    return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                     "%s: there is no %s beside the program; 'make cuda' builds it where CUDA's "
                     "compiler is",
                     name, RVX_DEVICE_LIBRARY);
}

/* The library stays loaded: neither CUDA's runtime nor what it leaves behind in a process can be
 * unloaded. */
static rvx_status load(const rvx_cuda **cuda, const char *path, const char *name, rvx_error *error)
{
    rvx_cuda_entry entry = NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "%s: %s", name, dlerror());
    *(void **)&entry = dlsym(library, RVX_CUDA_SYMBOL);
    *cuda = entry ? entry() : NULL;
    dlclose(library);
    if (!*cuda)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "%s: %s is not Revoxel's CUDA library", name,
                         path);
    if ((*cuda)->interface != RVX_CUDA_INTERFACE)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: %s has interface %u, this library needs %u: build both from one "
                         "version",
                         name, path, (*cuda)->interface, (unsigned)RVX_CUDA_INTERFACE);
    return RVX_OK;
}

/* ---- devices -----------------------------------------------------------------------------------
 */

rvx_status rvx__device_open(rvx_device **device, const char *name, const char *library,
                            rvx_error *error)
{
    rvx_status status;
    rvx_device *made = NULL;
    char path[PATH_MAX];
    int index, count = 0;
    *device = NULL;
    RVX_TRY(rvx__device_parse(&index, name, error));
    if (index < 0)
        return RVX_OK;
    if (!(made = calloc(1, sizeof *made)))
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", name);
    snprintf(made->name, sizeof made->name, "cuda:%d", index);
    RVX_TRY(find_library(path, library, made->name, error));
    RVX_TRY(load(&made->cuda, path, made->name, error));
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
