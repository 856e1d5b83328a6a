/* The scanner: scene to scatterers to beams to picture, see acoustics.h. */
#include "engine/phantom/acoustics.h"

#include "engine/volume/point_spread.h"

#include <assert.h>
#include <stdlib.h>

enum { BLOCK = 32, AXIAL_RADIUS_MAX = 24 };

#define RING_SCALE                                                                                 \
    512.0f /* a beam former's 16 bits: 64 times liver at full scale, -54 dB a step                 \
            */
#define LATERAL_CUT 3.0
#define ELEVATION_CUT 2.5

typedef struct beam_grid {
    int64_t rows, beams, pad; /* pad: beams on either side that only feed the point spread */
    int64_t axial_mean;       /* rows averaged into one voxel */
    int64_t halo;             /* slices on either side that the point spread reaches */
    double row_mm, beam_rad, angle_first;
} beam_grid;

struct rvx_ultrasound {
    rvx_ultrasound_options options;
    beam_grid grid;
    int64_t plane; /* samples of a slice */
    void *memory;
    int16_t *ring;     /* [slot][re, im][row][beam] */
    float *planes[4];  /* amplitude, impedance, attenuation; then re, im, envelope, decibel */
    float *map;        /* [y][x][2]: fractional row and beam of a voxel; row < -1: outside */
    float *scratch;    /* per thread: 4 rows */
    float *row_gain;   /* dB of time gain at each row */
    float *row_noise;  /* amplitude of the noise */
    float *row_echo;   /* reverberation of the face */
    float *row_mirror; /* turns an interface's sum over the point spread into its echo */
    float *beam_sine, *beam_cosine;
    rvx_taps axial, lateral, elevation;
    int64_t next_simulated, next_shown;
};

/* Standard deviations of the point spread at `depth`, mm. A Gaussian beam of width s0 at the focus
 * has  s(d) = s0 sqrt(1 + ((d - focus) / range)^2). Dynamic focusing on receive keeps the near
 * field about twice as tight as that. */
static double beam_widening(const rvx_probe *probe, double depth, double range)
{
    double away = (depth - probe->focus) / (depth < probe->focus ? 2 * range : range);
    return sqrt(1.0 + away * away);
}

static double lateral_sigma(const rvx_probe *probe, double depth)
{
    return 1.35 * 1.54 / probe->frequency_mhz * beam_widening(probe, depth, 0.33 * probe->depth);
}

static double elevation_sigma(const rvx_probe *probe, double depth)
{
    return fmin(
        1.7 * 1.54 / probe->frequency_mhz * beam_widening(probe, depth, 0.40 * probe->depth), 2.0);
}

static double axial_sigma(const rvx_probe *probe, double depth)
{
    double wavelength = 1.54 / probe->frequency_mhz;
    return 0.55 * wavelength * (1.0 + depth / 500.0); /* high frequencies are lost on the way */
}

static beam_grid grid_of(const rvx_ultrasound_options *o)
{
    const rvx_probe *probe = &o->probe;
    beam_grid g = {0};
    g.axial_mean = (int64_t)fmin(fmax(ceil(o->spacing[1] / 0.9), 1), 3);
    g.row_mm = fmax(o->spacing[1] / (double)g.axial_mean, 0.4 * axial_sigma(probe, 0));
    g.rows = (int64_t)ceil(probe->depth / g.row_mm);
    double narrowest = 1, widest = 0, deepest = 0;
    for (int64_t r = 0; r < g.rows; r++) {
        double depth = ((double)r + 0.5) * g.row_mm;
        double angle = lateral_sigma(probe, depth) / (probe->radius + depth);
        narrowest = fmin(narrowest, angle);
        widest = fmax(widest, angle);
        deepest = fmax(deepest, elevation_sigma(probe, depth));
    }
    g.beam_rad = fmax(o->spacing[0] / (probe->radius + 0.5 * probe->depth), 0.45 * narrowest);
    g.pad = rvx__taps_radius(widest / g.beam_rad, LATERAL_CUT);
    g.beams = (int64_t)ceil(2 * probe->angle_half / g.beam_rad) + 1 + 2 * g.pad;
    g.halo = rvx__taps_radius(deepest / o->spacing[2], ELEVATION_CUT);
    g.angle_first = -probe->angle_half - (double)g.pad * g.beam_rad;
    return g;
}

