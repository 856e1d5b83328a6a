/* Label maps and probability maps as files: the last part of predictor.h. */
#include "engine/segment/predictor.h"

#include <stdio.h>
#include <stdlib.h>

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

/* FOLDER/NAME[_prob_LABEL]ENDING; characters that a file name should not have become '_'. */
static rvx_status open_file(rvx_volume_writer **writer, const rvx_case *one, const char *folder,
                            const char *label, const char *ending, rvx_error *error)
{
    char name[512], path[RVX_PATH_BYTES];
    int written = snprintf(name, sizeof name, "%s%s%s%s", one->identifier, label ? "_prob_" : "",
                           label ? label : "", ending);
    if (written < 0 || written >= (int)sizeof name)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: the name is too long", one->identifier);
    for (char *c = name; *c; c++)
        if (*c == '/' || *c == ' ')
            *c = '_';
    rvx_status status = rvx__path_join(path, folder, name, error);
    return status == RVX_OK ? rvx__volume_writer_create(writer, path, &one->info.geometry,
                                                        RVX_VOXEL_U8, &one->info, error)
                            : status;
}

static rvx_status open_files(label_files *files, const rvx_case *one, const char *folder,
                             const rvx_recipe *recipe, bool probabilities, rvx_error *error)
{
    const char *ending = recipe->file_ending[0] ? recipe->file_ending : ".nii.gz";
    files->classes = (int)recipe->network.classes;
    files->voxels = one->info.geometry.size[0] * one->info.geometry.size[1];
    files->slice = malloc((size_t)files->voxels);
    if (!files->slice)
        return rvx__fail(error, RVX_ERROR_MEMORY, "prediction: out of memory");
    rvx_status status = open_file(&files->labels, one, folder, NULL, ending, error);
    for (int k = 1; k < files->classes && probabilities && status == RVX_OK; k++)
        status = open_file(&files->probabilities[k], one, folder, recipe->labels[k], ending, error);
    return status;
}

rvx_status rvx__predictor_write(rvx_predictor *predictor, const rvx_recipe *recipe,
                                const rvx_case *one, const char *folder, bool probabilities,
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
