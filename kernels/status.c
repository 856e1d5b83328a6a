/* Status codes and error text: see status.h. */
#include "kernels/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

rvx_status rvx__fail(rvx_error *error, rvx_status status, const char *format, ...)
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

rvx_status rvx__fail_context(rvx_error *error, const char *format, ...)
{
    if (!error)
        return RVX_ERROR_ARGUMENT;
    char context[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context, sizeof context, format, arguments);
    va_end(arguments);
    char message[sizeof error->message];
    memcpy(message, error->message, sizeof message);
    size_t used = strlen(context);
    if (used > sizeof message - 3)
        used = sizeof message - 3;
    memcpy(error->message, context, used);
    memcpy(error->message + used, ": ", 2);
    used += 2;
    size_t kept = strnlen(message, sizeof message - 1 - used);
    memcpy(error->message + used, message, kept);
    error->message[used + kept] = 0;
    return error->status;
}
