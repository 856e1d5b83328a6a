/* The plug-in's own rvx__fail, so that it needs no symbol of the library that loads it. */
#include "kernels/cuda/device.h"

#include <cstdarg>
#include <cstdio>

namespace rvx
{
rvx_status fail(rvx_error *error, rvx_status status, const char *format, ...)
{
    if (!error)
        return status;
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return status;
}
} // namespace rvx
