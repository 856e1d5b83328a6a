/* Cases of a run: see cases.h. */
#include "engine/run/cases.h"

void rvx__case_recipe_make(rvx_case_recipe *out, rvx_channel_recipe channels[RVX_CHANNELS_MAX],
                           const rvx_recipe *recipe)
{
    *out = (rvx_case_recipe){.channel_count = (int)recipe->network.in_channels,
                             .channels = channels,
                             .image_rule = RVX_RESAMPLING_LINEAR,
                             .label_rule = RVX_RESAMPLING_NEAREST,
                             .class_count = (int)recipe->network.classes,
                             .ignore_label = (int)recipe->loss.ignore_label};
    for (int a = 0; a < 3 && !recipe->spacing_native; a++)
        out->spacing[a] = recipe->spacing[a];
    for (int c = 0; c < out->channel_count; c++) {
        const rvx_normalisation *n = &recipe->normalisation[c];
        channels[c] = (rvx_channel_recipe){.normalization = (rvx_normalization)n->scheme,
                                           .nonzero_only = n->nonzero_only,
                                           .mean = n->mean,
                                           .std = n->std,
                                           .low = n->lower,
                                           .high = n->upper};
    }
}

void rvx__patch_round(int64_t patch[3], const rvx_recipe *recipe, const int64_t size[3])
{
    for (int a = 0; a < 3; a++) {
        int64_t factor = 1;
        for (int64_t s = 0; s < recipe->network.stages; s++)
            factor *= recipe->network.strides[s][2 - a];
        patch[a] = (size[a] + factor - 1) / factor * factor;
    }
}

void rvx__patch_find(int64_t patch[3], const rvx_recipe *recipe, const rvx_case *cases,
                     int64_t case_count)
{
    int64_t size[3] = {recipe->patch.size[2], recipe->patch.size[1], recipe->patch.size[0]};
    if (recipe->patch.whole) {
        size[0] = size[1] = size[2] = 1;
        for (int64_t i = 0; i < case_count; i++) {
            const rvx_shape s = cases[i].shape;
            size[0] = s.d > size[0] ? s.d : size[0];
            size[1] = s.h > size[1] ? s.h : size[1];
            size[2] = s.w > size[2] ? s.w : size[2];
        }
    }
    rvx__patch_round(patch, recipe, size);
}

rvx_status rvx__cases_load(rvx_case *cases, const rvx_dataset *dataset, const rvx_names *names,
                           const rvx_recipe *recipe, rvx_case_poll poll, void *context,
                           rvx_error *error)
{
    rvx_channel_recipe channels[RVX_CHANNELS_MAX];
    rvx_case_recipe case_recipe;
    rvx__case_recipe_make(&case_recipe, channels, recipe);
    case_recipe.repairs = dataset->repairs;
    for (int64_t i = 0; i < names->count; i++) {
        if (poll && poll(context, names->names[i], i, names->count))
            return rvx__fail(error, RVX_CANCELLED, "cancelled");
        int64_t index = rvx__dataset_find(dataset, names->names[i]);
        if (index < 0)
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: the dataset has no training case '%s'",
                             dataset->path, names->names[i]);
        const rvx_dataset_case *one = &dataset->cases[index];
        rvx_status status =
            rvx__case_load(&cases[i], one->identifier, (const char *const *)one->images,
                           one->labels, &case_recipe, error);
        if (status != RVX_OK)
            return status;
    }
    return RVX_OK;
}

int64_t rvx__cases_bytes(const rvx_case *cases, int64_t count)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < count; i++)
        bytes += rvx__shape_count(cases[i].shape) * (int64_t)sizeof(float) +
                 rvx__shape_voxels(cases[i].shape);
    return bytes;
}
