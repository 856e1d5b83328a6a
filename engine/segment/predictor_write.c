/* Label maps and probability maps as files: see label_files.h, and the last part of predictor.h. */
#include "engine/segment/label_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rvx_label_files {
    const rvx_postprocess *rules; /* NULL: none */
    rvx_spool *spool;             /* with rules: the labels until all are there */
    int64_t size[3];
    double spacing[3];
    rvx_volume_writer *labels;
    rvx_volume_writer *probabilities[RVX_CLASSES_MAX]; /* by class; NULL for the background */
    uint8_t *slice;
    int64_t voxels; /* of a slice */
    int classes;
};

rvx_status rvx__label_files_slices(void *context, const uint8_t *labels, const float *probabilities,
                                   int64_t z_first, int64_t z_count, rvx_error *error)
{
    rvx_label_files *files = context;
    rvx_status status = files->spool
                            ? rvx__spool_write(files->spool, z_first * files->voxels, labels,
                                               z_count * files->voxels, error)
                            : rvx__volume_writer_slab(files->labels, labels, z_count, error);
    for (int k = 1; k < files->classes && probabilities && status == RVX_OK; k++) {
        for (int64_t i = 0; i < files->voxels; i++)
            files->slice[i] = (uint8_t)(probabilities[i * files->classes + k] * 255.0f + 0.5f);
        status = rvx__volume_writer_slab(files->probabilities[k], files->slice, z_count, error);
    }
    return status;
}

rvx_status rvx__predictor_path(char out[RVX_PATH_BYTES], const rvx_recipe *recipe, const char *name,
                               const char *folder, const char *label, rvx_error *error)
{
    char file[512];
    const char *ending = recipe->file_ending[0] ? recipe->file_ending : ".nii.gz";
    int written = snprintf(file, sizeof file, "%s%s%s%s", name, label ? "_prob_" : "",
                           label ? label : "", ending);
    if (written < 0 || written >= (int)sizeof file)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: the name is too long", name);
    /* Evaluation finds a case by its name: that keeps its spaces. */
    size_t kept = strlen(name);
    for (size_t i = 0; file[i]; i++)
        if (file[i] == '/' || (file[i] == ' ' && i >= kept))
            file[i] = '_';
    return rvx__path_join(out, folder, file, error);
}

static rvx_status open_file(rvx_volume_writer **writer, const rvx_case_reader *one,
                            const char *folder, const char *label, const rvx_recipe *recipe,
                            rvx_error *error)
{
    char path[RVX_PATH_BYTES];
    rvx_segments segments = {0};
    rvx_status status = RVX_OK;
    const rvx_volume_info *info = rvx__case_reader_info(one);
    RVX_TRY(rvx__predictor_path(path, recipe, rvx__case_reader_name(one), folder, label, error));
    for (int64_t k = 1; k < recipe->network.classes && !label; k++)
        RVX_TRY(rvx__segments_add(&segments, recipe->labels[k], k, error));
    status = rvx__volume_writer_create_segments(writer, path, &info->geometry, RVX_VOXEL_U8, info,
                                                label ? NULL : &segments, error);
cleanup:
    rvx__segments_free(&segments);
    return status;
}

rvx_status rvx__label_files_open(rvx_label_files **out, const rvx_case_reader *one,
                                 const char *folder, const rvx_recipe *recipe, bool probabilities,
                                 const rvx_postprocess *rules, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const rvx_geometry *grid = &rvx__case_reader_info(one)->geometry;
    *out = NULL;
    rvx_label_files *files = calloc(1, sizeof *files);
    if (!files)
        return rvx__fail(error, RVX_ERROR_MEMORY, "prediction: out of memory");
    files->classes = (int)recipe->network.classes;
    files->voxels = grid->size[0] * grid->size[1];
    memcpy(files->size, grid->size, sizeof files->size);
    memcpy(files->spacing, grid->spacing, sizeof files->spacing);
    files->rules = rules;
    files->slice = malloc((size_t)files->voxels);
    if (!files->slice)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "prediction: out of memory"));
    if (rules && !rvx__postprocess_idle(rules))
        RVX_TRY(rvx__spool_create(&files->spool, folder, error));
    RVX_TRY(open_file(&files->labels, one, folder, NULL, recipe, error));
    for (int k = 1; k < files->classes && probabilities; k++)
        RVX_TRY(open_file(&files->probabilities[k], one, folder, recipe->labels[k], recipe, error));
    *out = files;
    files = NULL;
cleanup:
    rvx__label_files_abandon(files);
    return status;
}

static rvx_status rules_apply(rvx_label_files *files, rvx_error *error)
{
    rvx_status status = RVX_OK;
    RVX_TRY(rvx__postprocess_run(files->spool, files->size, files->spacing, files->rules, 0, NULL,
                                 error));
    for (int64_t z = 0; z < files->size[2]; z++) {
        RVX_TRY(
            rvx__spool_read(files->spool, z * files->voxels, files->slice, files->voxels, error));
        RVX_TRY(rvx__volume_writer_slab(files->labels, files->slice, 1, error));
    }
cleanup:
    return status;
}

rvx_status rvx__label_files_commit(rvx_label_files *files, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_volume_writer *committing;
    if (files->spool)
        RVX_TRY(rules_apply(files, error));
    for (int k = 1; k < files->classes; k++) {
        committing = files->probabilities[k];
        files->probabilities[k] = NULL;
        if (committing)
            RVX_TRY(rvx__volume_writer_commit(committing, error));
    }
    committing = files->labels;
    files->labels = NULL;
    status = rvx__volume_writer_commit(committing, error);
cleanup:
    rvx__label_files_abandon(files);
    return status;
}

void rvx__label_files_abandon(rvx_label_files *files)
{
    if (!files)
        return;
    rvx__volume_writer_abandon(files->labels);
    for (int k = 1; k < files->classes; k++)
        rvx__volume_writer_abandon(files->probabilities[k]);
    rvx__spool_free(files->spool);
    free(files->slice);
    free(files);
}

rvx_status rvx__predictor_write(rvx_predictor *predictor, const rvx_recipe *recipe,
                                rvx_case_reader *one, const char *folder, bool probabilities,
                                rvx_poll poll, void *poll_context, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_label_files *files = NULL, *committing;
    RVX_TRY(rvx__label_files_open(&files, one, folder, recipe, probabilities, NULL, error));
    RVX_TRY(rvx__predictor_run(predictor, one, probabilities, rvx__label_files_slices, files, poll,
                               poll_context, error));
    committing = files;
    files = NULL;
    status = rvx__label_files_commit(committing, error);
cleanup:
    rvx__label_files_abandon(files);
    return status;
}
