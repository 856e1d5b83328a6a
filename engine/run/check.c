/* See check.h. Rebuilt values are compared within their own run: the bits of a value are hashed
 * when forward has made it and again when backward has rebuilt it (XXH64), since no run keeps them
 * all. Gradients and losses are compared byte by byte. */
#include "engine/run/check.h"
#include "engine/base/checksum.h"
#include "engine/run/checkpoint.h"
#include "engine/run/dropout.h"
#include "engine/run/weights.h"
#include "kernels/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STREAM_IMAGE = 1, STREAM_LABELS = 2, LABEL_BLOCK = 4 };

#define GROWTH_FACTOR 1.05
#define GROWTH_BYTES ((int64_t)64 << 20)

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- what the process holds -------------------------------------------------------------------
 */

/* A line of /proc/self/status such as "VmHWM:", in bytes; 0 where there is none. */
static int64_t status_bytes(const char *name)
{
    char line[128];
    long long kibibytes = 0;
    FILE *file = fopen("/proc/self/status", "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            kibibytes = atoll(line + strlen(name));
    fclose(file);
    return (int64_t)kibibytes * 1024;
}

/* Lets the peak begin anew; what is resident now, or 0 where the peak stays above that and so says
 * nothing of what comes. */
static int64_t peak_restart(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "we");
    if (file) {
        fputs("5", file);
        fclose(file);
    }
    int64_t resident = status_bytes("VmRSS:");
    return status_bytes("VmHWM:") <= resident + ((int64_t)4 << 20) ? resident : 0;
}

/* ---- input ------------------------------------------------------------------------------------
 */

static void fill_image(rvx_tensor image, const rvx_check_input *input)
{
    int64_t count = rvx__shape_count(image.shape), each = count / image.shape.n;
    rvx_random random = {.seed = input->seed, .stream = STREAM_IMAGE};
    for (int64_t i = 0; i < count; i++) {
        float value = input->image ? input->image[i % each] : rvx__random_normal(&random);
        if (image.dtype == RVX_BF16)
            ((uint16_t *)image.data)[i] = rvx__bf16_of(value);
        else
            rvx__f32(&image)[i] = value;
    }
}

/* Blocks of voxels of one class each, drawn at random. */
static void fill_labels(rvx_tensor labels, int index, const rvx_check_input *input)
{
    const rvx_shape s = labels.shape;
    const uint32_t classes = (uint32_t)input->job->config.classes;
    uint8_t *out = labels.data;
    int64_t h = s.h / LABEL_BLOCK + 1, w = s.w / LABEL_BLOCK + 1, d = s.d / LABEL_BLOCK + 1;
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t z = 0; z < s.d; z++)
            for (int64_t y = 0; y < s.h; y++)
                for (int64_t x = 0; x < s.w; x++) {
                    int64_t block = ((n * d + z / LABEL_BLOCK) * h + y / LABEL_BLOCK) * w;
                    rvx_random_block drawn =
                        rvx__philox(input->seed, (uint64_t)(STREAM_LABELS + index),
                                    (uint64_t)(block + x / LABEL_BLOCK));
                    *out++ = (uint8_t)(drawn.word[0] % classes);
                }
}

static rvx_status fill(rvx_session *session, const rvx_train_plan *step,
                       const rvx_check_input *input, rvx_error *error)
{
    static const char *const kinds[] = {RVX_KIND_MODEL, RVX_KIND_CHECKPOINT, NULL};
    rvx_status status = RVX_OK;
    rvx_safetensors *file = NULL;
    rvx__session_initialise(session, input->seed);
    if (input->weights) {
        RVX_TRY(rvx__checkpoint_open(&file, input->weights, kinds, error));
        RVX_TRY(rvx__weights_import(session, file, -1, false, error));
    }
    RVX_TRY(rvx__session_upload(session, error));
    fill_image(rvx__session_tensor(session, step->image), input);
    for (int i = 0; i < step->supervision.count; i++)
        fill_labels(rvx__session_tensor(session, step->supervision.labels[i]), i, input);
    rvx__dropout_training(session, input->seed, 0);
cleanup:
    rvx__safetensors_close(file);
    return status;
}

/* ---- what is rebuilt --------------------------------------------------------------------------
 */

typedef struct watch {
    rvx_check_run *run;
    uint64_t *hash; /* per value, of those that are not kept */
    bool *known;
} watch;

