/* The report of a run folder: finds metrics, images and label maps by name. See report.h. */
#include "engine/segment/report.h"

#include "engine/base/file.h"
#include "engine/volume/image_name.h"
#include "engine/volume/volume.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Images stand beside the labels in nnU-Net's layout: labelsTr/CASE.nii.gz goes with
 * imagesTr/CASE_0000.nii.gz, or DICOM of that name. "" where there is none. */
static rvx_status image_find(char out[RVX_PATH_BYTES], const char *reference_path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char folder[RVX_PATH_BYTES], parent[RVX_PATH_BYTES], images[RVX_PATH_BYTES], name[1024];
    out[0] = 0;
    RVX_TRY(rvx__path_parent(folder, reference_path, error));
    const char *folder_name = rvx__path_name(folder), *file = rvx__path_name(reference_path);
    int64_t case_bytes = rvx__volume_stem_bytes(file);
    if (strncmp(folder_name, "labels", 6) != 0 || case_bytes < 0 || case_bytes > 900)
        return RVX_OK;
    RVX_TRY(rvx__path_parent(parent, folder, error));
    snprintf(name, sizeof name, "images%.200s", folder_name + 6);
    RVX_TRY(rvx__path_join(images, parent, name, error));
    for (int64_t i = 0; rvx__volume_suffix_at(i); i++) {
        snprintf(name, sizeof name, "%.*s_0000%s", (int)case_bytes, file, rvx__volume_suffix_at(i));
        RVX_TRY(rvx__path_join(out, images, name, error));
        if (rvx__path_is_file(out))
            return RVX_OK;
    }
    snprintf(name, sizeof name, "%.*s_0000", (int)case_bytes, file);
    RVX_TRY(rvx__path_join(folder, images, name, error));
    RVX_TRY(rvx__image_find(out, folder, NULL, error));
    if (!rvx__path_exists(out))
        out[0] = 0;
cleanup:
    return status;
}

rvx_status rvx__report_run(const char *out_path, const char *run,
                           const rvx_report_request *settings, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_evaluation evaluation = {0};
    rvx_report_case *cases = NULL;
    char path[RVX_PATH_BYTES];
    if (!rvx__path_is_directory(run))
        return rvx__fail(error, RVX_ERROR_IO, "%s: not a folder; expected a training run", run);
    rvx_report_request report = settings ? *settings : (rvx_report_request){0};
    report.run = run;
    RVX_TRY(rvx__path_join(path, run, "validation.json", error));
    if (rvx__path_is_file(path)) {
        RVX_TRY(rvx__evaluation_load(&evaluation, path, error));
        report.evaluation = &evaluation;
    } else {
        RVX_TRY(rvx__path_join(path, run, "metrics.jsonl", error));
        if (!rvx__path_is_file(path))
            return rvx__fail(error, RVX_ERROR_IO,
                             "%s: holds neither metrics.jsonl nor validation.json; expected a "
                             "training run",
                             run);
    }
    cases = calloc((size_t)evaluation.case_count + 1, sizeof *cases);
    for (int64_t i = 0; i < evaluation.case_count && cases; i++) {
        const rvx_evaluation_case *c = &evaluation.cases[i];
        RVX_TRY(image_find(path, c->reference_path, error));
        char *image = path[0] ? strdup(path) : NULL;
        cases[i] = (rvx_report_case){.name = c->name,
                                     .image_path = image,
                                     .reference_path = c->reference_path,
                                     .prediction_path = c->prediction_path};
    }
    if (!cases) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its cases", run);
        goto cleanup;
    }
    report.cases = cases;
    report.case_count = evaluation.case_count;
    status = rvx__report_write(out_path, &report, error);
cleanup:
    for (int64_t i = 0; i < evaluation.case_count && cases; i++)
        free((char *)(uintptr_t)cases[i].image_path);
    free(cases);
    rvx__evaluation_free(&evaluation);
    return status;
}
