/* Choices of implementations: see choice.h. The table is the JSON of its file. */
#include "engine/run/choice.h"
#include "engine/base/file.h"
#include "engine/base/json.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "revoxel implementations 1"
enum { FILE_BYTES_MAX = 16 << 20, VERSIONS_BYTES = 160, LISTED = 6 };

typedef enum mode { AUTO, LIBRARIES, PINNED } mode;

struct rvx_choices {
    mode mode;
    json_t *root, *calls; /* calls: borrowed from root */
    json_t *used;         /* keys that were asked for: true until they are reported */
    char path[RVX_PATH_BYTES];
    rvx_notice notice;
    void *context;
    bool changed, list;
};

/* ---- what a file is for -----------------------------------------------------------------------
 */

static json_t *new_table(const rvx_device *device)
{
    char versions[VERSIONS_BYTES], capability[32];
    snprintf(capability, sizeof capability, "%d.%d", device->info.major, device->info.minor);
    snprintf(versions, sizeof versions, "interface %d, CUDA %d, driver %d", RVX_CUDA_INTERFACE,
             device->info.runtime, device->info.driver);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:{}}", "format", FORMAT, "device",
                     device->info.name, "capability", capability, "versions", versions, "libraries",
                     device->cuda->libraries(device->handle), "calls");
}

static rvx_status check_call(const rvx_json *call, rvx_error *error)
{
    static const char *const keys[] = {"implementation", "seconds", NULL};
    rvx_json seconds = rvx__json_member(call, "seconds"),
             name = rvx__json_member(call, "implementation");
    const char *text, *key;
    json_t *value;
    double number;
    bool there = false;
    rvx_status status = rvx__json_object(call, keys, error);
    if (status == RVX_OK)
        status = rvx__json_string(&text, &name, RVX_CUDA_CHOICE_BYTES, error);
    if (status == RVX_OK)
        status = rvx__json_object(&seconds, NULL, error);
    if (status != RVX_OK)
        return status;
    json_object_foreach((json_t *)seconds.value, key, value)
    {
        (void)value;
        rvx_json one = rvx__json_member(&seconds, key);
        there = there || strcmp(key, text) == 0;
        status = rvx__json_number(&number, &one, 0, 1e6, error);
        if (status != RVX_OK)
            return status;
    }
    if (!there && strcmp(text, RVX_CHOICE_OWN) != 0)
        status = rvx__json_fail(
            &name, error, "expected \"own\" or one of those in 'seconds', found \"%s\"", text);
    return status;
}

/* The file's table where it is whole and of this device; `wanted`: an empty one. */
static rvx_status load(json_t **root, const char *path, const json_t *wanted, rvx_error *error)
{
    static const char *const keys[] = {"format",    "device", "capability", "versions",
                                       "libraries", "calls",  NULL};
    rvx_status status = rvx__json_load(root, path, FILE_BYTES_MAX, error);
    if (status != RVX_OK)
        return status;
    const rvx_json file = rvx__json_root(*root, path);
    const rvx_json calls = rvx__json_member(&file, "calls");
    const char *key;
    json_t *value;
    RVX_TRY(rvx__json_object(&file, keys, error));
    for (int i = 0; keys[i + 1]; i++) {
        const rvx_json found = rvx__json_member(&file, keys[i]);
        const json_t *expected = json_object_get(wanted, keys[i]);
        if (!rvx__json_absent(&found) && json_equal((json_t *)found.value, (json_t *)expected))
            continue;
        char *text = json_dumps(expected, JSON_ENCODE_ANY);
        status = rvx__json_fail(&found, error, "is not that of this device, %s", text ? text : "");
        free(text);
        goto cleanup;
    }
    RVX_TRY(rvx__json_object(&calls, NULL, error));
    json_object_foreach((json_t *)calls.value, key, value)
    {
        (void)value;
        const rvx_json call = rvx__json_member(&calls, key);
        RVX_TRY(check_call(&call, error));
    }
cleanup:
    if (status != RVX_OK) {
        json_decref(*root);
        *root = NULL;
    }
    return status;
}

