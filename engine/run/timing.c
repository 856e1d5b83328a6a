/* Where the time of a training goes: see timing.h. */
#include "engine/run/timing.h"

#include "engine/base/file.h"
#include "engine/base/json.h"

double rvx__timing_wait_share(const rvx_timing *timing)
{
    return timing->step_seconds > 0 ? timing->wait_seconds / timing->step_seconds : 0;
}

rvx_status rvx__timing_save(const rvx_timing *timing, const char *run, rvx_error *error)
{
    char path[RVX_PATH_BYTES];
    rvx_status status = rvx__path_join(path, run, "timing.json", error);
    if (status != RVX_OK)
        return status;
    double steps = timing->steps > 0 ? (double)timing->steps : 1;
    json_t *root =
        json_pack("{sI sf sf sf}", "steps", (json_int_t)timing->steps, "seconds_per_step",
                  timing->step_seconds / steps, "loader_wait_seconds", timing->wait_seconds,
                  "loader_wait_share", rvx__timing_wait_share(timing));
    if (!root)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory", path);
    status = rvx__json_save(root, path, error);
    json_decref(root);
    return status;
}

void rvx__timing_load(rvx_timing *timing, const char *run)
{
    enum { BYTES_MAX = 1 << 16 };
    static const char *const keys[] = {"steps", "seconds_per_step", "loader_wait_seconds",
                                       "loader_wait_share", NULL};
    char path[RVX_PATH_BYTES];
    rvx_error ignored;
    json_t *root = NULL;
    double per_step = 0;
    *timing = (rvx_timing){0};
    if (rvx__path_join(path, run, "timing.json", &ignored) != RVX_OK ||
        rvx__json_load(&root, path, BYTES_MAX, &ignored) != RVX_OK)
        return;
    rvx_json json = rvx__json_root(root, path);
    rvx_json members[3];
    for (int i = 0; i < 3; i++)
        members[i] = rvx__json_member(&json, keys[i]);
    if (rvx__json_object(&json, keys, &ignored) != RVX_OK ||
        rvx__json_integer(&timing->steps, &members[0], 0, INT64_MAX, &ignored) != RVX_OK ||
        rvx__json_number(&per_step, &members[1], 0, 1e12, &ignored) != RVX_OK ||
        rvx__json_number(&timing->wait_seconds, &members[2], 0, 1e12, &ignored) != RVX_OK)
        *timing = (rvx_timing){0};
    timing->step_seconds = per_step * (double)timing->steps;
    json_decref(root);
}
