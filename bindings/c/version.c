/* Version, strings, and the proof that the public header agrees with the engine: the header is read
 * here under other names, beside kernels/status.h, and both are compared. */
#include "kernels/status.h"

#undef RVX_STATUS_DEFINED
#define rvx_status public_status
#define rvx_error public_error
#define RVX_OK PUBLIC_OK
#define RVX_ERROR_ARGUMENT PUBLIC_ERROR_ARGUMENT
#define RVX_ERROR_FORMAT PUBLIC_ERROR_FORMAT
#define RVX_ERROR_IO PUBLIC_ERROR_IO
#define RVX_ERROR_MEMORY PUBLIC_ERROR_MEMORY
#define RVX_ERROR_UNSUPPORTED PUBLIC_ERROR_UNSUPPORTED
#define RVX_ERROR_NUMERIC PUBLIC_ERROR_NUMERIC
#define RVX_CANCELLED PUBLIC_CANCELLED
#include "bindings/c/revoxel.h"
#undef rvx_status
#undef rvx_error
#undef RVX_OK
#undef RVX_ERROR_ARGUMENT
#undef RVX_ERROR_FORMAT
#undef RVX_ERROR_IO
#undef RVX_ERROR_MEMORY
#undef RVX_ERROR_UNSUPPORTED
#undef RVX_ERROR_NUMERIC
#undef RVX_CANCELLED

#include <stddef.h>
#include <stdlib.h>

#define AGREE(name) _Static_assert((int)RVX_##name == (int)PUBLIC_##name, "RVX_" #name)
AGREE(OK);
AGREE(ERROR_ARGUMENT);
AGREE(ERROR_FORMAT);
AGREE(ERROR_IO);
AGREE(ERROR_MEMORY);
AGREE(ERROR_UNSUPPORTED);
AGREE(ERROR_NUMERIC);
AGREE(CANCELLED);
_Static_assert(sizeof(rvx_error) == sizeof(public_error), "rvx_error");
_Static_assert(offsetof(rvx_error, message) == offsetof(public_error, message), "rvx_error");

#define TEXT(number) #number
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *rvx_version(void)
{
    return VERSION(RVX_VERSION_MAJOR, RVX_VERSION_MINOR, RVX_VERSION_PATCH);
}

void rvx_string_free(char *text) { free(text); }
