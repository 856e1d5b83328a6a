/* cuDNN and cuBLAS as libraries of convolutions: see library.h. Both are looked for when first
 * asked for, so that the plug-in loads without them. cuBLAS takes convolutions that are one product
 * of matrices: of kernel 1 and stride 1. */
#include "kernels/cuda/cudnn_gpu.h"
#include "kernels/cuda/device.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>
#include <dlfcn.h>
#define RVX_HAS_CUBLAS 1
#else
#define RVX_HAS_CUBLAS 0
#endif

namespace rvx
{
enum { CUBLAS_WORKSPACE_BYTES = 32 << 20 };
#define CUBLAS_PRODUCT "cublas:product"

struct Cublas;

/* One a device, as long as that is open. */
struct Libraries {
    Cudnn *cudnn;
    Cublas *cublas;
    char versions[96];
};

namespace
{
struct Opened {
    Libraries *libraries;
    void *cudnn; /* null: cuBLAS */
    LibraryConv conv;
    LibraryOperands operands;
};
} // namespace

#if RVX_HAS_CUBLAS
struct Cublas {
    cublasHandle_t handle;
    decltype(&cublasCreate_v2) create;
    decltype(&cublasDestroy_v2) end;
    decltype(&cublasSetStream_v2) set_stream;
    decltype(&cublasSetWorkspace_v2) set_workspace;
    decltype(&cublasGetVersion_v2) get_version;
    cublasStatus_t (*product)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                              const void *, const void *, cudaDataType, int, const void *,
                              cudaDataType, int, const void *, void *, cudaDataType, int,
                              cublasComputeType_t, cublasGemmAlgo_t);
};

static void cublas_close(Cublas *cublas)
{
    if (cublas && cublas->handle)
        cublas->end(cublas->handle);
    free(cublas);
}

