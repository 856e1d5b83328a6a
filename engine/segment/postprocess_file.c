/* Post-processing rules as a file, and their choice on validation cases: see postprocess.h. */
#include "engine/base/file.h"
#include "engine/segment/postprocess.h"
#include "engine/volume/volume.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 20, FORMAT_VERSION = 1, NAME_BYTES = 64, CLASSES_MAX = 255 };
enum { AS_PREDICTED, FOREGROUND, CLASSES, BOTH, VARIANTS };

/* ---- Reading ----------------------------------------------------------------------------------
 */

typedef struct label_names {
    const char *const *names;
    int64_t count;
} label_names;

static rvx_status label_find(int64_t *label, const label_names *names, const rvx_json *at,
                             const char *name, rvx_error *error)
{
    for (*label = 1; *label < names->count; ++*label)
        if (strcmp(names->names[*label], name) == 0)
            return RVX_OK;
    return rvx__json_fail(at, error, "names \"%s\", which is no class of the model", name);
}

static rvx_status volumes_read(double out[256], const rvx_json *root, const char *key,
                               const label_names *names, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_json member = rvx__json_member(root, key);
    const char *name;
    json_t *value;
    if (rvx__json_absent(&member))
        return RVX_OK;
    RVX_TRY(rvx__json_object(&member, NULL, error));
    json_t *object = json_object_get(root->value, key);
    json_object_foreach(object, name, value)
    {
        int64_t label;
        rvx_json one = rvx__json_member(&member, name);
        RVX_TRY(label_find(&label, names, &one, name, error));
        RVX_TRY(rvx__json_number(&out[label], &one, 0, 1e12, error));
    }
cleanup:
    return status;
}

static rvx_status largest_read(rvx_postprocess *rules, const rvx_json *root,
                               const label_names *names, rvx_error *error)
{
    static const char *const keys[] = {"foreground", "classes", NULL};
    rvx_status status = RVX_OK;
    rvx_json largest = rvx__json_member(root, "keep_largest");
    int64_t count, label;
    if (rvx__json_absent(&largest))
        return RVX_OK;
    RVX_TRY(rvx__json_object(&largest, keys, error));
    rvx_json foreground = rvx__json_member(&largest, "foreground");
    rvx_json classes = rvx__json_member(&largest, "classes");
    if (!rvx__json_absent(&foreground))
        RVX_TRY(rvx__json_boolean(&rules->largest_foreground, &foreground, error));
    if (rvx__json_absent(&classes))
        return RVX_OK;
    RVX_TRY(rvx__json_array(&count, &classes, 0, CLASSES_MAX, error));
    for (int64_t i = 0; i < count; i++) {
        rvx_json element = rvx__json_element(&classes, i);
        const char *name;
        RVX_TRY(rvx__json_string(&name, &element, NAME_BYTES, error));
        RVX_TRY(label_find(&label, names, &element, name, error));
        rules->largest[label] = true;
    }
cleanup:
    return status;
}

rvx_status rvx__postprocess_load(rvx_postprocess *rules, const char *path, const char *const *names,
                                 int64_t name_count, rvx_error *error)
{
    static const char *const keys[] = {"format_version", "keep_largest", "smallest_object_mm3",
                                       "fill_holes_mm3", "chosen_by",    NULL};
    rvx_status status;
    json_t *tree = NULL;
    int64_t version;
    const label_names labels = {names, name_count};
    *rules = (rvx_postprocess){0};
    RVX_TRY(rvx__json_load(&tree, path, FILE_BYTES_MAX, error));
    rvx_json root = rvx__json_root(tree, path);
    RVX_TRY(rvx__json_object(&root, keys, error));
    rvx_json format = rvx__json_member(&root, "format_version");
    RVX_TRY(rvx__json_integer(&version, &format, FORMAT_VERSION, FORMAT_VERSION, error));
    RVX_TRY(largest_read(rules, &root, &labels, error));
    RVX_TRY(volumes_read(rules->smallest_mm3, &root, "smallest_object_mm3", &labels, error));
    RVX_TRY(volumes_read(rules->hole_mm3, &root, "fill_holes_mm3", &labels, error));
cleanup:
    json_decref(tree);
    return status;
}

/* ---- Choosing ---------------------------------------------------------------------------------
 */

rvx_status rvx__postprocess_choice_create(rvx_postprocess_choice *choice,
                                          const rvx_class_list *list, rvx_error *error)
{
    size_t count = (size_t)(VARIANTS * list->count) + 1;
    *choice = (rvx_postprocess_choice){.list = list,
                                       .dice = calloc(count, sizeof *choice->dice),
                                       .defined = calloc(count, sizeof *choice->defined)};
    if (choice->dice && choice->defined)
        return RVX_OK;
    return rvx__fail(error, RVX_ERROR_MEMORY, "post-processing: out of memory");
}

void rvx__postprocess_choice_free(rvx_postprocess_choice *choice)
{
    free(choice->dice);
    free(choice->defined);
    *choice = (rvx_postprocess_choice){0};
}

static rvx_postprocess variant_rules(const rvx_class_list *list, int variant)
{
    rvx_postprocess rules = {.largest_foreground = variant == FOREGROUND || variant == BOTH};
    for (int64_t k = 0; k < list->count; k++)
        rules.largest[list->classes[k].label] = variant == CLASSES || variant == BOTH;
    return rules;
}

