/* Evaluation of a folder of predictions: see evaluate.h. */
#include "engine/segment/evaluate.h"

#include "engine/base/file.h"
#include "engine/volume/dataset.h"
#include "engine/volume/repair.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCAN_SLICES = 8, NAMED_MAX = 5 };

void rvx__evaluation_free(rvx_evaluation *evaluation)
{
    for (int64_t i = 0; i < evaluation->case_count; i++) {
        free(evaluation->cases[i].name);
        free(evaluation->cases[i].prediction_path);
        free(evaluation->cases[i].reference_path);
        free(evaluation->cases[i].metrics);
    }
    for (int64_t i = 0; i < evaluation->unmatched_count; i++)
        free(evaluation->unmatched[i]);
    free(evaluation->unmatched);
    free(evaluation->cases);
    rvx__class_list_free(&evaluation->list);
    *evaluation = (rvx_evaluation){0};
}

/* Reads both maps and checks that they may be compared. The volumes are freed by the caller. */
static rvx_status pair_read(rvx_volume *prediction, rvx_volume *reference,
                            const rvx_class_list *list, const char *prediction_path,
                            const char *reference_path, rvx_repairs *repairs, rvx_error *error)
{
    rvx_status status = RVX_OK;
    RVX_TRY(rvx__volume_read_labels_repair(reference, reference_path, repairs, error));
    RVX_TRY(rvx__volume_read_labels_repair(prediction, prediction_path, repairs, error));
    const rvx_geometry *grid = &reference->info.geometry;
    double side = fmin(grid->spacing[0], fmin(grid->spacing[1], grid->spacing[2]));
    RVX_TRY(rvx__geometry_same(&prediction->info.geometry, prediction_path, grid, reference_path,
                               RVX_GRID_TOLERANCE * side, error));
    int64_t voxels = rvx__geometry_voxels(grid);
    RVX_TRY(rvx__class_list_check(list, reference->voxels, voxels, true, reference_path, error));
    RVX_TRY(rvx__class_list_check(list, prediction->voxels, voxels, false, prediction_path, error));
    if (list->ignore_label >= 0)
        rvx__metrics_ignore(reference->voxels, prediction->voxels, voxels, list->ignore_label);
cleanup:
    return status;
}

rvx_status rvx__evaluation_add(rvx_evaluation *evaluation, const char *name,
                               const char *prediction_path, const char *reference_path, int threads,
                               rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_volume prediction = {0}, reference = {0};
    const char *file = rvx__path_name(reference_path);
    int64_t name_bytes = name ? (int64_t)strlen(name) : rvx__volume_stem_bytes(file);
    const rvx_class_list *list = &evaluation->list;
    if (evaluation->tolerance_mm == 0.0)
        evaluation->tolerance_mm = RVX_TOLERANCE_DEFAULT_MM;
    rvx_evaluation_case *cases = realloc(evaluation->cases, (size_t)(evaluation->case_count + 1) *
                                                                sizeof *evaluation->cases);
    if (!cases)
        return rvx__fail(error, RVX_ERROR_MEMORY, "evaluation of %s: no memory", reference_path);
    evaluation->cases = cases;
    rvx_evaluation_case *c = &cases[evaluation->case_count++];
    *c = (rvx_evaluation_case){
        .name = strndup(name ? name : file, name_bytes < 0 ? strlen(file) : (size_t)name_bytes),
        .prediction_path = strdup(prediction_path),
        .reference_path = strdup(reference_path),
        .metrics = calloc((size_t)(list->count > 0 ? list->count : 1), sizeof *c->metrics)};
    if (!c->name || !c->prediction_path || !c->reference_path || !c->metrics) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "evaluation of %s: no memory", reference_path);
        goto cleanup;
    }
    RVX_TRY(pair_read(&prediction, &reference, list, prediction_path, reference_path,
                      evaluation->repairs, error));
    const rvx_geometry *grid = &reference.info.geometry;
    memcpy(c->spacing, grid->spacing, sizeof c->spacing);
    rvx_metrics_params params = {.tolerance_mm = evaluation->tolerance_mm, .threads = threads};
    RVX_TRY(rvx__metrics_compute(c->metrics, reference.voxels, prediction.voxels, grid->size,
                                 grid->spacing, list->classes, list->count, &params, error));
