/* Checks of the plan across its fields: see recipe.h. */
#include "engine/run/recipe.h"
#include "engine/run/recipe_fields.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static rvx_status refuse(rvx_error *error, const char *path, const char *reason)
{
    return rvx__fail(error, RVX_ERROR_ARGUMENT, "field '%s' %s", path, reason);
}

/* The limits of the table once more, for recipes that were changed in code. */
static rvx_status check_limits(const rvx_recipe *recipe, rvx_error *error)
{
    for (const rvx_field *field = rvx__recipe_fields; field->path; field++) {
        const char *at = (const char *)recipe + field->offset;
        double values[3] = {field->min, field->min, field->min};
        int count = 1;
        switch (field->kind) {
        case RVX_FIELD_INTEGER_OR_NULL:
            if (*(const int64_t *)at == -1)
                continue; /* fall through */
        case RVX_FIELD_INTEGER:
            values[0] = (double)*(const int64_t *)at;
            break;
        case RVX_FIELD_NUMBER:
        case RVX_FIELD_RANGE:
        case RVX_FIELD_TRIPLE:
            count = field->kind == RVX_FIELD_NUMBER ? 1 : field->kind == RVX_FIELD_RANGE ? 2 : 3;
            memcpy(values, at, (size_t)count * sizeof(double));
            break;
        default:
            continue;
        }
        for (int i = 0; i < count; i++)
            if (!(values[i] >= field->min && values[i] <= field->max))
                return rvx__fail(error, RVX_ERROR_ARGUMENT,
                                 "field '%s' expected a value in [%g, %g], found %g", field->path,
                                 field->min, field->max, values[i]);
        if (field->kind == RVX_FIELD_RANGE && values[0] > values[1])
            return refuse(error, field->path, "has its ends the wrong way round");
    }
    return RVX_OK;
}

static rvx_status check_network(const rvx_recipe *recipe, rvx_error *error)
{
    static const char axis_name[] = "xyz";
    if (!recipe->network.name[0])
        return refuse(error, "network.name", "is empty");
    if (recipe->network.stages < 1 || recipe->network.stages > RVX_STAGES_MAX)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "field 'network.widths' expected 1 to %d stages, found %lld",
                         RVX_STAGES_MAX, (long long)recipe->network.stages);
    int64_t edge_product = 1;
    for (int axis = 0; axis < 3; axis++) {
        int64_t divisor = 1;
        for (int64_t i = 0; i < recipe->network.stages; i++) {
            int64_t kernel = recipe->network.kernels[i][axis];
            int64_t stride = recipe->network.strides[i][axis];
            if (kernel != 1 && kernel != 3)
                return rvx__fail(error, RVX_ERROR_ARGUMENT,
                                 "field 'network.kernels[%lld]' expected 1 or 3 along %c, found "
                                 "%lld",
                                 (long long)i, axis_name[axis], (long long)kernel);
            if (stride < 1 || stride > 4)
                return rvx__fail(error, RVX_ERROR_ARGUMENT,
                                 "field 'network.strides[%lld]' expected 1 to 4 along %c, found "
                                 "%lld",
                                 (long long)i, axis_name[axis], (long long)stride);
            divisor *= stride;
        }
        if (recipe->patch.whole)
            continue;
        int64_t size = recipe->patch.size[axis];
        if (size < 1 || size % divisor)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "field 'patch.size' expected a multiple of %lld along %c (the product "
                             "of the strides), found %lld; %lld would do",
                             (long long)divisor, axis_name[axis], (long long)size,
                             (long long)((size / divisor + 1) * divisor));
        edge_product *= size / divisor;
    }
    /* Instance normalisation of a single voxel is 0 / 0. */
    if (!recipe->patch.whole && edge_product < 2)
        return refuse(error, "patch.size",
                      "leaves one voxel in the last stage; use a larger patch or fewer stages");
    return RVX_OK;
}

