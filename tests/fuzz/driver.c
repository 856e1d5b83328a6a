/* A small coverage-guided fuzzer for gcc, with libFuzzer's entry point and therefore its targets.
 * Owns: the mutations and the corpus in memory. Invariant: the sequence of inputs is a function of
 * the seeds and -seed alone (as long as the target is); -seconds only decides where it stops.
 *
 *   fuzz_x [-seconds=S] [-runs=N] [-seed=N] [-crash=PATH] [seed file or folder] ...
 *
 * Targets are built with -fsanitize=address,undefined -fsanitize-coverage=trace-pc, this file
 * without. An input that kills the process is written to the crash path. Replay: -runs=0 FILE. */
#include "kernels/random.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { INPUT_MAX = 16384, CORPUS_MAX = 8192, EDGE_COUNT = 1 << 16, HANG_SECONDS = 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_set_death_callback(void (*callback)(void));
void __sanitizer_cov_trace_pc(void);
const char *__asan_default_options(void);

typedef struct input {
    uint8_t *data;
    int64_t size;
} input;

/* The program is the fuzzer: its state may be global. */
static input corpus[CORPUS_MAX];
static int64_t corpus_count;
static uint8_t edges[EDGE_COUNT], seen[EDGE_COUNT];
static uintptr_t edge_last;
static uint8_t current[INPUT_MAX];
static int64_t current_size;
static const char *crash_path = "crash";
static rvx_random draw = {.seed = 1};

const char *__asan_default_options(void) { return "handle_abort=1:allocator_may_return_null=1"; }

/* Called by the compiler at every basic block. An edge is the pair of this block and the last. */
void __sanitizer_cov_trace_pc(void)
{
    uintptr_t here = (uintptr_t)__builtin_return_address(0) * 0x9E3779B97F4A7C15u >> 48;
    uint8_t *count = &edges[(here ^ edge_last) & (EDGE_COUNT - 1)];
    *count = (uint8_t)(*count + (*count != 255));
    edge_last = here >> 1;
}

static void crash_save(void)
{
    FILE *file = fopen(crash_path, "wb");
    if (!file)
        return;
    fwrite(current, 1, (size_t)current_size, file);
    fclose(file);
    fprintf(stderr, "the input is in %s\n", crash_path);
}

/* 1, 2, 3, 4..7, 8..15, ... hits of an edge count as different behaviour, as in AFL. */
static uint8_t bucket(uint8_t count)
{
    int bit = 0;
    while (count >> 1 && count > 3) {
        count >>= 1;
        bit++;
    }
    return (uint8_t)(1u << (bit + count > 7 ? 7 : bit + count));
}

/* Runs `current`; true where it did something new. */
static bool run_current(void)
{
    bool fresh = false;
    memset(edges, 0, sizeof edges);
    edge_last = 0;
    alarm(HANG_SECONDS); /* SIGALRM kills a hang; the shell then reports it */
    /* A copy of exact size: ASan sees every byte that is read beyond it. */
    uint8_t *exact = malloc((size_t)current_size + !current_size);
    memcpy(exact, current, (size_t)current_size);
    LLVMFuzzerTestOneInput(exact, (size_t)current_size);
    free(exact);
    for (int i = 0; i < EDGE_COUNT; i++) {
        if (!edges[i])
            continue;
        uint8_t bits = bucket(edges[i]);
        fresh |= (bits & ~seen[i]) != 0;
        seen[i] |= bits;
    }
    return fresh;
}

static void corpus_add(void)
{
    if (corpus_count == CORPUS_MAX)
        return;
    uint8_t *copy = malloc((size_t)current_size + !current_size);
    memcpy(copy, current, (size_t)current_size);
    corpus[corpus_count++] = (input){copy, current_size};
}

static int64_t below(int64_t count) { return rvx__random_below(&draw, count); }

/* Makes room for `count` bytes at `at`, or as many as fit; returns how many. */
static int64_t room_make(int64_t at, int64_t count)
{
    if (count > INPUT_MAX - current_size)
        count = INPUT_MAX - current_size;
    memmove(current + at + count, current + at, (size_t)(current_size - at));
    current_size += count;
    return count;
}