cleanup:
    rvx__volume_free(&prediction);
    rvx__volume_free(&reference);
    return status;
}

/* Marks the labels that occur in a file. */
static rvx_status labels_scan(uint8_t *present, const char *path, rvx_repairs *repairs,
                              rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_volume_reader *reader = NULL;
    uint8_t *slab = NULL;
    RVX_TRY(rvx__volume_reader_open_repair(&reader, path, repairs, error));
    const int64_t *size = rvx__volume_reader_info(reader)->geometry.size;
    int64_t plane = size[0] * size[1];
    slab = malloc((size_t)(plane * SCAN_SLICES));
    if (!slab) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: %lld bytes refused", path,
                           (long long)plane * SCAN_SLICES);
        goto cleanup;
    }
    for (int64_t z = 0; z < size[2]; z += SCAN_SLICES) {
        int64_t count = size[2] - z < SCAN_SLICES ? size[2] - z : SCAN_SLICES;
        RVX_TRY(rvx__volume_reader_slab_labels(reader, slab, z, count, error));
        for (int64_t i = 0; i < plane * count; i++)
            present[slab[i]] = 1;
    }
cleanup:
    free(slab);
    rvx__volume_reader_close(reader);
    return status;
}

typedef struct folder_pair {
    const char *predictions, *references;
    rvx_names prediction_names, reference_names; /* volume files only */
    int64_t *partner; /* of each reference: index of its prediction, or -1 */
} folder_pair;

static rvx_status names_list(rvx_names *names, const char *folder, rvx_error *error)
{
    rvx_status status = rvx__directory_list(names, folder, NULL, error);
    int64_t kept = 0;
    for (int64_t i = 0; i < names->count; i++) {
        if (rvx__volume_stem_bytes(names->names[i]) > 0)
            names->names[kept++] = names->names[i];
        else
            free(names->names[i]);
    }
    names->count = kept;
    return status;
}

static bool same_case(const char *a, const char *b)
{
    int64_t bytes = rvx__volume_stem_bytes(a);
    return bytes == rvx__volume_stem_bytes(b) && strncmp(a, b, (size_t)bytes) == 0;
}

/* Names are sorted, but the endings of one folder may mix: the plain search is cheap. */
static int64_t partner_find(const rvx_names *names, const char *name)
{
    for (int64_t i = 0; i < names->count; i++)
        if (same_case(names->names[i], name))
            return i;
    return -1;
}

static rvx_status pair_match(folder_pair *pair, bool allow_missing, rvx_error *error)
{
    rvx_status status = RVX_OK;
    RVX_TRY(names_list(&pair->reference_names, pair->references, error));
    RVX_TRY(names_list(&pair->prediction_names, pair->predictions, error));
    const rvx_names *names = &pair->reference_names;
    if (names->count == 0)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: holds no reference (%s)", pair->references,
                         RVX_VOLUME_SUFFIXES);
    pair->partner = malloc((size_t)names->count * sizeof(int64_t));
    if (!pair->partner)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its names", pair->references);
    int64_t missing = 0;
    char list[512] = "";
    size_t used = 0;
    for (int64_t i = 0; i < names->count; i++) {
        pair->partner[i] = partner_find(&pair->prediction_names, names->names[i]);
        if (pair->partner[i] >= 0)
            continue;
        if (missing++ < NAMED_MAX && used < sizeof list - 1)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "",
                                     names->names[i]);
    }
    if (missing == names->count || (missing > 0 && !allow_missing))
        status = rvx__fail(error, RVX_ERROR_ARGUMENT,
                           "%s: no prediction for %lld of the %lld references in %s: %s%s",
                           pair->predictions, (long long)missing, (long long)names->count,
                           pair->references, list, missing > NAMED_MAX ? ", ..." : "");
cleanup:
    return status;
}

/* Predictions that no reference asks for. */
static rvx_status pair_unmatched(rvx_evaluation *evaluation, const folder_pair *pair,
                                 rvx_error *error)
{
    const rvx_names *names = &pair->prediction_names;
    evaluation->unmatched = calloc((size_t)names->count + 1, sizeof(char *));
    if (!evaluation->unmatched)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its names", pair->predictions);
    for (int64_t i = 0; i < names->count; i++) {
        if (partner_find(&pair->reference_names, names->names[i]) >= 0)
            continue;
        char *copy = strdup(names->names[i]);
        if (!copy)
            return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its names",
                             pair->predictions);
        evaluation->unmatched[evaluation->unmatched_count++] = copy;
    }
    return RVX_OK;
}