static void notice(const rvx_choices *choices, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void notice(const rvx_choices *choices, const char *format, ...)
{
    char text[sizeof(rvx_error)];
    va_list arguments;
    if (!choices->notice)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    choices->notice(choices->context, text);
}

/* One file a device and capability, named so that people find it. */
static rvx_status cache_path(char path[RVX_PATH_BYTES], const rvx_device *device,
                             const char *folder, rvx_error *error)
{
    char name[RVX_CUDA_NAME_BYTES + 64];
    int length = snprintf(name, sizeof name, "implementations-%s-%d.%d.json", device->info.name,
                          device->info.major, device->info.minor);
    for (int i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("-._", name[i]))
            name[i] = '_';
    return rvx__path_join(path, folder, name, error);
}

rvx_status rvx__choices_open(rvx_choices **choices, const rvx_device *device,
                             const rvx_choice_rule *rule, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_error why = {0};
    json_t *empty = NULL;
    rvx_choices *made = NULL;
    *choices = NULL;
    if (!rule->how || !rule->how[0] || strcmp(rule->how, RVX_CHOICE_OWN) == 0)
        return RVX_OK;
    made = calloc(1, sizeof *made);
    empty = new_table(device);
    if (!made || !empty || !(made->used = json_object()))
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "implementations: out of memory"));
    made->notice = rule->notice;
    made->context = rule->context;
    made->list = rule->list;
    made->mode = strcmp(rule->how, "auto") == 0    ? AUTO
                 : strcmp(rule->how, "cudnn") == 0 ? LIBRARIES
                                                   : PINNED;
    if (made->mode == PINNED)
        RVX_TRY(rvx__path_join(made->path, NULL, rule->how, error));
    else if (rule->cache_folder)
        RVX_TRY(cache_path(made->path, device, rule->cache_folder, error));
    if (made->mode == PINNED)
        RVX_TRY(load(&made->root, made->path, empty, error));
    else if (made->path[0] && rvx__path_exists(made->path) &&
             load(&made->root, made->path, empty, &why) != RVX_OK)
        notice(made, "%s; measured times are taken anew", why.message);
    if (!made->root)
        made->root = json_incref(empty);
    made->calls = json_object_get(made->root, "calls");
    if (made->mode != PINNED && !device->cuda->libraries(device->handle)[0])
        notice(made, "%s: neither cuDNN nor cuBLAS is there: kernels of Revoxel's own do it all",
               device->name);
    *choices = made;
    made = NULL;
cleanup:
    json_decref(empty);
    rvx__choices_close(made);
    return status;
}

void rvx__choices_close(rvx_choices *choices)
{
    if (!choices)
        return;
    json_decref(choices->root);
    json_decref(choices->used);
    free(choices);
}

/* ---- the rule ---------------------------------------------------------------------------------
 */

/* The fastest, the earlier one of two alike; of libraries alone where there is one. */
static const char *fastest(const json_t *times, bool libraries)
{
    const char *name, *best = RVX_CHOICE_OWN;
    double least = INFINITY;
    json_t *seconds;
    json_object_foreach((json_t *)times, name, seconds)
    {
        if ((libraries && !strchr(name, ':')) || json_number_value(seconds) >= least)
            continue;
        best = name;
        least = json_number_value(seconds);
    }
    return best;
}

static const char *pick(const rvx_choices *choices, const json_t *call)
{
    return choices->mode == LIBRARIES ? fastest(json_object_get(call, "seconds"), true)
                                      : json_string_value(json_object_get(call, "implementation"));
}

const char *rvx__choices_find(rvx_choices *choices, const char *key)
{
    const json_t *call = json_object_get(choices->calls, key);
    if (!call)
        return NULL;
    if (!json_object_get(choices->used, key))
        json_object_set_new(choices->used, key, json_true());
    return pick(choices, call);
}

