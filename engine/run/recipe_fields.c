/* Every field of the plan: see recipe_fields.h. */
#include "engine/run/recipe_fields.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const optimizer_names[] = {"sgd", "adamw", NULL};
static const char *const schedule_names[] = {"poly", "cosine", "constant", NULL};
static const char *const policy_names[] = {"auto", "store", "checkpoint", "reversible", NULL};
static const char *const storage_names[] = {"f32", "bf16", NULL};
static const char *const streams_names[] = {"i16", "f32", "bf16", NULL};
static const char *const resampling_names[] = {"cubic", "linear", "nearest", NULL};
static const char *const axis_names[] = {"x", "y", "z", NULL};
static const char *const axis_or_none[] = {"x", "y", "z", "none", NULL};
static const char *const beam_names[] = {"+x", "-x", "+y", "-y", "+z", "-z", NULL};

/* ---- Fields of their own shape ----------------------------------------------------------------
 */

static rvx_status read_widths(rvx_recipe *recipe, const rvx_json *json, rvx_error *error)
{
    rvx_status status;
    RVX_TRY(rvx__json_array(&recipe->network.stages, json, 1, RVX_STAGES_MAX, error));
    for (int64_t i = 0; i < recipe->network.stages; i++) {
        rvx_json element = rvx__json_element(json, i);
        RVX_TRY(rvx__json_integer(&recipe->network.widths[i], &element, 1, 4096, error));
    }
cleanup:
    return status;
}

static json_t *write_widths(const rvx_recipe *recipe)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < recipe->network.stages; i++)
        array = rvx__json_append(array, json_integer(recipe->network.widths[i]));
    return array;
}

static rvx_status read_xyz(int64_t out[3], const rvx_json *json, int64_t min, int64_t max,
                           rvx_error *error)
{
    rvx_status status;
    int64_t count;
    RVX_TRY(rvx__json_array(&count, json, 3, 3, error));
    for (int64_t axis = 0; axis < 3; axis++) {
        rvx_json element = rvx__json_element(json, axis);
        RVX_TRY(rvx__json_integer(&out[axis], &element, min, max, error));
    }
cleanup:
    return status;
}

static rvx_status read_stages(int64_t out[RVX_STAGES_MAX][3], const rvx_recipe *recipe,
                              const rvx_json *json, int64_t max, rvx_error *error)
{
    /* Widths come first in the table, so the number of stages is known. */
    rvx_status status;
    int64_t count, stages = recipe->network.stages;
    RVX_TRY(rvx__json_array(&count, json, stages, stages, error));
    for (int64_t i = 0; i < stages; i++) {
        rvx_json element = rvx__json_element(json, i);
        RVX_TRY(read_xyz(out[i], &element, 1, max, error));
    }
cleanup:
    return status;
}

static json_t *write_xyz(const int64_t value[3])
{
    return json_pack("[III]", (json_int_t)value[0], (json_int_t)value[1], (json_int_t)value[2]);
}

static json_t *write_stages(const int64_t values[RVX_STAGES_MAX][3], int64_t stages)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < stages; i++)
        array = rvx__json_append(array, write_xyz(values[i]));
    return array;
}

static rvx_status read_strides(rvx_recipe *recipe, const rvx_json *json, rvx_error *error)
{
    return read_stages(recipe->network.strides, recipe, json, 4, error);
}

static json_t *write_strides(const rvx_recipe *recipe)
{
    return write_stages(recipe->network.strides, recipe->network.stages);
}

static rvx_status read_kernels(rvx_recipe *recipe, const rvx_json *json, rvx_error *error)
{
    return read_stages(recipe->network.kernels, recipe, json, 3, error);
}

static json_t *write_kernels(const rvx_recipe *recipe)
{
    return write_stages(recipe->network.kernels, recipe->network.stages);
}

static rvx_status read_patch_size(rvx_recipe *recipe, const rvx_json *json, rvx_error *error)
{
    recipe->patch.whole =
        json_is_string(json->value) && strcmp(json_string_value(json->value), "whole") == 0;
    if (recipe->patch.whole)
        return RVX_OK;
    if (!json_is_array(json->value))
        return rvx__json_fail(json, error, "expected [x, y, z] or \"whole\"");
    return read_xyz(recipe->patch.size, json, 1, 1 << 20, error);
}

