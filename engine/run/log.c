/* The metrics log: see log.h. */
#include "engine/run/log.h"
#include "engine/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_BYTES_MAX ((int64_t)1 << 32)

struct rvx_log {
    int fd;
    int64_t bytes, last_step;
    char path[RVX_PATH_BYTES];
};

/* ---- Reading ----------------------------------------------------------------------------------
 */

typedef rvx_status (*line_function)(void *context, json_t *line, int64_t step, int64_t end_bytes,
                                    bool *stop, rvx_error *error);

/* Calls `function` for every whole line; `end_bytes` is where the line ends in the file. */
static rvx_status lines_visit(const char *path, line_function function, void *context,
                              rvx_error *error)
{
    char *text = NULL;
    int64_t bytes, number = 1, last_step = 0;
    json_t *line = NULL;
    bool stop = false;
    rvx_status status;
    RVX_TRY(rvx__file_read_all(&text, &bytes, path, LOG_BYTES_MAX, error));
    const char *end;
    for (const char *next = text;
         !stop && (end = memchr(next, '\n', (size_t)(text + bytes - next)));
         next = end + 1, number++) {
        char place[RVX_PATH_BYTES + 32];
        snprintf(place, sizeof place, "%s, line %lld", path, (long long)number);
        RVX_TRY(rvx__json_parse(&line, next, end - next, place, error));
        rvx_json root = rvx__json_root(line, place), member = rvx__json_member(&root, "step");
        RVX_TRY(rvx__json_object(&root, NULL, error));
        RVX_TRY(rvx__json_integer(&last_step, &member, last_step, INT64_MAX, error));
        RVX_TRY(function(context, line, last_step, end + 1 - text, &stop, error));
        json_decref(line);
        line = NULL;
    }
cleanup:
    json_decref(line);
    free(text);
    return status;
}

static rvx_status line_keep(void *context, json_t *line, int64_t step, int64_t end_bytes,
                            bool *stop, rvx_error *error)
{
    rvx_log *log = context;
    (void)line, (void)error;
    *stop = step > log->last_step;
    if (!*stop)
        log->bytes = end_bytes;
    return RVX_OK;
}

static rvx_status line_collect(void *context, json_t *line, int64_t step, int64_t end_bytes,
                               bool *stop, rvx_error *error)
{
    (void)step, (void)end_bytes, (void)stop;
    if (json_array_append(context, line))
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for the metrics log");
    return RVX_OK;
}

rvx_status rvx__log_load(json_t **lines, const char *path, rvx_error *error)
{
    *lines = json_array();
    if (!*lines)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for the metrics log", path);
    rvx_status status = lines_visit(path, line_collect, *lines, error);
    if (status != RVX_OK) {
        json_decref(*lines);
        *lines = NULL;
    }
    return status;
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

static rvx_status log_fail(const rvx_log *log, const char *reason, rvx_error *error)
{
    return rvx__fail(error, RVX_ERROR_IO, "%s: cannot write: %s", log->path, reason);
}

rvx_status rvx__log_open(rvx_log **out, const char *path, int64_t last_step, rvx_error *error)
{
    rvx_status status = RVX_OK;
    *out = NULL;
    rvx_log *log = calloc(1, sizeof *log);
    if (!log)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for the log", path);
    log->fd = -1;
    log->last_step = last_step;
    RVX_TRY(rvx__path_join(log->path, NULL, path, error));
    if (last_step >= 0 && rvx__path_exists(path))
        RVX_TRY(lines_visit(path, line_keep, log, error));
    log->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (log->fd < 0 || ftruncate(log->fd, (off_t)log->bytes)) {
        status = log_fail(log, strerror(errno), error);
        goto cleanup;
    }
    *out = log;
cleanup:
    if (status != RVX_OK)
        rvx__log_close(log);
    return status;
}

static void number_add(rvx_text *line, double number)
{
    if (number == floor(number) && fabs(number) < 1e15)
        rvx__text_format(line, "%lld", (long long)number);
    else
        rvx__text_number(line, number);
}

/* `"name": value` of each, separated by commas; objects nest as deep as the caller's arrays do. */
static void values_add(rvx_text *line, const rvx_log_value *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        rvx__text_add(line, i ? ", " : "");
        rvx__text_quote(line, values[i].name);
        rvx__text_add(line, ": ");
        if (values[i].members) {
            rvx__text_add(line, "{");
            values_add(line, values[i].members, values[i].member_count);
            rvx__text_add(line, "}");
        } else if (values[i].text) {
            rvx__text_quote(line, values[i].text);
        } else {
            number_add(line, values[i].number);
        }
    }
}

rvx_status rvx__log_write(rvx_log *log, int64_t step, const rvx_log_value *values, int64_t count,
                          rvx_error *error)
{
    rvx_text line = {0};
    rvx_status status;
    if (step < log->last_step) {
        status = rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: step %lld comes after step %lld",
                           log->path, (long long)step, (long long)log->last_step);
        goto cleanup;
    }
    rvx__text_format(&line, "{\"step\": %lld", (long long)step);
    rvx__text_add(&line, count ? ", " : "");
    values_add(&line, values, count);
    rvx__text_add(&line, "}\n");
    RVX_TRY(rvx__text_check(&line, error));
    RVX_TRY(rvx__file_append(log->fd, log->path, &log->bytes, line.data, line.bytes, error));
    log->last_step = step;
cleanup:
    rvx__text_free(&line);
    return status;
}

rvx_status rvx__log_sync(rvx_log *log, rvx_error *error)
{
    if (fsync(log->fd) && errno != EINVAL && errno != ENOTSUP)
        return log_fail(log, strerror(errno), error);
    return RVX_OK;
}

void rvx__log_close(rvx_log *log)
{
    if (!log)
        return;
    if (log->fd >= 0)
        close(log->fd);
    free(log);
}
