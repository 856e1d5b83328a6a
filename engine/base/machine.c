/* What this machine has: see machine.h. */
#include "engine/base/machine.h"

#include <stdio.h>
#include <unistd.h>

/* The number in a file of one line; INT64_MAX where there is none ("max"). */
static int64_t limit_in(const char *path)
{
    long long limit = INT64_MAX;
    FILE *file = fopen(path, "r");
    if (!file)
        return INT64_MAX;
    if (fscanf(file, "%lld", &limit) != 1 || limit <= 0)
        limit = INT64_MAX;
    fclose(file);
    return limit;
}

int64_t rvx__machine_memory(void)
{
    int64_t installed = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    int64_t v2 = limit_in("/sys/fs/cgroup/memory.max");
    int64_t v1 = limit_in("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    int64_t least = v1 < v2 ? v1 : v2;
    return least < installed ? least : installed;
}
