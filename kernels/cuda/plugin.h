/* What the engine knows of CUDA: a table of functions in a library of its own, librevoxel_cuda.so,
 * which is loaded when a GPU is asked for, so that the engine needs neither driver nor C++. Owns:
 * that interface. librevoxel_cuda_emulated.so has the same one: the kernels' own source on the CPU
 * (emulate.h), for tests; there device memory is ordinary memory.
 *
 * Work on a device is queued in order and runs later; synchronize waits for it and tells what went
 * wrong since the last time. A second queue, aside, carries uploads that run beside it; the order
 * of the two is what wait_aside and aside_waits say, and nothing else. All pointers named `device_`
 * lie in memory of that device. */
#ifndef RVX_CUDA_PLUGIN_H
#define RVX_CUDA_PLUGIN_H

#include "kernels/op.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { RVX_CUDA_INTERFACE = 4, RVX_CUDA_NAME_BYTES = 256, RVX_CUDA_CHOICE_BYTES = 160 };

typedef struct rvx_cuda_device rvx_cuda_device;

typedef struct rvx_cuda_info {
    char name[RVX_CUDA_NAME_BYTES];
    int major, minor; /* compute capability */
    int multiprocessors;
    int driver, runtime; /* as CUDA counts: 13000 is 13.0 */
    int64_t memory_bytes, free_bytes;
} rvx_cuda_info;

/* One update of all parameters: see engine/run/optimizer.h. All arrays hold `count` floats. */
typedef struct rvx_cuda_update {
    float *device_parameters;
    const float *device_gradients;
    float *device_first, *device_second; /* moments; second: AdamW only */
    int64_t count;
    int adamw, nesterov;
    float rate, momentum, weight_decay;                               /* SGD */
    float beta1, beta2, new1, new2, epsilon, correction2, keep, size; /* AdamW */
    float scale;                                                      /* of the gradients */
} rvx_cuda_update;