static json_t *write_patch_size(const rvx_recipe *recipe)
{
    return recipe->patch.whole ? json_string("whole") : write_xyz(recipe->patch.size);
}

rvx_status rvx__json_triple(double out[3], const rvx_json *json, double min, double max,
                            rvx_error *error)
{
    rvx_status status;
    int64_t count;
    RVX_TRY(rvx__json_array(&count, json, 3, 3, error));
    for (int64_t axis = 0; axis < 3; axis++) {
        rvx_json element = rvx__json_element(json, axis);
        RVX_TRY(rvx__json_number(&out[axis], &element, min, max, error));
    }
cleanup:
    return status;
}

static json_t *write_numbers(const double *values, int count)
{
    json_t *array = json_array();
    for (int i = 0; i < count; i++)
        array = rvx__json_append(array, json_real(values[i]));
    return array;
}

static rvx_status read_spacing(rvx_recipe *recipe, const rvx_json *json, rvx_error *error)
{
    recipe->spacing_native = rvx__json_null(json);
    return recipe->spacing_native ? RVX_OK
                                  : rvx__json_triple(recipe->spacing, json, 1e-6, 1e6, error);
}

static json_t *write_spacing(const rvx_recipe *recipe)
{
    return recipe->spacing_native ? json_null() : write_numbers(recipe->spacing, 3);
}

static rvx_status read_mirror_axes(rvx_recipe *recipe, const rvx_json *json, rvx_error *error)
{
    rvx_status status;
    int64_t count;
    bool *axes = recipe->augmentation.mirror_axes;
    axes[0] = axes[1] = axes[2] = false;
    RVX_TRY(rvx__json_array(&count, json, 0, 3, error));
    for (int64_t i = 0; i < count; i++) {
        rvx_json element = rvx__json_element(json, i);
        int axis;
        RVX_TRY(rvx__json_choice(&axis, &element, axis_names, error));
        if (axes[axis])
            return rvx__json_fail(&element, error, "names axis %s twice", axis_names[axis]);
        axes[axis] = true;
    }
cleanup:
    return status;
}

static json_t *write_mirror_axes(const rvx_recipe *recipe)
{
    json_t *array = json_array();
    for (int axis = 0; axis < 3; axis++)
        if (recipe->augmentation.mirror_axes[axis])
            array = rvx__json_append(array, json_string(axis_names[axis]));
    return array;
}

static rvx_status read_labels(rvx_recipe *recipe, const rvx_json *json, rvx_error *error)
{
    rvx_status status;
    int64_t classes = recipe->network.classes;
    const char *key;
    json_t *value;
    RVX_TRY(rvx__json_object(json, NULL, error));
    json_object_foreach((json_t *)(uintptr_t)json->value, key, value)
    {
        rvx_json member = rvx__json_member(json, key);
        int64_t number;
        bool ignore = strcmp(key, "ignore") == 0;
        RVX_TRY(rvx__json_integer(&number, &member, ignore ? classes : 0,
                                  ignore ? classes : classes - 1, error));
        if (*key == 0 || strlen(key) >= RVX_NAME_BYTES)
            return rvx__json_fail(&member, error, "expected a name of 1 to %d bytes",
                                  RVX_NAME_BYTES - 1);
        if (ignore)
            continue;
        if (recipe->labels[number][0])
            return rvx__json_fail(&member, error, "has value %lld, and so has '%s'",
                                  (long long)number, recipe->labels[number]);
        memcpy(recipe->labels[number], key, strlen(key) + 1);
    }
    rvx_json ignore_member = rvx__json_member(json, "ignore");
    if (rvx__json_absent(&ignore_member) != (recipe->loss.ignore_label < 0))
        return rvx__json_fail(&ignore_member, error,
                              "and 'loss.ignore_label' must both be given or both be left out");
    for (int64_t i = 0; i < classes; i++)
        if (!recipe->labels[i][0])
            return rvx__json_fail(json, error,
                                  "names no label with value %lld; the network has "
                                  "%lld classes, so 0 to %lld are expected",
                                  (long long)i, (long long)classes, (long long)classes - 1);
cleanup:
    return status;
}

