/* Change of grid of images: see resample.h. Input slices are resampled within their plane (rows
 * first, then columns) into a ring; output slices are sums over the ring. */
#include "engine/volume/resample.h"
#include "kernels/resample.h"

#include <stdlib.h>
#include <string.h>

/* Rows that are turned side by side, so that sums along them become sums of rows; columns of a
 * slice that one thread takes at once; elements of a piece of a slice that stays in cache while
 * several output slices are made of it. */
enum { LINES = 16, COLUMNS = 256, PIECE = 1024, BATCH = 8, STAGE_BYTES = 8 << 20 };

struct rvx_resampler {
    rvx_resampler_options options;
    rvx_slices input;
    rvx_taps taps[3];
    bool held, held_by_slice; /* to the range of the input; of each slice */
    float (*range)[2];        /* by channel; where held by slice [stage slice][channel] */
    int64_t stage_slices;     /* read at once */
    rvx_row_sums_kernel sums;
    float *stage;  /* [stage_slices][y][x][c] of the input */
    float *rows;   /* the same after the rows were resampled, `rows_pitch` from row to row */
    int64_t batch; /* output slices made at once */
    int64_t ring_slices;
    float *ring; /* [ring_slices][y][x][c]: input slices, resampled in their plane */
    int64_t rows_pitch, ring_pitch;
    int64_t ring_low, ring_end; /* input slices in the ring: the last ones before ring_end */
};

static int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }

/* A distance between rows that are read together: whole cache lines, an odd number of them, or the
 * rows would meet in a few sets of the cache. */
static int64_t pitch_of(int64_t count) { return ((count + 15) / 16 | 1) * 16; }

/* Input slices that `batch` output slices read together, at most. */
static int64_t span(const rvx_taps *taps, int64_t batch)
{
    int64_t most = 0;
    for (int64_t i = 0; i < taps->out_size; i++) {
        int64_t last = at_most(i + batch, taps->out_size) - 1;
        most = at_least(most, taps->first[last] + taps->count - taps->first[i]);
    }
    return most;
}

/* How many slices are read and made at once, and how many the ring holds; needs the taps of z. */
static void extents_find(rvx_resampler *r)
{
    const rvx_resampler_options *o = &r->options;
    int64_t slice = at_least(o->in_size[0], o->out_size[0]) * o->in_size[1] * o->channels * 4;
    r->rows_pitch = pitch_of(o->out_size[0] * o->channels);
    r->ring_pitch = pitch_of(o->out_size[0] * o->out_size[1] * o->channels);
    r->batch = at_least(1, BATCH * o->out_size[2] / at_least(o->in_size[2], o->out_size[2]));
    r->stage_slices = at_least(1, at_most(at_most(STAGE_BYTES / slice, BATCH), o->in_size[2]));
    r->ring_slices = span(&r->taps[2], r->batch) + r->stage_slices - 1;
}

static int64_t bytes_of(const rvx_resampler *r)
{
    const rvx_resampler_options *o = &r->options;
    int64_t stage = r->stage_slices * o->in_size[1] * (o->in_size[0] * o->channels + r->rows_pitch);
    int64_t bytes = (stage + r->ring_slices * r->ring_pitch) * 4;
    for (int a = 0; a < 3; a++)
        bytes += r->taps[a].out_size * (r->taps[a].count * 4 + 8);
    return bytes;
}

int64_t rvx__resampler_bytes(const rvx_resampler_options *options)
{
    rvx_resampler r = {.options = *options};
    int64_t bytes = 0;
    for (int a = 0; a < 3; a++)
        if (!rvx__taps_create(&r.taps[a], options->rules[a], options->out_size[a],
                              options->in_size[a], options->places[a]))
            goto cleanup;
    extents_find(&r);
    bytes = bytes_of(&r);
cleanup:
    for (int a = 0; a < 3; a++)
        rvx__taps_free(&r.taps[a]);
    return bytes;
}

