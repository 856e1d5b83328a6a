/* Options that shape a plan, shared by `plan` and `train`. */
#ifndef RVX_CLI_PLAN_OPTIONS_H
#define RVX_CLI_PLAN_OPTIONS_H

#include "bindings/cli/cli.h"

typedef struct rvx_cli_plan {
    const char *network, *memory, *storage, *streams, *augmentation;
    int64_t patch[3]; /* -1: whole */
    rvx_cli_list widths;
    int64_t steps, fold, seed, budget_bytes, grid_log2;
    double minutes;
} rvx_cli_plan;

enum { RVX_CLI_FOLD_EACH = -2 }; /* what --fold all gives */

/* The settings borrow from `plan`. */
void rvx__cli_plan_settings(rvx_plan_settings *settings, const rvx_cli_plan *plan);

#endif
