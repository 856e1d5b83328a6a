/* The passes in order, and what a plan can say about itself: see plan.h. */
#include "engine/plan/plan.h"
#include "kernels/norm_conv.h"

#include <stdlib.h>
#include <string.h>

static rvx_graph *copy_graph(const rvx_graph *graph)
{
    rvx_graph *copy = calloc(1, sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *graph;
    copy->value_capacity = graph->value_count + 1;
    copy->node_capacity = graph->node_count + 1;
    copy->values = malloc((size_t)copy->value_capacity * sizeof *copy->values);
    copy->nodes = malloc((size_t)copy->node_capacity * sizeof *copy->nodes);
    if (!copy->values || !copy->nodes) {
        rvx__graph_free(copy);
        return NULL;
    }
    memcpy(copy->values, graph->values, (size_t)graph->value_count * sizeof *graph->values);
    memcpy(copy->nodes, graph->nodes, (size_t)graph->node_count * sizeof *graph->nodes);
    return copy;
}

static void need(bool *needed, const rvx_graph *graph, int32_t value)
{
    if (value >= 0 && graph->values[value].node >= 0)
        needed[graph->values[value].node] = true;
}

/* Marks the nodes that the outputs and losses depend on. */
static rvx_status mark_needed(rvx_plan *plan, rvx_error *error)
{
    const rvx_graph *graph = plan->graph;
    free(plan->needed);
    plan->needed = calloc((size_t)graph->node_count + 1, sizeof *plan->needed);
    if (!plan->needed)
        return rvx__fail(error, RVX_ERROR_MEMORY, "plan: out of memory");
    for (int i = 0; i < plan->options.output_count; i++)
        need(plan->needed, graph, plan->options.outputs[i].index);
    for (int i = 0; i < plan->options.loss_count; i++)
        need(plan->needed, graph, plan->options.losses[i].index);
    for (int32_t n = graph->node_count - 1; n >= 0; n--) {
        if (!plan->needed[n])
            continue;
        for (int i = 0; i < graph->nodes[n].in_count; i++)
            need(plan->needed, graph, graph->nodes[n].in[i]);
        if (plan->load) {
            need(plan->needed, graph, plan->load[n]);
            need(plan->needed, graph, plan->fold[n]);
        }
    }
    return RVX_OK;
}

/* Does one of the instances hold values of that type? */
static bool any_of_type(const rvx_plan *plan, const int32_t *instances, int count, rvx_dtype dtype)
{
    for (int i = 0; i < count; i++)
        if (instances[i] >= 0 && plan->instances[instances[i]].dtype == dtype)
            return true;
    return false;
}

static bool touches(const rvx_plan *plan, const rvx_step *step, rvx_dtype dtype)
{
    return any_of_type(plan, step->in, RVX_IN_MAX, dtype) ||
           any_of_type(plan, step->out, RVX_OUT_MAX, dtype) ||
           any_of_type(plan, step->grad_in, RVX_IN_MAX, dtype) ||
           any_of_type(plan, step->grad_out, RVX_OUT_MAX, dtype);
}

static rvx_status check_storage(const rvx_plan *plan, const rvx_step *step, const rvx_op *op,
                                rvx_error *error)
{
    const char *name = plan->graph->nodes[step->node].name;
    if (touches(plan, step, RVX_BF16) && !(op->flags & RVX_OP_BF16))
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "plan: op '%s' of '%s' does not take bf16 tensors; set "
                         "memory.storage to \"f32\"",
                         op->name, name);
    if (touches(plan, step, RVX_I16) && !(op->flags & RVX_OP_I16))
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "plan: op '%s' of '%s' does not take 16-bit integer streams; set "
                         "memory.streams to \"f32\"",
                         op->name, name);
    return RVX_OK;
}

static const char *const phase_names[RVX_PHASE_COUNT] = {"forward", "gradient of the parameters",
                                                         "gradient of the data", "inverse"};

/* The best kernel that this instruction set has; a GPU's stand in a library of their own, which is
 * not asked here: the row tells. An op without one is refused now, not at run time. */
