/* Cases of a run: see cases.h. */
#include "engine/run/cases.h"
#include "engine/base/machine.h"
#include "engine/volume/cache.h"

void rvx__case_recipe_make(rvx_case_recipe *out, rvx_channel_recipe channels[RVX_CHANNELS_MAX],
                           const rvx_recipe *recipe)
{
    *out = (rvx_case_recipe){.channel_count = (int)recipe->network.in_channels,
                             .channels = channels,
                             .crop_to_nonzero = recipe->crop_to_nonzero,
                             .image_rule = (rvx_resampling)recipe->resampling.image,
                             .label_rule = (rvx_resampling)recipe->resampling.labels,
                             .class_count = (int)recipe->network.classes,
                             .ignore_label = (int)recipe->loss.ignore_label};
    for (int a = 0; a < 3 && !recipe->spacing_native; a++)
        out->spacing[a] = recipe->spacing[a];
    for (int c = 0; c < out->channel_count; c++) {
        const rvx_normalisation *n = &recipe->normalisation[c];
        const double span = (n->to[1] - n->to[0]) / 100;
        channels[c] = (rvx_channel_recipe){.normalization = (rvx_normalization)n->scheme,
                                           .nonzero_only = n->nonzero_only,
                                           .sector_only = n->sector_only,
                                           .mean = n->mean,
                                           .std = n->std,
                                           .low = n->lower,
                                           .high = n->upper,
                                           .to = {n->to[0], n->to[1]},
                                           .clip = n->clip};
        if (n->relative) {
            channels[c].to[0] = n->to[0] + span * n->lower;
            channels[c].to[1] = n->to[0] + span * n->upper;
        }
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

/* Cases that would not fit must not be read until the machine gives up. */
static rvx_status check_memory(const rvx_case *cases, int64_t done, int64_t total, rvx_error *error)
{
    const int64_t bytes = rvx__cases_bytes(cases, done), memory = rvx__machine_memory();
    if (memory <= 0 || bytes <= memory)
        return RVX_OK;
    return rvx__fail(error, RVX_ERROR_MEMORY,
                     "%lld of %lld cases take %.1f GiB, more than this machine's memory; a cache "
                     "(--cache FOLDER) keeps them on disk",
                     (long long)done, (long long)total, (double)bytes / 0x1p30);
}

rvx_status rvx__cases_load(rvx_case *cases, const rvx_dataset *dataset, const rvx_names *names,
                           const rvx_recipe *recipe, const char *cache, rvx_case_poll poll,
                           void *context, rvx_error *error)
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
        const char *const *images = (const char *const *)one->images;
        rvx_status status = cache ? rvx__cache_load(&cases[i], cache, one->identifier, images,
                                                    one->labels, &case_recipe, error)
                                  : rvx__case_load(&cases[i], one->identifier, images, one->labels,
                                                   &case_recipe, error);
        if (status == RVX_OK)
            status = check_memory(cases, i + 1, names->count, error);
        if (status != RVX_OK)
            return status;
    }
    return RVX_OK;
}

int64_t rvx__cases_bytes(const rvx_case *cases, int64_t count)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < count; i++)
        bytes += cases[i].mapped ? 0
                                 : rvx__shape_count(cases[i].shape) * (int64_t)sizeof(float) +
                                       rvx__shape_voxels(cases[i].shape);
    return bytes;
}