static int64_t take(int64_t *offset, int64_t bytes)
{
    int64_t at = *offset;
    *offset += (bytes + 63) / 64 * 64;
    return at;
}

/* Places every buffer in one block; with u->memory NULL only measures it. */
static int64_t place(rvx_ultrasound *u)
{
    const rvx_ultrasound_options *o = &u->options;
    const beam_grid *g = &u->grid;
    int64_t offset = 0;
    char *base = u->memory;
#define PLACE(pointer, type, count)                                                                \
    do {                                                                                           \
        int64_t at_ = take(&offset, (count) * (int64_t)sizeof(type));                              \
        if (base)                                                                                  \
            (pointer) = (type *)(void *)(base + at_);                                              \
    } while (0)
    u->plane = g->rows * g->beams;
    PLACE(u->ring, int16_t, 2 * u->plane * (2 * g->halo + 1));
    for (int k = 0; k < 4; k++)
        PLACE(u->planes[k], float, u->plane);
    PLACE(u->map, float, 2 * o->size[0] * o->size[1]);
    PLACE(u->scratch, float, 4 * g->beams * o->threads);
    PLACE(u->row_gain, float, g->rows);
    PLACE(u->row_noise, float, g->rows);
    PLACE(u->row_echo, float, g->rows);
    PLACE(u->row_mirror, float, g->rows);
    PLACE(u->beam_sine, float, g->beams);
    PLACE(u->beam_cosine, float, g->beams);
    u->axial.stride = AXIAL_RADIUS_MAX + 1;
    u->lateral.stride = g->pad + 1;
    u->elevation.stride = g->halo + 1;
    rvx_taps *taps[3] = {&u->axial, &u->lateral, &u->elevation};
    for (int k = 0; k < 3; k++) {
        PLACE(taps[k]->values, float, g->rows *taps[k]->stride);
        PLACE(taps[k]->radius, int32_t, g->rows);
    }
#undef PLACE
    return offset;
}

int64_t rvx__ultrasound_bytes(const rvx_ultrasound_options *options)
{
    rvx_ultrasound u = {.options = *options};
    u.grid = grid_of(options);
    return place(&u) + (int64_t)sizeof u;
}

static double slice_z(const rvx_ultrasound *u, int64_t slice)
{
    return ((double)slice - 0.5 * (double)(u->options.size[2] - 1)) * u->options.spacing[2];
}

static rvx_point beam_point(const rvx_ultrasound *u, int64_t row, int64_t beam, float z)
{
    const rvx_probe *probe = &u->options.probe;
    float depth = (float)(((double)row + 0.5) * u->grid.row_mm);
    float r = (float)probe->radius + depth;
    return (rvx_point){(float)probe->apex_x + r * u->beam_sine[beam],
                       (float)probe->apex_y + r * u->beam_cosine[beam], z, depth};
}

/* Time gain: the mean loss, at each depth, of those beams that meet tissue there, as an operator's
 * sliders would settle. Bone, stones and lung count as tissue, so they keep their shadows. */
static void set_time_gain(rvx_ultrasound *u)
{
    const rvx_ultrasound_options *o = &u->options;
    enum { BEAMS = 24, SLICES = 9 };
    float loss[SLICES][BEAMS] = {{0}}, gain = 0;
    int64_t stride = (int64_t)fmax(1, floor(1.5 / u->grid.row_mm)), inner = u->grid.beams - 1;
    float step = (float)(0.2 * o->probe.frequency_mhz * u->grid.row_mm * (double)stride);
    for (int64_t first = 0; first < u->grid.rows; first += stride) {
        float sum = 0;
        int64_t count = 0, last = first + stride;
        for (int64_t s = 0; s < SLICES; s++)
            for (int64_t b = 0; b < BEAMS; b++) {
                float z = (float)((double)o->size[2] * o->spacing[2] * 0.8 *
                                  ((double)s / (SLICES - 1) - 0.5));
                rvx_point p = beam_point(u, first, (2 * b + 1) * inner / (2 * BEAMS), z);
                rvx_material m = o->scene.material(o->scene.self, p);
                loss[s][b] += step * (m.attenuation < 1.2f ? m.attenuation : 0.55f);
                if (m.amplitude > 0.1f) {
                    sum += loss[s][b];
                    count++;
                }
            }
        float wanted = count ? sum / (float)count : gain;
        float from = gain;
        gain = wanted > gain ? wanted : gain;
        for (int64_t r = first; r < last && r < u->grid.rows; r++)
            u->row_gain[r] = from + (gain - from) * (float)(r - first + 1) / (float)stride;
    }
}

