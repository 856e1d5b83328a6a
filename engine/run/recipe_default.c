/* A plan for a data set, by nnU-Net's rules (experiment_planning/experiment_planners of v2; for
 * CPUs its estimate of memory is replaced by a number of voxels). See recipe.h. */
#include "engine/run/recipe.h"
#include "engine/volume/preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { EDGE_MIN = 4, ANISOTROPY = 3, CPU_PATCH_VOXELS = 64 * 64 * 64 };

#define FULL_VALUES 560e6 /* nnU-Net's for two samples on a GPU with 8 GB */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median edge in voxels after resampling; `work` holds one number a case. */
static double size_median(double *work, const rvx_recipe_facts *facts, int axis)
{
    int64_t count = facts->case_count;
    for (int64_t i = 0; i < count; i++)
        work[i] = rvx__resampled_size(facts->sizes[i][axis], facts->spacings[i][axis],
                                      facts->target_spacing[axis]);
    qsort(work, (size_t)count, sizeof *work, compare_doubles);
    return 0.5 * (work[(count - 1) / 2] + work[count / 2]);
}

/* ---- Topology ---------------------------------------------------------------------------------
 */

/* Which axes are halved next: long enough, and not coarser than twice the finest such axis. A
 * single axis is only halved while it is three edges long. */
static int axes_to_pool(bool pool[3], const double size[3], const double spacing[3])
{
    double finest = INFINITY;
    int count = 0, last = 0;
    for (int axis = 0; axis < 3; axis++)
        if (size[axis] >= 2 * EDGE_MIN)
            finest = fmin(finest, spacing[axis]);
    for (int axis = 0; axis < 3; axis++) {
        pool[axis] = size[axis] >= 2 * EDGE_MIN && spacing[axis] / finest < 2;
        count += pool[axis];
        last = pool[axis] ? axis : last;
    }
    return count == 1 && size[last] < 3 * EDGE_MIN ? 0 : count;
}

/* `patch`: an edge may end in a half, where a median lies between two sizes. */
static void topology_set(rvx_recipe *recipe, const double patch[3], const double spacing[3],
                         int64_t width_first, int64_t width_max)
{
    double now[3] = {spacing[0], spacing[1], spacing[2]}, size[3] = {patch[0], patch[1], patch[2]};
    int64_t divisor[3] = {1, 1, 1}, kernel[3] = {1, 1, 1};
    bool pool[3];
    int64_t stage = 0;
    for (int axis = 0; axis < 3; axis++)
        recipe->network.strides[0][axis] = 1;
    while (stage + 1 < RVX_STAGES_MAX && axes_to_pool(pool, size, now)) {
        double finest = fmin(now[0], fmin(now[1], now[2]));
        for (int axis = 0; axis < 3; axis++) {
            kernel[axis] = now[axis] / finest < 2 ? 3 : kernel[axis];
            recipe->network.kernels[stage][axis] = kernel[axis];
        }
        stage++;
        for (int axis = 0; axis < 3; axis++) {
            recipe->network.strides[stage][axis] = pool[axis] ? 2 : 1;
            divisor[axis] *= pool[axis] ? 2 : 1;
            now[axis] *= pool[axis] ? 2 : 1;
            size[axis] = pool[axis] ? ceil(size[axis] / 2) : size[axis];
        }
    }
    recipe->network.stages = stage + 1;
    for (int axis = 0; axis < 3; axis++) {
        recipe->network.kernels[stage][axis] = 3;
        recipe->patch.size[axis] =
            (int64_t)ceil(patch[axis] / (double)divisor[axis]) * divisor[axis];
    }
    int64_t width = width_first;
    for (int64_t i = 0; i <= stage; i++, width *= 2)
        recipe->network.widths[i] = width < width_max ? width : width_max;
}

void rvx__recipe_set_topology(rvx_recipe *recipe, const double spacing[3], int64_t width_first,
                              int64_t width_max)
{
    const int64_t *size = recipe->patch.size;
    const double patch[3] = {(double)size[0], (double)size[1], (double)size[2]};
    topology_set(recipe, patch, spacing, width_first, width_max);
}

static int64_t axis_divisor(const rvx_recipe *recipe, int axis)
{
    int64_t divisor = 1;
    for (int64_t i = 0; i < recipe->network.stages; i++)
        divisor *= recipe->network.strides[i][axis];
    return divisor;
}

/* Values that nnU-Net counts for a plain U-Net on the patch: what every convolution gives, the
 * classes of the finest level included. */
static double feature_values(const rvx_recipe *recipe)
{
    double values = 0, voxels = 1;
    for (int axis = 0; axis < 3; axis++)
        voxels *= (double)recipe->patch.size[axis];
    for (int64_t s = 0; s < recipe->network.stages; s++) {
        for (int axis = 0; axis < 3; axis++)
            voxels /= (double)recipe->network.strides[s][axis];
        bool lowest = s + 1 == recipe->network.stages;
        double labels = (double)recipe->network.classes + (recipe->loss.ignore_label >= 0);
        values += voxels * (double)recipe->network.widths[s] * (lowest ? 2 : 5);
        values += s == 0 && !lowest ? voxels * labels : 0;
    }
    return values;
}