static json_t *write_labels(const rvx_recipe *recipe)
{
    json_t *object = json_object();
    bool failed = object == NULL;
    for (int64_t i = 0; i < recipe->network.classes; i++)
        failed |= json_object_set_new(object, recipe->labels[i], json_integer(i)) != 0;
    if (recipe->loss.ignore_label >= 0)
        failed |=
            json_object_set_new(object, "ignore", json_integer(recipe->loss.ignore_label)) != 0;
    if (failed)
        json_decref(object);
    return failed ? NULL : object;
}

static rvx_status read_channel_names(rvx_recipe *recipe, const rvx_json *json, rvx_error *error)
{
    rvx_status status;
    int64_t count, channels = recipe->network.in_channels;
    RVX_TRY(rvx__json_array(&count, json, channels, channels, error));
    for (int64_t i = 0; i < count; i++) {
        rvx_json element = rvx__json_element(json, i);
        const char *name = NULL;
        RVX_TRY(rvx__json_string(&name, &element, RVX_NAME_BYTES, error));
        memcpy(recipe->channel_names[i], name, strlen(name) + 1);
    }
cleanup:
    return status;
}

static json_t *write_channel_names(const rvx_recipe *recipe)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < recipe->network.in_channels; i++)
        array = rvx__json_append(array, json_string(recipe->channel_names[i]));
    return array;
}

/* ---- The table --------------------------------------------------------------------------------
 */

#define AT(member) offsetof(rvx_recipe, member)
#define INTEGER(path, member, min, max)                                                            \
    {                                                                                              \
        path, RVX_FIELD_INTEGER, false, AT(member), min, max, NULL, NULL, NULL                     \
    }
#define COUNT(path, member, min, max)                                                              \
    {                                                                                              \
        path, RVX_FIELD_INTEGER, true, AT(member), min, max, NULL, NULL, NULL                      \
    }
#define INTEGER_OR_NULL(path, member, min, max)                                                    \
    {                                                                                              \
        path, RVX_FIELD_INTEGER_OR_NULL, false, AT(member), min, max, NULL, NULL, NULL             \
    }
#define NUMBER(path, member, min, max)                                                             \
    {                                                                                              \
        path, RVX_FIELD_NUMBER, false, AT(member), min, max, NULL, NULL, NULL                      \
    }
#define RANGE(path, member, min, max)                                                              \
    {                                                                                              \
        path, RVX_FIELD_RANGE, false, AT(member), min, max, NULL, NULL, NULL                       \
    }
#define TRIPLE(path, member, min, max)                                                             \
    {                                                                                              \
        path, RVX_FIELD_TRIPLE, false, AT(member), min, max, NULL, NULL, NULL                      \
    }
#define BOOLEAN(path, member)                                                                      \
    {                                                                                              \
        path, RVX_FIELD_BOOLEAN, false, AT(member), 0, 0, NULL, NULL, NULL                         \
    }
#define CHOICE(path, member, names)                                                                \
    {                                                                                              \
        path, RVX_FIELD_CHOICE, false, AT(member), 0, 0, names, NULL, NULL                         \
    }
#define STRING(path, member)                                                                       \
    {                                                                                              \
        path, RVX_FIELD_STRING, false, AT(member), 0, 0, NULL, NULL, NULL                          \
    }
#define SPECIAL(path, name)                                                                        \
    {                                                                                              \
        path, RVX_FIELD_SPECIAL, false, 0, 0, 0, NULL, read_##name, write_##name                   \
    }
#define REQUIRED(path, name)                                                                       \
    {                                                                                              \
        path, RVX_FIELD_SPECIAL, true, 0, 0, 0, NULL, read_##name, write_##name                    \
    }
/* probability and range of a transform that only ultrasound has */
#define ULTRASOUND(name, key, min, max)                                                            \
    NUMBER("augmentation.ultrasound." #name ".probability",                                        \
           augmentation.ultrasound.name.probability, 0, 1),                                        \
        RANGE("augmentation.ultrasound." #name "." key, augmentation.ultrasound.name.range, min,   \
              max)