static void set_rows(rvx_ultrasound *u)
{
    const rvx_probe *probe = &u->options.probe;
    const beam_grid *g = &u->grid;
    set_time_gain(u);
    float last = u->row_gain[g->rows - 1];
    for (int64_t r = 0; r < g->rows; r++) {
        double depth = ((double)r + 0.5) * g->row_mm;
        rvx__taps_set(&u->axial, r, axial_sigma(probe, depth) / g->row_mm, 3.0);
        rvx__taps_set(&u->lateral, r,
                      lateral_sigma(probe, depth) / ((probe->radius + depth) * g->beam_rad),
                      LATERAL_CUT);
        rvx__taps_set(&u->elevation, r, elevation_sigma(probe, depth) / u->options.spacing[2],
                      ELEVATION_CUT);
        double noise_db = probe->noise_deep_db + (double)(u->row_gain[r] - last);
        u->row_noise[r] = (float)pow(10.0, noise_db / 20.0);
        float bands = rvx__sine_turns((float)(depth / 3.1));
        u->row_echo[r] = (float)(probe->clutter * exp(-depth / 4.0)) * bands * bands;
        u->row_mirror[r] =
            1.0f / (rvx__taps_gain(&u->lateral, r) * rvx__taps_gain(&u->elevation, r) *
                    u->axial.values[r * u->axial.stride]);
    }
}

/* Where each voxel lies in the beam grid. */
static void set_map(rvx_ultrasound *u)
{
    const rvx_ultrasound_options *o = &u->options;
    const rvx_probe *probe = &o->probe;
    for (int64_t y = 0; y < o->size[1]; y++)
        for (int64_t x = 0; x < o->size[0]; x++) {
            double dx = ((double)x - 0.5 * (double)(o->size[0] - 1)) * o->spacing[0];
            double dy = ((double)y + 0.5) * o->spacing[1] - probe->apex_y;
            dx -= probe->apex_x;
            double depth = sqrt(dx * dx + dy * dy) - probe->radius;
            double angle = atan2(dx, dy) - probe->angle_centre;
            float *at = u->map + 2 * (y * o->size[0] + x);
            at[0] = (float)(depth / u->grid.row_mm - 0.5);
            at[1] = (float)((angle - u->grid.angle_first) / u->grid.beam_rad);
            if (depth < 0 || depth > probe->depth || fabs(angle) > probe->angle_half)
                at[0] = -2.0f;
        }
}

rvx_status rvx__ultrasound_create(rvx_ultrasound **ultrasound,
                                  const rvx_ultrasound_options *options, rvx_error *error)
{
    *ultrasound = NULL;
    assert(options->threads >= 1);
    rvx_ultrasound *u = calloc(1, sizeof *u);
    if (!u)
        return rvx__fail(error, RVX_ERROR_MEMORY, "phantom: no memory for the scanner");
    u->options = *options;
    u->grid = grid_of(options);
    int64_t bytes = place(u);
    u->memory = aligned_alloc(64, (size_t)bytes);
    if (!u->memory) {
        free(u);
        return rvx__fail(error, RVX_ERROR_MEMORY, "phantom: no memory for %lld bytes of slices",
                         (long long)bytes);
    }
    memset(u->memory, 0, (size_t)bytes);
    place(u);
    for (int64_t b = 0; b < u->grid.beams; b++) {
        double angle =
            options->probe.angle_centre + u->grid.angle_first + (double)b * u->grid.beam_rad;
        u->beam_sine[b] = (float)sin(angle);
        u->beam_cosine[b] = (float)cos(angle);
    }
    set_rows(u);
    set_map(u);
    u->next_simulated = -u->grid.halo;
    *ultrasound = u;
    return RVX_OK;
}

