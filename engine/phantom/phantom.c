/* Driver of the phantom: cases to files, see phantom.h. */
#include "engine/phantom/phantom.h"

#include "engine/base/file.h"
#include "engine/phantom/acoustics.h"
#include "engine/volume/dataset.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CASES_MAX = 100000, SIDE_MAX = 8192, IDENTIFIER_BYTES = 256 };

#define FIELD_MM 160.0

typedef struct job {
    const rvx_phantom_options *options;
    const char *out;
    int64_t cases, tests; /* settled numbers */
    int64_t size[3];
    int threads;
    rvx_names maps; /* with anatomy: names in the folder, sorted */
    rvx_label_table table;
    int folders_made;
    /* Shared by the threads that make cases; guarded by the critical section "phantom". */
    int64_t slices_done, stop_at; /* cases above stop_at are given up; -1: all */
} job;

static const char *const folders[2][2] = {{"imagesTr", "labelsTr"}, {"imagesTs", "labelsTs"}};

static void liver_spacing(double spacing[3], const int64_t size[3])
{
    spacing[0] = spacing[1] = FIELD_MM / (double)(size[0] > size[1] ? size[0] : size[1]);
    spacing[2] = fmin(FIELD_MM / (double)size[2], fmax(5.0, spacing[0]));
}

/* Scene coordinates are LPS millimetres: the probe is anterior, slices run towards the head. */
static rvx_geometry liver_geometry(const int64_t size[3])
{
    rvx_geometry g = {.direction = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
    liver_spacing(g.spacing, size);
    for (int i = 0; i < 3; i++) {
        g.size[i] = size[i];
        g.origin[i] = i == 1 ? 0.5 * g.spacing[1] : -0.5 * (double)(size[i] - 1) * g.spacing[i];
    }
    return g;
}

static void case_identifier(char out[IDENTIFIER_BYTES], const job *j, int64_t index)
{
    if (!j->options->anatomy)
        snprintf(out, IDENTIFIER_BYTES, "phantom_%03lld", (long long)index);
    else {
        const char *name = j->maps.names[index];
        snprintf(out, IDENTIFIER_BYTES, "%.*s", (int)rvx__volume_stem_bytes(name), name);
    }
}

static rvx_status case_path(char out[RVX_PATH_BYTES], const job *j, int64_t index, int labels,
                            rvx_error *error)
{
    char identifier[IDENTIFIER_BYTES], name[IDENTIFIER_BYTES + 64];
    case_identifier(identifier, j, index);
    snprintf(name, sizeof name, "%s/%s%s.nii.gz", folders[index >= j->cases][labels], identifier,
             labels ? "" : "_0000");
    return rvx__path_join(out, j->out, name, error);
}

/* Counts a slice and tells whether to go on. Only the thread that called the library reports. */
static rvx_status count_slice(job *j, int64_t index, int64_t slices_per_case, rvx_error *error)
{
    int64_t done, stop_at, total = (j->cases + j->tests) * slices_per_case;
#pragma omp critical(phantom)
    {
        done = ++j->slices_done;
        stop_at = j->stop_at;
    }
    if (index > stop_at)
        return rvx__fail(error, RVX_CANCELLED, "phantom: stopped on request");
    if (!j->options->progress || omp_get_thread_num() != 0)
        return RVX_OK;
    char identifier[IDENTIFIER_BYTES];
    case_identifier(identifier, j, index);
    if (!j->options->progress(j->options->context, identifier, done, total > done ? total : done))
        return RVX_OK;
#pragma omp critical(phantom)
    j->stop_at = -1;
    return rvx__fail(error, RVX_CANCELLED, "phantom: stopped on request");
}

/* Simulates slice after slice and hands each to the two files. */
static rvx_status write_case(job *j, int64_t index, const rvx_geometry *geometry,
                             rvx_ultrasound *ultrasound, const rvx_atlas *atlas, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_volume_writer *images = NULL, *labels = NULL;
    char image_path[RVX_PATH_BYTES], label_path[RVX_PATH_BYTES];
    uint8_t *image = malloc((size_t)(geometry->size[0] * geometry->size[1]));
    uint8_t *label = malloc((size_t)(geometry->size[0] * geometry->size[1]));
    if (!image || !label) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "phantom: no memory for a slice");
        goto cleanup;
    }
    RVX_TRY(case_path(image_path, j, index, 0, error));
    RVX_TRY(case_path(label_path, j, index, 1, error));
    RVX_TRY(rvx__volume_writer_create(&images, image_path, geometry, RVX_VOXEL_U8, NULL, error));
    RVX_TRY(rvx__volume_writer_create(&labels, label_path, geometry, RVX_VOXEL_U8, NULL, error));
    for (int64_t z = 0; z < geometry->size[2]; z++) {
        rvx__ultrasound_next(ultrasound, image);
        if (atlas)
            rvx__atlas_labels(atlas, label, z);
        else
            rvx__ultrasound_labels(ultrasound, label, z);
        RVX_TRY(rvx__volume_writer_slab(images, image, 1, error));
        RVX_TRY(rvx__volume_writer_slab(labels, label, 1, error));
        RVX_TRY(count_slice(j, index, geometry->size[2], error));
    }
    rvx_volume_writer *done = images;
    images = NULL; /* commit frees it in every case */
    RVX_TRY(rvx__volume_writer_commit(done, error));
    done = labels;
    labels = NULL;
    RVX_TRY(rvx__volume_writer_commit(done, error));