static rvx_status choose_kernel(const rvx_plan *plan, rvx_step *step, const rvx_op *op,
                                rvx_phase phase, rvx_error *error)
{
    bool cuda = plan->options.isa == RVX_ISA_CUDA;
    for (int isa = (int)plan->options.isa; !cuda && isa >= 0 && !step->kernel; isa--)
        step->kernel = op->cpu[phase][isa];
    if (cuda ? (op->cuda & RVX_CUDA_HAS(phase)) != 0 : step->kernel != NULL)
        return RVX_OK;
    return rvx__fail(
        error, RVX_ERROR_UNSUPPORTED, "plan: op '%s' of '%s' has no %s kernel for its %s phase",
        op->name, plan->graph->nodes[step->node].name, cuda ? "CUDA" : "CPU", phase_names[phase]);
}

/* Calls that a library may do (kernels/cuda/prepared.cu) get the workspace, or what our own kernels
 * take where that is more; an inverse gets what its forward pass has, for it takes the same one. A
 * gradient of norm_conv's data gets it behind what it keeps for a slab. */
static int64_t cuda_scratch_bytes(const rvx_plan *plan, rvx_phase phase, const rvx_op *op,
                                  const rvx_shape *in, const rvx_shape *out,
                                  const rvx_op_params *params)
{
    int64_t workspace = plan->options.workspace_bytes;
    int64_t own = op->cuda_scratch ? op->cuda_scratch(phase, in, out, params) : 0;
    const bool branch = op == &rvx__op_norm_conv;
    const bool library = op == &rvx__op_conv || op == &rvx__op_conv_transpose || branch;
    if (!library || workspace == 0)
        return own;
    if (phase == RVX_INVERSE) {
        const int64_t forward = op->cuda_scratch(RVX_FORWARD, in, out, params);
        own = own > forward ? own : forward;
    }
    if (branch && phase == RVX_BACKWARD_DATA)
        workspace += rvx__slab_cuda_of(in[RVX_NORM_CONV_X], params).conv;
    return workspace > own ? workspace : own;
}

static int64_t scratch_bytes(const rvx_plan *plan, const rvx_step *step, const rvx_op *op,
                             const rvx_shape *in, const rvx_shape *out)
{
    if (plan->options.isa == RVX_ISA_CUDA)
        return cuda_scratch_bytes(plan, step->phase, op, in, out, step->params);
    return op->scratch ? op->scratch(step->phase, in, out, step->params, plan->options.threads) : 0;
}

static rvx_status choose_kernels(rvx_plan *plan, rvx_error *error)
{
    for (int32_t s = 0; s < plan->step_count; s++) {
        rvx_step *step = &plan->steps[s];
        if (step->kind == RVX_STEP_ZERO)
            continue;
        const rvx_op *op = step->kind == RVX_STEP_GATHER ? &rvx__op_concat : step->op;
        rvx_phase phase = step->kind == RVX_STEP_GATHER ? RVX_FORWARD : step->phase;
        rvx_status status = check_storage(plan, step, op, error);
        if (status != RVX_OK)
            return status;
        status = choose_kernel(plan, step, op, phase, error);
        if (status != RVX_OK)
            return status;
        if (step->kind == RVX_STEP_GATHER)
            continue;
        rvx_shape in[RVX_IN_MAX] = {{0}}, out[RVX_OUT_MAX] = {{0}};
        const rvx_node *node = &plan->graph->nodes[step->node];
        if (node->op == op) {
            rvx__node_shapes(plan->graph, node, in, out);
        } else { /* a copy of gradients, done by the backward of add */
            in[0] = in[1] = out[0] =
                plan->graph->values[plan->instances[step->grad_in[0]].value].shape;
        }
        step->cost = rvx__step_cost(plan, step, in, out);
        step->scratch_bytes = scratch_bytes(plan, step, op, in, out);
    }
    return RVX_OK;
}

/* Refuses a plan that does not fit, with what holds the memory. */
static rvx_status check_budget(const rvx_plan *plan, int64_t budget_bytes, rvx_error *error)
{
    if (budget_bytes <= 0 || plan->arena_bytes <= budget_bytes)
        return RVX_OK;
    char held[512];
    rvx__plan_describe_peak(plan, held, sizeof held, 4);
    return rvx__fail(error, RVX_ERROR_MEMORY,
                     "the plan needs %.2f GiB, the budget is %.2f GiB; largest at the peak:\n%s",
                     (double)plan->arena_bytes / 0x1p30, (double)budget_bytes / 0x1p30, held);
}

