/* Strict JSON on jansson. Owns: how a JSON file is read, checked and written. Invariant: every
 * refusal names the file, the field's full path, what was expected and what was found; unknown and
 * duplicate keys are errors.
 *
 * Reading goes through cursors on the caller's stack: a cursor borrows its value and points at its
 * parent, so it lives as long as the tree and the parent cursor. */
#ifndef RVX_JSON_H
#define RVX_JSON_H

#include "engine/base/text.h"

#include <jansson.h>

typedef struct rvx_json {
    const json_t *value;
    const char *file;              /* name for messages */
    const struct rvx_json *parent; /* NULL at the root */
    const char *key;               /* within an object */
    int64_t index;                 /* within an array, where key is NULL */
} rvx_json;

/* The tree is freed with json_decref. Errors: RVX_ERROR_FORMAT "file:line:column: reason". */
rvx_status rvx__json_parse(json_t **root, const char *text, int64_t bytes, const char *file,
                           rvx_error *error);
/* Files of at most `bytes_max` bytes. */
rvx_status rvx__json_load(json_t **root, const char *path, int64_t bytes_max, rvx_error *error);

/* Readable and stable: two spaces of indent, keys in order of insertion, arrays of plain values on
 * one line, numbers in their shortest exact form. */
void rvx__json_print(rvx_text *text, const json_t *value);
rvx_status rvx__json_save(const json_t *root, const char *path, rvx_error *error); /* atomic */

rvx_json rvx__json_root(const json_t *root, const char *file);
/* The member of an object; `value` is NULL where it is absent. */
rvx_json rvx__json_member(const rvx_json *object, const char *key);
rvx_json rvx__json_element(const rvx_json *array, int64_t index);
static inline bool rvx__json_absent(const rvx_json *json) { return json->value == NULL; }
static inline bool rvx__json_null(const rvx_json *json) { return json_is_null(json->value); }

/* Typed reads. An absent or mistyped value or one out of range is RVX_ERROR_FORMAT. */
rvx_status rvx__json_integer(int64_t *out, const rvx_json *json, int64_t min, int64_t max,
                             rvx_error *error);
/* Integers are accepted as numbers. */
rvx_status rvx__json_number(double *out, const rvx_json *json, double min, double max,
                            rvx_error *error);
rvx_status rvx__json_boolean(bool *out, const rvx_json *json, rvx_error *error);
/* Borrowed from the tree; 1 to bytes_max - 1 bytes. */
rvx_status rvx__json_string(const char **out, const rvx_json *json, int64_t bytes_max,
                            rvx_error *error);
/* The position of the string in a NULL-terminated list of names. */
rvx_status rvx__json_choice(int *out, const rvx_json *json, const char *const *names,
                            rvx_error *error);
rvx_status rvx__json_array(int64_t *count, const rvx_json *json, int64_t count_min,
                           int64_t count_max, rvx_error *error);
/* An object whose keys all stand in the NULL-terminated list; NULL: any keys. */
rvx_status rvx__json_object(const rvx_json *json, const char *const *keys, rvx_error *error);
/* "FILE: field 'a.b[2]' MESSAGE" as RVX_ERROR_FORMAT, for checks across fields. */
rvx_status rvx__json_fail(const rvx_json *json, rvx_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
