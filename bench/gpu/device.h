/* The device that the kernels' benchmark runs on: the plug-in, its queue, its clock, memory. Owns:
 * these, for the length of the program; what fails ends it. device.cu has them of a GPU,
 * device_emulated.cc of the emulation, so that all else is run in the tests; device_random.cu is
 * common to both. */
#ifndef BENCH_GPU_DEVICE_H
#define BENCH_GPU_DEVICE_H

#include "kernels/cuda/plugin.h"
#include "kernels/cuda/simt.h"

namespace bench
{
enum { THREADS = 256 };

extern const rvx_cuda *plugin;
extern rvx_cuda_device *device;
extern simt::Stream stream; /* the plug-in's queue */

/* What a GPU is given to do, or so much of it as the emulation does in a moment. */
int64_t amount(int64_t on_a_gpu, int64_t emulated);

/* False: there is no GPU. */
bool device_open(const char *library);
void device_describe(char (&name)[256], int *multiprocessors, int64_t *l2_bytes);
double now(); /* seconds */
double median(double *values, int count);
/* Numbers of mean 0 and variance 1 in bf16. */
void randomise(void *to, int64_t count, uint32_t seed);

void *device_bytes(int64_t bytes);
void device_free(void *memory);
void to_device(void *to, const void *from, int64_t bytes);
void to_host(void *to, const void *from, int64_t bytes); /* after what is queued */
bool settled();                                          /* waits; false: something was refused */

template <class T> T *device_memory(int64_t bytes) { return static_cast<T *>(device_bytes(bytes)); }

void clock_begin();
double clock_end(); /* milliseconds of what was queued since; waits for it */

/* Of one of `repeats` runs of work(0), work(1), ... */
template <class F> double milliseconds(int repeats, F work)
{
    clock_begin();
    for (int i = 0; i < repeats; i++)
        work(i);
    return clock_end() / repeats;
}
} // namespace bench

#endif
