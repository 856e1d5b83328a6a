/* Who holds the memory at the step that needs most. Owns: the names under which people see tensors.
 * Invariant: what rvx__plan_live lists adds up to the arena. */
#include "engine/plan/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool alive(const rvx_plan *plan, int32_t buffer)
{
    const rvx_buffer *b = &plan->buffers[buffer];
    return b->parent < 0 && !b->persistent && b->bytes > 0 && b->first_step <= plan->peak_step &&
           plan->peak_step <= b->last_step;
}

/* The name of the first node with a name that reads the value. */
static const char *reader(const rvx_plan *plan, int32_t value)
{
    for (int32_t n = 0; n < plan->graph->node_count; n++)
        for (int i = 0; i < plan->graph->nodes[n].in_count; i++)
            if (plan->graph->nodes[n].in[i] == value && plan->graph->nodes[n].name[0])
                return plan->graph->nodes[n].name;
    return "";
}

/* The nearest node with a name that the value comes from. */
static const char *origin(const rvx_plan *plan, int32_t value)
{
    while (value >= 0) {
        const rvx_value_info *info = &plan->graph->values[value];
        if (info->name[0])
            return info->name;
        value = info->node < 0 ? -1 : plan->graph->nodes[info->node].in[0];
    }
    return "";
}

/* "enc0/unit1/conv conv (gradient)"; what was made outside of all scopes goes by its reader, or by
 * where it comes from. */
static void label_instance(const rvx_plan *plan, const rvx_instance *instance, char *text,
                           size_t text_bytes)
{
    const rvx_value_info *info = &plan->graph->values[instance->value];
    const char *op = info->node >= 0 ? plan->graph->nodes[info->node].op->name : "";
    const char *gradient = instance->gradient ? " (gradient)" : "";
    const char *by = info->name[0] ? "" : reader(plan, instance->value);
    const char *word = by[0] ? " for " : " of ";
    if (!by[0])
        by = origin(plan, instance->value);
    if (info->name[0])
        snprintf(text, text_bytes, "%s%s%s%s", info->name, op[0] ? " " : "", op, gradient);
    else
        snprintf(text, text_bytes, "%s%s%s%s", op, by[0] ? word : "", by, gradient);
}

/* The value that lives in the buffer at the peak, the first of several. */
static void label_buffer(const rvx_plan *plan, int32_t buffer, char *text, size_t text_bytes)
{
    for (int32_t i = 0; i < plan->instance_count; i++) {
        const rvx_instance *instance = &plan->instances[i];
        int64_t channel = 0;
        if (instance->buffer < 0 || instance->first_step > plan->peak_step ||
            instance->last_step < plan->peak_step)
            continue;
        int32_t root = rvx__plan_root(plan, instance->buffer, &channel);
        if (rvx__plan_memory(plan, root) != buffer)
            continue;
        label_instance(plan, instance, text, text_bytes);
        return;
    }
    const rvx_step *step = &plan->steps[plan->peak_step];
    snprintf(text, text_bytes, "scratch of %s%s%s", plan->graph->nodes[step->node].name,
             step->op ? " " : "", step->op ? step->op->name : "");
}

static int compare_live(const void *a, const void *b)
{
    const rvx_live *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return strcmp(x->name, y->name);
}

static void add(rvx_live *list, int32_t *count, const char *name, int64_t bytes)
{
    if (bytes <= 0)
        return;
    snprintf(list[*count].name, sizeof list->name, "%s", name);
    list[(*count)++].bytes = bytes;
}

/* Parameters and what belongs to them as blocks, inputs by name, constants together. */
static void add_persistent(rvx_live *list, int32_t *count, const rvx_plan *plan)
{
    int64_t constants = 0, training = plan->options.loss_count > 0;
    add(list, count, "parameters", plan->parameter_bytes);
    add(list, count, "gradients of the parameters", training * plan->parameter_bytes);
    add(list, count, "optimiser", training * plan->options.optimizer_slots * plan->parameter_bytes);
    add(list, count, "sums and counters", plan->control_bytes);
    for (int32_t i = 0; i < plan->instance_count; i++) {
        const rvx_instance *instance = &plan->instances[i];
        if (!instance->persistent)
            continue;
        const rvx_value_info *info = &plan->graph->values[instance->value];
        int64_t bytes = plan->buffers[instance->buffer].bytes;
        if (info->kind == RVX_VALUE_INPUT)
            add(list, count, info->name, bytes);
        else if (info->kind != RVX_VALUE_PARAMETER)
            constants += bytes;
    }
    add(list, count, "constants", constants);
}

rvx_status rvx__plan_live(rvx_live **out, int32_t *count, const rvx_plan *plan, rvx_error *error)
{
    *count = 0;
    rvx_live *list = *out =
        malloc((size_t)(plan->buffer_count + plan->instance_count + 6) * sizeof *list);
    if (!list)
        return rvx__fail(error, RVX_ERROR_MEMORY, "plan: out of memory");
    add_persistent(list, count, plan);
    for (int32_t b = 0; b < plan->buffer_count; b++) {
        if (!alive(plan, b))
            continue;
        char name[sizeof list->name];
        label_buffer(plan, b, name, sizeof name);
        add(list, count, name, plan->buffers[b].bytes);
    }
    qsort(list, (size_t)*count, sizeof *list, compare_live);
    int64_t gaps = plan->arena_bytes;
    for (int32_t i = 0; i < *count; i++)
        gaps -= list[i].bytes;
    add(list, count, "gaps between tensors", gaps);
    return RVX_OK;
}

void rvx__plan_describe_peak(const rvx_plan *plan, char *text, int64_t text_bytes, int lines)
{
    int64_t used = 0, below = INT64_MAX;
    int32_t last = -1;
    text[0] = 0;
    for (int line = 0; line < lines; line++) {
        int32_t best = -1; /* the largest after the one printed last, in (bytes, index) order */
        for (int32_t b = 0; b < plan->buffer_count; b++) {
            const rvx_buffer *buffer = &plan->buffers[b];
            if (!alive(plan, b) || buffer->bytes > below || (buffer->bytes == below && b <= last))
                continue;
            if (best < 0 || buffer->bytes > plan->buffers[best].bytes)
                best = b;
        }
        if (best < 0)
            break;
        char label[160];
        label_buffer(plan, best, label, sizeof label);
        int wrote = snprintf(text + used, (size_t)(text_bytes - used), "%10.1f MiB  %s\n",
                             (double)plan->buffers[best].bytes / 1048576.0, label);
        if (wrote < 0 || wrote >= text_bytes - used)
            break;
        used += wrote;
        below = plan->buffers[best].bytes;
        last = best;
    }
}
