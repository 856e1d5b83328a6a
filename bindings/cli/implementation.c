/* Options about who does convolutions on a GPU: see implementation.h. */
#include "bindings/cli/implementation.h"

#include <stdio.h>
#include <stdlib.h>

/* Relative paths in XDG_CACHE_HOME do not count, says the specification of base directories. */
static void find_cache(char *folder, size_t bytes)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length = 0;
    if (cache && cache[0] == '/')
        length = snprintf(folder, bytes, "%s/revoxel", cache);
    else if (home && home[0] == '/')
        length = snprintf(folder, bytes, "%s/.cache/revoxel", home);
    if (length <= 0 || (size_t)length >= bytes)
        folder[0] = 0;
}

static void print_line(void *context, const char *text)
{
    (void)context;
    fprintf(stderr, "%s\n", text);
}

void rvx__cli_implementation(rvx_implementation_options *options, rvx_cli_implementation *given)
{
    *options = RVX_OPTIONS(rvx_implementation_options);
    find_cache(given->cache_folder, sizeof given->cache_folder);
    options->choose = given->choose;
    options->cache_folder = given->cache_folder[0] ? given->cache_folder : NULL;
    options->workspace_bytes = given->workspace_bytes;
    options->list = given->list;
    options->notice = print_line;
}
