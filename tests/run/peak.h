/* What the system says of the memory of work done in a process of its own. */
#ifndef RVX_TEST_PEAK_H
#define RVX_TEST_PEAK_H

#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `work` in a process of its own; returns the most memory that it ever held, or -1. */
static inline int64_t peak_of(int (*work)(const char *folder), const char *folder)
{
    struct rusage usage;
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(work(folder));
    if (child < 0 || wait4(child, &status, 0, &usage) != child || status != 0)
        return -1;
    return (int64_t)usage.ru_maxrss * 1024;
}

#endif
