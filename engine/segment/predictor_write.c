/* Label maps and probability maps as files: the last part of predictor.h. */
#include "engine/segment/predictor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct label_files {
    rvx_volume_writer *labels;
    rvx_volume_writer *probabilities[RVX_CLASSES_MAX]; /* by class; NULL for the background */
    uint8_t *slice;
    int64_t voxels; /* of a slice */
    int classes;
} label_files;

static rvx_status write_slices(void *context, const uint8_t *labels, const float *probabilities,
                               int64_t z_first, int64_t z_count, rvx_error *error)
{
    (void)z_first;
    label_files *files = context;
    rvx_status status = rvx__volume_writer_slab(files->labels, labels, z_count, error);
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

static rvx_status open_files(label_files *files, const rvx_case_reader *one, const char *folder,
                             const rvx_recipe *recipe, bool probabilities, rvx_error *error)
{
    files->classes = (int)recipe->network.classes;
    const int64_t *size = rvx__case_reader_info(one)->geometry.size;
    files->voxels = size[0] * size[1];
    files->slice = malloc((size_t)files->voxels);
    if (!files->slice)
        return rvx__fail(error, RVX_ERROR_MEMORY, "prediction: out of memory");
    rvx_status status = open_file(&files->labels, one, folder, NULL, recipe, error);
    for (int k = 1; k < files->classes && probabilities && status == RVX_OK; k++)
        status = open_file(&files->probabilities[k], one, folder, recipe->labels[k], recipe, error);
    return status;
}

rvx_status rvx__predictor_write(rvx_predictor *predictor, const rvx_recipe *recipe,
                                rvx_case_reader *one, const char *folder, bool probabilities,
                                rvx_poll poll, void *poll_context, rvx_error *error)
{
    rvx_status status = RVX_OK;
    label_files files = {0};
    rvx_volume_writer *committing;
    RVX_TRY(open_files(&files, one, folder, recipe, probabilities, error));
    RVX_TRY(rvx__predictor_run(predictor, one, probabilities, write_slices, &files, poll,
                               poll_context, error));
    for (int k = 1; k < files.classes && probabilities; k++) {
        committing = files.probabilities[k];
        files.probabilities[k] = NULL;
        RVX_TRY(rvx__volume_writer_commit(committing, error));
    }
    committing = files.labels;
    files.labels = NULL;
    RVX_TRY(rvx__volume_writer_commit(committing, error));
cleanup:
    rvx__volume_writer_abandon(files.labels);
    for (int k = 1; k < files.classes; k++)
        rvx__volume_writer_abandon(files.probabilities[k]);
    free(files.slice);
    return status;
}
