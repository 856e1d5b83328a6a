/* Options, texts and progress of the facade: see facade.h. */
#include "bindings/c/facade.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MAX = 1024, STRUCT_BYTES_MAX = 1 << 16 };

rvx_status rvx__facade_options(void *local, size_t local_bytes, const void *given, const char *type,
                               rvx_error *error)
{
    memset(local, 0, local_bytes);
    memcpy(local, &local_bytes, sizeof local_bytes);
    if (!given)
        return RVX_OK;
    size_t given_bytes;
    memcpy(&given_bytes, given, sizeof given_bytes);
    if (given_bytes < sizeof(size_t) || given_bytes > STRUCT_BYTES_MAX)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s.struct_bytes is %zu: start from RVX_OPTIONS(%s), which sets it", type,
                         given_bytes, type);
    const unsigned char *bytes = given;
    for (size_t i = local_bytes; i < given_bytes; i++)
        if (bytes[i])
            return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                             "%s sets a field that version %s of the library does not know", type,
                             rvx_version());
    size_t shared = given_bytes < local_bytes ? given_bytes : local_bytes;
    memcpy((char *)local + sizeof(size_t), bytes + sizeof(size_t), shared - sizeof(size_t));
    return RVX_OK;
}

rvx_status rvx__facade_required(const char *argument, const char *name, rvx_error *error)
{
    if (argument && argument[0])
        return RVX_OK;
    return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s is %s", name, argument ? "empty" : "NULL");
}

rvx_status rvx__facade_threads(int threads, rvx_error *error)
{
    if (threads < 0 || threads > THREADS_MAX)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "threads expected 0 to %d, found %d",
                         THREADS_MAX, threads);
    return RVX_OK;
}

int rvx__facade_thread_count(int threads)
{
    if (threads > 0)
        return threads;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (processors < 1)
        return 1;
    return processors > THREADS_MAX ? THREADS_MAX : (int)processors;
}

rvx_status rvx__facade_text(char **out, rvx_text *text, rvx_status status, rvx_error *error)
{
    if (status == RVX_OK)
        status = rvx__text_check(text, error);
    if (status == RVX_OK && !text->data) { /* nothing was added: an empty string, not NULL */
        rvx__text_add(text, "");
        status = rvx__text_check(text, error);
    }
    if (status != RVX_OK) {
        rvx__text_free(text);
        return status;
    }
    *out = text->data;
    *text = (rvx_text){0};
    return RVX_OK;
}

int rvx__facade_progress(rvx_progress_callback callback, void *context, rvx_progress progress)
{
    if (!callback)
        return 0;
    progress.struct_bytes = sizeof progress;
    progress.memory_bytes = rvx__facade_memory_bytes();
    return callback(context, &progress);
}

rvx_progress rvx__facade_phase(const char *phase, const char *item, int64_t done, int64_t total)
{
    return (rvx_progress){.phase = phase,
                          .item = item,
                          .done = done,
                          .total = total,
                          .loss = (double)NAN,
                          .dice = (double)NAN,
                          .seconds_left = -1};
}

int64_t rvx__facade_memory_bytes(void)
{
    long long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (!statm)
        return 0;
    if (fscanf(statm, "%*d %lld", &pages) != 1)
        pages = 0;
    fclose(statm);
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

double rvx__facade_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