/* The dataset.json to use: the one asked for, REFERENCES/../dataset.json, or
 * REFERENCES/dataset.json; "" for none. */
static rvx_status dataset_find(char out[RVX_PATH_BYTES], const char *references, const char *asked,
                               rvx_error *error)
{
    rvx_status status = RVX_OK;
    if (asked)
        return rvx__path_join(out, NULL, asked, error);
    RVX_TRY(rvx__path_join(out, references, "../dataset.json", error));
    if (rvx__path_is_file(out))
        return RVX_OK;
    RVX_TRY(rvx__path_join(out, references, "dataset.json", error));
    if (!rvx__path_is_file(out))
        out[0] = 0;
cleanup:
    return status;
}

static rvx_status classes_choose(rvx_class_list *list, const folder_pair *pair,
                                 const rvx_evaluate_params *params, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char path[RVX_PATH_BYTES];
    uint8_t present[256] = {0};
    if (params->classes)
        return rvx__class_list_copy(list, params->classes, params->class_count, -1, error);
    RVX_TRY(dataset_find(path, pair->references, params->dataset_json, error));
    if (path[0])
        return rvx__class_list_load(list, path, error);
    for (int64_t i = 0; i < pair->reference_names.count; i++) {
        if (pair->partner[i] < 0)
            continue;
        const char *name = pair->prediction_names.names[pair->partner[i]];
        RVX_TRY(rvx__path_join(path, pair->references, pair->reference_names.names[i], error));
        RVX_TRY(labels_scan(present, path, params->repairs, error));
        RVX_TRY(rvx__path_join(path, pair->predictions, name, error));
        RVX_TRY(labels_scan(present, path, params->repairs, error));
    }
    status = rvx__class_list_found(list, present, error);
    if (status == RVX_OK && list->count == 0)
        status = rvx__fail(error, RVX_ERROR_ARGUMENT,
                           "%s: neither references nor predictions hold a label besides 0",
                           pair->references);
cleanup:
    return status;
}

rvx_status rvx__evaluate(rvx_evaluation *evaluation, const char *predictions,
                         const char *references, const rvx_evaluate_params *params,
                         rvx_error *error)
{
    static const rvx_evaluate_params defaults = {0};
    rvx_status status = RVX_OK;
    folder_pair pair = {.predictions = predictions, .references = references};
    params = params ? params : &defaults;
    *evaluation =
        (rvx_evaluation){.tolerance_mm = params->tolerance_mm != 0.0 ? params->tolerance_mm
                                                                     : RVX_TOLERANCE_DEFAULT_MM,
                         .repairs = params->repairs};
    RVX_TRY(pair_match(&pair, params->allow_missing, error));
    RVX_TRY(pair_unmatched(evaluation, &pair, error));
    RVX_TRY(classes_choose(&evaluation->list, &pair, params, error));
    int64_t count = 0;
    for (int64_t i = 0; i < pair.reference_names.count; i++)
        count += pair.partner[i] >= 0;
    for (int64_t i = 0; i < pair.reference_names.count; i++) {
        char prediction_path[RVX_PATH_BYTES], reference_path[RVX_PATH_BYTES];
        if (pair.partner[i] < 0)
            continue;
        const char *name = pair.prediction_names.names[pair.partner[i]];
        RVX_TRY(rvx__path_join(prediction_path, predictions, name, error));
        RVX_TRY(rvx__path_join(reference_path, references, pair.reference_names.names[i], error));
        RVX_TRY(rvx__evaluation_add(evaluation, NULL, prediction_path, reference_path,
                                    params->threads, error));
        if (params->progress &&
            !params->progress(params->context, evaluation, evaluation->case_count, count)) {
            status = rvx__fail(error, RVX_CANCELLED, "evaluation stopped after %lld of %lld cases",
                               (long long)evaluation->case_count, (long long)count);
            goto cleanup;
        }
    }
cleanup:
    rvx__names_free(&pair.prediction_names);
    rvx__names_free(&pair.reference_names);
    free(pair.partner);
    return status;
}
