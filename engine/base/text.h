/* Growing text and small comparisons of names. Owns: the one string builder of the engine.
 * Invariant: a failed allocation is remembered and later appends do nothing, so the caller checks
 * once, at the end. */
#ifndef RVX_TEXT_H
#define RVX_TEXT_H

#include "kernels/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct rvx_text {
    char *data; /* NULL or zero-terminated */
    int64_t bytes, capacity_bytes;
    bool failed;
} rvx_text; /* start from {0} */

void rvx__text_append(rvx_text *text, const char *data, int64_t bytes);
void rvx__text_add(rvx_text *text, const char *string);
void rvx__text_format(rvx_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The shortest decimal form that reads back as the same double, with '.' in every locale. NaN and
 * infinities, which JSON cannot hold, become null. */
void rvx__text_number(rvx_text *text, double number);
/* The string with JSON escapes, quotes included. Invalid UTF-8 bytes become U+FFFD. */
void rvx__text_quote(rvx_text *text, const char *string);
/* RVX_ERROR_MEMORY where an append failed. */
rvx_status rvx__text_check(const rvx_text *text, rvx_error *error);
void rvx__text_free(rvx_text *text);

/* The entry of a NULL-terminated list that is nearest in spelling, or NULL where none is near. */
const char *rvx__text_nearest(const char *name, const char *const *candidates);

#endif
