/* Where a network runs: on the CPU, or on a GPU through the plug-in of kernels/cuda/plugin.h. Owns:
 * the words for devices, finding and loading the plug-in, and what is refused before any work
 * starts. Invariant: without a device no library is loaded and no driver is asked. */
#ifndef RVX_DEVICE_H
#define RVX_DEVICE_H

#include "kernels/cuda/plugin.h"

#include <stdbool.h>

#define RVX_DEVICE_LIBRARY "librevoxel_cuda.so"

typedef struct rvx_choices rvx_choices; /* choice.h */

typedef struct rvx_device {
    const rvx_cuda *cuda;
    rvx_cuda_device *handle;
    rvx_cuda_info info;   /* when it was opened */
    char name[16];        /* "cuda:0" */
    rvx_choices *choices; /* which implementations convolutions take; NULL: our own. Not owned */
} rvx_device;

/* "cpu" and NULL give -1, "cuda" 0, "cuda:I" I; asks no driver. */
rvx_status rvx__device_parse(int *index, const char *name, rvx_error *error);
/* RVX_ISA_CUDA, or the best of this processor. */
rvx_status rvx__device_isa(rvx_isa *isa, const char *name, rvx_error *error);

/* *device is NULL for the CPU. `library`: the plug-in's path; NULL: RVX_DEVICE_LIBRARY in the
 * folder of the program or library that this code is part of. Refused: no plug-in there, one of
 * another version, no driver, no such GPU. */
rvx_status rvx__device_open(rvx_device **device, const char *name, const char *library,
                            rvx_error *error);
void rvx__device_close(rvx_device *device); /* NULL is legal */

/* Bytes that tensors may take: what was free when it was opened, but for a little that the driver
 * rounds up. */
int64_t rvx__device_room(const rvx_device *device);

#endif