/* What a plan of that scale may take, see the enumerators. */
static bool patch_fits(const rvx_recipe *recipe, rvx_recipe_scale scale)
{
    const int64_t *size = recipe->patch.size;
    return scale == RVX_SCALE_CPU ? size[0] * size[1] * size[2] <= CPU_PATCH_VOXELS
                                  : feature_values(recipe) <= FULL_VALUES;
}

/* nnU-Net's batch: as much as the patch leaves room for, at most a twentieth of the data. */
static int64_t batch_choose(const rvx_recipe *recipe, const double median[3], int64_t cases)
{
    const int64_t *size = recipe->patch.size;
    double room = rint(2 * FULL_VALUES / feature_values(recipe));
    double share = rint(0.05 * median[0] * median[1] * median[2] * (double)cases /
                        ((double)size[0] * (double)size[1] * (double)size[2]));
    return (int64_t)fmax(fmin(room, share), 2);
}

/* The axis whose edge is largest in shares of the median case. Of equal ones nnU-Net takes the last
 * in its order: the coarsest axis, then z, y, x. */
static int longest_axis(const int64_t size[3], const double median[3], const double spacing[3])
{
    int order[3] = {2, 1, 0}, coarsest = 0;
    for (int i = 1; i < 3; i++)
        coarsest = spacing[order[i]] > spacing[order[coarsest]] ? i : coarsest;
    const int first = order[coarsest];
    for (int i = coarsest; i > 0; i--)
        order[i] = order[i - 1];
    order[0] = first;
    int longest = first;
    for (int i = 1; i < 3; i++)
        if ((double)size[order[i]] / median[order[i]] >= (double)size[longest] / median[longest])
            longest = order[i];
    return longest;
}

/* Starts from a 256^3 box in the aspect of the spacing, clips it to the median case and takes the
 * axis that covers most of its case down until it fits. */
static void patch_choose(rvx_recipe *recipe, const double median[3], rvx_recipe_scale scale,
                         int64_t width_first, int64_t width_max)
{
    const double *spacing = recipe->spacing;
    double box = 256 * cbrt(spacing[0] * spacing[1] * spacing[2]);
    double first[3];
    for (int axis = 0; axis < 3; axis++)
        first[axis] = fmax(fmin(rint(box / spacing[axis]), median[axis]), 1);
    topology_set(recipe, first, spacing, width_first, width_max);
    for (;;) {
        int64_t *size = recipe->patch.size;
        if (patch_fits(recipe, scale))
            return;
        int longest = longest_axis(size, median, spacing);
        /* A shorter patch may be divided less often: ask its own topology for the step. */
        int64_t divisor = axis_divisor(recipe, longest), before = size[longest];
        if (before <= divisor)
            return;
        rvx_recipe shorter = *recipe;
        shorter.patch.size[longest] = before - divisor;
        rvx__recipe_set_topology(&shorter, spacing, width_first, width_max);
        size[longest] = before - axis_divisor(&shorter, longest);
        rvx__recipe_set_topology(recipe, spacing, width_first, width_max);
    }
}

/* ---- The whole plan ---------------------------------------------------------------------------
 */

static rvx_status facts_check(const rvx_recipe_facts *facts, rvx_error *error)
{
    if (facts->case_count < 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "a plan needs at least one case");
    if (facts->channels < 1 || facts->channels > RVX_CHANNELS_MAX)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "the data set has %lld channels; 1 to %d are supported",
                         (long long)facts->channels, RVX_CHANNELS_MAX);
    if (facts->classes < 2 || facts->classes >= RVX_CLASSES_MAX)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "the data set has %lld labels; 2 to %d are supported",
                         (long long)facts->classes, RVX_CLASSES_MAX - 1);
    for (int64_t i = 0; i < facts->case_count; i++)
        for (int axis = 0; axis < 3; axis++)
            if (facts->sizes[i][axis] < 1 || !(facts->spacings[i][axis] > 0) ||
                !isfinite(facts->spacings[i][axis]))
                return rvx__fail(error, RVX_ERROR_ARGUMENT,
                                 "case %lld has size %lld and spacing %g along %c", (long long)i,
                                 (long long)facts->sizes[i][axis], facts->spacings[i][axis],
                                 "xyz"[axis]);
    for (int axis = 0; axis < 3; axis++)
        if (!(facts->target_spacing[axis] > 0) || !isfinite(facts->target_spacing[axis]))
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "the target spacing along %c is %g",
                             "xyz"[axis], facts -> target_spacing[axis]);
    return RVX_OK;
}

