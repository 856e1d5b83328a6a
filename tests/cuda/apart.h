/* Runs of the emulation in a process of their own, under several seeds: what a planted bug does
 * there stops nobody else. Owns nothing. Such runs come before any launch of the test itself: a
 * child must be the one that reads the seed. */
#ifndef RVX_TEST_APART_H
#define RVX_TEST_APART_H

#include "tests/tap.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

namespace
{
enum Verdict { RIGHT, WRONG, OTHER }; /* what a run returns */

struct Result {
    bool stopped; /* by abort() or at a page that cannot be touched */
    int verdict;
    char message[512]; /* from "simt:" on: a sanitizer may have spoken before */
};

Result run_apart(int (*run)(), int seed)
{
    Result result = {};
    int ends[2];
    char text[16];
    snprintf(text, sizeof text, "%d", seed);
    fflush(stdout);
    if (pipe(ends) != 0)
        abort();
    pid_t child = fork();
    if (child == 0) {
        setenv("RVX_EMULATE_SEED", text, 1);
        dup2(ends[1], STDERR_FILENO);
        _exit(run());
    }
    close(ends[1]);
    char said[4096] = "";
    for (size_t used = 0; used < sizeof said - 1;) {
        const ssize_t got = read(ends[0], said + used, sizeof said - 1 - used);
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    close(ends[0]);
    const char *message = strstr(said, "simt:");
    snprintf(result.message, sizeof result.message, "%.*s",
             (int)(message ? strcspn(message, "\n") : 0), message ? message : "");
    int status = 0;
    waitpid(child, &status, 0);
    result.stopped = WIFSIGNALED(status);
    result.verdict = WIFEXITED(status) ? WEXITSTATUS(status) : WRONG;
    return result;
}

enum { SEEDS = 12 };

/* `found`: under how many seeds at least. */
void expect(int (*run)(), const char *what, int found_at_least, const char *message)
{
    int found = 0;
    char said[512] = "a wrong result";
    for (int seed = 0; seed < SEEDS; seed++) {
        const Result r = run_apart(run, seed);
        const bool fits = message ? r.stopped && strstr(r.message, message) : r.verdict == WRONG;
        found += fits;
        if (r.message[0])
            memcpy(said, r.message, sizeof said);
    }
    tap_ok(found >= found_at_least, "%s: found under %d of %d seeds: %s", what, found, SEEDS, said);
}
} // namespace

#endif
