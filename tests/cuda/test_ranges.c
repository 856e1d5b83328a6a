/* The timeline of a run, as Nsight shows it: a range for each call, with phase (forward, rebuild,
 * backward), layer and op, in the order of the plan; one for a recording that is played and for the
 * optimiser. Before, that ranges of librevoxel_cuda.so, where it is built, reach NVTX: that takes a
 * tool (nvtx_tool.c) and no GPU. */
#include "engine/run/optimizer.h"
#include "engine/run/session_state.h"
#include "models/models.h"
#include "tests/cuda/session.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { RANGES_MAX = 4096, RANGE_BYTES = 200 };

/* ---- what is said ------------------------------------------------------------------------------
 */

static char said[RANGES_MAX][RANGE_BYTES];
static int said_count, depth, deepest, unbalanced;

static void note_push(const char *name)
{
    if (said_count < RANGES_MAX)
        snprintf(said[said_count++], RANGE_BYTES, "%s", name);
    if (++depth > deepest)
        deepest = depth;
}

static void note_pop(void)
{
    if (--depth < 0)
        unbalanced++;
}

static void forget(void) { said_count = depth = deepest = unbalanced = 0; }

/* Whether ranges were closed, one after the other. */
static bool closed(void) { return depth == 0 && deepest == 1 && unbalanced == 0; }

static int with_phase(const char *phase)
{
    int count = 0;
    for (int i = 0; i < said_count; i++)
        count += strncmp(said[i], phase, strlen(phase)) == 0 && said[i][strlen(phase)] == ' ';
    return count;
}

/* ---- sessions ----------------------------------------------------------------------------------
 */

/* "PHASE LAYER OP" of every step that is a call of an op, from the plan alone. */
static bool as_planned(const rvx_plan *plan)
{
    int at = 0;
    for (int32_t s = 0; s < plan->step_count; s++) {
        const rvx_step *step = &plan->steps[s];
        char want[RANGE_BYTES];
        const char *phase = s < plan->forward_step_count ? "forward"
                            : step->rebuild              ? "rebuild"
                                                         : "backward";
        if (step->kind != RVX_STEP_KERNEL)
            continue;
        snprintf(want, sizeof want, "%s %s %s", phase, plan->graph->nodes[step->node].name,
                 step->op->name);
        while (at < said_count && strcmp(said[at], want) != 0)
            at++;
        if (at++ == said_count) {
            printf("# not said, or too early: %s\n", want);
            return false;
        }
    }
    return true;
}

static bool said_exactly(const char *what)
{
    for (int i = 0; i < said_count; i++)
        if (strcmp(said[i], what) == 0)
            return true;
    return false;
}

static void check_policy(const rvx_graph *graph, rvx_plan_options options, rvx_policy policy)
{
    const char *name = rvx__policy_names[policy];
    rvx_error error = {0};
    placed p;
    double norm;
    const rvx_optimizer sgd = {.name = RVX_OPTIMIZER_SGD, .learning_rate = 0.01, .total_steps = 1};
    options.policy = policy;
    if (!tap_ok(placed_make(&p, graph, options, 3, &error), "%s: a session %s", name,
                error.message)) {
        placed_free(&p);
        return;
    }
    forget();
    const bool ran = rvx__session_run(p.session, NULL, NULL, &error) == RVX_OK;
    tap_ok(ran && closed(), "%s: a run of %d ranges, each closed before the next", name,
           said_count);
    tap_ok(said_count == p.session->call_count && as_planned(p.plan),
           "%s: one for each call, with phase, layer and op, in the order of the plan", name);
    tap_ok(with_phase("forward") > 0 && with_phase("backward") > 0 &&
               (with_phase("rebuild") > 0) == (policy != RVX_POLICY_STORE) &&
               with_phase("forward") + with_phase("backward") + with_phase("rebuild") == said_count,
           "%s: %d forward, %d rebuild, %d backward", name, with_phase("forward"),
           with_phase("rebuild"), with_phase("backward"));
    for (int run = 0; run < 2; run++) {
        forget();
        rvx__session_run(p.session, NULL, NULL, &error);
    }
    tap_ok(closed() && said_count <= RVX__PART_COUNT && said_exactly("forward") &&
               said_exactly("backward"),
           "%s: recordings that are played have a range each", name);
    forget();
    tap_ok(rvx__optimizer_step(&norm, &sgd, p.session, 0, &error) == RVX_OK && closed() &&
               said_exactly("optimiser"),
           "%s: and so has the optimiser", name);
    placed_free(&p);
}