rvx_status rvx__plan_create(rvx_plan **plan, const rvx_graph *graph,
                            const rvx_plan_options *options, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_plan *made = NULL;
    *plan = NULL;
    if (options->policy == RVX_POLICY_AUTO) {
        RVX_TRY(rvx__plan_auto(plan, graph, options, error));
        status = check_budget(*plan, options->budget_bytes, error);
        if (status != RVX_OK) {
            rvx__plan_free(*plan);
            *plan = NULL;
        }
        return status;
    }
    made = calloc(1, sizeof *made);
    if (!made || !(made->graph = copy_graph(graph))) {
        free(made);
        return rvx__fail(error, RVX_ERROR_MEMORY, "plan: out of memory");
    }
    made->options = *options;
    for (int32_t n = 0; n < made->graph->node_count; n++)
        made->graph->nodes[n].params.tf32_products = options->tf32;
    made->base_value_count = graph->value_count;
    RVX_TRY(rvx__graph_status(graph, error));
    RVX_TRY(mark_needed(made, error));
    if (!options->plain) {
        rvx__plan_fuse_heads(made);
        RVX_TRY(mark_needed(made, error));
        RVX_TRY(rvx__plan_fuse(made, error));
        RVX_TRY(mark_needed(made, error));
    }
    RVX_TRY(rvx__plan_fold(made, error));
    RVX_TRY(mark_needed(made, error));
    RVX_TRY(rvx__plan_policy(made, error));
    RVX_TRY(rvx__plan_schedule(made, error));
    RVX_TRY(choose_kernels(made, error));
    RVX_TRY(rvx__plan_place(made, error));
    RVX_TRY(rvx__plan_arena(made, error));
    RVX_TRY(check_budget(made, options->budget_bytes, error));
    *plan = made;
    made = NULL;
cleanup:
    rvx__plan_free(made);
    return status;
}

void rvx__plan_free(rvx_plan *plan)
{
    if (!plan)
        return;
    rvx__graph_free(plan->graph);
    free(plan->load);
    free(plan->fold);
    free(plan->logical);
    free(plan->needed);
    free(plan->skip_output);
    free(plan->recovery);
    free(plan->steps);
    free(plan->instances);
    free(plan->buffers);
    free(plan->value_instance);
    free(plan->gradient_instance);
    free(plan->parameter_position);
    free(plan);
}

rvx_tensor rvx__plan_tensor(const rvx_plan *plan, int32_t instance, void *arena)
{
    if (instance < 0 || plan->instances[instance].buffer < 0)
        return (rvx_tensor){0};
    const rvx_value_info *info = &plan->graph->values[plan->instances[instance].value];
    int64_t channel = plan->instances[instance].channel_offset;
    int32_t own = rvx__plan_root(plan, plan->instances[instance].buffer, &channel);
    const rvx_buffer *root = &plan->buffers[own];
    int64_t offset = plan->buffers[rvx__plan_memory(plan, own)].offset + root->memory_offset;
    return (rvx_tensor){.data = (char *)arena + offset + channel * rvx__dtype_bytes(root->dtype),
                        .shape = info->shape,
                        .pitch = root->shape.c,
                        .dtype = plan->instances[instance].dtype,
                        .grid_log2 = info->grid_log2};
}

double rvx__plan_seconds(const rvx_plan *plan)
{
    double seconds = 0;
    for (int32_t s = 0; s < plan->step_count; s++)
        seconds += rvx__cost_seconds(plan->steps[s].cost, plan->options.isa);
    return plan->options.isa == RVX_ISA_CUDA ? seconds : seconds / plan->options.threads;
}

rvx_cost rvx__plan_cost(const rvx_plan *plan, bool rebuild_only)
{
    rvx_cost sum = {0, 0};
    for (int32_t s = 0; s < plan->step_count; s++)
        if (!rebuild_only || plan->steps[s].rebuild) {
            sum.flops += plan->steps[s].cost.flops;
            sum.bytes += plan->steps[s].cost.bytes;
        }
    return sum;
}
