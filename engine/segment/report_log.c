/* The training log of a run: see report_log.h. */
#include "engine/segment/report_log.h"

#include "engine/base/file.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int64_t log_bytes_max = (int64_t)1 << 30;

void rvx__run_log_free(rvx_run_log *log)
{
    for (int64_t c = 0; c < log->class_count; c++)
        free(log->class_names[c]);
    free(log->steps);
    free(log->validations);
    *log = (rvx_run_log){0};
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* The first of several spellings that is there. */
static double number_any(const json_t *object, const char *const *keys)
{
    double value = NAN;
    for (int i = 0; keys[i] && isnan(value); i++)
        value = number_of(object, keys[i]);
    return value;
}

/* Room for one more element; NULL where memory is short. */
static void *element_add(void **array, int64_t *count, int64_t *capacity, size_t element_bytes)
{
    if (*count == *capacity) {
        int64_t wanted = *capacity ? 2 * *capacity : 256;
        void *grown = realloc(*array, (size_t)wanted * element_bytes);
        if (!grown)
            return NULL;
        *array = grown;
        *capacity = wanted;
    }
    return (char *)*array + (size_t)(*count)++ * element_bytes;
}

static int64_t class_find(rvx_run_log *log, const char *name)
{
    for (int64_t c = 0; c < log->class_count; c++)
        if (strcmp(log->class_names[c], name) == 0)
            return c;
    if (log->class_count == RVX_LOG_CLASSES_MAX)
        return -1;
    char *copy = strdup(name);
    if (!copy)
        return -1;
    for (int64_t i = 0; i < log->validation_count; i++)
        log->validations[i].dice[log->class_count] = NAN;
    log->class_names[log->class_count] = copy;
    return log->class_count++;
}

/* A run that was cut off goes on from its last checkpoint: the steps done again replace the old. */
static bool step_add(rvx_run_log *log, const json_t *line)
{
    static const char *const rates[] = {"lr", "learning_rate", NULL};
    static const char *const speeds[] = {"voxels_per_s", "voxels_per_second", NULL};
    rvx_log_step entry = {.step = number_of(line, "step"),
                          .epoch = number_of(line, "epoch"),
                          .loss = number_of(line, "loss"),
                          .learning_rate = number_any(line, rates),
                          .voxels_per_second = number_any(line, speeds)};
    while (log->step_count > 0 && log->steps[log->step_count - 1].step >= entry.step)
        log->step_count--;
    rvx_log_step *out = element_add((void **)&log->steps, &log->step_count, &log->step_capacity,
                                    sizeof *log->steps);
    if (out)
        *out = entry;
    return out != NULL;
}

/* The Dice of every class that is a member of `object` by a key of prefix + name. */
static void classes_add(rvx_run_log *log, rvx_log_validation *entry, const json_t *object,
                        const char *prefix)
{
    const char *key;
    json_t *value;
    size_t skip = strlen(prefix);
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (strncmp(key, prefix, skip) != 0 || !(json_is_number(value) || json_is_null(value)))
            continue;
        int64_t c = class_find(log, key + skip);
        if (c >= 0 && json_is_number(value))
            entry->dice[c] = json_number_value(value);
    }
}

static bool validation_add(rvx_run_log *log, const json_t *line, const json_t *validation)
{
    rvx_log_validation entry = {.step = number_of(validation, "step"),
                                .epoch = number_of(validation, "epoch"),
                                .mean_dice = number_of(validation, "mean_dice"),
                                .ema_dice = number_of(validation, "ema_dice")};
    if (isnan(entry.step))
        entry.step = number_of(line, "step");
    if (isnan(entry.epoch))
        entry.epoch = number_of(line, "epoch");
    for (int c = 0; c < RVX_LOG_CLASSES_MAX; c++)
        entry.dice[c] = NAN;
    classes_add(log, &entry, json_object_get(validation, "dice"), "");
    classes_add(log, &entry, validation, "dice/");
    while (log->validation_count > 0) {
        const rvx_log_validation *last = &log->validations[log->validation_count - 1];
        if (!(last->step >= entry.step || (isnan(entry.step) && last->epoch >= entry.epoch)))
            break;
        log->validation_count--;
    }
    rvx_log_validation *out = element_add((void **)&log->validations, &log->validation_count,
                                          &log->validation_capacity, sizeof *log->validations);
    if (out)
        *out = entry;
    return out != NULL;
}

static bool line_add(rvx_run_log *log, const json_t *line)
{
    static const char *const training[] = {
        "loss", "lr", "learning_rate", "voxels_per_s", "voxels_per_second", NULL};
    const json_t *validation = json_object_get(line, "validation");
    bool added = true;
    if (!isnan(number_of(line, "step")) && !isnan(number_any(line, training)))
        added = step_add(log, line);
    if (json_is_object(validation))
        added = added && validation_add(log, line, validation);
    else if (!isnan(number_of(line, "mean_dice")))
        added = added && validation_add(log, line, line);
    return added;
}

static bool is_blank(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
            return false;
    return true;
}

rvx_status rvx__run_log_parse(rvx_run_log *log, const char *text, int64_t bytes, const char *file,
                              rvx_error *error)
{
    int64_t number = 0;
    *log = (rvx_run_log){0};
    for (const char *at = text, *end = text + bytes; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at)), *line_text = at;
        size_t length = (size_t)((stop ? stop : end) - at);
        at += length + 1;
        number++;
        if (is_blank(line_text, length))
            continue;
        json_error_t reason;
        json_t *line = json_loadb(line_text, length, JSON_REJECT_DUPLICATES, &reason);
        if (!line && !stop)
            break;
        if (!json_is_object(line)) {
            json_decref(line);
            return rvx__fail(error, RVX_ERROR_FORMAT, "%s:%lld: %s", file, (long long)number,
                             line ? "expected a JSON object" : reason.text);
        }
        bool added = line_add(log, line);
        json_decref(line);
        if (!added)
            return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its lines", file);
    }
    return RVX_OK;
}

rvx_status rvx__run_log_load(rvx_run_log *log, const char *path, rvx_error *error)
{
    char *data = NULL;
    int64_t bytes = 0;
    *log = (rvx_run_log){0};
    rvx_status status = rvx__file_read_all(&data, &bytes, path, log_bytes_max, error);
    if (status == RVX_OK)
        status = rvx__run_log_parse(log, data, bytes, path, error);
    free(data);
    return status;
}
