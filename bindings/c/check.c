/* rvx_check: see revoxel.h. Owns: which step is run, on which voxels, and what is said of it. */
#include "bindings/c/subject.h"

#include "engine/run/cases.h"
#include "engine/run/check.h"
#include "engine/run/choice.h"
#include "engine/volume/image_name.h"
#include "models/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EDGE_DEFAULT = 32, CLASSES_MAX = 255 };

typedef struct checking {
    rvx_check_options options;
    rvx_subject subject;
    rvx_case image; /* of options.data */
    float *sample;  /* [d][h][w][channels] */
    rvx_check_result result;
} checking;

/* ---- voxels -----------------------------------------------------------------------------------
 */

static rvx_status load_image(checking *c, rvx_error *error)
{
    rvx_status status;
    char paths[RVX_CHANNELS_MAX][RVX_PATH_BYTES];
    const char *images[RVX_CHANNELS_MAX], *first = c->options.data;
    rvx_channel_recipe channels[RVX_CHANNELS_MAX];
    rvx_case_recipe recipe;
    const int count = c->subject.job.config.in_channels;
    const char *ending = rvx__volume_suffix(first);
    const bool named =
        rvx__image_channel(first, (int64_t)(strlen(first) - (ending ? strlen(ending) : 0))) == 0;
    if (count > RVX_CHANNELS_MAX || (count > 1 && !named))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: the network has %d channels: expected CASE_0000.nii.gz with up to %d "
                         "channels beside it",
                         first, count, RVX_CHANNELS_MAX);
    for (int i = 0; i < count; i++) {
        RVX_TRY(rvx__image_beside(paths[i], first, i, error));
        images[i] = paths[i];
    }
    rvx__case_recipe_make(&recipe, channels, &c->subject.recipe);
    status = rvx__case_load(&c->image, "check", images, NULL, &recipe, error);
cleanup:
    return status;
}

/* The middle of the image, as large as the step; zeros where it ends before. */
static rvx_status cut_sample(checking *c, const int64_t patch[3], rvx_error *error)
{
    const rvx_shape s = c->image.shape;
    const int64_t size[3] = {s.d, s.h, s.w};
    int64_t from[3], to[3], count[3];
    c->sample = calloc((size_t)(patch[0] * patch[1] * patch[2] * s.c), sizeof *c->sample);
    if (!c->sample)
        return rvx__fail(error, RVX_ERROR_MEMORY, "check: no memory for the image");
    for (int a = 0; a < 3; a++) {
        count[a] = size[a] < patch[a] ? size[a] : patch[a];
        from[a] = (size[a] - count[a]) / 2;
        to[a] = (patch[a] - count[a]) / 2;
    }
    for (int64_t z = 0; z < count[0]; z++)
        for (int64_t y = 0; y < count[1]; y++)
            memcpy(c->sample + (((to[0] + z) * patch[1] + to[1] + y) * patch[2] + to[2]) * s.c,
                   c->image.image +
                       (((from[0] + z) * size[1] + from[1] + y) * size[2] + from[2]) * s.c,
                   (size_t)(count[2] * s.c) * sizeof *c->sample);
    rvx__case_free(&c->image);
    c->image = (rvx_case){0};
    return RVX_OK;
}

/* The size asked for; the plan's; that of the image; or the least from 32 on that leaves two voxels
 * along every edge of the last stage. */
static void choose_size(int64_t size[3], const checking *c)
{
    int64_t divisor[3];
    const rvx_shape s = c->image.shape;
    const int64_t image[3] = {s.w, s.h, s.d};
    rvx__subject_divisors(divisor, &c->subject);
    for (int axis = 0; axis < 3; axis++) {
        int64_t wanted = 2 * divisor[axis] > EDGE_DEFAULT ? 2 * divisor[axis] : EDGE_DEFAULT;
        if (c->image.image)
            wanted = image[axis];
        if (c->subject.size[0])
            wanted = c->subject.size[axis];
        size[axis] = (wanted + divisor[axis] - 1) / divisor[axis] * divisor[axis];
    }
}

/* ---- words ------------------------------------------------------------------------------------
 */

/* The least over all runs but the reference, and the sums over those of one policy. */
static int gradients_equal(const rvx_check_result *r)
{
    int least = r->runs[0].gradients;
    for (int i = 1; i < RVX_CHECK_RUNS; i++)
        least = r->runs[i].gradients_equal < least ? r->runs[i].gradients_equal : least;
    return least;
}

