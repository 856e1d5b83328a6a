/* The normalisation of the plan's channels: see recipe_fields.h. Owns: which fields each scheme
 * has.
 */
#include "engine/run/recipe_fields.h"

static const char *const scheme_names[] = {"zscore", "ct",          "rescale_to_0_1",
                                           "none",   "percentiles", NULL};

/* What MONAI's ScaleIntensityRangePercentiles calls so. */
static rvx_status read_percentile_ends(rvx_normalisation *out, const rvx_json *json,
                                       rvx_error *error)
{
    static const char *const ends[2] = {"b_min", "b_max"};
    static const char *const switches[2] = {"clip", "relative"};
    bool *const values[2] = {&out->clip, &out->relative};
    rvx_status status = RVX_OK;
    for (int i = 0; i < 2 && status == RVX_OK; i++) {
        rvx_json number = rvx__json_member(json, ends[i]);
        if (!rvx__json_absent(&number))
            status = rvx__json_number(&out->to[i], &number, -1e12, 1e12, error);
    }
    for (int i = 0; i < 2 && status == RVX_OK; i++) {
        rvx_json value = rvx__json_member(json, switches[i]);
        if (!rvx__json_absent(&value))
            status = rvx__json_boolean(values[i], &value, error);
    }
    return status;
}

static rvx_status read_normalisation_channel(rvx_normalisation *out, const rvx_json *json,
                                             rvx_error *error)
{
    static const char *const ct_keys[] = {"scheme", "lower", "upper", "mean", "std", NULL};
    static const char *const zscore_keys[] = {"scheme", "nonzero_only", "sector_only", NULL};
    static const char *const percentile_keys[] = {"scheme", "lower", "upper",    "b_min",
                                                  "b_max",  "clip",  "relative", NULL};
    static const char *const plain_keys[] = {"scheme", NULL};
    rvx_status status;
    *out = (rvx_normalisation){.std = 1, .to = {0, 1}, .clip = true};
    RVX_TRY(rvx__json_object(json, NULL, error));
    rvx_json scheme = rvx__json_member(json, "scheme");
    RVX_TRY(rvx__json_choice(&out->scheme, &scheme, scheme_names, error));
    bool ct = out->scheme == RVX_NORMALISE_CT, zscore = out->scheme == RVX_NORMALISE_ZSCORE;
    bool percentiles = out->scheme == RVX_NORMALISE_PERCENTILES;
    RVX_TRY(rvx__json_object(json,
                             ct            ? ct_keys
                             : zscore      ? zscore_keys
                             : percentiles ? percentile_keys
                                           : plain_keys,
                             error));
    rvx_json nonzero = rvx__json_member(json, "nonzero_only");
    if (!rvx__json_absent(&nonzero))
        RVX_TRY(rvx__json_boolean(&out->nonzero_only, &nonzero, error));
    rvx_json sector = rvx__json_member(json, "sector_only");
    if (!rvx__json_absent(&sector))
        RVX_TRY(rvx__json_boolean(&out->sector_only, &sector, error));
    if (out->nonzero_only && out->sector_only)
        RVX_TRY(rvx__json_fail(&sector, error, "expected false beside \"nonzero_only\": true"));
    double *numbers[] = {&out->lower, &out->upper, &out->mean, &out->std};
    for (int i = 0; ct && i < 4; i++) {
        rvx_json number = rvx__json_member(json, ct_keys[i + 1]);
        double min = i == 3 ? 1e-12 : i == 1 ? out->lower : -1e12;
        RVX_TRY(rvx__json_number(numbers[i], &number, min, 1e12, error));
    }
    for (int i = 0; percentiles && i < 2; i++) {
        rvx_json number = rvx__json_member(json, percentile_keys[i + 1]);
        RVX_TRY(rvx__json_number(numbers[i], &number, i == 1 ? out->lower : 0, 100, error));
    }
    if (percentiles)
        RVX_TRY(read_percentile_ends(out, json, error));
cleanup:
    return status;
}

rvx_status rvx__recipe_read_normalisation(rvx_recipe *recipe, const rvx_json *json,
                                          rvx_error *error)
{
    rvx_status status;
    int64_t count, channels = recipe->network.in_channels;
    RVX_TRY(rvx__json_array(&count, json, channels, channels, error));
    for (int64_t i = 0; i < count; i++) {
        rvx_json element = rvx__json_element(json, i);
        RVX_TRY(read_normalisation_channel(&recipe->normalisation[i], &element, error));
    }
cleanup:
    return status;
}

json_t *rvx__recipe_write_normalisation(const rvx_recipe *recipe)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < recipe->network.in_channels; i++) {
        const rvx_normalisation *channel = &recipe->normalisation[i];
        json_t *object = json_pack("{ss}", "scheme", scheme_names[channel->scheme]);
        if (channel->scheme == RVX_NORMALISE_ZSCORE)
            json_object_set_new(object, "nonzero_only", json_boolean(channel->nonzero_only));
        if (channel->sector_only)
            json_object_set_new(object, "sector_only", json_true());
        if (channel->scheme == RVX_NORMALISE_CT || channel->scheme == RVX_NORMALISE_PERCENTILES) {
            json_object_set_new(object, "lower", json_real(channel->lower));
            json_object_set_new(object, "upper", json_real(channel->upper));
        }
        if (channel->scheme == RVX_NORMALISE_PERCENTILES) {
            json_object_set_new(object, "b_min", json_real(channel->to[0]));
            json_object_set_new(object, "b_max", json_real(channel->to[1]));
            json_object_set_new(object, "clip", json_boolean(channel->clip));
            json_object_set_new(object, "relative", json_boolean(channel->relative));
        }
        if (channel->scheme == RVX_NORMALISE_CT) {
            json_object_set_new(object, "mean", json_real(channel->mean));
            json_object_set_new(object, "std", json_real(channel->std));
        }
        array = rvx__json_append(array, object);
    }
    return array;
}