void rvx__ultrasound_free(rvx_ultrasound *ultrasound)
{
    if (!ultrasound)
        return;
    free(ultrasound->memory);
    free(ultrasound);
}

static void sample_scene(rvx_ultrasound *u, int64_t slice)
{
    const rvx_scene *scene = &u->options.scene;
    float z = (float)slice_z(u, slice);
#pragma omp parallel for num_threads(u->options.threads) schedule(dynamic, 4)
    for (int64_t r = 0; r < u->grid.rows; r++)
        for (int64_t b = 0; b < u->grid.beams; b++) {
            rvx_material m = scene->material(scene->self, beam_point(u, r, b, z));
            int64_t at = r * u->grid.beams + b;
            u->planes[0][at] = m.amplitude;
            u->planes[1][at] = m.impedance;
            u->planes[2][at] = m.attenuation;
        }
}

/* Echo of the interfaces at one sample, relative to liver. With reflection R = dZ / 2 Z per row and
 * c the cosine between beam and gradient:  90 R (0.12 + 0.88 c^8), compressed above 20. */
static float interface_echo(const rvx_ultrasound *u, int64_t r, int64_t b, float arc_mm)
{
    const float *impedance = u->planes[1];
    int64_t beams = u->grid.beams, at = r * beams + b;
    int64_t above = r > 0 ? at - beams : at, below = r + 1 < u->grid.rows ? at + beams : at;
    int64_t left = b > 0 ? at - 1 : at, right = b + 1 < beams ? at + 1 : at;
    float along = 0.5f * (impedance[below] - impedance[above]);
    float slope = along / (float)u->grid.row_mm;
    float across = 0.5f * (impedance[right] - impedance[left]) / arc_mm;
    float c = slope * slope / (slope * slope + across * across + 1e-9f); /* cosine squared */
    c *= c;
    float echo = 45.0f * fabsf(along) / impedance[at] * (0.12f + 0.88f * c * c);
    return echo / (1.0f + echo / 20.0f);
}

static int16_t ring_round(float x)
{
    x = x * RING_SCALE;
    x = x < -32767.0f ? -32767.0f : x > 32767.0f ? 32767.0f : x;
    return (int16_t)((int32_t)(x + 32768.5f) - 32768);
}

/* Scatterers and interfaces of a block of beams, weakened on the way there and back. */
static void insonify_block(rvx_ultrasound *u, int64_t slice, int16_t *re, int16_t *im,
                           int64_t first, int64_t count)
{
    const beam_grid *g = &u->grid;
    const rvx_ultrasound_options *o = &u->options;
    float loss[BLOCK] = {0}, noise_re[BLOCK], noise_im[BLOCK];
    float step = (float)(0.2 * o->probe.frequency_mhz * g->row_mm);
    uint64_t stream = rvx__phantom_stream(o->case_index, RVX_PHANTOM_SCATTERERS);
    int64_t pitch = (g->beams + 1) / 2 * 2;
    for (int64_t r = 0; r < g->rows; r++) {
        int64_t at = r * g->beams + first;
        float arc_mm = (float)((o->probe.radius + (double)r * g->row_mm) * g->beam_rad);
        rvx__complex_noise(noise_re, noise_im, count, o->seed, stream,
                           (uint64_t)(((slice + g->halo) * g->rows + r) * pitch + first));
        for (int64_t k = 0; k < count; k++) {
            loss[k] += step * u->planes[2][at + k];
            float gain = rvx__exp2_fast((u->row_gain[r] - loss[k]) * 0.166096405f);
            float amplitude = u->planes[0][at + k];
            float echo = interface_echo(u, r, first + k, arc_mm) * u->row_mirror[r];
            float field_re = amplitude * noise_re[k] + echo * (1.0f + 0.4f * noise_re[k]);
            float field_im = amplitude * noise_im[k] + echo * 0.4f * noise_im[k];
            re[at + k] = ring_round(gain * field_re);
            im[at + k] = ring_round(gain * field_im);
        }
    }
}

static int16_t *ring_slot(const rvx_ultrasound *u, int64_t slice)
{
    return u->ring + 2 * u->plane * ((slice + u->grid.halo) % (2 * u->grid.halo + 1));
}

