/* Part of revoxel.h: version, status, option structs, progress. */
#ifndef REVOXEL_BASE_H
#define REVOXEL_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define RVX_API __attribute__((visibility("default")))
#else
#define RVX_API
#endif

#define RVX_VERSION_MAJOR 0
#define RVX_VERSION_MINOR 1
#define RVX_VERSION_PATCH 0

#ifndef RVX_STATUS_DEFINED
#define RVX_STATUS_DEFINED
typedef enum rvx_status {
    RVX_OK = 0,
    RVX_ERROR_ARGUMENT = 1,    /* a value given makes no sense */
    RVX_ERROR_FORMAT = 2,      /* a file is not what it says it is */
    RVX_ERROR_IO = 3,          /* the operating system refused */
    RVX_ERROR_MEMORY = 4,      /* does not fit the memory or the budget */
    RVX_ERROR_UNSUPPORTED = 5, /* valid, but not something this build or device can do */
    RVX_ERROR_NUMERIC = 6,     /* NaN or infinity where a finite number was needed */
    RVX_CANCELLED = 7          /* a callback asked to stop */
} rvx_status;

typedef struct rvx_error {
    rvx_status status;
    char message[1024];
} rvx_error;
#endif

/* rvx_train_options o = RVX_OPTIONS(rvx_train_options); (C and C++) */
#ifdef __cplusplus
#define RVX_OPTIONS(type) (type{sizeof(type)})
#else
#define RVX_OPTIONS(type) ((type){.struct_bytes = sizeof(type)})
#endif

RVX_API const char *rvx_version(void);    /* "0.1.0" */
RVX_API void rvx_string_free(char *text); /* NULL is legal */

/* ---- progress ---- */

typedef struct rvx_progress {
    size_t struct_bytes;
    const char *phase;        /* "load", "train", "validate", "predict", "synth", "evaluate",
                               "repair", "mesh" */
    const char *item;         /* case or file at hand; may be NULL */
    int64_t done, total;      /* steps, tiles or cases of this phase */
    double loss;              /* training: moving average; else NaN */
    double learning_rate;     /* training; else 0 */
    double dice;              /* last mean foreground Dice in validation; NaN: none yet */
    double voxels_per_second; /* through the network */
    double seconds_left;      /* estimate for the phase; negative: unknown */
    int64_t memory_bytes;     /* resident memory of the process now */
    int64_t overflow;   /* values that did not fit the 16-bit streams of the network so far, even on
                           the coarsest grid: what was computed there is wrong */
    double loader_wait; /* training: share of the time of all steps so far that went into waiting
                           for samples; else 0 */
} rvx_progress;

typedef int (*rvx_progress_callback)(void *context, const rvx_progress *progress);

#ifdef __cplusplus
}
#endif

#endif
