/* The training plan as JSON: see recipe.h. Walks the field table both ways. */
#include "engine/run/recipe.h"
#include "engine/run/recipe_fields.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PLAN_BYTES_MAX = 64 << 20, KEYS_MAX = 64, KEY_BYTES = 64 };

void rvx__recipe_base(rvx_recipe *recipe)
{
    *recipe = (rvx_recipe){.format_version = RVX_RECIPE_FORMAT,
                           .network = {.name = "unet3d",
                                       .convolutions_per_stage = 2,
                                       .depth = 1,
                                       .deep_supervision = true},
                           .patch = {.batch = 2, .foreground_fraction = 0.33},
                           .spacing_native = true,
                           .resampling = {RVX_RESAMPLING_CUBIC, RVX_RESAMPLING_LINEAR},
                           .augmentation = {.mirror_axes = {true, true, true},
                                            .rotation_degrees = {30, 30, 30},
                                            .flat_axis = RVX_AXIS_NONE,
                                            .ultrasound = {.beam = 2, .sweep = RVX_AXIS_Z}},
                           .memory = {.grid_log2 = 12},
                           .loss = {.smooth = 1e-5, .ignore_label = -1},
                           .optimizer = {.name = RVX_OPTIMIZER_SGD,
                                         .learning_rate = 0.01,
                                         .momentum = 0.99,
                                         .nesterov = true,
                                         .beta1 = 0.9,
                                         .beta2 = 0.999,
                                         .epsilon = 1e-8,
                                         .weight_decay = 3e-5,
                                         .schedule = RVX_SCHEDULE_POLY,
                                         .poly_power = 0.9,
                                         .gradient_clip = 12},
                           .training = {.steps = 250000,
                                        .steps_per_epoch = 250,
                                        .validation_every = 250,
                                        .checkpoint_every = 250,
                                        .validation_smoothing = 0.9},
                           .inference = {.tile_step = 0.5, .gaussian = true},
                           .file_ending = ".nii.gz",
                           .fold = {.count = 5, .seed = 12345}};
    rvx__recipe_augment(recipe, RVX_AUGMENTATION_NNUNET);
    for (int i = 0; i < RVX_STAGES_MAX; i++)
        for (int axis = 0; axis < 3; axis++)
            recipe->network.kernels[i][axis] = 3;
    for (int i = 0; i < RVX_CHANNELS_MAX; i++)
        recipe->normalisation[i].std = 1;
}

