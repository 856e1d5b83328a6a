/* Change of grid of images: see resample.h. Input slices are resampled within their plane (rows
 * first, then columns) into a ring; output slices are sums over the ring. */
#include "engine/volume/resample.h"

#include <stdlib.h>
#include <string.h>

/* Rows that are summed side by side; elements of a column that stay in registers; of a piece of a
 * slice that stays in cache while several output slices are made of it. */
enum { LANES = 8, STRIP = 16, PIECE = 1024, BATCH = 8, STAGE_BYTES = 8 << 20 };

typedef float strip __attribute__((vector_size(STRIP * sizeof(float)), aligned(4), may_alias));
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

struct rvx_resampler {
    rvx_resampler_options options;
    rvx_slices input;
    rvx_taps taps[3];
    bool held, held_by_slice; /* to the range of the input; of each slice */
    float (*range)[2];        /* by channel; where held by slice [stage slice][channel] */
    int64_t stage_slices;     /* read at once */
    float *stage;             /* [stage_slices][y][x][c] of the input */
    float *rows;              /* the same after the rows were resampled */
    int64_t batch;            /* output slices made at once */
    int64_t ring_slices;
    float *ring;                /* [ring_slices][y][x][c]: input slices, resampled in their plane */
    int64_t ring_low, ring_end; /* input slices in the ring: the last ones before ring_end */
};

static int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }

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
    r->batch = at_least(1, BATCH * o->out_size[2] / at_least(o->in_size[2], o->out_size[2]));
    r->stage_slices = at_least(1, at_most(at_most(STAGE_BYTES / slice, BATCH), o->in_size[2]));
    r->ring_slices = span(&r->taps[2], r->batch) + r->stage_slices - 1;
}

static int64_t bytes_of(const rvx_resampler *r)
{
    const rvx_resampler_options *o = &r->options;
    int64_t stage = r->stage_slices * o->in_size[1] * (o->in_size[0] + o->out_size[0]);
    int64_t bytes = (stage + r->ring_slices * o->out_size[0] * o->out_size[1]) * o->channels * 4;
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
                              options->in_size[a]))
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
            made =
                made && rvx__taps_create(&r->taps[a], o->rules[a], o->out_size[a], o->in_size[a]);
            cubic |= o->rules[a] == RVX_RESAMPLING_CUBIC && o->out_size[a] != o->in_size[a];
        }
        r->held = cubic && o->range;
        r->held_by_slice = r->held && o->rules[2] == RVX_RESAMPLING_NEAREST;
    }
    if (made) {
        extents_find(r);
        size_t stage = (size_t)(r->stage_slices * o->in_size[1] * o->channels) * sizeof(float);
        r->stage = malloc(stage * (size_t)o->in_size[0]);
        r->rows = malloc(stage * (size_t)o->out_size[0]);
        r->ring = malloc((size_t)(r->ring_slices * o->out_size[0] * o->out_size[1] * o->channels) *
                         sizeof *r->ring);
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

/* out[row][x] = sum over k of weight[x][k] * in[row][first[x] + k], for one channel of up to LANES
 * rows side by side; `turned` has room for one row of `in` by LANES. */
static void rows_resample(float *out, const float *in, float *turned, const rvx_taps *taps,
                          int64_t row_count, int64_t channels)
{
    const int64_t in_row = taps->in_size * channels, out_row = taps->out_size * channels;
    for (int64_t lane = 0; lane < row_count; lane++)
        for (int64_t x = 0; x < taps->in_size; x++)
            turned[x * LANES + lane] = in[lane * in_row + x * channels];
    for (int64_t x = 0; x < taps->out_size; x++) {
        const float *weights = taps->weights + x * taps->count;
        const lanes *from = (const lanes *)(turned + taps->first[x] * LANES);
        lanes sum = {0};
        for (int64_t k = 0; k < taps->count; k++)
            sum += weights[k] * from[k];
        for (int64_t lane = 0; lane < row_count; lane++)
            out[lane * out_row + x * channels] = sum[lane];
    }
}

/* out[i] = sum over k of weights[k] * from[k * stride + i], i in [0, count) */
static void weigh(float *out, const float *from, int64_t stride, const float *weights,
                  int64_t tap_count, int64_t count)
{
    int64_t i = 0;
    for (; i + STRIP <= count; i += STRIP) {
        strip sum = {0};
        for (int64_t k = 0; k < tap_count; k++)
            sum += weights[k] * *(const strip *)(from + k * stride + i);
        *(strip *)(out + i) = sum;
    }
    for (; i < count; i++) {
        float sum = 0;
        for (int64_t k = 0; k < tap_count; k++)
            sum += weights[k] * from[k * stride + i];
        out[i] = sum;
    }
}

static void hold(float *values, int64_t count, int64_t channels, const float (*range)[2])
{
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
    for (int64_t first = 0; first < rows; first += LANES)
        for (int64_t channel = 0; channel < c; channel++)
            rows_resample(r->rows + first * out_row + channel, r->stage + first * in_row + channel,
                          turned, &r->taps[0], at_most(LANES, rows - first), c);
    if (r->held_by_slice) {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < count; i++)
            range_find(r->range + i * c, r->stage + i * in_slice, in_slice, c);
    }
#pragma omp for collapse(2) schedule(static)
    for (int64_t i = 0; i < count; i++)
        for (int64_t y = 0; y < o->out_size[1]; y++) {
            const rvx_taps *taps = &r->taps[1];
            float *out = r->ring + ((z + i) % r->ring_slices * o->out_size[1] + y) * out_row;
            weigh(out, r->rows + (i * o->in_size[1] + taps->first[y]) * out_row, out_row,
                  taps->weights + y * taps->count, taps->count, out_row);
            if (r->held_by_slice)
                hold(out, out_row, c, (const float(*)[2])r->range + i * c);
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
            float *turned = calloc((size_t)(r->options.in_size[0] * LANES), sizeof *turned);
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

/* One piece of one output slice: the ring may begin anew among its inputs. */
static void piece_make(float *out, const rvx_resampler *r, int64_t z, int64_t at, int64_t count)
{
    const rvx_taps *taps = &r->taps[2];
    const int64_t slice = r->options.out_size[0] * r->options.out_size[1] * r->options.channels;
    const float *weights = taps->weights + z * taps->count;
    const int64_t place = taps->first[z] % r->ring_slices;
    const int64_t straight = at_most(taps->count, r->ring_slices - place);
    const float *from = r->ring + place * slice + at;
    if (taps->count == 1) {
        memcpy(out, from, (size_t)count * sizeof *out);
        return;
    }
    weigh(out, from, slice, weights, straight, count);
    if (straight < taps->count) {
        float rest[PIECE];
        weigh(rest, r->ring + at, slice, weights + straight, taps->count - straight, count);
        for (int64_t i = 0; i < count; i++)
            out[i] += rest[i];
    }
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
            for (int64_t i = 0; i < count; i++) {
                float *to = out + (done + i) * slice + at;
                piece_make(to, r, z + i, at, at_most(piece, slice - at));
                if (r->held && !r->held_by_slice)
                    hold(to, at_most(piece, slice - at), o->channels, (const float(*)[2])r->range);
            }
        done += count;
    }
    return RVX_OK;
}