cleanup:
    rvx__volume_writer_abandon(images);
    rvx__volume_writer_abandon(labels);
    free(image);
    free(label);
    return status;
}

static rvx_ultrasound_options scanner_options(const job *j, int64_t index,
                                              const rvx_geometry *geometry)
{
    rvx_ultrasound_options o = {
        .seed = j->options->seed, .case_index = index, .threads = j->threads};
    memcpy(o.size, geometry->size, sizeof o.size);
    memcpy(o.spacing, geometry->spacing, sizeof o.spacing);
    double field[3];
    for (int i = 0; i < 3; i++)
        field[i] = (double)o.size[i] * o.spacing[i];
    if (j->options->anatomy)
        rvx__probe_cover(&o.probe, o.seed, index, field);
    else
        rvx__probe_draw(&o.probe, o.seed, index, field);
    return o;
}

static rvx_status make_case(job *j, int64_t index, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_abdomen *abdomen = NULL;
    rvx_atlas *atlas = NULL;
    rvx_ultrasound *ultrasound = NULL;
    rvx_geometry geometry;
    rvx_ultrasound_options o;
    if (j->options->anatomy) {
        char path[RVX_PATH_BYTES];
        RVX_TRY(rvx__path_join(path, j->options->anatomy, j->maps.names[index], error));
        RVX_TRY(rvx__atlas_create(&atlas, path, &j->table, j->options->spacing_mm, error));
        geometry = *rvx__atlas_geometry(atlas);
        o = scanner_options(j, index, &geometry);
        o.scene = rvx__atlas_scene(atlas);
    } else {
        geometry = liver_geometry(j->size);
        o = scanner_options(j, index, &geometry);
        double field[3];
        for (int i = 0; i < 3; i++)
            field[i] = (double)o.size[i] * o.spacing[i];
        /* Edges are as soft as the samples are far apart; a vessel gets a label where it is at
         * least one voxel wide. */
        RVX_TRY(rvx__abdomen_create(&abdomen, o.seed, index, &o.probe, field,
                                    fmax(0.35, 0.35 * o.spacing[1]), 0.5 * o.spacing[0], error));
        o.scene = rvx__abdomen_scene(abdomen);
    }
    RVX_TRY(rvx__ultrasound_create(&ultrasound, &o, error));
    RVX_TRY(write_case(j, index, &geometry, ultrasound, atlas, error));
cleanup:
    rvx__ultrasound_free(ultrasound);
    rvx__atlas_free(atlas);
    rvx__abdomen_free(abdomen);
    return status;
}

/* ---- The dataset ---- */