void rvx__recipe_free(rvx_recipe *recipe)
{
    rvx__names_free(&recipe->fold.train);
    rvx__names_free(&recipe->fold.validation);
    *recipe = (rvx_recipe){0};
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

static rvx_status field_read(rvx_recipe *recipe, const rvx_field *field, const rvx_json *json,
                             rvx_error *error)
{
    void *target = (char *)recipe + field->offset;
    rvx_status status = RVX_OK;
    switch (field->kind) {
    case RVX_FIELD_INTEGER_OR_NULL:
        if (rvx__json_null(json)) {
            *(int64_t *)target = -1;
            break;
        } /* fall through */
    case RVX_FIELD_INTEGER:
        return rvx__json_integer(target, json, (int64_t)field->min, (int64_t)field->max, error);
    case RVX_FIELD_NUMBER:
        return rvx__json_number(target, json, field->min, field->max, error);
    case RVX_FIELD_RANGE: {
        double *range = target;
        int64_t count;
        RVX_TRY(rvx__json_array(&count, json, 2, 2, error));
        rvx_json low = rvx__json_element(json, 0), high = rvx__json_element(json, 1);
        RVX_TRY(rvx__json_number(&range[0], &low, field->min, field->max, error));
        RVX_TRY(rvx__json_number(&range[1], &high, range[0], field->max, error));
        break;
    }
    case RVX_FIELD_TRIPLE:
        return rvx__json_triple(target, json, field->min, field->max, error);
    case RVX_FIELD_BOOLEAN:
        return rvx__json_boolean(target, json, error);
    case RVX_FIELD_CHOICE:
        return rvx__json_choice(target, json, field->names, error);
    case RVX_FIELD_STRING: {
        const char *string = NULL;
        RVX_TRY(rvx__json_string(&string, json, RVX_NAME_BYTES, error));
        memset(target, 0, RVX_NAME_BYTES);
        memcpy(target, string, strlen(string));
        break;
    }
    case RVX_FIELD_SPECIAL:
        return field->read(recipe, json, error);
    }
cleanup:
    return status;
}

/* The rows of one JSON object are those whose path begins with its prefix ("optimizer."). */
static bool in_object(const rvx_field *field, const char *prefix)
{
    return field->path && strncmp(field->path, prefix, strlen(prefix)) == 0;
}

/* Copies the next part of the path, "learning_rate" or "rotation"; true where it is the last. */
static bool next_key(char key[KEY_BYTES], const rvx_field *field, const char *prefix)
{
    const char *rest = field->path + strlen(prefix);
    size_t length = strcspn(rest, ".");
    assert(length < KEY_BYTES);
    memcpy(key, rest, length);
    key[length] = 0;
    return rest[length] == 0;
}

/* Reads the object and moves *field past its rows. */
static rvx_status object_read(rvx_recipe *recipe, const rvx_field **field, const char *prefix,
                              const rvx_json *json, rvx_error *error)
{
    char keys[KEYS_MAX][KEY_BYTES], inner[4 * KEY_BYTES];
    const char *list[KEYS_MAX + 1];
    int count = 0;
    for (const rvx_field *row = *field; in_object(row, prefix); row++) {
        next_key(keys[count], row, prefix);
        list[count] = keys[count];
        assert(count < KEYS_MAX - 1);
        count += count == 0 || strcmp(keys[count], keys[count - 1]) != 0;
    }
    list[count] = NULL;
    rvx_status status;
    RVX_TRY(rvx__json_object(json, list, error));
    for (int i = 0; i < count; i++) {
        rvx_json member = rvx__json_member(json, keys[i]);
        char key[KEY_BYTES];
        if (!next_key(key, *field, prefix)) {
            snprintf(inner, sizeof inner, "%s%s.", prefix, key);
            const rvx_field *first = *field;
            bool required = false;
            for (; in_object(*field, inner); (*field)++)
                required |= (*field)->required;
            if (!required && rvx__json_absent(&member))
                continue;
            RVX_TRY(object_read(recipe, &first, inner, &member, error));
            continue;
        }
        if (!rvx__json_absent(&member) || (*field)->required)
            RVX_TRY(field_read(recipe, *field, &member, error));
        (*field)++;
    }
cleanup:
    return status;
}

rvx_status rvx__recipe_from_json(rvx_recipe *recipe, const json_t *root, const char *file,
                                 rvx_error *error)
{
    rvx__recipe_base(recipe);
    rvx_json json = rvx__json_root(root, file);
    const rvx_field *field = rvx__recipe_fields;
    rvx_status status = object_read(recipe, &field, "", &json, error);
    if (status == RVX_OK) {
        status = rvx__recipe_check(recipe, error);
        if (status != RVX_OK) {
            rvx__fail_context(error, "%s", file);
            status = RVX_ERROR_FORMAT;
            if (error)
                error->status = status;
        }
    }
    if (status != RVX_OK)
        rvx__recipe_free(recipe);
    return status;
}

rvx_status rvx__recipe_parse(rvx_recipe *recipe, const char *text, const char *file,
                             rvx_error *error)
{
    json_t *root;
    *recipe = (rvx_recipe){0};
    rvx_status status = rvx__json_parse(&root, text, (int64_t)strlen(text), file, error);
    if (status == RVX_OK)
        status = rvx__recipe_from_json(recipe, root, file, error);
    json_decref(root);
    return status;
}

rvx_status rvx__recipe_load(rvx_recipe *recipe, const char *path, rvx_error *error)
{
    json_t *root;
    *recipe = (rvx_recipe){0};
    rvx_status status = rvx__json_load(&root, path, PLAN_BYTES_MAX, error);
    if (status == RVX_OK)
        status = rvx__recipe_from_json(recipe, root, path, error);
    json_decref(root);
    return status;
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

static json_t *numbers_write(const double *values, int count)
{
    json_t *array = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(array, json_real(values[i]));
    return array;
}

static json_t *field_write(const rvx_recipe *recipe, const rvx_field *field)
{
    const void *source = (const char *)recipe + field->offset;
    switch (field->kind) {
    case RVX_FIELD_INTEGER_OR_NULL:
        if (*(const int64_t *)source < 0)
            return json_null();
        return json_integer(*(const int64_t *)source);
    case RVX_FIELD_INTEGER:
        return json_integer(*(const int64_t *)source);
    case RVX_FIELD_NUMBER:
        return json_real(*(const double *)source);
    case RVX_FIELD_RANGE:
        return numbers_write(source, 2);
    case RVX_FIELD_TRIPLE:
        return numbers_write(source, 3);
    case RVX_FIELD_BOOLEAN:
        return json_boolean(*(const bool *)source);
    case RVX_FIELD_CHOICE:
        return json_string(field->names[*(const int *)source]);
    case RVX_FIELD_STRING:
        return json_string(source);
    case RVX_FIELD_SPECIAL:
        return field->write(recipe);
    }
    return NULL;
}

static json_t *object_write(const rvx_recipe *recipe, const rvx_field **field, const char *prefix)
{
    json_t *object = json_object();
    bool failed = object == NULL;
    while (in_object(*field, prefix)) {
        char key[KEY_BYTES], inner[4 * KEY_BYTES];
        if (next_key(key, *field, prefix)) {
            failed |= json_object_set_new(object, key, field_write(recipe, (*field)++)) != 0;
            continue;
        }
        snprintf(inner, sizeof inner, "%s%s.", prefix, key);
        failed |= json_object_set_new(object, key, object_write(recipe, field, inner)) != 0;
    }
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *rvx__recipe_to_json(const rvx_recipe *recipe)
{
    const rvx_field *field = rvx__recipe_fields;
    return object_write(recipe, &field, "");
}

rvx_status rvx__recipe_print(rvx_text *text, const rvx_recipe *recipe, rvx_error *error)
{
    json_t *root = rvx__recipe_to_json(recipe);
    if (!root)
        return rvx__fail(error, RVX_ERROR_MEMORY,
                         "cannot write the plan: no memory, or a name is not UTF-8");
    rvx__json_print(text, root);
    json_decref(root);
    return rvx__text_check(text, error);
}

rvx_status rvx__recipe_save(const rvx_recipe *recipe, const char *path, rvx_error *error)
{
    rvx_text text = {0};
    rvx_status status = rvx__recipe_print(&text, recipe, error);
    rvx__text_add(&text, "\n");
    if (status == RVX_OK)
        status = rvx__text_check(&text, error);
    if (status == RVX_OK)
        status = rvx__file_write(path, text.data, text.bytes, error);
    rvx__text_free(&text);
    return status;
}

rvx_dtype rvx__recipe_streams(const rvx_recipe *recipe)
{
    static const rvx_dtype types[] = {RVX_I16, RVX_F32, RVX_BF16};
    return types[recipe->memory.streams];
}