#define LARGE 9007199254740992.0 /* 2^53: every integer below is exact in any JSON reader */

const rvx_field rvx__recipe_fields[] = {
    COUNT("format_version", format_version, RVX_RECIPE_FORMAT, RVX_RECIPE_FORMAT),
    STRING("network.name", network.name),
    COUNT("network.in_channels", network.in_channels, 1, RVX_CHANNELS_MAX),
    COUNT("network.classes", network.classes, 2, RVX_CLASSES_MAX - 1),
    REQUIRED("network.widths", widths),
    REQUIRED("network.strides", strides),
    SPECIAL("network.kernels", kernels),
    INTEGER("network.convolutions_per_stage", network.convolutions_per_stage, 1, 8),
    INTEGER("network.depth", network.depth, 1, 64),
    BOOLEAN("network.deep_supervision", network.deep_supervision),
    REQUIRED("patch.size", patch_size),
    INTEGER("patch.batch", patch.batch, 1, 1024),
    NUMBER("patch.foreground_fraction", patch.foreground_fraction, 0, 1),
    BOOLEAN("crop_to_nonzero", crop_to_nonzero),
    SPECIAL("spacing", spacing),
    CHOICE("resampling.image", resampling.image, resampling_names),
    CHOICE("resampling.labels", resampling.labels, resampling_names),
    {"normalisation", RVX_FIELD_SPECIAL, .read = rvx__recipe_read_normalisation,
     .write = rvx__recipe_write_normalisation},
    SPECIAL("augmentation.mirror_axes", mirror_axes),
    NUMBER("augmentation.mirror_probability", augmentation.mirror_probability, 0, 1),
    NUMBER("augmentation.rotation.probability", augmentation.rotation_probability, 0, 1),
    TRIPLE("augmentation.rotation.degrees", augmentation.rotation_degrees, 0, 180),
    CHOICE("augmentation.flat_axis", augmentation.flat_axis, axis_or_none),
    NUMBER("augmentation.scaling.probability", augmentation.scaling.probability, 0, 1),
    RANGE("augmentation.scaling.factor", augmentation.scaling.range, 0.1, 10),
    NUMBER("augmentation.noise.probability", augmentation.noise.probability, 0, 1),
    RANGE("augmentation.noise.variance", augmentation.noise.range, 0, 100),
    NUMBER("augmentation.blur.probability", augmentation.blur.probability, 0, 1),
    NUMBER("augmentation.blur.channel_probability", augmentation.blur.channel_probability, 0, 1),
    RANGE("augmentation.blur.sigma_voxels", augmentation.blur.range, 0, 16),
    NUMBER("augmentation.brightness.probability", augmentation.brightness.probability, 0, 1),
    RANGE("augmentation.brightness.factor", augmentation.brightness.range, 0, 100),
    NUMBER("augmentation.contrast.probability", augmentation.contrast.probability, 0, 1),
    RANGE("augmentation.contrast.factor", augmentation.contrast.range, 0, 100),
    NUMBER("augmentation.low_resolution.probability", augmentation.low_resolution.probability, 0,
           1),
    NUMBER("augmentation.low_resolution.channel_probability",
           augmentation.low_resolution.channel_probability, 0, 1),
    RANGE("augmentation.low_resolution.zoom", augmentation.low_resolution.range, 0.05, 1),
    NUMBER("augmentation.gamma_inverted.probability", augmentation.gamma_inverted.probability, 0,
           1),
    RANGE("augmentation.gamma_inverted.exponent", augmentation.gamma_inverted.range, 0.01, 100),
    NUMBER("augmentation.gamma.probability", augmentation.gamma.probability, 0, 1),
    RANGE("augmentation.gamma.exponent", augmentation.gamma.range, 0.01, 100),
    CHOICE("augmentation.ultrasound.beam", augmentation.ultrasound.beam, beam_names),
    CHOICE("augmentation.ultrasound.sweep", augmentation.ultrasound.sweep, axis_or_none),
    RANGE("augmentation.ultrasound.apex", augmentation.ultrasound.apex, 0.02, 100),
    RANGE("augmentation.ultrasound.decibels", augmentation.ultrasound.decibels, 10, 200),
    ULTRASOUND(pose, "degrees", 0, 90),
    ULTRASOUND(sound, "metres_per_second", 1300, 1800),
    ULTRASOUND(speckle, "correlation", 0, 1),
    ULTRASOUND(reverberation, "decibels", -100, 0),
    RANGE("augmentation.ultrasound.reverberation.spacing",
          augmentation.ultrasound.reverberation_spacing, 0.01, 1),
    ULTRASOUND(shadow, "decibels", 0, 100),
    RANGE("augmentation.ultrasound.shadow.width", augmentation.ultrasound.shadow_width, 0.005, 1),
    ULTRASOUND(attenuation, "decibels", -100, 100),
    ULTRASOUND(time_gain, "decibels", -100, 100),
    ULTRASOUND(gain, "decibels", -100, 100),
    ULTRASOUND(sector, "opening", 0.05, 10),
    NUMBER("loss.smooth", loss.smooth, 0, 1e6),
    BOOLEAN("loss.include_background", loss.include_background),
    INTEGER_OR_NULL("loss.ignore_label", loss.ignore_label, 2, RVX_CLASSES_MAX - 1),
    CHOICE("optimizer.name", optimizer.name, optimizer_names),
    NUMBER("optimizer.learning_rate", optimizer.learning_rate, 0, 100),
    NUMBER("optimizer.momentum", optimizer.momentum, 0, 0.999999),
    BOOLEAN("optimizer.nesterov", optimizer.nesterov),
    NUMBER("optimizer.beta1", optimizer.beta1, 0, 0.999999),
    NUMBER("optimizer.beta2", optimizer.beta2, 0, 0.9999999),
    NUMBER("optimizer.epsilon", optimizer.epsilon, 1e-30, 1),
    NUMBER("optimizer.weight_decay", optimizer.weight_decay, 0, 10),
    CHOICE("optimizer.schedule", optimizer.schedule, schedule_names),
    NUMBER("optimizer.poly_power", optimizer.poly_power, 0.01, 10),
    INTEGER("optimizer.warmup_steps", optimizer.warmup_steps, 0, LARGE),
    NUMBER("optimizer.gradient_clip", optimizer.gradient_clip, 0, 1e12),
    INTEGER("training.steps", training.steps, 1, LARGE),
    INTEGER("training.steps_per_epoch", training.steps_per_epoch, 1, LARGE),
    NUMBER("training.time_limit_minutes", training.time_limit_minutes, 0, 1e7),
    INTEGER("training.validation_every", training.validation_every, 0, LARGE),
    INTEGER("training.checkpoint_every", training.checkpoint_every, 1, LARGE),
    NUMBER("training.validation_smoothing", training.validation_smoothing, 0, 0.9999),
    INTEGER("training.seed", training.seed, 0, LARGE),
    INTEGER("training.threads", training.threads, 0, 4096),
    CHOICE("memory.policy", memory.policy, policy_names),
    INTEGER("memory.budget_bytes", memory.budget_bytes, 0, LARGE),
    CHOICE("memory.storage", memory.storage, storage_names),
    CHOICE("memory.streams", memory.streams, streams_names),
    INTEGER("memory.grid_log2", memory.grid_log2, 0, 15),
    NUMBER("inference.tile_step", inference.tile_step, 0.05, 1),
    BOOLEAN("inference.gaussian", inference.gaussian),
    BOOLEAN("inference.mirror", inference.mirror),
    REQUIRED("labels", labels),
    REQUIRED("channel_names", channel_names),
    STRING("file_ending", file_ending),
    INTEGER_OR_NULL("fold.index", fold.index, 0, 999),
    INTEGER("fold.count", fold.count, 2, 1000),
    INTEGER("fold.seed", fold.seed, 0, LARGE),
    {"fold.train", RVX_FIELD_SPECIAL, .read = rvx__recipe_read_train,
     .write = rvx__recipe_write_train},
    {"fold.validation", RVX_FIELD_SPECIAL, .read = rvx__recipe_read_validation,
     .write = rvx__recipe_write_validation},
    {0},
};