typedef struct rvx_cuda {
    uint32_t interface; /* RVX_CUDA_INTERFACE of the library */
    int emulated;
    rvx_status (*device_count)(int *count, rvx_error *error);
    rvx_status (*device_open)(rvx_cuda_device **device, int index, rvx_error *error);
    void (*device_close)(rvx_cuda_device *device);
    rvx_status (*device_info)(rvx_cuda_info *info, const rvx_cuda_device *device, rvx_error *error);
    /* The queue that kernels of this device run on: for rvx_call.queue. The calling thread works
     * with this device from then on, as after every call that takes one: kernels are called in
     * such a thread. */
    void *(*device_queue)(rvx_cuda_device *device);

    /* Device memory; host memory that copies run from at full speed; memory that both see (tests).
     * On 256 bytes. */
    rvx_status (*allocate)(void **memory, rvx_cuda_device *device, int64_t bytes, rvx_error *error);
    rvx_status (*allocate_host)(void **memory, rvx_cuda_device *device, int64_t bytes,
                                rvx_error *error);
    rvx_status (*allocate_shared)(void **memory, rvx_cuda_device *device, int64_t bytes,
                                  rvx_error *error);
    void (*release)(rvx_cuda_device *device, void *memory);
    void (*release_host)(rvx_cuda_device *device, void *memory);

    /* Queued. Host memory must stay as it is until the next synchronize. */
    void (*upload)(rvx_cuda_device *device, void *device_to, const void *from, int64_t bytes);
    void (*download)(rvx_cuda_device *device, void *to, const void *device_from, int64_t bytes);
    void (*copy)(rvx_cuda_device *device, void *device_to, const void *device_from, int64_t bytes);
    void (*fill)(rvx_cuda_device *device, void *device_to, int byte, int64_t bytes);
    /* All elements of a tensor become 0. */
    void (*clear)(rvx_cuda_device *device, const rvx_tensor *tensor);
    rvx_status (*synchronize)(rvx_cuda_device *device, rvx_error *error);

    /* The second queue. aside_waits: its uploads to come wait for what is queued by now;
     * wait_aside: what is queued from now on waits for its uploads so far. Host memory must stay as
     * it is until synchronize_aside. */
    void (*upload_aside)(rvx_cuda_device *device, void *device_to, const void *from, int64_t bytes);
    void (*aside_waits)(rvx_cuda_device *device);
    void (*wait_aside)(rvx_cuda_device *device);
    rvx_status (*synchronize_aside)(rvx_cuda_device *device, rvx_error *error);

    /* The kernel of an op (its name in ops.def): queues the work on call->queue. NULL: none. Where
     * an op has several, the kernel chooses by device and call; a name with one of them behind a
     * dot pins that: conv.any, conv.halo, conv.stream (kernels/cuda/correlate.h says what they
     * take). */
    rvx_kernel (*kernel)(const char *op, rvx_phase phase);

    /* Who may do a convolution. `libraries`: names and versions of those that are there (cuDNN,
     * cuBLAS), "" where there is none. `choices`: who takes a call within its scratch_bytes, at
     * most `most`; 0 where the op is no convolution. First the kernel that runs where nobody is
     * asked for (RVX_CUDA_OWN where the op has but one: this is not prepared), then our others,
     * "conv.halo", then algorithms of libraries, which have a colon in their names,
     * "cudnn:eng5_k2=3". All give the same bits each time; what is listed follows from device,
     * shapes, types and parameters, and from which tensors there are, not from where they lie. An
     * inverse forms the sum of its forward pass where both have one name. `prepare`:
     * *implementation is for rvx_call.implementation of this very call, which is then done by
     * run_prepared; later its streams may be on other grids. */
    const char *(*libraries)(rvx_cuda_device *device);
    int (*choices)(char (*names)[RVX_CUDA_CHOICE_BYTES], int most, rvx_cuda_device *device,
                   const char *op, rvx_phase phase, const rvx_call *call);
    rvx_status (*prepare)(void **implementation, rvx_cuda_device *device, const char *op,
                          rvx_phase phase, const rvx_call *call, const char *name,
                          rvx_error *error);
    void (*unprepare)(rvx_cuda_device *device, void *implementation);
    rvx_kernel run_prepared;
    /* Seconds that a call takes, the median of some, or of its first run where that took more than
     * `enough`; nothing else may be queued. */
    rvx_status (*measure)(double *seconds, rvx_cuda_device *device, rvx_kernel kernel,
                          const rvx_call *call, double enough, rvx_error *error);

    /* Sum of squares in double, in a fixed order, into *device_sum; `device_scratch`:
     * RVX_CUDA_NORM_BYTES. */
    void (*square_sum)(rvx_cuda_device *device, double *device_sum, const float *device_x,
                       int64_t count, void *device_scratch);
    void (*update)(rvx_cuda_device *device, const rvx_cuda_update *update);

    /* What is queued between the two is not run but recorded; a recording is run again and again,
     * at the cost of one launch (CUDA graphs). */
    rvx_status (*record_begin)(rvx_cuda_device *device, rvx_error *error);
    rvx_status (*record_end)(void **recording, rvx_cuda_device *device, rvx_error *error);
    void (*record_play)(rvx_cuda_device *device, void *recording);
    void (*record_free)(rvx_cuda_device *device, void *recording);

    /* Named ranges of a timeline (NVTX). */
    void (*range_push)(const char *name);
    void (*range_pop)(void);
} rvx_cuda;

enum { RVX_CUDA_NORM_BYTES = 1024 * 8 };

/* Our kernel, whichever is chosen for a call. */
#define RVX_CUDA_OWN "own"

/* The only symbol of the library. */
#define RVX_CUDA_SYMBOL "rvx_cuda_interface"
typedef const rvx_cuda *(*rvx_cuda_entry)(void);

#ifdef __cplusplus
}
#endif

#endif