rvx_status rvx__resampler_create(rvx_resampler **resampler, const rvx_resampler_options *options,
                                 const rvx_slices *input, rvx_error *error)
{
    const rvx_resampler_options *o = options;
    rvx_resampler *r = calloc(1, sizeof *r);
    *resampler = r;
    bool made = r != NULL;
    if (made) {
        r->options = *o;
        r->input = *input;
        bool cubic = false;
        for (int a = 0; a < 3; a++) {
            made = made && rvx__taps_create(&r->taps[a], o->rules[a], o->out_size[a], o->in_size[a],
                                            o->places[a]);
            cubic |= o->rules[a] == RVX_RESAMPLING_CUBIC &&
                     !rvx__taps_same(o->out_size[a], o->in_size[a], o->places[a]);
        }
        r->held = cubic && o->range;
        r->held_by_slice = r->held && o->rules[2] == RVX_RESAMPLING_NEAREST;
    }
    if (made) {
        extents_find(r);
        size_t stage = (size_t)(r->stage_slices * o->in_size[1]) * sizeof(float);
        r->sums = rvx__row_sums_find(rvx__isa_detect());
        r->stage = malloc(stage * (size_t)(o->in_size[0] * o->channels));
        r->rows = malloc(stage * (size_t)r->rows_pitch);
        r->ring = malloc((size_t)(r->ring_slices * r->ring_pitch) * sizeof *r->ring);
        r->range = calloc((size_t)(r->stage_slices * o->channels), sizeof *r->range);
        made = r->stage && r->rows && r->ring && r->range;
        if (made && r->held)
            memcpy(r->range, o->range, (size_t)o->channels * sizeof *r->range);
        r->options.range = NULL;
    }
    if (made)
        return RVX_OK;
    rvx__resampler_free(r);
    *resampler = NULL;
    return rvx__fail(error, RVX_ERROR_MEMORY, "resampling: no memory for a few slices");
}

void rvx__resampler_free(rvx_resampler *r)
{
    if (!r)
        return;
    for (int a = 0; a < 3; a++)
        rvx__taps_free(&r->taps[a]);
    free(r->range);
    free(r->stage);
    free(r->rows);
    free(r->ring);
    free(r);
}

/* ---- Within the plane -------------------------------------------------------------------------
 */

/* One channel of up to LINES rows, resampled along them; `turned` has room for LINES rows of input
 * and of output. */
static void rows_resample(float *out, const float *in, float *turned, const rvx_resampler *r,
                          int64_t row_count)
{
    const rvx_taps *taps = &r->taps[0];
    const int64_t channels = r->options.channels, in_row = taps->in_size * channels;
    float *made = turned + taps->in_size * LINES;
    for (int64_t x = 0; x < taps->in_size; x++)
        for (int64_t line = 0; line < row_count; line++)
            turned[x * LINES + line] = in[line * in_row + x * channels];
    r->sums(&(rvx_row_sums){.out = made,
                            .out_stride = LINES,
                            .out_rows = taps->out_size,
                            .in = turned,
                            .in_stride = LINES,
                            .in_rows = taps->in_size,
                            .first = taps->first,
                            .weights = taps->weights,
                            .taps = taps->count,
                            .count = row_count});
    for (int64_t x = 0; x < taps->out_size; x++)
        for (int64_t line = 0; line < row_count; line++)
            out[line * r->rows_pitch + x * channels] = made[x * LINES + line];
}

/* Columns at .. at + count - 1 of a slice in `rows`, resampled along y into the ring. */
static void columns_resample(const rvx_resampler *r, int64_t stage_slice, int64_t z, int64_t at,
                             int64_t count)
{
    const rvx_taps *taps = &r->taps[1];
    r->sums(&(rvx_row_sums){
        .out = r->ring + z % r->ring_slices * r->ring_pitch + at,
        .out_stride = r->options.out_size[0] * r->options.channels,
        .out_rows = taps->out_size,
        .in = r->rows + stage_slice * taps->in_size * r->rows_pitch + at,
        .in_stride = r->rows_pitch,
        .in_rows = taps->in_size,
        .first = taps->first,
        .weights = taps->weights,
        .taps = taps->count,
        .count = count,
    });
}

static void hold(float *values, int64_t count, int64_t channels, const float (*range)[2])
{
    const float low = range[0][0], high = range[0][1];
    for (int64_t i = 0; channels == 1 && i < count; i++) {
        float v = values[i] < low ? low : values[i];
        values[i] = v > high ? high : v;
    }
    if (channels == 1)
        return;
    for (int64_t i = 0; i < count; i += channels)
        for (int64_t c = 0; c < channels; c++) {
            float v = values[i + c];
            v = v < range[c][0] ? range[c][0] : v;
            values[i + c] = v > range[c][1] ? range[c][1] : v;
        }
}

static void range_find(float (*range)[2], const float *values, int64_t count, int64_t channels)
{
    for (int64_t c = 0; c < channels; c++)
        range[c][0] = range[c][1] = values[c];
    for (int64_t i = 0; i < count; i += channels)
        for (int64_t c = 0; c < channels; c++) {
            range[c][0] = values[i + c] < range[c][0] ? values[i + c] : range[c][0];
            range[c][1] = values[i + c] > range[c][1] ? values[i + c] : range[c][1];
        }
}

