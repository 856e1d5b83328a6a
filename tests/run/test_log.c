/* The metrics log: a resumed file equals the uninterrupted one, byte for byte. */
#include "engine/base/file.h"
#include "engine/run/log.h"
#include "tap.h"

#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static rvx_error error;
static char folder[] = "/tmp/rvx-log-XXXXXX", path[64];

static int run(int64_t last_step, int64_t to)
{
    rvx_log *log;
    int passed = rvx__log_open(&log, path, last_step, &error) == RVX_OK;
    for (int64_t step = last_step < 0 ? 0 : last_step + 1; passed && step <= to; step++) {
        const rvx_log_value values[] = {{.name = "loss", .number = 1.0 / (double)(step + 3)},
                                        {.name = "dice/\"a\"", .number = step == 2 ? NAN : 0.5},
                                        {.name = "epoch", .number = (double)(step / 2)},
                                        {.name = "phase", .text = "train"}};
        passed &= rvx__log_write(log, step, values, 4, &error) == RVX_OK;
        if (step % 3 == 0) /* a second line of the same step */
            passed &= rvx__log_write(log, step, values, 1, &error) == RVX_OK;
    }
    if (log)
        passed &= rvx__log_sync(log, &error) == RVX_OK;
    rvx__log_close(log);
    return passed;
}

static int same(const char *expected, int64_t expected_bytes)
{
    int64_t bytes;
    char *data;
    rvx__file_read_all(&data, &bytes, path, 1 << 20, &error);
    int equal = data && bytes == expected_bytes && memcmp(data, expected, (size_t)bytes) == 0;
    free(data);
    return equal;
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    int64_t whole_bytes;
    TAP_OK(run(-1, 9));
    char *whole;
    TAP_OK(rvx__file_read_all(&whole, &whole_bytes, path, 1 << 20, &error) == RVX_OK);
    TAP_OK(strncmp(whole, "{\"step\": 0, \"loss\": 0.333333333333333", 37) == 0);
    TAP_OK(strstr(whole, "\"dice/\\\"a\\\"\": null, \"epoch\": 1, \"phase\": \"train\"}\n") !=
           NULL);

    /* Killed after the checkpoint of step 4, at any byte of what followed. */
    const char *fifth = strstr(whole, "{\"step\": 5");
    int64_t kept = fifth ? fifth - whole : 0;
    TAP_OK(kept > 0);
    int resumed = 1;
    for (int64_t cut = kept; cut <= whole_bytes; cut++)
        resumed &= truncate(path, (off_t)cut) == 0 && run(4, 9) && same(whole, whole_bytes);
    TAP_OK(resumed);
    /* Nothing was written after the checkpoint, or the log is gone altogether. */
    TAP_OK(truncate(path, (off_t)kept) == 0 && run(4, 4) && same(whole, kept));
    unlink(path);
    TAP_OK(run(4, 5) && !same(whole, kept));
    TAP_OK(run(-1, 9) && same(whole, whole_bytes));

    json_t *lines;
    TAP_OK(rvx__log_load(&lines, path, &error) == RVX_OK && json_array_size(lines) == 14);
    TAP_OK(json_number_value(json_object_get(json_array_get(lines, 1), "loss")) == 1.0 / 3);
    json_decref(lines);
    TAP_OK(truncate(path, (off_t)whole_bytes - 5) == 0);
    TAP_OK(rvx__log_load(&lines, path, &error) == RVX_OK && json_array_size(lines) == 13);
    json_decref(lines);

    /* Damage in the middle is not passed over. */
    rvx_log *log;
    rvx__file_write(path, "{\"step\": 1}\n{\"stop\": 2}\n", 24, &error);
    TAP_OK(rvx__log_open(&log, path, 3, &error) == RVX_ERROR_FORMAT && !log);
    TAP_OK(strstr(error.message, "metrics.jsonl, line 2: field 'step' expected") != NULL);
    rvx__file_write(path, "{\"step\": 2}\n{\"step\": 1}\n", 24, &error);
    TAP_OK(rvx__log_load(&lines, path, &error) == RVX_ERROR_FORMAT && !lines);
    rvx__file_write(path, "{\"step\"\n", 8, &error);
    TAP_OK(rvx__log_open(&log, path, 3, &error) == RVX_ERROR_FORMAT && !log);

    /* A full disk takes back the part of a line. */
    struct rlimit before, limit;
    TAP_OK(rvx__log_open(&log, path, -1, &error) == RVX_OK);
    TAP_OK(rvx__log_write(log, 7, NULL, 0, &error) == RVX_OK);
    TAP_OK(rvx__log_write(log, 6, NULL, 0, &error) == RVX_ERROR_ARGUMENT);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 20;
    setrlimit(RLIMIT_FSIZE, &limit);
    TAP_OK(rvx__log_write(log, 8, NULL, 0, &error) == RVX_ERROR_IO);
    TAP_OK(strstr(error.message, "metrics.jsonl: cannot write: File too large") != NULL);
    setrlimit(RLIMIT_FSIZE, &before);
    TAP_OK(same("{\"step\": 7}\n", 12));
    rvx__log_close(log);
    TAP_OK(rvx__log_open(&log, folder, -1, &error) == RVX_ERROR_IO && !log);
    free(whole);
    unlink(path);
    TAP_OK(rmdir(folder) == 0);
    return tap_done();
}