static Cublas *cublas_open(void *queue, int *version)
{
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", nullptr};
    void *library = nullptr;
    for (int i = 0; names[i] && !library; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    Cublas *c = library ? static_cast<Cublas *>(calloc(1, sizeof *c)) : nullptr;
    if (!c)
        return nullptr;
    *(void **)&c->create = dlsym(library, "cublasCreate_v2");
    *(void **)&c->end = dlsym(library, "cublasDestroy_v2");
    *(void **)&c->set_stream = dlsym(library, "cublasSetStream_v2");
    *(void **)&c->set_workspace = dlsym(library, "cublasSetWorkspace_v2");
    *(void **)&c->get_version = dlsym(library, "cublasGetVersion_v2");
    *(void **)&c->product = dlsym(library, "cublasGemmEx");
    if (c->create && c->end && c->set_stream && c->set_workspace && c->get_version && c->product &&
        c->create(&c->handle) == CUBLAS_STATUS_SUCCESS &&
        c->set_stream(c->handle, static_cast<cudaStream_t>(queue)) == CUBLAS_STATUS_SUCCESS &&
        c->get_version(c->handle, version) == CUBLAS_STATUS_SUCCESS)
        return c;
    cublas_close(c);
    return nullptr;
}

/* Column by column, as cuBLAS counts: x is ci x voxels, y is co x voxels, the weight ci x co. */
static bool cublas_run(Cublas *cublas, const LibraryConv &c, const LibraryOperands &o)
{
    const float one = 1, beta = c.add ? 1.0f : 0.0f;
    const int ci = (int)c.x.c, co = (int)c.y.c, voxels = (int)rvx__shape_voxels(c.x);
    const cudaDataType type = c.bf16 ? CUDA_R_16BF : CUDA_R_32F;
    const cudaDataType made = c.wide ? CUDA_R_32F : type;
    const cublasComputeType_t compute = c.bf16   ? CUBLAS_COMPUTE_32F
                                        : c.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                 : CUBLAS_COMPUTE_32F_PEDANTIC;
    if (cublas->set_workspace(cublas->handle, o.workspace, CUBLAS_WORKSPACE_BYTES) !=
        CUBLAS_STATUS_SUCCESS)
        return false;
    if (c.phase == LIBRARY_FORWARD)
        return cublas->product(cublas->handle, CUBLAS_OP_T, CUBLAS_OP_N, co, voxels, ci, &one,
                               o.weight, type, ci, o.x, type, ci, &beta, o.y, made, co, compute,
                               CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS;
    if (c.phase == LIBRARY_DATA)
        return cublas->product(cublas->handle, CUBLAS_OP_N, CUBLAS_OP_N, ci, voxels, co, &one,
                               o.weight, type, ci, o.y, type, co, &beta, o.x, made, ci, compute,
                               CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS;
    return cublas->product(cublas->handle, CUBLAS_OP_N, CUBLAS_OP_T, ci, co, voxels, &one, o.x,
                           type, ci, o.y, type, co, &beta, o.weight, CUDA_R_32F, ci, compute,
                           CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS;
}
#else
struct Cublas {
    int none;
};
static void cublas_close(Cublas *) {}
static Cublas *cublas_open(void *, int *) { return nullptr; }
static bool cublas_run(Cublas *, const LibraryConv &, const LibraryOperands &) { return false; }
#endif

static bool is_product(const LibraryConv &c)
{
    for (int a = 0; a < 3; a++)
        if (c.kernel[a] != 1 || c.stride[a] != 1 || c.pad[a] != 0)
            return false;
    return rvx__shape_voxels(c.x) <= INT_MAX;
}

static Libraries *libraries_of(rvx_cuda_device *device)
{
    void **kept = device_libraries(device);
    if (*kept)
        return static_cast<Libraries *>(*kept);
    Libraries *l = static_cast<Libraries *>(calloc(1, sizeof *l));
    int64_t cudnn = 0;
    int cublas = 0, length = 0;
    if (!l)
        return nullptr;
    l->cudnn = cudnn_open(device_queue(device), &cudnn);
    l->cublas = cublas_open(device_queue(device), &cublas);
    if (l->cudnn)
        length = snprintf(l->versions, sizeof l->versions, "cuDNN %lld", (long long)cudnn);
    if (l->cublas)
        snprintf(l->versions + length, sizeof l->versions - (size_t)length, "%scuBLAS %d",
                 length ? ", " : "", cublas);
    *kept = l;
    return l;
}

const char *library_versions(rvx_cuda_device *device)
{
    const Libraries *l = libraries_of(device);
    return l ? l->versions : "";
}

int library_list(LibraryAlgorithm *list, int most, rvx_cuda_device *device, const LibraryConv &c)
{
    Libraries *l = libraries_of(device);
    int count = 0;
    if (l && l->cublas && is_product(c) && most > 0)
        list[count++] = {CUBLAS_PRODUCT, CUBLAS_WORKSPACE_BYTES, true, true};
    return l && l->cudnn ? count + cudnn_list(l->cudnn, list + count, most - count, c) : count;
}

void *library_open(rvx_cuda_device *device, const LibraryConv &c, const char *name,
                   const LibraryOperands &operands)
{
    Libraries *l = libraries_of(device);
    void *cudnn = nullptr;
    if (!l)
        return nullptr;
    if (strcmp(name, CUBLAS_PRODUCT) == 0) {
        if (!l->cublas || !is_product(c) || operands.workspace_bytes < CUBLAS_WORKSPACE_BYTES)
            return nullptr;
    } else {
        cudnn = l->cudnn ? cudnn_prepare(l->cudnn, c, name, operands) : nullptr;
        if (!cudnn)
            return nullptr;
    }
    Opened *opened = static_cast<Opened *>(malloc(sizeof *opened));
    if (opened)
        *opened = {l, cudnn, c, operands};
    return opened;
}

void library_run(void *opened, rvx_cuda_device *device)
{
    const Opened &o = *static_cast<const Opened *>(opened);
    device_libraries(device);
    const bool ran = o.cudnn ? cudnn_run(o.libraries->cudnn, o.cudnn)
                             : cublas_run(o.libraries->cublas, o.conv, o.operands);
    if (!ran)
        device_failed(device);
}

void libraries_close(void *kept)
{
    Libraries *l = static_cast<Libraries *>(kept);
    if (!l)
        return;
    cudnn_close(l->cudnn);
    cublas_close(l->cublas);
    free(l);
}

void library_close(void *opened)
{
    Opened *o = static_cast<Opened *>(opened);
    if (o && o->cudnn)
        cudnn_unprepare(o->libraries->cudnn, o->cudnn);
    free(o);
}
} // namespace rvx