bool rvx__choices_measures(const rvx_choices *choices) { return choices->mode != PINNED; }

const char *rvx__choices_path(const rvx_choices *choices) { return choices->path; }

rvx_status rvx__choices_add(rvx_choices *choices, const char *key, const char *const *names,
                            const double *seconds, int count, rvx_error *error)
{
    json_t *times = json_object();
    int failed = !times;
    for (int i = 0; i < count && !failed; i++)
        failed = json_object_set_new(times, names[i], json_real(seconds[i]));
    if (!failed)
        failed = json_object_set_new(
            choices->calls, key,
            json_pack("{s:s, s:O}", "implementation", fastest(times, false), "seconds", times));
    json_decref(times);
    choices->changed = true;
    return failed ? rvx__fail(error, RVX_ERROR_MEMORY, "implementations: out of memory") : RVX_OK;
}

void rvx__choices_failed(const rvx_choices *choices, const char *key, const char *name,
                         const char *why)
{
    notice(choices, "%s: %s is left out: %s", key, name, why);
}

void rvx__choices_save(rvx_choices *choices)
{
    char folder[RVX_PATH_BYTES];
    rvx_error why = {0};
    if (!choices->changed || !choices->path[0] || choices->mode == PINNED)
        return;
    rvx_status status = rvx__path_parent(folder, choices->path, &why);
    if (status == RVX_OK)
        status = rvx__directory_create(folder, &why);
    if (status == RVX_OK)
        status = rvx__json_save(choices->root, choices->path, &why);
    if (status != RVX_OK)
        notice(choices, "%s; measured times are not kept", why.message);
    choices->changed = false;
}

typedef struct timed {
    const char *name;
    double seconds;
} timed;

/* The fastest of a call, in order; returns how many. */
static int fastest_few(timed few[LISTED], const json_t *times)
{
    const char *name;
    json_t *seconds;
    int count = 0;
    json_object_foreach((json_t *)times, name, seconds)
    {
        const double here = json_number_value(seconds);
        int at = count;
        while (at > 0 && here < few[at - 1].seconds)
            at--;
        if (at == LISTED)
            continue;
        count += count < LISTED;
        for (int i = count - 1; i > at; i--)
            few[i] = few[i - 1];
        few[at] = (timed){name, here};
    }
    return count;
}

/* "CALL: NAME (NAME 0.8 ms, conv.halo 1.2 ms, 7 slower)" */
static void print_call(rvx_text *text, const rvx_choices *choices, const char *key,
                       const json_t *call)
{
    timed few[LISTED];
    const json_t *times = json_object_get(call, "seconds");
    const int count = fastest_few(few, times), more = (int)json_object_size(times) - count;
    rvx__text_format(text, "%s: %s (", key, pick(choices, call));
    for (int i = 0; i < count; i++)
        rvx__text_format(text, "%s%s %.4g ms", i ? ", " : "", few[i].name, 1e3 * few[i].seconds);
    if (more > 0)
        rvx__text_format(text, ", %d slower", more);
    rvx__text_add(text, ")");
}

void rvx__choices_report(rvx_choices *choices)
{
    const char *key;
    json_t *fresh;
    json_object_foreach(choices->used, key, fresh)
    {
        rvx_text text = {0};
        if (!choices->list || !json_is_true(fresh))
            continue;
        print_call(&text, choices, key, json_object_get(choices->calls, key));
        if (text.data)
            notice(choices, "%s", text.data);
        rvx__text_free(&text);
    }
    json_object_foreach(choices->used, key, fresh)
        json_object_set_new(choices->used, key, json_false());
}

void rvx__choices_print(rvx_text *text, const rvx_choices *choices)
{
    const char *key;
    json_t *call;
    rvx__text_format(text, "%s\n", choices->path[0] ? choices->path : "no file");
    json_object_foreach(choices->calls, key, call)
    {
        print_call(text, choices, key, call);
        rvx__text_add(text, "\n");
    }
}
