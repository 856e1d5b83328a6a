/* Several networks on one case: see ensemble.h. */
#include "engine/segment/ensemble.h"
#include "engine/run/cases.h"
#include "engine/run/validate.h"
#include "engine/segment/label_files.h"

#include <stdlib.h>
#include <string.h>

typedef struct voting {
    const rvx_ensemble_job *job;
    int member; /* at work */
    int classes;
    rvx_label_files *files;
    rvx_spool *spool;
    float *sum; /* of a slice: [y][x][classes] */
    uint8_t *labels;
    int64_t slice; /* voxels */
} voting;

rvx_status rvx__ensemble_check(const rvx_ensemble_member *members, int count, rvx_error *error)
{
    const rvx_recipe *first = members[0].recipe;
    for (int i = 1; i < count; i++) {
        const rvx_recipe *other = members[i].recipe;
        if (other->network.in_channels != first->network.in_channels)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "%s: network.in_channels is %lld, but %lld in %s", members[i].path,
                             (long long)other->network.in_channels,
                             (long long)first->network.in_channels, members[0].path);
        if (other->network.classes != first->network.classes)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "%s: network.classes is %lld, but %lld in %s", members[i].path,
                             (long long)other->network.classes, (long long)first->network.classes,
                             members[0].path);
        for (int64_t k = 0; k < first->network.classes; k++)
            if (strcmp(other->labels[k], first->labels[k]) != 0)
                return rvx__fail(error, RVX_ERROR_ARGUMENT,
                                 "%s: labels: %lld is \"%s\", but \"%s\" in %s", members[i].path,
                                 (long long)k, other->labels[k], first->labels[k], members[0].path);
    }
    return RVX_OK;
}

static int poll_member(void *context, double done, double total)
{
    const voting *v = context;
    return v->job->poll(v->job->poll_context, v->member * total + done, v->job->count * total);
}

/* Adds one slice to the sums; of the last member it makes means and labels. */
static rvx_status slice_add(voting *v, const float *probabilities, int64_t z, rvx_error *error)
{
    rvx_status status = RVX_OK;
    int64_t count = v->slice * v->classes, bytes = count * (int64_t)sizeof(float);
    bool last = v->member == v->job->count - 1;
    if (v->member > 0)
        RVX_TRY(rvx__spool_read(v->spool, z * bytes, v->sum, bytes, error));
    for (int64_t i = 0; i < count; i++)
        v->sum[i] = v->member > 0 ? v->sum[i] + probabilities[i] : probabilities[i];
    if (!last)
        return rvx__spool_write(v->spool, z * bytes, v->sum, bytes, error);
    for (int64_t i = 0; i < count; i++)
        v->sum[i] /= (float)v->job->count;
    for (int64_t i = 0; i < v->slice; i++)
        v->labels[i] = (uint8_t)rvx__argmax(v->sum + i * v->classes, v->classes);
    status = rvx__label_files_slices(v->files, v->labels, v->job->probabilities ? v->sum : NULL, z,
                                     1, error);
cleanup:
    return status;
}

static rvx_status vote(void *context, const uint8_t *labels, const float *probabilities,
                       int64_t z_first, int64_t z_count, rvx_error *error)
{
    (void)labels;
    voting *v = context;
    rvx_status status = RVX_OK;
    for (int64_t i = 0; i < z_count && status == RVX_OK; i++)
        status = slice_add(v, probabilities + i * v->slice * v->classes, z_first + i, error);
    return status;
}

static rvx_status room_make(voting *v, const rvx_case_reader *one, rvx_error *error)
{
    const rvx_ensemble_job *job = v->job;
    const int64_t *size = rvx__case_reader_info(one)->geometry.size;
    rvx_status status = rvx__label_files_open(&v->files, one, job->folder, job->members[0].recipe,
                                              job->probabilities, job->rules, error);
    v->slice = size[0] * size[1];
    v->classes = (int)job->members[0].recipe->network.classes;
    if (status != RVX_OK || job->count == 1)
        return status;
    v->sum = malloc((size_t)(v->slice * v->classes) * sizeof *v->sum);
    v->labels = malloc((size_t)v->slice);
    if (!v->sum || !v->labels)
        return rvx__fail(error, RVX_ERROR_MEMORY, "prediction: out of memory");
    return rvx__spool_create(&v->spool, job->folder, error);
}

static rvx_status member_run(voting *v, int64_t *voxels, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const rvx_ensemble_job *job = v->job;
    const rvx_ensemble_member *member = &job->members[v->member];
    rvx_case_reader *one = NULL;
    rvx_channel_recipe channels[RVX_CHANNELS_MAX];
    rvx_case_recipe recipe;
    rvx__case_recipe_make(&recipe, channels, member->recipe);
    recipe.repairs = job->repairs;
    RVX_TRY(rvx__case_reader_open(&one, job->name, job->images, NULL, &recipe, error));
    if (v->member == 0) {
        *voxels = rvx__shape_voxels(rvx__case_reader_shape(one));
        RVX_TRY(room_make(v, one, error));
    }
    bool alone = job->count == 1;
    RVX_TRY(rvx__predictor_run(member->predictor, one, !alone || job->probabilities,
                               alone ? rvx__label_files_slices : vote,
                               alone ? (void *)v->files : (void *)v, job->poll ? poll_member : NULL,
                               v, error));
cleanup:
    if (job->count > 1)
        rvx__predictor_release(member->predictor);
    rvx__case_reader_close(one);
    return status;
}

rvx_status rvx__ensemble_write(int64_t *voxels, const rvx_ensemble_job *job, rvx_error *error)
{
    rvx_status status = RVX_OK;
    voting v = {.job = job};
    for (v.member = 0; v.member < job->count; v.member++)
        RVX_TRY(member_run(&v, voxels, error));
    rvx_label_files *committing = v.files;
    v.files = NULL;
    status = rvx__label_files_commit(committing, error);
cleanup:
    rvx__label_files_abandon(v.files);
    rvx__spool_free(v.spool);
    free(v.sum);
    free(v.labels);
    return status;
}
