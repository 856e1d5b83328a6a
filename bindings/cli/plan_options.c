/* Options that shape a plan: see plan_options.h. */
#include "bindings/cli/plan_options.h"

void rvx__cli_plan_settings(rvx_plan_settings *settings, const rvx_cli_plan *plan)
{
    *settings = RVX_OPTIONS(rvx_plan_settings);
    settings->network = plan->network;
    settings->patch_whole = plan->patch[0] < 0;
    for (int axis = 0; axis < 3; axis++)
        settings->patch[axis] = plan->patch[0] < 0 ? 0 : plan->patch[axis];
    settings->widths = plan->widths.values;
    settings->width_count = plan->widths.count;
    settings->steps = plan->steps;
    settings->minutes = plan->minutes;
    settings->fold = (int)plan->fold;
    settings->seed = (uint64_t)plan->seed;
    settings->budget_bytes = plan->budget_bytes;
    settings->memory = plan->memory;
    settings->storage = plan->storage;
    settings->streams = plan->streams;
    settings->augmentation = plan->augmentation;
    settings->grid_log2 = (int)plan->grid_log2;
}
