/* rvx_predict: files in, label maps out. */
#include "bindings/c/model_set.h"
#include "bindings/c/repairs.h"

#include "engine/run/cases.h"
#include "engine/volume/format.h"
#include "engine/volume/image_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct prediction {
    rvx_model_set models;
    rvx_predict_options options;
    rvx_names identifiers; /* cases, each with the path of its first channel */
    char **first_paths;
    rvx_repairs repairs;
    int64_t capacity, done;
    double started, voxels;
} prediction;

/* Progress within a case counts as its share of all cases. */
static int poll_tiles(void *context, double done, double total)
{
    prediction *p = context;
    const char *name = p->done < p->identifiers.count ? p->identifiers.names[p->done] : NULL;
    rvx_progress progress = rvx__facade_phase("predict", name, p->done, p->identifiers.count);
    for (int i = 0; i < p->models.count; i++)
        progress.overflow += rvx__predictor_overflow(p->models.files[i].predictor);
    if (!rvx__facade_repairs_tell(&p->repairs, p->options.progress, p->options.context))
        return 1;
    double fraction = ((double)p->done + done / total) / (double)p->identifiers.count;
    double elapsed = rvx__facade_seconds() - p->started;
    if (fraction > 0)
        progress.seconds_left = elapsed / fraction * (1 - fraction);
    if (elapsed > 0)
        progress.voxels_per_second = p->voxels / elapsed;
    return rvx__facade_progress(p->options.progress, p->options.context, progress);
}

/* ---- which cases -------------------------------------------------------------------------------
 */

static rvx_status add_case(prediction *p, const char *identifier, int64_t identifier_bytes,
                           const char *path, rvx_error *error)
{
    if (p->identifiers.count == p->capacity) {
        int64_t wanted = p->capacity ? 2 * p->capacity : 16;
        char **names = realloc(p->identifiers.names, (size_t)wanted * sizeof *names);
        if (names)
            p->identifiers.names = names;
        char **paths = realloc(p->first_paths, (size_t)wanted * sizeof *paths);
        if (paths)
            p->first_paths = paths;
        if (!names || !paths)
            return rvx__fail(error, RVX_ERROR_MEMORY, "prediction: out of memory");
        p->capacity = wanted;
    }
    char *name = strndup(identifier, (size_t)identifier_bytes), *copy = strdup(path);
    if (!name || !copy) {
        free(name);
        free(copy);
        return rvx__fail(error, RVX_ERROR_MEMORY, "prediction: out of memory");
    }
    for (int64_t i = 0; i < p->identifiers.count; i++)
        if (strcmp(p->identifiers.names[i], name) == 0) {
            rvx_status status =
                rvx__fail(error, RVX_ERROR_ARGUMENT, "two images are called '%s': %s and %s", name,
                          p->first_paths[i], path);
            free(name);
            free(copy);
            return status;
        }
    p->first_paths[p->identifiers.count] = copy;
    p->identifiers.names[p->identifiers.count++] = name;
    return RVX_OK;
}

/* A channel more than the model knows: segmenting the first ones only would be a guess. */
static rvx_status check_channels(const prediction *p, const char *first, rvx_error *error)
{
    char beyond[RVX_PATH_BYTES];
    int channels = p->models.files[0].config.in_channels;
    rvx_status status = rvx__image_beside(beyond, first, channels, error);
    if (status == RVX_OK && rvx__path_exists(beyond))
        status =
            rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: is there, but the model has %d channel%s: %s",
                      beyond, channels, channels == 1 ? "" : "s", p->models.files[0].path);
    return status;
}

static rvx_status refuse_channels(const prediction *p, const char *path, rvx_error *error)
{
    return rvx__fail(
        error, RVX_ERROR_ARGUMENT,
        "%s: the model has %d channels: name the first CASE_0000 with a volume's ending, .dcm or, "
        "for a folder of DICOM, none; its other channels stand beside it as CASE_0001, ...",
        path, p->models.files[0].config.in_channels);
}