static uint64_t tensor_hash(const rvx_tensor *t)
{
    rvx_hash hash;
    int64_t rows = rvx__shape_voxels(t->shape), element = rvx__dtype_bytes(t->dtype);
    if (t->pitch == t->shape.c)
        return rvx__hash64(t->data, rows * t->shape.c * element);
    rvx__hash_start(&hash);
    for (int64_t row = 0; row < rows; row++)
        rvx__hash_add(&hash, (const char *)t->data + row * t->pitch * element,
                      t->shape.c * element);
    return rvx__hash_value(&hash);
}

static void look(watch *w, const rvx_session *session, int32_t instance, bool rebuilt)
{
    const rvx_plan *plan = rvx__session_plan(session);
    if (instance < 0)
        return;
    int32_t value = plan->instances[instance].value;
    rvx_recovery_method method = plan->recovery[value].method;
    rvx_tensor tensor = rvx__session_instance(session, instance);
    if (method == RVX_RECOVER_KEEP || !tensor.data || plan->instances[instance].gradient)
        return;
    uint64_t hash = tensor_hash(&tensor);
    if (!rebuilt) {
        w->hash[value] = hash;
        w->known[value] = true;
    } else if (w->known[value]) {
        bool equal = hash == w->hash[value], inverted = method == RVX_RECOVER_INVERT;
        *(inverted ? &w->run->streams : &w->run->reruns) += 1;
        *(inverted ? &w->run->streams_equal : &w->run->reruns_equal) += equal;
    }
}

static void observe(void *context, const rvx_session *session, int32_t index)
{
    const rvx_plan *plan = rvx__session_plan(session);
    const rvx_step *step = &plan->steps[index];
    bool forward = index < plan->forward_step_count;
    if (step->kind == RVX_STEP_ZERO || (!forward && !step->rebuild))
        return;
    if (step->kind == RVX_STEP_KERNEL && step->phase == RVX_INVERSE)
        look(context, session, step->in[step->inverse_input], true);
    else
        for (int i = 0; i < RVX_OUT_MAX; i++)
            look(context, session, step->out[i], !forward);
}

/* ---- gradients --------------------------------------------------------------------------------
 */

typedef struct reference {
    rvx_plan *plan;
    rvx_graph *graph;
    char *gradients; /* the block of the first run */
    float losses[RVX_STAGES_MAX];
} reference;

/* Largest difference, by the largest magnitude of the reference. */
static double relative_difference(const float *a, const float *b, int64_t count)
{
    double most = 0, magnitude = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        magnitude = fmax(magnitude, fabs((double)b[i]));
    }
    return magnitude > 0 ? most / magnitude : most;
}

static void compare_gradients(rvx_check_run *run, const rvx_session *session,
                              const reference *expected)
{
    const rvx_graph *graph = expected->plan->graph;
    for (int32_t v = 0; v < graph->value_count; v++) {
        const rvx_value_info *info = &graph->values[v];
        if (info->kind != RVX_VALUE_PARAMETER || expected->plan->gradient_instance[v] < 0)
            continue;
        run->gradients++;
        const rvx_graph *own = rvx__session_plan(session)->graph;
        rvx_tensor got = rvx__session_gradient(session, rvx__graph_find(own, info->name));
        const float *want =
            (const float *)(expected->gradients + expected->plan->parameter_position[v]);
        int64_t count = rvx__shape_count(info->shape);
        if (got.data && memcmp(got.data, want, (size_t)count * sizeof *want) == 0) {
            run->gradients_equal++;
            continue;
        }
        if (!run->different[0])
            snprintf(run->different, sizeof run->different, "%s", info->name);
        if (got.data)
            run->difference =
                fmax(run->difference, relative_difference(rvx__f32(&got), want, count));
    }
}

static void read_losses(float out[RVX_STAGES_MAX], const rvx_session *session,
                        const rvx_train_plan *step)
{
    for (int i = 0; i < step->supervision.count; i++) {
        rvx_tensor loss = rvx__session_tensor(session, step->supervision.losses[i]);
        out[i] = *rvx__f32(&loss);
    }
}

/* Keeps the first run's gradients and takes its plan over. */
static rvx_status reference_take(reference *r, rvx_train_plan *step, const rvx_session *session,
                                 rvx_error *error)
{
    r->gradients = malloc((size_t)step->plan->parameter_bytes);
    if (!r->gradients)
        return rvx__fail(error, RVX_ERROR_MEMORY, "check: no memory for the gradients");
    memcpy(r->gradients, rvx__session_gradients(session), (size_t)step->plan->parameter_bytes);
    r->plan = step->plan;
    r->graph = step->graph;
    step->plan = NULL;
    step->graph = NULL;
    return RVX_OK;
}