/* `count` slices of the stage into the ring, as input slices z.. */
static void planes_resample(rvx_resampler *r, float *turned, int64_t z, int64_t count)
{
    const rvx_resampler_options *o = &r->options;
    const int64_t c = o->channels, in_row = o->in_size[0] * c, out_row = o->out_size[0] * c;
    const int64_t in_slice = o->in_size[1] * in_row, rows = count * o->in_size[1];
#pragma omp for schedule(static)
    for (int64_t first = 0; first < rows; first += LINES)
        for (int64_t channel = 0; channel < c; channel++)
            rows_resample(r->rows + first * r->rows_pitch + channel,
                          r->stage + first * in_row + channel, turned, r,
                          at_most(LINES, rows - first));
#pragma omp for collapse(2) schedule(static)
    for (int64_t i = 0; i < count; i++)
        for (int64_t at = 0; at < out_row; at += COLUMNS)
            columns_resample(r, i, z + i, at, at_most(COLUMNS, out_row - at));
    if (!r->held_by_slice)
        return;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < count; i++) {
        range_find(r->range + i * c, r->stage + i * in_slice, in_slice, c);
        hold(r->ring + (z + i) % r->ring_slices * r->ring_pitch, o->out_size[1] * out_row, c,
             (const float(*)[2])r->range + i * c);
    }
}

/* Brings input slices low .. end - 1 into the ring. */
static rvx_status ring_fill(rvx_resampler *r, int64_t low, int64_t end, rvx_error *error)
{
    if (low < r->ring_low || low > r->ring_end)
        r->ring_low = r->ring_end = low;
    while (r->ring_end < end) {
        int64_t count = at_most(r->stage_slices, r->options.in_size[2] - r->ring_end);
        bool memory = true;
        rvx_status status = r->input.read(r->input.context, r->stage, r->ring_end, count, error);
        if (status != RVX_OK)
            return status;
#pragma omp parallel
        {
            float *turned = calloc(
                (size_t)((r->options.in_size[0] + r->options.out_size[0]) * LINES), sizeof *turned);
#pragma omp atomic
            memory &= turned != NULL;
#pragma omp barrier
            if (memory)
                planes_resample(r, turned, r->ring_end, count);
            free(turned);
        }
        if (!memory)
            return rvx__fail(error, RVX_ERROR_MEMORY, "resampling: no memory for rows");
        r->ring_end += count;
        r->ring_low = at_least(r->ring_low, r->ring_end - r->ring_slices);
    }
    return RVX_OK;
}

/* ---- Across planes ----------------------------------------------------------------------------
 */

/* Elements at .. at + count - 1 of output slices z .. z + slices - 1. */
static void piece_make(float *out, const rvx_resampler *r, int64_t z, int64_t slices, int64_t at,
                       int64_t count)
{
    const rvx_taps *taps = &r->taps[2];
    const int64_t c = r->options.channels,
                  slice = r->options.out_size[0] * r->options.out_size[1] * c;
    if (taps->count == 1)
        for (int64_t i = 0; i < slices; i++)
            memcpy(out + i * slice + at,
                   r->ring + taps->first[z + i] % r->ring_slices * r->ring_pitch + at,
                   (size_t)count * sizeof *out);
    else
        r->sums(&(rvx_row_sums){.out = out + at,
                                .out_stride = slice,
                                .out_rows = slices,
                                .in = r->ring + at,
                                .in_stride = r->ring_pitch,
                                .in_rows = r->ring_slices,
                                .first = taps->first + z,
                                .weights = taps->weights + z * taps->count,
                                .taps = taps->count,
                                .count = count});
    for (int64_t i = 0; i < slices && r->held && !r->held_by_slice; i++)
        hold(out + i * slice + at, count, c, (const float(*)[2])r->range);
}

rvx_status rvx__resampler_read(rvx_resampler *r, float *out, int64_t z_first, int64_t z_count,
                               rvx_error *error)
{
    const rvx_resampler_options *o = &r->options;
    const rvx_taps *taps = &r->taps[2];
    const int64_t slice = o->out_size[0] * o->out_size[1] * o->channels;
    const int64_t piece = PIECE / o->channels * o->channels;
    for (int64_t done = 0; done < z_count;) {
        const int64_t z = z_first + done, count = at_most(r->batch, z_count - done);
        rvx_status status =
            ring_fill(r, taps->first[z], taps->first[z + count - 1] + taps->count, error);
        if (status != RVX_OK)
            return status;
#pragma omp parallel for schedule(static)
        for (int64_t at = 0; at < slice; at += piece)
            piece_make(out + done * slice, r, z, count, at, at_most(piece, slice - at));
        done += count;
    }
    return RVX_OK;
}
