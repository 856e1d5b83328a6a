/* See cublas.h. */
#include "bench/gpu/cublas.h"

#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>
#include <dlfcn.h>

namespace bench
{
namespace
{
cublasHandle_t handle;
cublasStatus_t (*product)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                          const void *, const void *, cudaDataType, int, const void *, cudaDataType,
                          int, const void *, void *, cudaDataType, int, cublasComputeType_t,
                          cublasGemmAlgo_t);

template <class F> bool find(F &function, void *library, const char *name)
{
    function = reinterpret_cast<F>(dlsym(library, name));
    return function != nullptr;
}
} // namespace

bool cublas_open(void *stream)
{
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
    decltype(&cublasCreate_v2) create;
    decltype(&cublasSetStream_v2) set_stream;
    void *library = nullptr;
    for (const char *name : names)
        library = library ? library : dlopen(name, RTLD_NOW | RTLD_LOCAL);
    const bool found =
        library && find(create, library, "cublasCreate_v2") &&
        find(set_stream, library, "cublasSetStream_v2") && find(product, library, "cublasGemmEx") &&
        create(&handle) == CUBLAS_STATUS_SUCCESS &&
        set_stream(handle, static_cast<cudaStream_t>(stream)) == CUBLAS_STATUS_SUCCESS;
    if (!found)
        product = nullptr;
    return found;
}

bool cublas_there() { return product != nullptr; }

/* Column by column, as cuBLAS counts, the product is the transposed one: c' = b' a'. */
bool cublas_product(void *c, const void *a, const void *b, int64_t rows, int64_t columns,
                    int64_t depth)
{
    const float alpha = 1, beta = 0;
    return product(handle, CUBLAS_OP_N, CUBLAS_OP_N, (int)columns, (int)rows, (int)depth, &alpha, b,
                   CUDA_R_16BF, (int)columns, a, CUDA_R_16BF, (int)depth, &beta, c, CUDA_R_16BF,
                   (int)columns, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS;
}
} // namespace bench

#else
namespace bench
{
bool cublas_open(void *) { return false; }
bool cublas_there() { return false; }
bool cublas_product(void *, const void *, const void *, int64_t, int64_t, int64_t) { return false; }
} // namespace bench
#endif
