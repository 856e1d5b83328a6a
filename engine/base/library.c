/* Loading libraries at run time: see library.h. */
#include "engine/base/library.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The folder of the shared library or the program that this code is part of. */
static bool own_folder(char folder[PATH_MAX])
{
    Dl_info info;
    static const char here;
    bool shared = dladdr(&here, &info) && info.dli_fname && strstr(info.dli_fname, ".so");
    if (!shared || !realpath(info.dli_fname, folder)) {
        ssize_t length = readlink("/proc/self/exe", folder, PATH_MAX - 1);
        if (length <= 0)
            return false;
        folder[length] = 0;
    }
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
    return slash != NULL;
}

static rvx_status find(char path[PATH_MAX], const rvx_library_request *r, rvx_error *error)
{
    char folder[PATH_MAX];
    if (r->given) {
        if (snprintf(path, PATH_MAX, "%s%s", strchr(r->given, '/') ? "" : "./", r->given) <
                PATH_MAX &&
            access(path, R_OK) == 0)
            return RVX_OK;
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "%s: cannot read %s %s", r->name, r->what,
                         r->given);
    }
    if (own_folder(folder) && snprintf(path, PATH_MAX, "%s/%s", folder, r->file) < PATH_MAX &&
        access(path, R_OK) == 0)
        return RVX_OK;
    return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "%s: there is no %s beside the program; %s",
                     r->name, r->file, r->advice);
}

rvx_status rvx__library_open(const void **interface, const rvx_library_request *r, unsigned version,
                             rvx_error *error)
{
    char path[PATH_MAX];
    const void *(*entry)(void) = NULL;
    *interface = NULL;
    rvx_status status = find(path, r, error);
    if (status != RVX_OK)
        return status;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "%s: %s", r->name, dlerror());
    *(void **)&entry = dlsym(library, r->symbol);
    const void *found = entry ? entry() : NULL;
    dlclose(library);
    if (!found)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "%s: %s is not %s", r->name, path, r->what);
    const uint32_t has = *(const uint32_t *)found;
    if (has != version)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: %s has interface %u, this library needs %u: build both from one "
                         "version",
                         r->name, path, has, version);
    *interface = found;
    return RVX_OK;
}
