/* What an nnU-Net dataset folder holds: see inspect.h. */
#include "engine/segment/inspect.h"
#include "engine/volume/dataset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Voxels that are read for ranges and label counts: a few seconds; beyond it headers only. */
static const int64_t voxels_read_max = (int64_t)300 << 20;

typedef struct class_tally {
    int64_t cases, voxels;
    double ml;
} class_tally;

typedef struct channel_tally {
    double low, high, mean_sum;
    int64_t cases;
} channel_tally;

typedef struct dataset_tally {
    int64_t (*sizes)[3]; /* one a case */
    double (*spacings)[3];
    int64_t cases, voxels;
    char orientations[64][4];
    int64_t orientation_cases[64], orientation_count;
    channel_tally *channels;
    class_tally *classes; /* class_count + 1: the last is the ignore label */
} dataset_tally;

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* "lowest to highest, median" along one axis. */
static void spread_add(rvx_text *out, double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, double_compare);
    double median =
        count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
    if (values[0] == values[count - 1])
        rvx__text_format(out, "%.6g", values[0]);
    else
        rvx__text_format(out, "%.6g to %.6g (median %.6g)", values[0], values[count - 1], median);
}

static void orientation_count(dataset_tally *t, const rvx_geometry *g)
{
    char letters[4];
    rvx__geometry_orientation(letters, g);
    for (int64_t i = 0; i < t->orientation_count; i++) {
        if (strcmp(t->orientations[i], letters) == 0) {
            t->orientation_cases[i]++;
            return;
        }
    }
    if (t->orientation_count < 64) {
        memcpy(t->orientations[t->orientation_count], letters, sizeof letters);
        t->orientation_cases[t->orientation_count++] = 1;
    }
}

/* Headers of all channels and the labels, which must lie on one grid. */
static rvx_status headers_read(dataset_tally *t, const rvx_dataset *d, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_volume_reader **readers = calloc((size_t)d->channel_count + 1, sizeof *readers);
    if (!readers)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its headers", d->path);
    for (int64_t i = 0; i < d->case_count && status == RVX_OK; i++) {
        const rvx_dataset_case *c = &d->cases[i];
        rvx_volume_reader *labels = NULL;
        status = rvx__case_files_open(readers, &labels, (const char *const *)c->images,
                                      d->channel_count, c->labels, error);
        if (status != RVX_OK)
            break;
        const rvx_geometry *g = &rvx__volume_reader_info(readers[0])->geometry;
        memcpy(t->sizes[i], g->size, sizeof g->size);
        memcpy(t->spacings[i], g->spacing, sizeof g->spacing);
        t->voxels += rvx__geometry_voxels(g) * (d->channel_count + 1);
        t->cases++;
        orientation_count(t, g);
        for (int k = 0; k < d->channel_count; k++) {
            rvx__volume_reader_close(readers[k]);
            readers[k] = NULL;
        }
        rvx__volume_reader_close(labels);
    }
    free(readers);
    return status;
}

static rvx_status file_statistics(rvx_voxel_statistics *s, const char *path, rvx_error *error)
{
    rvx_volume_reader *reader = NULL;
    rvx_status status = rvx__volume_reader_open(&reader, path, error);
    if (status == RVX_OK)
        status = rvx__voxel_statistics(s, reader, path, error);
    rvx__volume_reader_close(reader);
    return status;
}

static rvx_status labels_tally(dataset_tally *t, const rvx_dataset *d, int64_t index,
                               const rvx_voxel_statistics *s, rvx_error *error)
{
    const double *spacing = t->spacings[index];
    double voxel_ml = spacing[0] * spacing[1] * spacing[2] / 1000.0;
    int known = d->class_count + (d->ignore_label >= 0);
    for (int64_t v = 0; v < s->distinct && s->countable; v++) {
        double label = (double)s->value[v];
        if (!(label >= 0.0) || label >= known)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: %lld voxels have label %.9g; expected 0 to %d, as dataset.json "
                             "says",
                             d->cases[index].labels, (long long)s->count[v], label, known - 1);
        class_tally *tally = &t->classes[(int)label];
        tally->cases++;
        tally->voxels += s->count[v];
        tally->ml += voxel_ml * (double)s->count[v];
    }
    if (!s->countable)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: holds values that are not labels (%.6g to %.6g)",
                         d->cases[index].labels, s->low, s->high);
    return RVX_OK;
}

