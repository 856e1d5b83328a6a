/* rvx_predict: files in, label maps out. */
#include "bindings/c/model_set.h"
#include "bindings/c/repairs.h"

#include "engine/run/cases.h"
#include "engine/volume/format.h"

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

static bool ends_with_channel(const char *name, int64_t stem, const char *suffix)
{
    return stem > 5 && strncmp(name + stem - 5, suffix, 5) == 0;
}

/* A channel more than the model knows: segmenting the first ones only would be a guess. */
static rvx_status check_channels(const prediction *p, const char *first, rvx_error *error)
{
    char beyond[RVX_PATH_BYTES];
    int channels = p->models.files[0].config.in_channels;
    rvx_status status = rvx__facade_channel_path(beyond, first, channels, error);
    if (status == RVX_OK && rvx__path_exists(beyond))
        status =
            rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: is there, but the model has %d channel%s: %s",
                      beyond, channels, channels == 1 ? "" : "s", p->models.files[0].path);
    return status;
}

/* A series is called as its folder, or the file of it that was named. */
static rvx_status add_dicom(prediction *p, const char *path, rvx_error *error)
{
    int64_t bytes = (int64_t)strlen(path), start;
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    for (start = bytes; start > 0 && path[start - 1] != '/'; start--)
        ;
    int64_t stem = bytes - start;
    if (stem > 4 && strncmp(path + bytes - 4, ".dcm", 4) == 0)
        stem -= 4;
    if (stem == 1 && path[start] == '.')
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: the folder's name becomes the case's: give it by its name", path);
    if (p->models.files[0].config.in_channels > 1)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: a DICOM series has one channel, the model has %d", path,
                         p->models.files[0].config.in_channels);
    return add_case(p, path + start, stem, path, error);
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
    if (ends_with_channel(name, stem, "_0000")) {
        stem -= 5;
        rvx_status status = check_channels(p, path, error);
        if (status != RVX_OK)
            return status;
    } else if (p->models.files[0].config.in_channels > 1)
        return rvx__fail(
            error, RVX_ERROR_ARGUMENT,
            "%s: the model has %d channels: name the file CASE_0000, its other channels "
            "stand beside it as CASE_0001, ...",
            path, p->models.files[0].config.in_channels);
    return add_case(p, name, stem, path, error);
}

static rvx_status add_folder(prediction *p, const char *folder, rvx_error *error)
{
    rvx_names files = {0};
    rvx_status status = RVX_OK;
    int64_t before = p->identifiers.count;
    if (rvx__format_of_folder(folder))
        return add_dicom(p, folder, error);
    RVX_TRY(rvx__directory_list(&files, folder, NULL, error));
    for (int64_t i = 0; i < files.count; i++) {
        int64_t stem = rvx__volume_stem_bytes(files.names[i]);
        char path[RVX_PATH_BYTES];
        if (stem < 1 || !ends_with_channel(files.names[i], stem, "_0000"))
            continue;
        RVX_TRY(rvx__path_join(path, folder, files.names[i], error));
        RVX_TRY(add_file(p, path, error));
    }
    if (p->identifiers.count == before)
        status = rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: holds no CASE_0000.nii.gz (%s)", folder,
                           RVX_VOLUME_SUFFIXES);
cleanup:
    rvx__names_free(&files);
    return status;
}

/* ---- one case ----------------------------------------------------------------------------------
 */

rvx_status rvx__facade_channel_path(char out[RVX_PATH_BYTES], const char *first, int channel,
                                    rvx_error *error)
{
    rvx_status status = rvx__path_join(out, NULL, first, error);
    if (status != RVX_OK || channel == 0)
        return status;
    const char *name = rvx__path_name(out);
    char *digits = out + (name - out) + rvx__volume_stem_bytes(name) - 4;
    for (int i = 3, rest = channel; i >= 0; i--, rest /= 10)
        digits[i] = (char)('0' + rest % 10);
    return RVX_OK;
}

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
        RVX_TRY(rvx__facade_channel_path(paths[c], p->first_paths[p->done], c, error));
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