static rvx_status names_copy(rvx_recipe *recipe, const rvx_recipe_facts *facts, rvx_error *error)
{
    const char *ending = facts->file_ending ? facts->file_ending : ".nii.gz";
    bool long_name = strlen(ending) >= RVX_NAME_BYTES;
    for (int64_t i = 0; i < facts->channels; i++)
        long_name |= strlen(facts->channel_names[i]) >= RVX_NAME_BYTES;
    for (int64_t i = 0; i < facts->classes; i++)
        long_name |= strlen(facts->labels[i]) >= RVX_NAME_BYTES;
    if (long_name)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "a channel, label or file ending has more than %d bytes",
                         RVX_NAME_BYTES - 1);
    strcpy(recipe->file_ending, ending);
    for (int64_t i = 0; i < facts->channels; i++)
        strcpy(recipe->channel_names[i], facts->channel_names[i]);
    for (int64_t i = 0; i < facts->classes; i++)
        strcpy(recipe->labels[i], facts->labels[i]);
    return RVX_OK;
}

static void normalisation_choose(rvx_recipe *recipe, const rvx_recipe_facts *facts)
{
    for (int64_t i = 0; i < facts->channels; i++) {
        rvx_normalisation *channel = &recipe->normalisation[i];
        int scheme = (int)rvx__normalization_of_channel(facts->channel_names[i]);
        *channel = (rvx_normalisation){.scheme = scheme, .std = 1};
        if (strcasecmp(facts->channel_names[i], "rgb_to_0_1") == 0) { /* bytes over 255 */
            *channel = (rvx_normalisation){.scheme = RVX_NORMALISE_CT, .upper = 255, .std = 255};
            continue;
        }
        if (scheme == RVX_NORMALISE_CT && facts->ct)
            *channel = facts->ct[i];
        if (scheme == RVX_NORMALISE_CT && !facts->ct)
            scheme = RVX_NORMALISE_ZSCORE; /* no statistics: the volume's own */
        channel->scheme = scheme;
        channel->nonzero_only = scheme == RVX_NORMALISE_ZSCORE && facts->nonzero_only;
        channel->sector_only = scheme == RVX_NORMALISE_ZSCORE && !facts->nonzero_only &&
                               facts->sector_only &&
                               rvx__channel_is_ultrasound(facts->channel_names[i]);
    }
}

rvx_status rvx__recipe_default(rvx_recipe *recipe, const rvx_recipe_facts *facts, rvx_error *error)
{
    rvx_status status;
    bool cpu = facts->scale == RVX_SCALE_CPU;
    int64_t width_first = cpu ? 16 : 32, width_max = cpu ? 256 : 320;
    rvx__recipe_base(recipe);
    double *work = malloc((size_t)(facts->case_count > 0 ? facts->case_count : 1) * sizeof *work);
    if (!work)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %lld cases",
                         (long long)facts->case_count);
    RVX_TRY(facts_check(facts, error));
    recipe->network.in_channels = facts->channels;
    recipe->network.classes = facts->classes;
    RVX_TRY(names_copy(recipe, facts, error));
    normalisation_choose(recipe, facts);
    if (facts->has_ignore_label)
        recipe->loss.ignore_label = facts->classes;

    double median[3];
    recipe->crop_to_nonzero = true;
    recipe->spacing_native = false;
    for (int axis = 0; axis < 3; axis++) {
        recipe->spacing[axis] = facts->target_spacing[axis];
        median[axis] = size_median(work, facts, axis);
    }
    patch_choose(recipe, median, facts->scale, width_first, width_max);
    if (!cpu)
        recipe->patch.batch = batch_choose(recipe, median, facts->case_count);

    const int64_t *size = recipe->patch.size;
    int thin = size[1] < size[0] ? 1 : 0;
    thin = size[2] < size[thin] ? 2 : thin;
    int64_t longest = size[0] > size[1] ? size[0] : size[1];
    longest = size[2] > longest ? size[2] : longest;
    if (longest > ANISOTROPY * size[thin])
        recipe->augmentation.flat_axis = thin;
    for (int axis = 0; axis < 3 && longest > ANISOTROPY * size[thin]; axis++)
        recipe->augmentation.rotation_degrees[axis] = axis == thin ? 180 : 0;
    if (facts->beam || facts->sweep) {
        recipe->augmentation.ultrasound.beam = facts->beam;
        recipe->augmentation.ultrasound.sweep = facts->sweep;
    }

    for (int axis = 0; axis < 3; axis++)
        recipe->augmentation.mirror_axes[axis] = !facts->asymmetric[axis];
    if (cpu) {
        recipe->training.steps = 1000;
        recipe->training.steps_per_epoch = 50;
        recipe->training.validation_every = 100;
        recipe->training.checkpoint_every = 50;
    }
    recipe->training.time_limit_minutes = facts->time_limit_minutes;
    recipe->training.seed = facts->seed;
    recipe->training.threads = facts->threads;
    recipe->memory.budget_bytes = facts->budget_bytes;
    if (facts->case_count < recipe->fold.count) {
        recipe->fold.count = facts->case_count < 2 ? 2 : facts->case_count;
        recipe->fold.index = facts->case_count < 2 ? -1 : 0;
    }
    status = rvx__recipe_check(recipe, error);
cleanup:
    free(work);
    if (status != RVX_OK)
        rvx__recipe_free(recipe);
    return status;
}