static rvx_status voxels_read(dataset_tally *t, const rvx_dataset *d, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_voxel_statistics *s = malloc(sizeof *s);
    if (!s)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for statistics", d->path);
    for (int64_t i = 0; i < d->case_count; i++) {
        for (int k = 0; k < d->channel_count; k++) {
            channel_tally *channel = &t->channels[k];
            RVX_TRY(file_statistics(s, d->cases[i].images[k], error));
            channel->low = channel->cases ? fmin(channel->low, s->low) : s->low;
            channel->high = channel->cases ? fmax(channel->high, s->high) : s->high;
            channel->mean_sum += s->mean;
            channel->cases++;
        }
        RVX_TRY(file_statistics(s, d->cases[i].labels, error));
        RVX_TRY(labels_tally(t, d, i, s, error));
    }
cleanup:
    free(s);
    return status;
}

static void shape_rows(rvx_text *out, const dataset_tally *t, double *scratch)
{
    static const char axes[3] = {'x', 'y', 'z'};
    for (int a = 0; a < 3 && t->cases > 0; a++) {
        for (int64_t i = 0; i < t->cases; i++)
            scratch[i] = (double)t->sizes[i][a];
        rvx__text_format(out, "  %-12s %c ", a ? "" : "shape", axes[a]);
        spread_add(out, scratch, t->cases);
        rvx__text_add(out, " voxels\n");
    }
    for (int a = 0; a < 3 && t->cases > 0; a++) {
        for (int64_t i = 0; i < t->cases; i++)
            scratch[i] = t->spacings[i][a];
        rvx__text_format(out, "  %-12s %c ", a ? "" : "spacing", axes[a]);
        spread_add(out, scratch, t->cases);
        rvx__text_add(out, " mm\n");
    }
    rvx__text_format(out, "  %-12s ", "orientation");
    for (int64_t i = 0; i < t->orientation_count; i++)
        rvx__text_format(out, "%s%s in %lld cases", i ? ", " : "", t->orientations[i],
                         (long long)t->orientation_cases[i]);
    rvx__text_add(out, "\n");
}

static void content_rows(rvx_text *out, const dataset_tally *t, const rvx_dataset *d, bool read)
{
    for (int k = 0; k < d->channel_count; k++) {
        rvx__text_format(out, "  channel %-4d %s", k, d->channel_names[k]);
        if (read)
            rvx__text_format(out, ", %.6g to %.6g, mean %.6g", t->channels[k].low,
                             t->channels[k].high,
                             t->channels[k].mean_sum / (double)t->channels[k].cases);
        rvx__text_add(out, "\n");
    }
    rvx__text_format(out, "  %5s  %-24s", "label", "class");
    rvx__text_add(out, read ? "     cases          voxels   ml per case\n" : "\n");
    for (int c = 0; c < d->class_count + (d->ignore_label >= 0); c++) {
        const class_tally *tally = &t->classes[c];
        const char *name = c < d->class_count ? d->class_names[c] : "ignore";
        rvx__text_format(out, "  %5d  %-24s", c, name);
        if (read)
            rvx__text_format(out, "  %8lld  %14lld  %12.4f", (long long)tally->cases,
                             (long long)tally->voxels,
                             tally->cases ? tally->ml / (double)tally->cases : 0.0);
        rvx__text_add(out, "\n");
    }
    if (!read)
        rvx__text_format(out,
                         "  ranges and label counts left out: %.3g voxels are more than %.3g\n",
                         (double)t->voxels, (double)voxels_read_max);
}

rvx_status rvx__inspect_dataset(rvx_text *out, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_dataset *d = NULL;
    dataset_tally t = {0};
    double *scratch = NULL;
    RVX_TRY(rvx__dataset_open(&d, path, error));
    size_t cases = (size_t)d->case_count + 1;
    t.sizes = calloc(cases, sizeof *t.sizes);
    t.spacings = calloc(cases, sizeof *t.spacings);
    t.channels = calloc((size_t)d->channel_count + 1, sizeof *t.channels);
    t.classes = calloc((size_t)d->class_count + 1, sizeof *t.classes);
    scratch = calloc(cases, sizeof *scratch);
    if (!t.sizes || !t.spacings || !t.channels || !t.classes || !scratch) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its cases", path);
        goto cleanup;
    }
    rvx__text_format(out, "%s\n  %-12s nnU-Net raw, %lld training cases, %lld test cases, %s\n",
                     path, "dataset", (long long)d->case_count, (long long)d->test_count,
                     d->file_ending);
    RVX_TRY(headers_read(&t, d, error));
    bool read = t.voxels <= voxels_read_max;
    if (read)
        RVX_TRY(voxels_read(&t, d, error));
    shape_rows(out, &t, scratch);
    content_rows(out, &t, d, read);
cleanup:
    rvx__dataset_free(d);
    free(t.sizes);
    free(t.spacings);
    free(t.channels);
    free(t.classes);
    free(scratch);
    return status;
}
