/* Energy that a GPU has used, where NVML can be loaded and the card counts it. Owns nothing. */
#ifndef BENCH_GPU_ENERGY_H
#define BENCH_GPU_ENERGY_H

#include <dlfcn.h>
#include <stddef.h>

/* Joules since the driver was loaded, of GPU `index`; negative: cannot be read. The counter moves
 * in steps of some 20 ms: measure a second or more. */
static inline double gpu_joules(unsigned index)
{
    typedef int (*init_function)(void);
    typedef int (*handle_function)(unsigned, void **);
    typedef int (*energy_function)(void *, unsigned long long *);
    static void *device = NULL;
    static energy_function energy = NULL;
    static int tried = 0;
    unsigned long long millijoules = 0;
    if (!tried) {
        init_function init = NULL;
        handle_function handle = NULL;
        void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
        tried = 1;
        if (library) {
            *(void **)&init = dlsym(library, "nvmlInit_v2");
            *(void **)&handle = dlsym(library, "nvmlDeviceGetHandleByIndex_v2");
            *(void **)&energy = dlsym(library, "nvmlDeviceGetTotalEnergyConsumption");
        }
        if (!init || !handle || init() != 0 || handle(index, &device) != 0)
            energy = NULL;
    }
    if (!energy || energy(device, &millijoules) != 0)
        return -1;
    return 1e-3 * (double)millijoules;
}

#endif
