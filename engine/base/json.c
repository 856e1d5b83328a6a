/* Strict JSON: see json.h. */
#include "engine/base/json.h"
#include "engine/base/file.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Files ------------------------------------------------------------------------------------
 */

rvx_status rvx__json_parse(json_t **root, const char *text, int64_t bytes, const char *file,
                           rvx_error *error)
{
    json_error_t problem;
    *root = json_loadb(text, (size_t)bytes, JSON_REJECT_DUPLICATES, &problem);
    if (!*root)
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s:%d:%d: not valid JSON: %s", file,
                         problem.line, problem.column, problem.text);
    return RVX_OK;
}

rvx_status rvx__json_load(json_t **root, const char *path, int64_t bytes_max, rvx_error *error)
{
    char *text;
    int64_t bytes;
    *root = NULL;
    rvx_status status = rvx__file_read_all(&text, &bytes, path, bytes_max, error);
    if (status == RVX_OK)
        status = rvx__json_parse(root, text, bytes, path, error);
    free(text);
    return status;
}

/* One line for plain values and for arrays of them or of such arrays; one entry a line else. */
static bool is_flat(const json_t *value)
{
    if (json_is_object(value))
        return json_object_size(value) == 0;
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!is_flat(json_array_get(value, i)) || json_is_object(json_array_get(value, i)))
            return false;
    return true;
}

static void print_value(rvx_text *text, const json_t *value, int indent)
{
    size_t count = 0;
    switch (json_typeof(value)) {
    case JSON_OBJECT: {
        const char *key;
        json_t *member;
        rvx__text_add(text, "{");
        json_object_foreach((json_t *)(uintptr_t)value, key, member)
        {
            rvx__text_format(text, "%s\n%*s", count++ ? "," : "", indent + 2, "");
            rvx__text_quote(text, key);
            rvx__text_add(text, ": ");
            print_value(text, member, indent + 2);
        }
        if (count)
            rvx__text_format(text, "\n%*s", indent, "");
        rvx__text_add(text, "}");
        break;
    }
    case JSON_ARRAY: {
        bool flat = is_flat(value);
        rvx__text_add(text, "[");
        for (; count < json_array_size(value); count++) {
            if (flat)
                rvx__text_add(text, count ? ", " : "");
            else
                rvx__text_format(text, "%s\n%*s", count ? "," : "", indent + 2, "");
            print_value(text, json_array_get(value, count), indent + 2);
        }
        if (!flat)
            rvx__text_format(text, "\n%*s", indent, "");
        rvx__text_add(text, "]");
        break;
    }
    case JSON_STRING:
        rvx__text_quote(text, json_string_value(value));
        break;
    case JSON_INTEGER:
        rvx__text_format(text, "%lld", (long long)json_integer_value(value));
        break;
    case JSON_REAL:
        rvx__text_number(text, json_real_value(value));
        break;
    case JSON_TRUE:
        rvx__text_add(text, "true");
        break;
    case JSON_FALSE:
        rvx__text_add(text, "false");
        break;
    case JSON_NULL:
        rvx__text_add(text, "null");
        break;
    }
}

void rvx__json_print(rvx_text *text, const json_t *value) { print_value(text, value, 0); }

rvx_status rvx__json_save(const json_t *root, const char *path, rvx_error *error)
{
    rvx_text text = {0};
    rvx__json_print(&text, root);
    rvx__text_add(&text, "\n");
    rvx_status status = rvx__text_check(&text, error);
    if (status == RVX_OK)
        status = rvx__file_write(path, text.data, text.bytes, error);
    rvx__text_free(&text);
    return status;
}

/* ---- Cursors ----------------------------------------------------------------------------------
 */

rvx_json rvx__json_root(const json_t *root, const char *file)
{
    return (rvx_json){.value = root, .file = file};
}

rvx_json rvx__json_member(const rvx_json *object, const char *key)
{
    return (rvx_json){.value = json_object_get(object->value, key),
                      .file = object->file,
                      .parent = object,
                      .key = key};
}

rvx_json rvx__json_element(const rvx_json *array, int64_t index)
{
    return (rvx_json){.value = json_array_get(array->value, (size_t)index),
                      .file = array->file,
                      .parent = array,
                      .index = index};
}

static void path_add(rvx_text *text, const rvx_json *json)
{
    if (!json->parent)
        return;
    path_add(text, json->parent);
    if (json->key)
        rvx__text_format(text, "%s%s", json->parent->parent ? "." : "", json->key);
    else
        rvx__text_format(text, "[%lld]", (long long)json->index);
}

rvx_status rvx__json_fail(const rvx_json *json, rvx_error *error, const char *format, ...)
{
    rvx_text path = {0}, message = {0};
    char reason[700];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    if (json->parent) {
        rvx__text_add(&path, "field '");
        path_add(&path, json);
        rvx__text_add(&path, "' ");
    }
    rvx__text_format(&message, "%s: %.200s%s", json->file, path.data ? path.data : "", reason);
    rvx__fail(error, RVX_ERROR_FORMAT, "%s", message.data ? message.data : reason);
    rvx__text_free(&path);
    rvx__text_free(&message);
    return RVX_ERROR_FORMAT;
}

