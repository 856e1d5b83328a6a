/* What goes to the screen while work runs and when it ends: see cli.h. Figures go to standard
 * output, progress and messages to standard error. */
#include "bindings/cli/cli.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TERMINAL_SECONDS 0.1 /* between two lines */
#define FILE_SECONDS 10

static volatile sig_atomic_t stop_asked; /* the one thing a signal handler may write to */

static void on_signal(int number)
{
    (void)number;
    stop_asked = 1;
}

int rvx__cli_finish(rvx_status status, const rvx_error *error, char *text)
{
    if (text)
        fputs(text, stdout);
    rvx_string_free(text);
    errno = 0;
    bool lost = fflush(stdout) != 0 || ferror(stdout);
    if (status != RVX_OK)
        fprintf(stderr, "revoxel: %s\n", error->message);
    if (status == RVX_CANCELLED)
        return RVX_EXIT_CANCELLED;
    if (lost)
        fprintf(stderr, "revoxel: standard output: %s\n", errno ? strerror(errno) : "lost");
    return status != RVX_OK || lost ? RVX_EXIT_FAILED : 0;
}

/* ---- The progress line ------------------------------------------------------------------------
 */

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void rvx__cli_progress_start(rvx_cli_progress *progress, bool quiet)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    *progress = (rvx_cli_progress){.quiet = quiet, .terminal = isatty(STDERR_FILENO) == 1};
}

typedef struct screen_line {
    char text[256];
    size_t used;
} screen_line;

__attribute__((format(printf, 2, 3))) static void line_add(screen_line *line, const char *format,
                                                           ...)
{
    va_list arguments;
    size_t room = sizeof line->text - line->used;
    va_start(arguments, format);
    int added = vsnprintf(line->text + line->used, room, format, arguments);
    va_end(arguments);
    if (added > 0)
        line->used += (size_t)added < room ? (size_t)added : room - 1;
}

/* About three digits and a prefix: of thousands or of 1024. */
static void line_scaled(screen_line *line, double value, double base, const char *const units[4])
{
    int i = 0;
    for (; i < 3 && value >= base; i++)
        value /= base;
    line_add(line, "  %.*f %s", i == 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2, value, units[i]);
}

static void line_compose(screen_line *line, const rvx_progress *now)
{
    static const char *const rates[4] = {"voxels/s", "kvoxels/s", "Mvoxels/s", "Gvoxels/s"};
    static const char *const sizes[4] = {"B", "KiB", "MiB", "GiB"};
    line_add(line, "%-8s", now->phase ? now->phase : "");
    if (now->total > 0)
        line_add(line, " %lld/%lld", (long long)now->done, (long long)now->total);
    else if (now->done > 0)
        line_add(line, " %lld", (long long)now->done);
    if (!isnan(now->loss))
        line_add(line, "  loss %.4f", now->loss);
    if (!isnan(now->dice))
        line_add(line, "  dice %.4f", now->dice);
    if (now->overflow > 0)
        line_add(line, "  %lld overflow%s", (long long)now->overflow, now->overflow > 1 ? "s" : "");
    if (now->voxels_per_second > 0)
        line_scaled(line, now->voxels_per_second, 1000, rates);
    if (now->memory_bytes > 0)
        line_scaled(line, (double)now->memory_bytes, 1024, sizes);
    if (now->seconds_left >= 0 && now->seconds_left < 1e8) {
        long long left = llround(now->seconds_left);
        if (left >= 3600)
            line_add(line, "  %lld:%02lld:%02lld left", left / 3600, left / 60 % 60, left % 60);
        else
            line_add(line, "  %lld:%02lld left", left / 60, left % 60);
    }
    if (now->item)
        line_add(line, "  %.60s", now->item);
}

static void line_end(rvx_cli_progress *progress)
{
    if (progress->shown)
        fputc('\n', stderr);
    progress->shown = false;
}

int rvx__cli_progress(void *context, const rvx_progress *now)
{
    rvx_cli_progress *progress = context;
    if (now->phase && strcmp(now->phase, "repair") == 0) { /* said also where it is to be quiet */
        line_end(progress);
        fprintf(stderr, "revoxel: repaired: %s\n", now->item ? now->item : "");
        return stop_asked;
    }
    progress->overflow = now->overflow;
    if (now->loader_wait > 0)
        progress->loader_wait = now->loader_wait;
    if (progress->quiet)
        return stop_asked;
    double time = seconds_now();
    const char *phase = now->phase ? now->phase : "";
    bool new_phase = strncmp(progress->phase, phase, sizeof progress->phase - 1) != 0;
    bool last = now->total > 0 && now->done >= now->total;
    if (new_phase) {
        line_end(progress);
        snprintf(progress->phase, sizeof progress->phase, "%s", phase);
    }
    if (!new_phase && !last && time < progress->shown_after)
        return stop_asked;
    screen_line line = {.used = 0};
    line_compose(&line, now);
    if (progress->terminal)
        fprintf(stderr, "\r%s\033[K", line.text);
    else
        fprintf(stderr, "%s\n", line.text);
    progress->shown = progress->terminal;
    progress->shown_after = time + (progress->terminal ? TERMINAL_SECONDS : FILE_SECONDS);
    return stop_asked;
}

void rvx__cli_progress_end(rvx_cli_progress *progress)
{
    line_end(progress);
    if (progress->loader_wait > 0.02 && !progress->quiet)
        fprintf(stderr,
                "revoxel: %.1f %% of the training went into waiting for samples (timing.json)\n",
                100 * progress->loader_wait);
    if (progress->overflow > 0)
        fprintf(
            stderr,
            "revoxel: %lld value%s did not fit the network's 16-bit streams and wrapped around: "
            "they were beyond 32767 steps even on the coarsest grid, and what was computed there "
            "is "
            "wrong. A smaller optimizer.learning_rate or memory.streams \"f32\" in plan.json may "
            "help\n",
            (long long)progress->overflow, progress->overflow > 1 ? "s" : "");
}
