/* Status codes and error text. Owns: the meaning of every return value in the library.
 * Invariant: a function that can fail for operating reasons returns rvx_status and fills the
 * caller's rvx_error; programming errors are asserts. Nothing here prints, exits or allocates. */
#ifndef RVX_STATUS_H
#define RVX_STATUS_H

/* The same enumeration stands in bindings/c/revoxel.h; its facade asserts that they agree. */
#ifndef RVX_STATUS_DEFINED
#define RVX_STATUS_DEFINED
typedef enum rvx_status {
    RVX_OK = 0,
    RVX_ERROR_ARGUMENT =
        1,                /* a value the caller gave makes no sense: which one, what was expected */
    RVX_ERROR_FORMAT = 2, /* a file is not what it says it is: file, field, expected, found */
    RVX_ERROR_IO = 3,     /* the operating system refused: path and reason */
    RVX_ERROR_MEMORY = 4, /* an allocation failed, or a plan does not fit its budget */
    RVX_ERROR_UNSUPPORTED = 5, /* valid, but not something this build or device can do */
    RVX_ERROR_NUMERIC = 6,     /* NaN or infinity where a finite number was needed */
    RVX_CANCELLED = 7          /* the caller's callback asked to stop; handles stay usable */
} rvx_status;

typedef struct rvx_error {
    rvx_status status;
    char message[1024];
} rvx_error;
#endif

#ifdef __cplusplus
extern "C" {
#endif
/* Formats the message and returns `status`, so that callers write `return rvx__fail(...)`.
 * `error` may be NULL. */
rvx_status rvx__fail(rvx_error *error, rvx_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the message already in `error`; returns its status. */
rvx_status rvx__fail_context(rvx_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
#ifdef __cplusplus
}
#endif

/* Jumps to the function's single cleanup label when an expression fails. Needs `status` in scope.
 */
#define RVX_TRY(expression)                                                                        \
    do {                                                                                           \
        status = (expression);                                                                     \
        if (status != RVX_OK)                                                                      \
            goto cleanup;                                                                          \
    } while (0)

#endif