static void number_put(void)
{
    static const int64_t numbers[] = {0,          1,          -1,         127,       128,
                                      255,        256,        32767,      32768,     65535,
                                      2147483647, 4294967295, 4096,       -2,        1 << 20,
                                      0x7f800000, 0x7fc00000, 0x3f800000, INT64_MAX, INT64_MIN};
    int64_t bytes = (int64_t)1 << below(4);
    if (current_size < bytes)
        return;
    int64_t at = below(current_size - bytes + 1);
    if (below(2))
        at -= at % bytes;
    uint64_t value = (uint64_t)numbers[below((int64_t)(sizeof numbers / sizeof numbers[0]))];
    bool big = below(4) == 0;
    for (int64_t i = 0; i < bytes; i++)
        current[at + (big ? bytes - 1 - i : i)] = (uint8_t)(value >> (8 * i));
}

/* A piece of some input over, or into, this one. */
static void piece_put(void)
{
    const input *from = &corpus[below(corpus_count)];
    if (!from->size)
        return;
    int64_t first = below(from->size), longest = from->size - first;
    int64_t count = 1 + below(longest < 64 ? longest : 64), at = below(current_size + 1);
    if (below(2))
        count = room_make(at, count);
    else if (count > current_size - at)
        count = current_size - at;
    memcpy(current + at, from->data + first, (size_t)count);
}

static void digits_put(void)
{
    static const char *const texts[] = {
        "-1",  "0",    "255",     "256", "1e400", "9223372036854775808",
        "nan", "null", "true",    "[]",  "{}",    "\"\"",
        "1.5", "[[[[", "\\u0000", ","};
    const char *text = texts[below((int64_t)(sizeof texts / sizeof texts[0]))];
    int64_t at = below(current_size + 1);
    int64_t count = room_make(at, (int64_t)strlen(text));
    memcpy(current + at, text, (size_t)count);
}

static void mutate(void)
{
    int64_t at = current_size ? below(current_size) : 0, count;
    switch (below(9)) {
    case 0:
        if (current_size)
            current[at] ^= (uint8_t)(1 << below(8));
        break;
    case 1:
        if (current_size)
            current[at] = (uint8_t)below(256);
        break;
    case 2:
        if (current_size)
            current[at] = (uint8_t)(current[at] + below(33) - 16);
        break;
    case 3:
    case 4:
        number_put();
        break;
    case 5:
    case 6:
        piece_put();
        break;
    case 7:
        if (current_size) { /* cut out, now and then all to the end */
            count = below(8) ? 1 + below(16) : current_size;
            if (count > current_size - at)
                count = current_size - at;
            memmove(current + at, current + at + count, (size_t)(current_size - at - count));
            current_size -= count;
        }
        break;
    default:
        digits_put();
    }
}

static void seed_load(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "%s: cannot open\n", path);
        exit(2);
    }
    current_size = (int64_t)fread(current, 1, INPUT_MAX, file);
    fclose(file);
    run_current();
    corpus_add();
}

static int name_compare(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void seeds_load(const char *path)
{
    struct dirent **entries;
    char name[4096];
    int count = scandir(path, &entries, NULL, name_compare);
    if (count < 0) {
        seed_load(path);
        return;
    }
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
            seed_load(name);
        }
        free(entries[i]);
    }
    free(entries);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int count, char **arguments)
{
    double seconds = 3, start = seconds_now();
    int64_t runs_most = INT64_MAX, runs = 0, edges_hit = 0;
    for (int i = 1; i < count; i++) {
        if (strncmp(arguments[i], "-seconds=", 9) == 0)
            seconds = atof(arguments[i] + 9);
        else if (strncmp(arguments[i], "-runs=", 6) == 0)
            runs_most = atoll(arguments[i] + 6);
        else if (strncmp(arguments[i], "-seed=", 6) == 0)
            draw.seed = (uint64_t)atoll(arguments[i] + 6);
        else if (strncmp(arguments[i], "-crash=", 7) == 0)
            crash_path = arguments[i] + 7;
    }
    __sanitizer_set_death_callback(crash_save);
    for (int i = 1; i < count; i++)
        if (arguments[i][0] != '-')
            seeds_load(arguments[i]);
    if (!corpus_count)
        corpus_add();
    while (runs < runs_most && seconds_now() - start < seconds) {
        const input *parent = &corpus[below(corpus_count)];
        memcpy(current, parent->data, (size_t)parent->size);
        current_size = parent->size;
        for (int64_t steps = (int64_t)1 << below(5); steps > 0; steps--)
            mutate();
        if (run_current())
            corpus_add();
        runs++;
    }
    for (int i = 0; i < EDGE_COUNT; i++)
        edges_hit += seen[i] != 0;
    printf("%lld runs in %.1f s, %lld edges, %lld inputs kept, no failure\n", (long long)runs,
           seconds_now() - start, (long long)edges_hit, (long long)corpus_count);
    return 0;
}