/* A series is called as its folder, or as the file of it that was named; without _0000 where that
 * is its channel, which for a file the others in its folder decide: a slice may be IM_0000. */
static rvx_status add_dicom(prediction *p, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char folder[RVX_PATH_BYTES];
    const int channels = p->models.files[0].config.in_channels;
    const char *name = rvx__path_name(path);
    int64_t stem = (int64_t)strlen(name);
    if (rvx__text_ends_with(name, ".dcm"))
        stem -= 4;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: the folder's name becomes the case's: give it by its name", path);
    RVX_TRY(rvx__path_parent(folder, path, error));
    if (rvx__image_channel(name, stem) == 0 &&
        (rvx__path_is_directory(path) || rvx__images_in(folder, channels))) {
        stem -= 5;
        RVX_TRY(check_channels(p, path, error));
    } else if (channels > 1) {
        RVX_TRY(refuse_channels(p, path, error));
    }
    status = add_case(p, name, stem, path, error);
cleanup:
    return status;
}

static rvx_status add_file(prediction *p, const char *path, rvx_error *error)
{
    const char *name = rvx__path_name(path);
    int64_t stem = rvx__volume_stem_bytes(name);
    if (stem < 1 && rvx__dicom_file(path))
        return add_dicom(p, path, error);
    if (stem < 1)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "%s: expected a name that ends in %s", path,
                         RVX_VOLUME_SUFFIXES);
    if (!rvx__path_exists(path))
        return rvx__fail(error, RVX_ERROR_IO, "%s: no such file", path);
    if (rvx__image_channel(name, stem) == 0) {
        stem -= 5;
        rvx_status status = check_channels(p, path, error);
        if (status != RVX_OK)
            return status;
    } else if (p->models.files[0].config.in_channels > 1)
        return refuse_channels(p, path, error);
    return add_case(p, name, stem, path, error);
}

static rvx_status add_folder(prediction *p, const char *given, rvx_error *error)
{
    rvx_names files = {0};
    rvx_status status = RVX_OK;
    int64_t before = p->identifiers.count;
    char folder[RVX_PATH_BYTES];
    RVX_TRY(rvx__path_join(folder, NULL, given, error));
    for (size_t bytes = strlen(folder); bytes > 1 && folder[bytes - 1] == '/';)
        folder[--bytes] = 0;
    if (!rvx__images_in(folder, p->models.files[0].config.in_channels) &&
        rvx__format_of_folder(folder))
        return add_dicom(p, folder, error);
    RVX_TRY(rvx__directory_list(&files, folder, NULL, error));
    for (int64_t i = 0; i < files.count; i++) {
        int64_t stem = rvx__image_stem_bytes(folder, files.names[i], NULL);
        char path[RVX_PATH_BYTES];
        if (stem < 1 || rvx__image_channel(files.names[i], stem) != 0)
            continue;
        RVX_TRY(rvx__path_join(path, folder, files.names[i], error));
        RVX_TRY(rvx__path_is_directory(path) ? add_dicom(p, path, error)
                                             : add_file(p, path, error));
    }
    if (p->identifiers.count == before)
        status =
            rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: holds no CASE_0000.nii.gz (%s; or DICOM)",
                      folder, RVX_VOLUME_SUFFIXES);
cleanup:
    rvx__names_free(&files);
    return status;
}

/* ---- one case ----------------------------------------------------------------------------------
 */