static void print_line(rvx_text *out, const rvx_check_result *r, const rvx_device *device)
{
    int rebuilt = 0, same[2] = {0, 0}; /* on several threads and on one */
    int64_t overflow = 0;
    for (int i = 0; i < RVX_CHECK_RUNS; i++) {
        same[i / 3] += r->runs[i].streams_equal + r->runs[i].reruns_equal;
        rebuilt += i < 3 ? r->runs[i].streams + r->runs[i].reruns : 0;
        overflow = r->runs[i].overflow > overflow ? r->runs[i].overflow : overflow;
    }
    char where[64];
    if (device)
        snprintf(where, sizeof where, "twice on %s", device->name);
    else
        snprintf(where, sizeof where, "1 and %d threads", r->runs[0].threads);
    rvx__text_format(out,
                     "%s: %d of %d gradients bit-identical in reversible and checkpoint; %d of %d "
                     "rebuilt values too; %s; arena",
                     r->exact ? "exact" : "not exact", gradients_equal(r), r->runs[0].gradients,
                     same[0] < same[1] ? same[0] : same[1], rebuilt, where);
    for (int i = 0; i < 3; i++)
        rvx__text_format(out, "%s %.1f", i ? " /" : "", (double)r->runs[i].arena_bytes / 0x1p20);
    rvx__text_format(out, " MiB (store / checkpoint / reversible) %s; %lld overflows",
                     r->as_planned ? "as planned" : "NOT as planned", (long long)overflow);
    if (overflow)
        rvx__text_format(out, ", most in %s: beyond 32767 even on the coarsest grid",
                         r->overflow_name);
    rvx__text_add(out, "\n");
}

static void print_json(rvx_text *out, const checking *c, const rvx_device *device,
                       const int64_t size[3])
{
    const rvx_check_result *r = &c->result;
    rvx__text_format(out, "{\"exact\": %s, \"as_planned\": %s, \"network\": ",
                     r->exact ? "true" : "false", r->as_planned ? "true" : "false");
    rvx__text_quote(out, c->subject.job.model->name);
    rvx__text_format(out, ", \"device\": \"%s\"", device ? device->name : "cpu");
    rvx__text_format(out,
                     ", \"size\": [%lld, %lld, %lld], \"batch\": %lld, \"gradients\": %d, "
                     "\"gradients_equal\": %d, \"process_peak_bytes\": %lld, \"runs\": [",
                     (long long)size[0], (long long)size[1], (long long)size[2],
                     (long long)c->subject.recipe.patch.batch, r->runs[0].gradients,
                     gradients_equal(r), (long long)r->process_bytes);
    for (int i = 0; i < RVX_CHECK_RUNS; i++) {
        const rvx_check_run *run = &r->runs[i];
        rvx__text_format(out, "%s\n {\"policy\": \"%s\", \"threads\": %d, \"loss\": ", i ? "," : "",
                         rvx__policy_names[run->policy], run->threads);
        rvx__text_number(out, run->loss);
        rvx__text_format(out,
                         ", \"loss_equal\": %s, \"gradients_equal\": %d, \"streams_rebuilt\": %d, "
                         "\"streams_equal\": %d, \"reruns\": %d, \"reruns_equal\": %d, "
                         "\"overflow\": %lld, \"planned_bytes\": %lld, \"arena_bytes\": %lld, "
                         "\"process_growth_bytes\": %lld, \"seconds\": ",
                         run->loss_equal ? "true" : "false", run->gradients_equal, run->streams,
                         run->streams_equal, run->reruns, run->reruns_equal,
                         (long long)run->overflow, (long long)run->planned_bytes,
                         (long long)run->arena_bytes, (long long)run->growth_bytes);
        rvx__text_number(out, run->seconds);
        rvx__text_add(out, "}");
    }
    rvx__text_add(out, "]}\n");
}

/* What went wrong first, for the error. */
static rvx_status verdict(const checking *c, const rvx_device *device, rvx_error *error)
{
    const rvx_check_result *r = &c->result;
    for (int i = 0; i < RVX_CHECK_RUNS && !r->exact; i++) {
        const rvx_check_run *run = &r->runs[i];
        bool streams = run->streams_equal < run->streams || run->reruns_equal < run->reruns;
        if (run->loss_equal && run->gradients_equal == run->gradients && !streams)
            continue;
        char where[32];
        snprintf(where, sizeof where, "%d thread%s", run->threads, run->threads > 1 ? "s" : "");
        return rvx__fail(error, RVX_ERROR_NUMERIC,
                         "%s on %s: %d of %d gradients differ (first '%s', by up to %.2g of "
                         "the largest), %d of %d rebuilt values differ%s",
                         rvx__policy_names[run->policy], device ? device->name : where,
                         run->gradients - run->gradients_equal, run->gradients, run->different,
                         run->difference,
                         run->streams - run->streams_equal + run->reruns - run->reruns_equal,
                         run->streams + run->reruns,
                         run->exact_plan ? ""
                                         : "; streams that are not i16 invert to rounding: set "
                                           "memory.streams to \"i16\"");
    }
    for (int i = 0; i < RVX_CHECK_RUNS && !r->as_planned; i++)
        if ((double)r->runs[i].growth_bytes > 1.05 * (double)r->runs[i].arena_bytes + 0x1p26 ||
            r->runs[i].arena_bytes != r->runs[i].planned_bytes)
            return rvx__fail(error, RVX_ERROR_MEMORY,
                             "%s: planned %lld bytes, the arena has %lld and the process grew by "
                             "%lld",
                             rvx__policy_names[r->runs[i].policy],
                             (long long)r->runs[i].planned_bytes, (long long)r->runs[i].arena_bytes,
                             (long long)r->runs[i].growth_bytes);
    return RVX_OK;
}