static rvx_status list_maps(job *j, rvx_error *error)
{
    const rvx_phantom_options *o = j->options;
    rvx_status status = RVX_OK;
    char **paths = NULL;
    int64_t kept = 0;
    RVX_TRY(rvx__directory_list(&j->maps, o->anatomy, NULL, error));
    for (int64_t k = 0; k < j->maps.count; k++) {
        char *name = j->maps.names[k];
        if (rvx__volume_stem_bytes(name) > 0)
            j->maps.names[kept++] = name;
        else
            free(name);
    }
    j->maps.count = kept;
    int64_t wanted = o->test_cases + (o->cases ? o->cases : 1);
    if (kept < wanted) {
        status = rvx__fail(error, RVX_ERROR_ARGUMENT,
                           "%s: %lld label maps (%s); %lld cases need as many", o->anatomy,
                           (long long)kept, RVX_VOLUME_SUFFIXES, (long long)wanted);
        goto cleanup;
    }
    j->tests = o->test_cases;
    j->cases = o->cases ? o->cases : kept - o->test_cases;
    for (int64_t k = 0; k + 1 < kept; k++) { /* endings of one name sort together */
        char one[IDENTIFIER_BYTES], other[IDENTIFIER_BYTES];
        case_identifier(one, j, k);
        case_identifier(other, j, k + 1);
        if (!strcmp(one, other)) {
            status = rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: %s and %s are one name", o->anatomy,
                               j->maps.names[k], j->maps.names[k + 1]);
            goto cleanup;
        }
    }
    if (o->merge) {
        RVX_TRY(rvx__label_table_parse(&j->table, o->merge, error));
        goto cleanup;
    }
    paths = calloc((size_t)kept, sizeof *paths);
    for (int64_t k = 0; paths && k < kept; k++) {
        paths[k] = malloc(RVX_PATH_BYTES);
        if (!paths[k])
            break;
        RVX_TRY(rvx__path_join(paths[k], o->anatomy, j->maps.names[k], error));
    }
    if (!paths || !paths[kept - 1]) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "phantom: no memory for paths");
        goto cleanup;
    }
    /* All maps of the folder, so labels do not depend on how many cases are made. */
    RVX_TRY(rvx__label_table_count(&j->table, paths, kept, error));
cleanup:
    for (int64_t k = 0; paths && k < kept; k++)
        free(paths[k]);
    free(paths);
    return status;
}

static rvx_status check_options(job *j, rvx_error *error)
{
    const rvx_phantom_options *o = j->options;
    if (o->cases < 0 || o->test_cases < 0 || o->cases + o->test_cases > CASES_MAX)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "cases: %lld and %lld tests; expected 1 to %d",
                         (long long)o->cases, (long long)o->test_cases, CASES_MAX);
    if (!(o->spacing_mm == 0 || (o->spacing_mm >= 0.05 && o->spacing_mm <= 50)))
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "spacing: %g mm; expected 0.05 to 50",
                         o->spacing_mm);
    if (o->merge && !o->anatomy)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "merge is of use with anatomy only");
    for (int i = 0; i < 3; i++) {
        j->size[i] = o->size[i] ? o->size[i] : 64;
        if (j->size[i] < 1 || j->size[i] > SIDE_MAX)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "size along %c: %lld voxels; expected 1 to %d", "xyz"[i],
                             (long long)j -> size[i], SIDE_MAX);
    }
    if (!o->anatomy && (j->size[0] < 8 || j->size[1] < 8))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "size: %lldx%lld in the plane of the beams; expected at least 8x8",
                         (long long)j->size[0], (long long)j->size[1]);
    j->threads = o->threads > 0 ? o->threads : omp_get_num_procs();
    j->cases = o->cases ? o->cases : 10;
    j->tests = o->test_cases;
    return o->anatomy ? list_maps(j, error) : RVX_OK;
}