/* What was found, in the reader's words: 'string "abc"', 'integer 12', 'nothing'. */
static rvx_status fail_expected(const rvx_json *json, rvx_error *error, const char *expected)
{
    static const char *const names[] = {"object", "array", "string", "integer",
                                        "number", "",      "",       ""};
    rvx_text found = {0};
    if (!json->value)
        rvx__text_add(&found, "nothing");
    else if (json_is_object(json->value) || json_is_array(json->value))
        rvx__text_format(&found, "%s of %lld", json_is_object(json->value) ? "object" : "array",
                         json_is_object(json->value) ? (long long)json_object_size(json->value)
                                                     : (long long)json_array_size(json->value));
    else {
        rvx__text_add(&found, names[json_typeof(json->value)]);
        rvx__text_add(&found, *names[json_typeof(json->value)] ? " " : "");
        rvx__json_print(&found, json->value);
    }
    rvx__json_fail(json, error, "expected %s, found %.200s", expected,
                   found.data ? found.data : "something else");
    rvx__text_free(&found);
    return RVX_ERROR_FORMAT;
}

/* ---- Typed reads ------------------------------------------------------------------------------
 */

rvx_status rvx__json_integer(int64_t *out, const rvx_json *json, int64_t min, int64_t max,
                             rvx_error *error)
{
    if (json_is_integer(json->value)) {
        *out = json_integer_value(json->value);
        if (*out >= min && *out <= max)
            return RVX_OK;
    }
    char expected[80];
    if (max == INT64_MAX)
        snprintf(expected, sizeof expected, "integer of at least %lld", (long long)min);
    else
        snprintf(expected, sizeof expected, "integer in [%lld, %lld]", (long long)min,
                 (long long)max);
    return fail_expected(json, error, expected);
}

rvx_status rvx__json_number(double *out, const rvx_json *json, double min, double max,
                            rvx_error *error)
{
    if (json_is_number(json->value)) {
        *out = json_number_value(json->value);
        if (*out >= min && *out <= max)
            return RVX_OK;
    }
    char expected[80];
    if (isinf(max) && isinf(min))
        snprintf(expected, sizeof expected, "number");
    else if (isinf(max))
        snprintf(expected, sizeof expected, "number of at least %g", min);
    else
        snprintf(expected, sizeof expected, "number in [%g, %g]", min, max);
    return fail_expected(json, error, expected);
}

rvx_status rvx__json_boolean(bool *out, const rvx_json *json, rvx_error *error)
{
    if (!json_is_boolean(json->value))
        return fail_expected(json, error, "true or false");
    *out = json_is_true(json->value);
    return RVX_OK;
}

rvx_status rvx__json_string(const char **out, const rvx_json *json, int64_t bytes_max,
                            rvx_error *error)
{
    int64_t bytes = (int64_t)json_string_length(json->value);
    if (json_is_string(json->value) && bytes > 0 && bytes < bytes_max) {
        *out = json_string_value(json->value);
        return RVX_OK;
    }
    char expected[80];
    snprintf(expected, sizeof expected, "string of 1 to %lld bytes", (long long)bytes_max - 1);
    return fail_expected(json, error, expected);
}

static void names_add(rvx_text *text, const char *const *names)
{
    for (int i = 0; names[i]; i++)
        rvx__text_format(text, "%s\"%s\"", i == 0 ? "" : names[i + 1] ? ", " : " or ", names[i]);
}

rvx_status rvx__json_choice(int *out, const rvx_json *json, const char *const *names,
                            rvx_error *error)
{
    for (int i = 0; json_is_string(json->value) && names[i]; i++)
        if (strcmp(names[i], json_string_value(json->value)) == 0) {
            *out = i;
            return RVX_OK;
        }
    rvx_text expected = {0};
    names_add(&expected, names);
    rvx_status status = fail_expected(json, error, expected.data ? expected.data : "another name");
    rvx__text_free(&expected);
    return status;
}

rvx_status rvx__json_array(int64_t *count, const rvx_json *json, int64_t count_min,
                           int64_t count_max, rvx_error *error)
{
    *count = (int64_t)json_array_size(json->value);
    if (json_is_array(json->value) && *count >= count_min && *count <= count_max)
        return RVX_OK;
    char expected[80];
    if (count_min == count_max)
        snprintf(expected, sizeof expected, "array of %lld", (long long)count_min);
    else
        snprintf(expected, sizeof expected, "array of %lld to %lld", (long long)count_min,
                 (long long)count_max);
    return fail_expected(json, error, expected);
}

rvx_status rvx__json_object(const rvx_json *json, const char *const *keys, rvx_error *error)
{
    const char *key;
    json_t *member;
    if (!json_is_object(json->value))
        return fail_expected(json, error, "object");
    if (!keys)
        return RVX_OK;
    json_object_foreach((json_t *)(uintptr_t)json->value, key, member)
    {
        bool known = false;
        for (int i = 0; keys[i]; i++)
            known |= strcmp(keys[i], key) == 0;
        if (known)
            continue;
        rvx_json unknown = rvx__json_member(json, key);
        const char *nearest = rvx__text_nearest(key, keys);
        if (nearest)
            return rvx__json_fail(&unknown, error, "is not known; did you mean '%s'?", nearest);
        rvx_text list = {0};
        names_add(&list, keys);
        rvx__json_fail(&unknown, error, "is not known here; known are %.500s",
                       list.data ? list.data : "others");
        rvx__text_free(&list);
        return RVX_ERROR_FORMAT;
    }
    return RVX_OK;
}