static rvx_status check_names(const rvx_recipe *recipe, rvx_error *error)
{
    int64_t classes = recipe->network.classes;
    for (int64_t i = 0; i < classes; i++)
        for (int64_t j = 0; j <= i; j++)
            if (!recipe->labels[i][0] ||
                (j < i && strcmp(recipe->labels[i], recipe->labels[j]) == 0))
                return rvx__fail(error, RVX_ERROR_ARGUMENT,
                                 "field 'labels' expected %lld different names, found \"%s\" for "
                                 "value %lld",
                                 (long long)classes, recipe->labels[i], (long long)i);
    for (int64_t i = 0; i < recipe->network.in_channels; i++)
        if (!recipe->channel_names[i][0])
            return refuse(error, "channel_names", "has an empty name");
    if (recipe->loss.ignore_label != -1 && recipe->loss.ignore_label != classes)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "field 'loss.ignore_label' expected null or the first value after the "
                         "classes (%lld), found %lld",
                         (long long)classes, (long long)recipe->loss.ignore_label);
    if (recipe->file_ending[0] != '.')
        return refuse(error, "file_ending", "expected a name that begins with '.'");
    return RVX_OK;
}

static rvx_status check_fold(const rvx_recipe *recipe, rvx_error *error)
{
    if (!recipe->fold.listed) {
        if (recipe->fold.index >= recipe->fold.count)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "field 'fold.index' expected 0 to %lld (fold.count - 1) or null, "
                             "found %lld",
                             (long long)recipe->fold.count - 1, (long long)recipe->fold.index);
        return RVX_OK;
    }
    const rvx_names *train = &recipe->fold.train, *validation = &recipe->fold.validation;
    if (train->count == 0)
        return refuse(error, "fold.train", "lists no case");
    for (int64_t i = 0; i < validation->count; i++)
        for (int64_t j = 0; j < train->count; j++)
            if (strcmp(validation->names[i], train->names[j]) == 0)
                return rvx__fail(error, RVX_ERROR_ARGUMENT,
                                 "field 'fold.validation' lists \"%s\", which also trains",
                                 train->names[j]);
    return RVX_OK;
}

rvx_status rvx__recipe_check(const rvx_recipe *recipe, rvx_error *error)
{
    rvx_status status;
    RVX_TRY(check_limits(recipe, error));
    RVX_TRY(check_network(recipe, error));
    RVX_TRY(check_names(recipe, error));
    RVX_TRY(check_fold(recipe, error));
    for (int64_t i = 0; i < recipe->network.in_channels; i++) {
        const rvx_normalisation *channel = &recipe->normalisation[i];
        if (channel->scheme == RVX_NORMALISE_CT &&
            !(channel->lower <= channel->upper && channel->std > 0 && isfinite(channel->mean)))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "field 'normalisation[%lld]' expected lower <= upper and a positive "
                             "std",
                             (long long)i);
        if (channel->scheme == RVX_NORMALISE_PERCENTILES &&
            !(channel->lower >= 0 && channel->lower < channel->upper && channel->upper <= 100))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "field 'normalisation[%lld]' expected percentiles "
                             "0 <= lower < upper <= 100",
                             (long long)i);
        if (channel->scheme == RVX_NORMALISE_PERCENTILES && !(channel->to[0] < channel->to[1]))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "field 'normalisation[%lld]' expected b_min < b_max", (long long)i);
    }
    for (int axis = 0; axis < 3 && !recipe->spacing_native; axis++)
        if (!(recipe->spacing[axis] > 0 && isfinite(recipe->spacing[axis])))
            return refuse(error, "spacing", "expected three positive numbers or null");
    if (recipe->augmentation.ultrasound.sweep == recipe->augmentation.ultrasound.beam / 2)
        return refuse(error, "augmentation.ultrasound.sweep",
                      "is the axis that augmentation.ultrasound.beam goes along");
    if (recipe->optimizer.nesterov && recipe->optimizer.name == RVX_OPTIMIZER_SGD &&
        recipe->optimizer.momentum <= 0)
        return refuse(error, "optimizer.nesterov", "needs a momentum above 0");
    if (recipe->optimizer.warmup_steps >= recipe->training.steps)
        return refuse(error, "optimizer.warmup_steps", "must be fewer than training.steps");
cleanup:
    return status;
}