static void check_session(void)
{
    rvx_graph *graph = rvx__graph_create();
    const rvx_model *model = rvx__model_find("revunet3d");
    rvx_model_config config = model->defaults;
    rvx_value logits[RVX_STAGES_MAX];
    rvx_plan_options options = {.threads = 1, .loss_count = 1, .output_count = 1};
    rvx_cuda noting = *session_device->cuda;
    config.in_channels = 1;
    config.classes = 3;
    config.stage_count = 2;
    config.widths[0] = 8;
    config.widths[1] = 16;
    config.deep_supervision = false;
    rvx__graph_set_streams(graph, RVX_I16, 10);
    rvx_value image = rvx__input(graph, "image", (rvx_shape){1, 4, 8, 8, 1}, RVX_F32);
    const int count = model->build(graph, image, &config, logits);
    options.losses[0] = options.outputs[0] =
        rvx__supervise(graph, logits, count,
                       (rvx_loss){.ignore_label = -1, .weight = 1, .smooth = 1e-5f})
            .losses[0];
    options.isa = RVX_ISA_CUDA;
    options.optimizer_slots = 1;
    const rvx_cuda *original = session_device->cuda;
    noting.range_push = note_push;
    noting.range_pop = note_pop;
    session_device->cuda = &noting;
    check_policy(graph, options, RVX_POLICY_STORE);
    check_policy(graph, options, RVX_POLICY_CHECKPOINT);
    check_policy(graph, options, RVX_POLICY_REVERSIBLE);
    session_device->cuda = original;
    rvx__graph_free(graph);
}

/* ---- NVTX --------------------------------------------------------------------------------------
 */

/* NVTX reads the name of its tool once, when its first function is called. The tool is built beside
 * this program. */
static bool tool_load(void)
{
    char path[4096];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    char *name = length > 0 ? memrchr(path, '/', (size_t)length) : NULL;
    if (!name || name + sizeof "/nvtx_tool.so" > path + sizeof path)
        return false;
    memcpy(name, "/nvtx_tool.so", sizeof "/nvtx_tool.so");
    void *tool = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void (**push_at)(const char *) = tool ? dlsym(tool, "nvtx_tool_push") : NULL;
    void (**pop_at)(void) = tool ? dlsym(tool, "nvtx_tool_pop") : NULL;
    if (!push_at || !pop_at)
        return false;
    *push_at = note_push;
    *pop_at = note_pop;
    setenv("NVTX_INJECTION64_PATH", path, 1);
    return true;
}

/* Beside the emulation. */
static const rvx_cuda *plugin_load(void)
{
    char path[4096];
    const char *given = session_library(), *emulated = strstr(given, "_emulated.so");
    const int length = emulated ? (int)(emulated - given) : (int)strlen(given);
    snprintf(path, sizeof path, "%.*s%s", length, given, emulated ? ".so" : "");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    rvx_cuda_entry entry = NULL;
    if (library)
        *(void **)&entry = dlsym(library, RVX_CUDA_SYMBOL);
    return entry ? entry() : NULL;
}

static void check_nvtx(void)
{
    const rvx_cuda *cuda = !getenv("NVTX_INJECTION64_PATH") && tool_load() ? plugin_load() : NULL;
    if (!cuda || cuda->interface != RVX_CUDA_INTERFACE) {
        tap_ok(1, "# skip librevoxel_cuda.so is not built here, or another tool listens");
        return;
    }
    forget();
    cuda->range_push("forward enc0/unit1/conv conv");
    cuda->range_push("within");
    cuda->range_pop();
    cuda->range_pop();
    tap_ok(said_count == 2 && strcmp(said[0], "forward enc0/unit1/conv conv") == 0 &&
               strcmp(said[1], "within") == 0 && depth == 0 && deepest == 2 && unbalanced == 0,
           "ranges of librevoxel_cuda.so reach a tool of NVTX: %d, \"%s\"", said_count, said[0]);
    unsetenv("NVTX_INJECTION64_PATH");
}

int main(void)
{
    check_nvtx();
    if (!session_device_open())
        return tap_done();
    check_session();
    rvx__device_close(session_device);
    return tap_done();
}
