/* Libraries that are loaded at run time, so that this one needs nothing of what they need. Owns:
 * where they are looked for. Invariant: nothing is loaded before it is asked for, and what is
 * loaded stays: C++ libraries leave things behind in a process that cannot be unloaded. */
#ifndef RVX_LIBRARY_H
#define RVX_LIBRARY_H

#include "kernels/status.h"

typedef struct rvx_library_request {
    const char *file;   /* "librevoxel_cuda.so", in the folder of the program or library that this
                           code is part of */
    const char *given;  /* a path instead; NULL: none */
    const char *symbol; /* the function that hands out the library's interface */
    const char *what;   /* "Revoxel's CUDA library" */
    const char *advice; /* when there is none: how to come by it */
    const char *name;   /* for messages: what asks for it */
} rvx_library_request;

/* *interface is what the library's function returns, its version as `uint32_t` in front; a library
 * of another version than `version`, one without the symbol and one that is not there are refused.
 */
rvx_status rvx__library_open(const void **interface, const rvx_library_request *request,
                             unsigned version, rvx_error *error);

#endif