static rvx_status predict_case(prediction *p, const char *out, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char paths[RVX_CHANNELS_MAX][RVX_PATH_BYTES];
    const char *images[RVX_CHANNELS_MAX];
    int64_t voxels = 0;
    const rvx_ensemble_job job = {.members = p->models.members,
                                  .count = p->models.count,
                                  .name = p->identifiers.names[p->done],
                                  .images = images,
                                  .folder = out,
                                  .probabilities = p->options.probabilities != 0,
                                  .rules = &p->models.rules,
                                  .repairs = p->options.repair ? &p->repairs : NULL,
                                  .poll = poll_tiles,
                                  .poll_context = p};
    for (int c = 0; c < p->models.files[0].config.in_channels; c++) {
        RVX_TRY(rvx__image_beside(paths[c], p->first_paths[p->done], c, error));
        images[c] = paths[c];
    }
    RVX_TRY(rvx__ensemble_write(&voxels, &job, error));
    p->voxels += (double)voxels * p->models.count;
cleanup:
    return status;
}

/* The ending of what is written, where the caller wants another than the dataset's. */
static rvx_status format_apply(prediction *p, rvx_error *error)
{
    const char *format = p->options.format;
    char name[RVX_NAME_BYTES + 1];
    if (!format)
        return RVX_OK;
    snprintf(name, sizeof name, "x%.63s", format);
    if (strlen(format) >= RVX_NAME_BYTES || rvx__volume_stem_bytes(name) != 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "format '%.40s': expected %s or .seg.nrrd",
                         format, RVX_VOLUME_SUFFIXES);
    memcpy(p->models.files[0].recipe.file_ending, format, strlen(format) + 1);
    return RVX_OK;
}

rvx_status rvx_predict(const char *run, const char *const *images, int64_t image_count,
                       const char *out, const rvx_predict_options *given, rvx_error *error)
{
    rvx_status status = RVX_OK;
    prediction p = {0};
    rvx_device *device = NULL;
    RVX_TRY(rvx__facade_options(&p.options, sizeof p.options, given, "rvx_predict_options", error));
    RVX_TRY(rvx__facade_required(run, "run", error));
    RVX_TRY(rvx__facade_required(out, "out", error));
    RVX_TRY(rvx__facade_threads(p.options.threads, error));
    if (p.options.tile_step < 0 || p.options.tile_step > 1)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT,
                          "tile_step expected above 0 and up to 1, found %g", p.options.tile_step));
    if (!images || image_count < 1)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT, "no image to segment was given"));
    RVX_TRY(rvx__device_open(&device, p.options.device, p.options.device_library, error));
    RVX_TRY(rvx__facade_tf32(p.options.tf32, device, error));
    rvx_predictor_options options = {.tile_step = p.options.tile_step,
                                     .mirror = p.options.mirror != 0,
                                     .whole = p.options.whole != 0,
                                     .budget_bytes = p.options.budget_bytes,
                                     .threads = rvx__facade_thread_count(p.options.threads),
                                     .isa = device ? RVX_ISA_CUDA : rvx__isa_detect(),
                                     .tf32 = p.options.tf32 != 0,
                                     .device = device};
    RVX_TRY(rvx__model_set_open(&p.models, run, &p.options, &options, error));
    RVX_TRY(format_apply(&p, error));
    for (int64_t i = 0; i < image_count; i++)
        RVX_TRY(rvx__path_is_directory(images[i]) ? add_folder(&p, images[i], error)
                                                  : add_file(&p, images[i], error));
    RVX_TRY(rvx__directory_create(out, error));
    p.started = rvx__facade_seconds();
    while (p.done < p.identifiers.count) {
        RVX_TRY(predict_case(&p, out, error));
        p.done++;
        if (poll_tiles(&p, 0, 1) && p.done < p.identifiers.count)
            RVX_TRY(rvx__fail(error, RVX_CANCELLED, "cancelled"));
    }
    rvx__facade_repairs_tell(&p.repairs, p.options.progress, p.options.context);
    status = rvx__facade_repairs_write(&p.repairs, out, error);
cleanup:
    rvx__repairs_free(&p.repairs);
    rvx__model_set_close(&p.models);
    for (int64_t i = 0; i < p.identifiers.count; i++)
        free(p.first_paths[i]);
    free(p.first_paths);
    rvx__names_free(&p.identifiers);
    rvx__device_close(device);
    return status;
}