/* ---- a run ------------------------------------------------------------------------------------
 */

typedef struct polling {
    const rvx_check_input *input;
    int index;
} polling;

static int poll_run(void *context, double done, double total)
{
    const polling *p = context;
    if (!p->input->poll)
        return 0;
    return p->input->poll(p->input->context, (double)p->index + done / total, RVX_CHECK_RUNS);
}

static void judge(rvx_check_run *run, rvx_check_result *out, const rvx_session *session,
                  const rvx_train_plan *step, const reference *expected)
{
    const char *name = NULL;
    float losses[RVX_STAGES_MAX] = {0};
    int count = step->supervision.count;
    read_losses(losses, session, step);
    for (int i = 0; i < count; i++)
        run->loss += (double)losses[i];
    run->loss_equal = memcmp(losses, expected->losses, (size_t)count * sizeof *losses) == 0;
    compare_gradients(run, session, expected);
    run->arena_bytes = rvx__session_bytes(session);
    run->overflow = rvx__session_overflow(session, &name);
    if (run->overflow && !out->overflow_name[0])
        snprintf(out->overflow_name, sizeof out->overflow_name, "%s", name);
    out->exact &= run->loss_equal && run->gradients_equal == run->gradients &&
                  run->streams_equal == run->streams && run->reruns_equal == run->reruns;
    out->as_planned &= run->arena_bytes == run->planned_bytes &&
                       (double)run->growth_bytes <=
                           GROWTH_FACTOR * (double)run->arena_bytes + (double)GROWTH_BYTES;
}

static rvx_status run_one(rvx_check_result *out, int index, const rvx_check_input *input,
                          reference *expected, rvx_error *error)
{
    rvx_check_run *run = &out->runs[index];
    rvx_train_job job = *input->job;
    rvx_train_plan step = {0};
    rvx_session *session = NULL;
    watch w = {.run = run};
    polling p = {input, index};
    rvx_status status;
    run->policy = (rvx_policy)(index % 3);
    run->threads = job.threads = index < 3 ? input->job->threads : 1;
    RVX_TRY(rvx__train_plan_step(&step, &job, run->policy, job.recipe->patch.batch, input->patch, 0,
                                 error));
    run->planned_bytes = step.plan->arena_bytes;
    run->exact_plan = step.plan->exact;
    w.hash = calloc((size_t)step.plan->graph->value_count + 1, sizeof *w.hash);
    w.known = calloc((size_t)step.plan->graph->value_count + 1, sizeof *w.known);
    if (!w.hash || !w.known)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "check: out of memory"));
    int64_t before = peak_restart();
    RVX_TRY(rvx__session_create_on(&session, step.plan, job.device, error));
    RVX_TRY(fill(session, &step, input, error));
    rvx__session_observe(session, observe, &w);
    double start = seconds_now();
    RVX_TRY(rvx__session_run(session, poll_run, &p, error));
    run->seconds = seconds_now() - start;
    RVX_TRY(rvx__session_download(session, error));
    int64_t peak = status_bytes("VmHWM:");
    run->growth_bytes = before && !job.device ? peak - before : 0;
    out->process_bytes = peak > out->process_bytes ? peak : out->process_bytes;
    if (index == 0) {
        read_losses(expected->losses, session, &step);
        rvx_supervision supervision = step.supervision;
        RVX_TRY(reference_take(expected, &step, session, error));
        step.supervision = supervision;
    }
    judge(run, out, session, &step, expected);
cleanup:
    rvx__session_free(session);
    rvx__train_plan_free(&step);
    free(w.hash);
    free(w.known);
    return status;
}

rvx_status rvx__check(rvx_check_result *out, const rvx_check_input *input, rvx_error *error)
{
    reference expected = {0};
    rvx_status status = RVX_OK;
    *out = (rvx_check_result){.exact = true, .as_planned = true};
    for (int i = 0; i < RVX_CHECK_RUNS && status == RVX_OK; i++)
        status = run_one(out, i, input, &expected, error);
    free(expected.gradients);
    rvx__plan_free(expected.plan);
    rvx__graph_free(expected.graph);
    return status;
}