/* Voxels that the reference leaves open take no part. */
static void dice_add(rvx_postprocess_choice *choice, int variant, const uint8_t *prediction,
                     const uint8_t *reference, int64_t voxels)
{
    const rvx_class_list *list = choice->list;
    for (int64_t k = 0; k < list->count; k++) {
        const uint8_t *member = list->classes[k].member;
        int64_t total = 0, hits = 0, at = variant * list->count + k;
        for (int64_t i = 0; i < voxels; i++) {
            if (reference[i] == list->ignore_label)
                continue;
            total += member[prediction[i]] + member[reference[i]];
            hits += member[prediction[i]] && member[reference[i]];
        }
        if (total == 0)
            continue;
        choice->dice[at] += 2.0 * (double)hits / (double)total;
        choice->defined[at]++;
    }
}

rvx_status rvx__postprocess_choice_add(rvx_postprocess_choice *choice, const char *prediction_path,
                                       const char *reference_path, rvx_repairs *repairs,
                                       rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_volume prediction = {0}, reference = {0};
    rvx_spool *spool = NULL;
    uint8_t *changed = NULL;
    RVX_TRY(rvx__volume_read_labels_repair(&reference, reference_path, repairs, error));
    RVX_TRY(rvx__volume_read_labels(&prediction, prediction_path, error));
    const rvx_geometry *grid = &prediction.info.geometry;
    int64_t voxels = rvx__geometry_voxels(grid);
    if (rvx__geometry_voxels(&reference.info.geometry) != voxels)
        RVX_TRY(rvx__fail(error, RVX_ERROR_FORMAT, "%s: has other voxels than %s", prediction_path,
                          reference_path));
    changed = malloc((size_t)voxels);
    if (!changed)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for a copy", prediction_path));
    RVX_TRY(rvx__spool_over(&spool, changed, voxels, error));
    for (int variant = 0; variant < VARIANTS; variant++) {
        rvx_postprocess rules = variant_rules(choice->list, variant);
        memcpy(changed, prediction.voxels, (size_t)voxels);
        RVX_TRY(rvx__postprocess_run(spool, grid->size, grid->spacing, &rules, 0, NULL, error));
        dice_add(choice, variant, changed, reference.voxels, voxels);
    }
    choice->case_count++;
cleanup:
    rvx__spool_free(spool);
    free(changed);
    rvx__volume_free(&prediction);
    rvx__volume_free(&reference);
    return status;
}

/* NaN where no case defines it: never better than anything. */
static double variant_dice(const rvx_postprocess_choice *choice, int variant, int64_t k)
{
    int64_t at = variant * choice->list->count + k;
    return choice->defined[at] ? choice->dice[at] / (double)choice->defined[at] : NAN;
}

static bool foreground_helps(const rvx_postprocess_choice *choice)
{
    double gain = 0;
    bool loses = false;
    for (int64_t k = 0; k < choice->list->count; k++) {
        double change = variant_dice(choice, FOREGROUND, k) - variant_dice(choice, AS_PREDICTED, k);
        if (isnan(change))
            continue;
        gain += change;
        loses = loses || change < 0;
    }
    return gain > 0 && !loses;
}

static json_t *dice_json(double value) { return isnan(value) ? json_null() : json_real(value); }

rvx_status rvx__postprocess_choice_write(rvx_postprocess_choice *choice, const char *path,
                                         rvx_error *error)
{
    const rvx_class_list *list = choice->list;
    json_t *root = json_object(), *largest = json_object(), *classes = json_array();
    json_t *by = json_object(), *gains = json_array();
    choice->rules = (rvx_postprocess){.largest_foreground = foreground_helps(choice)};
    int before = choice->rules.largest_foreground ? FOREGROUND : AS_PREDICTED;
    int after = choice->rules.largest_foreground ? BOTH : CLASSES;
    for (int64_t k = 0; k < list->count; k++) {
        double as_predicted = variant_dice(choice, AS_PREDICTED, k);
        double without = variant_dice(choice, before, k), with = variant_dice(choice, after, k);
        bool helps = with > without;
        json_t *gain = json_object();
        choice->rules.largest[list->classes[k].label] = helps;
        if (helps)
            json_array_append_new(classes, json_string(list->classes[k].name));
        json_object_set_new(gain, "class", json_string(list->classes[k].name));
        json_object_set_new(gain, "dice_as_predicted", dice_json(as_predicted));
        json_object_set_new(gain, "dice_foreground_largest",
                            dice_json(variant_dice(choice, FOREGROUND, k)));
        json_object_set_new(gain, "dice_class_largest", dice_json(with));
        json_object_set_new(gain, "dice_chosen", dice_json(helps ? with : without));
        json_array_append_new(gains, gain);
    }
    json_object_set_new(root, "format_version", json_integer(FORMAT_VERSION));
    json_object_set_new(largest, "foreground", json_boolean(choice->rules.largest_foreground));
    json_object_set_new(largest, "classes", classes);
    json_object_set_new(root, "keep_largest", largest);
    json_object_set_new(root, "smallest_object_mm3", json_object());
    json_object_set_new(root, "fill_holes_mm3", json_object());
    json_object_set_new(by, "validation_cases", json_integer(choice->case_count));
    json_object_set_new(by, "classes", gains);
    json_object_set_new(root, "chosen_by", by);
    rvx_status status = root ? rvx__json_save(root, path, error)
                             : rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory", path);
    json_decref(root);
    return status;
}