/* ---- the whole --------------------------------------------------------------------------------
 */

static int poll_check(void *context, double done, double total)
{
    checking *c = context;
    int at = (int)done < RVX_CHECK_RUNS ? (int)done : RVX_CHECK_RUNS - 1;
    rvx_progress progress =
        rvx__facade_phase("check", rvx__policy_names[at % 3], (int64_t)(100 * done / total), 100);
    return rvx__facade_progress(c->options.progress, c->options.context, progress);
}

static rvx_status open_subject(checking *c, const char *target, rvx_error *error)
{
    const rvx_check_options *o = &c->options;
    bool network = rvx__model_find(target) != NULL;
    if (!network && !rvx__path_exists(target))
        return rvx__fail(
            error, RVX_ERROR_ARGUMENT,
            "%s: neither a network ('revoxel models') nor a run, a model file or a plan", target);
    rvx_subject_options wanted = {
        .network = network ? target : NULL,
        .plan = network ? NULL : target,
        .in_channels = o->in_channels,
        .classes = o->classes,
        .depth = o->depth,
        .batch = o->batch,
        .widths = o->widths,
        .width_count = o->width_count,
        .memory = {.storage = o->storage, .streams = o->streams, .grid_log2 = o->grid_log2},
        .threads = o->threads,
        .device = o->device};
    memcpy(wanted.size, o->size, sizeof wanted.size);
    rvx_status status = rvx__subject_open(&c->subject, &wanted, error);
    int classes = c->subject.job.config.classes;
    if (status == RVX_OK && classes > CLASSES_MAX)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: %d classes, and labels have 8 bits: expected classes (--classes) of "
                         "at most %d",
                         target, classes, CLASSES_MAX);
    return status;
}

rvx_status rvx_check(char **text, const char *target, const rvx_check_options *given,
                     rvx_error *error)
{
    rvx_text out = {0};
    checking *c = NULL;
    rvx_device *device = NULL;
    rvx_choices *choices = NULL;
    int64_t size[3], workspace = 0;
    rvx_status status;
    if (!text)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "text is NULL");
    *text = NULL;
    if (!(c = calloc(1, sizeof *c)))
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for a check");
    RVX_TRY(rvx__facade_options(&c->options, sizeof c->options, given, "rvx_check_options", error));
    RVX_TRY(rvx__facade_required(target, "target", error));
    RVX_TRY(rvx__device_open(&device, c->options.device, c->options.device_library, error));
    RVX_TRY(rvx__facade_tf32(c->options.tf32, device, error));
    RVX_TRY(rvx__facade_choices(&choices, device, c->options.implementation, error));
    RVX_TRY(rvx__facade_workspace(&workspace, c->options.implementation, error));
    RVX_TRY(open_subject(c, target, error));
    if (c->options.data)
        RVX_TRY(load_image(c, error));
    choose_size(size, c);
    RVX_TRY(rvx__facade_size_check(size, &c->subject.job.config, error));
    rvx_train_job job = c->subject.job;
    job.threads = job.threads > 1 ? job.threads : 2;
    job.device = device;
    job.workspace_bytes = device ? workspace : 0;
    job.tf32 = c->options.tf32 != 0;
    rvx_check_input input = {.job = &job,
                             .patch = {size[2], size[1], size[0]},
                             .weights = c->subject.weights[0] ? c->subject.weights : NULL,
                             .seed = c->options.seed,
                             .poll = poll_check,
                             .context = c};
    if (c->options.data)
        RVX_TRY(cut_sample(c, input.patch, error));
    input.image = c->sample;
    RVX_TRY(rvx__check(&c->result, &input, error));
    if (c->options.json)
        print_json(&out, c, device, size);
    else
        print_line(&out, &c->result, device);
    RVX_TRY(rvx__facade_text(text, &out, status, error));
    status = verdict(c, device, error);
cleanup:
    rvx__text_free(&out);
    if (c) {
        rvx__subject_close(&c->subject);
        rvx__case_free(&c->image);
        free(c->sample);
    }
    free(c);
    rvx__choices_close(choices);
    rvx__device_close(device);
    return status;
}