static rvx_status make_folders(job *j, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char path[RVX_PATH_BYTES];
    static const char *const reserved[5] = {"dataset.json", "imagesTr", "labelsTr", "imagesTs",
                                            "labelsTs"};
    for (int k = 0; k < 5; k++) {
        RVX_TRY(rvx__path_join(path, j->out, reserved[k], error));
        if (rvx__path_exists(path)) {
            status = rvx__fail(error, RVX_ERROR_ARGUMENT,
                               "%s is there already; choose another folder or remove it", path);
            goto cleanup;
        }
    }
    j->folders_made = 1;
    for (int set = 0; set < (j->tests ? 2 : 1); set++)
        for (int labels = 0; labels < 2; labels++) {
            RVX_TRY(rvx__path_join(path, j->out, folders[set][labels], error));
            RVX_TRY(rvx__directory_create(path, error));
        }
cleanup:
    return status;
}

/* Removes what this call made; errors are of no interest on the way out of another. */
static void remove_all(const job *j)
{
    char path[RVX_PATH_BYTES];
    for (int64_t k = 0; k < j->cases + j->tests && j->folders_made; k++)
        for (int labels = 0; labels < 2; labels++)
            if (case_path(path, j, k, labels, NULL) == RVX_OK)
                (void)rvx__file_remove(path, NULL);
    for (int set = 0; set < 2 && j->folders_made; set++)
        for (int labels = 0; labels < 2; labels++)
            if (rvx__path_join(path, j->out, folders[set][labels], NULL) == RVX_OK)
                (void)rmdir(path);
    if (j->folders_made)
        (void)rmdir(j->out); /* only where it is empty */
}

static rvx_status write_description(const job *j, rvx_error *error)
{
    static const char *const channel[1] = {"ultrasound"};
    static const char *const liver[5] = {"background", "parenchyma", "vessel", "gallbladder",
                                         "tumour"};
    if (!j->options->anatomy)
        return rvx__dataset_write(j->out, "LiverPhantom", channel, 1, liver, 5, j->cases, ".nii.gz",
                                  error);
    char text[256][16];
    const char *names[256];
    int count = (int)j->table.label_count;
    for (int k = 0; k < count; k++) {
        snprintf(text[k], sizeof text[k], k ? "label_%d" : "background", k);
        names[k] = text[k];
    }
    return rvx__dataset_write(j->out, "AtlasPhantom", channel, 1, names, count, j->cases, ".nii.gz",
                              error);
}

/* Small slices: threads take whole cases, which costs no waiting for each other. Large ones: one
 * case at a time, threads share its slices, so that memory stays that of one case. */
static rvx_status make_cases(job *j, rvx_error *error)
{
    int64_t count = j->cases + j->tests, failed = count;
    rvx_status status = RVX_OK;
    int workers = 1;
    if (count > 1 && (j->options->anatomy || j->size[0] * j->size[1] <= 160 * 160)) {
        workers = j->threads < count ? j->threads : (int)count;
        j->threads = 1;
    }
    j->stop_at = count;
#pragma omp parallel for num_threads(workers) schedule(dynamic, 1)
    for (int64_t k = 0; k < count; k++) {
        int64_t stop_at;
#pragma omp critical(phantom)
        stop_at = j->stop_at;
        rvx_error mine = {0};
        if (k > stop_at || make_case(j, k, &mine) == RVX_OK)
            continue;
#pragma omp critical(phantom)
        if (k < failed) { /* the first in order speaks; those before it are finished */
            failed = k;
            status = mine.status;
            j->stop_at = k < j->stop_at ? k : j->stop_at;
            if (error)
                *error = mine;
        }
    }
    if (status == RVX_OK && j->stop_at < 0) /* on request, after a case's last slice */
        status = rvx__fail(error, RVX_CANCELLED, "phantom: stopped on request");
    return status;
}

rvx_status rvx__phantom_generate(const char *out, const rvx_phantom_options *options,
                                 rvx_error *error)
{
    rvx_status status = RVX_OK;
    job j = {.options = options, .out = out};
    RVX_TRY(check_options(&j, error));
    RVX_TRY(make_folders(&j, error));
    RVX_TRY(make_cases(&j, error));
    RVX_TRY(write_description(&j, error));
cleanup:
    if (status != RVX_OK)
        remove_all(&j);
    rvx__label_table_free(&j.table);
    rvx__names_free(&j.maps);
    return status;
}