static void insonify(rvx_ultrasound *u, int64_t slice)
{
    sample_scene(u, slice);
    int16_t *re = ring_slot(u, slice), *im = re + u->plane;
    int64_t blocks = (u->grid.beams + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(u->options.threads) schedule(dynamic, 1)
    for (int64_t k = 0; k < blocks; k++) {
        int64_t first = k * BLOCK, rest = u->grid.beams - first;
        insonify_block(u, slice, re, im, first, rest < BLOCK ? rest : BLOCK);
    }
}

/* Elevational and lateral point spread of one row, then the amplifier's noise. */
static void form_row(rvx_ultrasound *u, int64_t slice, int64_t r, float *scratch)
{
    const beam_grid *g = &u->grid;
    const rvx_ultrasound_options *o = &u->options;
    const int16_t *rows[2 * RVX_TAPS_STRIDE_MAX];
    float *noise[2] = {scratch + 2 * g->beams, scratch + 3 * g->beams};
    int64_t reach = u->elevation.radius[r], inner = g->beams - 2 * g->pad;
    const float *taps_z = u->elevation.values + r * u->elevation.stride;
    const float *taps_x = u->lateral.values + r * u->lateral.stride;
    uint64_t stream = rvx__phantom_stream(o->case_index, RVX_PHANTOM_NOISE);
    int64_t pitch = (g->beams + 1) / 2 * 2;
    rvx__complex_noise(noise[0], noise[1], inner, o->seed, stream,
                       (uint64_t)((slice * g->rows + r) * pitch));
    for (int part = 0; part < 2; part++) {
        for (int64_t t = -reach; t <= reach; t++)
            rows[reach + t] = ring_slot(u, slice + t) + part * u->plane + r * g->beams;
        rvx__taps_across_i16(scratch, rows + reach, g->beams, taps_z, reach);
        float *out = u->planes[part] + r * g->beams + g->pad;
        rvx__taps_along(out, scratch + g->pad, inner, taps_x, u->lateral.radius[r]);
        float echo = part == 0 ? u->row_echo[r] : 0.0f;
        for (int64_t b = 0; b < inner; b++)
            out[b] = out[b] * (1.0f / RING_SCALE) + u->row_noise[r] * noise[part][b] + echo;
    }
}

/* Axial point spread and envelope of one row. */
static void detect_row(rvx_ultrasound *u, int64_t r, float *scratch)
{
    const beam_grid *g = &u->grid;
    const float *rows[2 * AXIAL_RADIUS_MAX + 1];
    int64_t reach = u->axial.radius[r], inner = g->beams - 2 * g->pad;
    const float *taps = u->axial.values + r * u->axial.stride;
    for (int part = 0; part < 2; part++) {
        for (int64_t t = -reach; t <= reach; t++) {
            int64_t row = r + t < 0 ? 0 : r + t >= g->rows ? g->rows - 1 : r + t;
            rows[reach + t] = u->planes[part] + row * g->beams + g->pad;
        }
        rvx__taps_across(scratch + part * g->beams, rows + reach, inner, taps, reach);
    }
    float *out = u->planes[2] + r * g->beams + g->pad;
    for (int64_t b = 0; b < inner; b++) {
        float re = scratch[b], im = scratch[g->beams + b];
        out[b] = sqrtf(re * re + im * im);
    }
}

/* Mean over the rows of a voxel, then decibel. */
static void compress_row(rvx_ultrasound *u, int64_t r)
{
    const beam_grid *g = &u->grid;
    int64_t inner = g->beams - 2 * g->pad;
    int64_t low = -(g->axial_mean - 1) / 2;
    float *out = u->planes[3] + r * g->beams + g->pad;
    for (int64_t b = 0; b < inner; b++)
        out[b] = 1e-6f;
    for (int64_t t = low; t < low + g->axial_mean; t++) {
        int64_t row = r + t < 0 ? 0 : r + t >= g->rows ? g->rows - 1 : r + t;
        const float *in = u->planes[2] + row * g->beams + g->pad;
        for (int64_t b = 0; b < inner; b++)
            out[b] += in[b];
    }
    for (int64_t b = 0; b < inner; b++)
        out[b] = 8.68588964f * rvx__log_fast(out[b] / (float)g->axial_mean);
}

/* Bilinear in decibel; grey 0 .. 255 over the dynamic range. */
static void convert_row(const rvx_ultrasound *u, uint8_t *image, int64_t y)
{
    const beam_grid *g = &u->grid;
    const rvx_probe *probe = &u->options.probe;
    int64_t width = u->options.size[0], last_beam = g->beams - 1 - g->pad;
    float scale = (float)(255.0 / probe->range_db);
    float floor_db = (float)(-0.58 * probe->range_db - probe->gain_db);
    for (int64_t x = 0; x < width; x++) {
        const float *at = u->map + 2 * (y * width + x);
        image[x] = 0;
        if (at[0] < -1.0f)
            continue;
        float row = at[0] < 0 ? 0 : at[0], beam = at[1] < (float)g->pad ? (float)g->pad : at[1];
        int64_t r = (int64_t)row, b = (int64_t)beam;
        r = r > g->rows - 2 ? g->rows - 2 : r;
        b = b > last_beam - 1 ? last_beam - 1 : b;
        float v = row - (float)r, w = beam - (float)b;
        v = v > 1 ? 1 : v;
        w = w > 1 ? 1 : w;
        const float *p = u->planes[3] + r * g->beams + b, *q = p + g->beams;
        float upper = p[0] + w * (p[1] - p[0]), lower = q[0] + w * (q[1] - q[0]);
        float grey = (upper + v * (lower - upper) - floor_db) * scale + 0.5f;
        image[x] = (uint8_t)(grey < 0 ? 0 : grey > 255 ? 255 : grey);
    }
}

void rvx__ultrasound_next(rvx_ultrasound *u, uint8_t *image)
{
    int64_t slice = u->next_shown++;
    assert(slice < u->options.size[2]);
    for (; u->next_simulated <= slice + u->grid.halo; u->next_simulated++)
        insonify(u, u->next_simulated);
#pragma omp parallel for num_threads(u->options.threads) schedule(static)
    for (int64_t piece = 0; piece < u->options.threads; piece++) {
        float *scratch = u->scratch + 4 * u->grid.beams * piece;
        for (int64_t r = piece; r < u->grid.rows; r += u->options.threads)
            form_row(u, slice, r, scratch);
    }
#pragma omp parallel for num_threads(u->options.threads) schedule(static)
    for (int64_t piece = 0; piece < u->options.threads; piece++) {
        float *scratch = u->scratch + 4 * u->grid.beams * piece;
        for (int64_t r = piece; r < u->grid.rows; r += u->options.threads)
            detect_row(u, r, scratch);
    }
#pragma omp parallel for num_threads(u->options.threads) schedule(static)
    for (int64_t r = 0; r < u->grid.rows; r++)
        compress_row(u, r);
#pragma omp parallel for num_threads(u->options.threads) schedule(static)
    for (int64_t y = 0; y < u->options.size[1]; y++)
        convert_row(u, image + y * u->options.size[0], y);
}

void rvx__ultrasound_labels(const rvx_ultrasound *u, uint8_t *labels, int64_t z)
{
    const rvx_ultrasound_options *o = &u->options;
    float at_z = (float)slice_z(u, z);
#pragma omp parallel for num_threads(o->threads) schedule(dynamic, 4)
    for (int64_t y = 0; y < o->size[1]; y++)
        for (int64_t x = 0; x < o->size[0]; x++) {
            const float *at = u->map + 2 * (y * o->size[0] + x);
            rvx_point p = {(float)(((double)x - 0.5 * (double)(o->size[0] - 1)) * o->spacing[0]),
                           (float)(((double)y + 0.5) * o->spacing[1]), at_z,
                           (at[0] + 0.5f) * (float)u->grid.row_mm};
            labels[y * o->size[0] + x] = at[0] < -1.0f ? 0 : o->scene.label(o->scene.self, p);
        }
}

rvx_envelope rvx__ultrasound_envelope(const rvx_ultrasound *u)
{
    return (rvx_envelope){u->planes[2],   u->grid.rows,     u->grid.beams,
                          u->grid.row_mm, u->grid.beam_rad, u->grid.angle_first};
}
