/* What a plan's augmentation does to a case: see augment_preview.h. */
#include "engine/segment/augment_preview.h"

#include "engine/segment/lettering.h"
#include "engine/segment/overlay_draw.h"
#include "engine/volume/fingerprint.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TILE = 240,
    DRAWS = 6,
    COLUMNS = 6,
    GAP = 8,
    SCALE = 2,
    TITLE = 2 * RVX_LETTER_HEIGHT * SCALE + 4
};

/* A transform with one range. Alone it is shown at the end of its range that changes most. */
typedef struct shown_transform {
    const char *name, *unit;
    size_t offset; /* of the rvx_transform in rvx_recipe */
    int strongest; /* 0: low end, 1: high end, -1: as drawn */
} shown_transform;

#define AT(member) offsetof(rvx_recipe, augmentation.member)
static const shown_transform shown[] = {
    {"scaling", "", AT(scaling), 1},
    {"noise", "var", AT(noise), 1},
    {"blur", "vox", AT(blur), 1},
    {"brightness", "", AT(brightness), 1},
    {"contrast", "", AT(contrast), 0},
    {"low resolution", "", AT(low_resolution), 0},
    {"gamma inverted", "", AT(gamma_inverted), 1},
    {"gamma", "", AT(gamma), 1},
    {"pose", "deg", AT(ultrasound.pose), 1},
    {"sound", "m/s", AT(ultrasound.sound), 0},
    {"speckle", "c", AT(ultrasound.speckle), 0},
    {"reverberation", "db", AT(ultrasound.reverberation), 1},
    {"shadow", "db", AT(ultrasound.shadow), 1},
    {"attenuation", "db", AT(ultrasound.attenuation), 0},
    {"time gain", "db", AT(ultrasound.time_gain), -1},
    {"gain", "db", AT(ultrasound.gain), 1},
    {"sector", "", AT(ultrasound.sector), 0},
};
enum { SHOWN = sizeof shown / sizeof *shown, TILES_MAX = SHOWN + 3 };
#undef AT

static rvx_transform *transform_of(rvx_recipe *recipe, const shown_transform *one)
{
    return (rvx_transform *)(void *)((char *)recipe + one->offset);
}

static double probability_of(const rvx_recipe *recipe, const shown_transform *one)
{
    return ((const rvx_transform *)(const void *)((const char *)recipe + one->offset))->probability;
}

/* What the tiles are cut from and into. */
typedef struct preview {
    const rvx_augment_preview_params *params;
    rvx_image *sheet;
    rvx_sampler sampler;
    rvx_overlay_view view;
    int64_t slice, tile_width, tile_height, tiles;
    float *image, *cut;        /* a patch with all channels; a slice */
    uint8_t *labels, *outline; /* the same */
} preview;

/* ---- The plane --------------------------------------------------------------------------------
 */

/* Rows run along the beam, downwards. */
static void plane_of_beams(rvx_overlay_view *view, const rvx_ultrasound_recipe *ultrasound)
{
    int rows = ultrasound->beam / 2, columns = rows == 0 ? 1 : 0;
    if (columns == ultrasound->sweep)
        columns = 3 - rows - columns;
    view->normal = 3 - rows - columns;
    view->across_is_low = columns < rows;
    view->down_flipped = ultrasound->beam % 2;
}

/* Across z, as radiologists look at it. */
static void plane_axial(rvx_overlay_view *view, const rvx_geometry *geometry)
{
    view->normal = 2;
    view->across_is_low = true;
    view->across_flipped = geometry->direction[0][0] < 0;
    view->down_flipped = geometry->direction[1][1] < 0;
}

static void plane_choose(preview *p)
{
    const rvx_recipe *recipe = p->params->recipe;
    const rvx_case *one = p->params->one;
    rvx_overlay_view *v = &p->view;
    bool ultrasound = false;
    for (size_t i = 0; i < SHOWN; i++)
        ultrasound |= shown[i].offset >= offsetof(rvx_recipe, augmentation.ultrasound) &&
                      probability_of(recipe, &shown[i]) > 0;
    if (ultrasound)
        plane_of_beams(v, &recipe->augmentation.ultrasound);
    else
        plane_axial(v, &one->info.geometry);
    int low = v->normal == 0 ? 1 : 0, high = v->normal == 2 ? 1 : 2;
    int across = v->across_is_low ? low : high, down = v->across_is_low ? high : low;
    double mm[3];
    for (int a = 0; a < 3; a++) {
        double voxels = (double)one->map.box_size[a] / (double)one->map.network_size[a];
        mm[a] = one->info.geometry.spacing[a] * (voxels > 0 && isfinite(voxels) ? voxels : 1);
    }
    v->columns = p->params->patch[2 - across];
    v->rows = p->params->patch[2 - down];
    v->column_mm = mm[across];
    v->row_mm = mm[down];
    double width = (double)v->columns * v->column_mm, height = (double)v->rows * v->row_mm;
    int64_t side = p->params->tile_pixels > 0 ? p->params->tile_pixels : TILE;
    v->pixel_mm = fmax(width, height) / (double)side;
    p->tile_width = llround(fmax(1, width / v->pixel_mm));
    p->tile_height = llround(fmax(1, height / v->pixel_mm));
}

/* Element of a patch [d][h][w] at place `slice` of the plane's normal, low axis i, high axis j. */
static int64_t patch_index(const preview *p, int64_t slice, int64_t i, int64_t j)
{
    int normal = p->view.normal, low = normal == 0 ? 1 : 0, high = normal == 2 ? 1 : 2;
    int64_t xyz[3];
    xyz[normal] = slice;
    xyz[low] = i;
    xyz[high] = j;
    return (xyz[2] * p->params->patch[1] + xyz[1]) * p->params->patch[2] + xyz[0];
}

static void slice_extent(const preview *p, int64_t *low, int64_t *high)
{
    const int64_t *patch = p->params->patch;
    *low = p->view.normal == 0 ? patch[1] : patch[2];
    *high = p->view.normal == 2 ? patch[1] : patch[0];
}

static void slice_choose(preview *p)
{
    int64_t low, high, most = -1, slices = p->params->patch[2 - p->view.normal];
    slice_extent(p, &low, &high);
    for (int64_t k = 0; k < slices; k++) {
        int64_t count = 0;
        for (int64_t j = 0; j < high; j++)
            for (int64_t i = 0; i < low; i++)
                count += p->labels[patch_index(p, k, i, j)] != 0;
        if (count > most) {
            most = count;
            p->slice = k;
        }
    }
    if (most <= 0)
        p->slice = slices / 2;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* ---- Tiles ------------------------------------------------------------------------------------
 */

static void slice_cut(preview *p)
{
    int64_t low, high, channels = p->params->recipe->network.in_channels;
    slice_extent(p, &low, &high);
    for (int64_t j = 0; j < high; j++)
        for (int64_t i = 0; i < low; i++) {
            int64_t at = patch_index(p, p->slice, i, j);
            p->cut[j * low + i] = p->image[at * channels + p->params->channel];
            p->outline[j * low + i] = p->labels[at];
        }
}

/* Black and white of the patch as it is: its 0.5th and 99.5th percentile. */
static void window_choose(preview *p)
{
    int64_t low, high;
    slice_extent(p, &low, &high);
    qsort(p->cut, (size_t)(low * high), sizeof *p->cut, compare_floats);
    p->view.window_low = rvx__percentile_f32(p->cut, low * high, 0.5);
    p->view.window_high = rvx__percentile_f32(p->cut, low * high, 99.5);
    if (!(p->view.window_high > p->view.window_low))
        p->view.window_high = p->view.window_low + 1;
}

static void tile_place(const preview *p, int64_t *x, int64_t *y)
{
    *x = GAP + p->tiles % COLUMNS * (p->tile_width + GAP);
    *y = GAP + p->tiles / COLUMNS * (p->tile_height + TITLE + GAP);
}

/* No wider than its tile. */
static void words_add(const preview *p, int64_t x, int64_t y, const uint8_t colour[3],
                      const char *text)
{
    char fitting[128];
    int room = (int)(p->tile_width / (RVX_LETTER_WIDTH * SCALE));
    snprintf(fitting, sizeof fitting, "%.*s", room, text);
    rvx__letters_draw(p->sheet, x, y, SCALE, colour, fitting);
}

static rvx_status tile_add(preview *p, const char *title, const char *numbers, rvx_error *error)
{
    static const uint8_t bright[3] = {255, 255, 255}, dim[3] = {170, 178, 189};
    rvx_image plain = {0}, overlaid = {0};
    int64_t x, y;
    slice_cut(p);
    p->view.image = p->cut;
    p->view.prediction = p->outline;
    rvx_status status = rvx__overlay_draw(&plain, &overlaid, &p->view, NULL, error);
    tile_place(p, &x, &y);
    words_add(p, x, y, bright, title);
    words_add(p, x, y + RVX_LETTER_HEIGHT * SCALE, dim, numbers);
    for (int64_t j = 0; j < overlaid.height && j < p->tile_height && status == RVX_OK; j++) {
        int64_t width = overlaid.width < p->tile_width ? overlaid.width : p->tile_width;
        memcpy(p->sheet->pixels + 3 * ((y + TITLE + j) * p->sheet->width + x),
               overlaid.pixels + 3 * j * overlaid.width, (size_t)(3 * width));
    }
    p->tiles++;
    rvx__image_free(&plain);
    rvx__image_free(&overlaid);
    return status;
}

/* Draws the sample of the first step, `index`, with `recipe` into a tile. */
static rvx_status sample_add(preview *p, const rvx_recipe *recipe, int64_t index, const char *title,
                             const char *numbers, rvx_error *error)
{
    /* Temporary memory was measured for the plan's own recipe, which needs most. */
    p->sampler.recipe = recipe;
    rvx__sample_draw(&p->sampler, p->image, p->labels, 0, index);
    return tile_add(p, title, numbers, error);
}

static rvx_status transforms_add(preview *p, const rvx_recipe *quiet, rvx_error *error)
{
    const rvx_recipe *plan = p->params->recipe;
    rvx_recipe recipe = *quiet;
    rvx_status status = RVX_OK;
    char numbers[64];
    if (plan->augmentation.rotation_probability > 0) {
        const double *degrees = plan->augmentation.rotation_degrees;
        recipe.augmentation.rotation_probability = 1;
        snprintf(numbers, sizeof numbers, "p %g  %g,%g,%g deg",
                 plan->augmentation.rotation_probability, degrees[0], degrees[1], degrees[2]);
        RVX_TRY(sample_add(p, &recipe, 0, "rotation", numbers, error));
    }
    for (size_t i = 0; i < SHOWN; i++) {
        if (!(probability_of(plan, &shown[i]) > 0))
            continue;
        recipe = *quiet;
        rvx_transform *t = transform_of(&recipe, &shown[i]);
        snprintf(numbers, sizeof numbers, "p %g  %g..%g %s", probability_of(plan, &shown[i]),
                 t->range[0], t->range[1], shown[i].unit);
        t->probability = t->channel_probability = 1;
        recipe.augmentation.ultrasound.shadow_width[0] =
            recipe.augmentation.ultrasound.shadow_width[1];
        if (shown[i].strongest >= 0)
            t->range[0] = t->range[1] = t->range[shown[i].strongest];
        RVX_TRY(sample_add(p, &recipe, 0, shown[i].name, numbers, error));
    }
    const bool *axes = plan->augmentation.mirror_axes;
    if (plan->augmentation.mirror_probability > 0 && (axes[0] || axes[1] || axes[2])) {
        recipe = *quiet;
        recipe.augmentation.mirror_probability = 1;
        snprintf(numbers, sizeof numbers, "p %g  %s%s%s", plan->augmentation.mirror_probability,
                 axes[0] ? "x" : "", axes[1] ? "y" : "", axes[2] ? "z" : "");
        RVX_TRY(sample_add(p, &recipe, 0, "mirror", numbers, error));
    }
cleanup:
    return status;
}

static int64_t tiles_count(const rvx_recipe *plan, int draws)
{
    const bool *axes = plan->augmentation.mirror_axes;
    int64_t count = 1 + draws + (plan->augmentation.rotation_probability > 0);
    count += plan->augmentation.mirror_probability > 0 && (axes[0] || axes[1] || axes[2]);
    for (size_t i = 0; i < SHOWN; i++)
        count += probability_of(plan, &shown[i]) > 0;
    return count;
}

rvx_status rvx__augment_preview(rvx_image *sheet, const rvx_augment_preview_params *params,
                                rvx_error *error)
{
    rvx_status status = RVX_OK;
    const int64_t *patch = params->patch;
    int draws = params->draws > 0 ? params->draws : DRAWS;
    int64_t voxels = patch[0] * patch[1] * patch[2];
    rvx_recipe quiet = *params->recipe;
    preview p = {.params = params, .sheet = sheet};
    *sheet = (rvx_image){0};
    p.sampler = (rvx_sampler){.recipe = params->recipe,
                              .patch = {patch[0], patch[1], patch[2]},
                              .cases = params->one,
                              .case_count = 1,
                              .dtype = RVX_F32,
                              .threads = params->threads};
    size_t floats = (size_t)rvx__sample_temporary_floats(params->recipe, patch);
    p.sampler.temporary = malloc(floats * sizeof(float));
    p.image = malloc((size_t)(voxels * params->recipe->network.in_channels) * sizeof(float));
    p.cut = malloc((size_t)voxels * sizeof(float));
    p.labels = malloc((size_t)voxels);
    p.outline = malloc((size_t)voxels);
    if (!p.sampler.temporary || !p.image || !p.cut || !p.labels || !p.outline) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "preview: no memory for a patch");
        goto cleanup;
    }
    /* The patch lies about a labelled voxel. With nothing else to do it is only copied. */
    quiet.patch.foreground_fraction = 1;
    rvx__recipe_augment(&quiet, RVX_AUGMENTATION_NONE);
    for (size_t i = 0; i < SHOWN; i++) {
        const rvx_transform *from =
            transform_of((rvx_recipe *)(uintptr_t)params->recipe, &shown[i]);
        *transform_of(&quiet, &shown[i]) = *from;
        transform_of(&quiet, &shown[i])->probability = 0;
    }
    plane_choose(&p);
    int64_t tiles = tiles_count(params->recipe, draws), rows = (tiles + COLUMNS - 1) / COLUMNS;
    RVX_TRY(rvx__image_create(sheet, GAP + COLUMNS * (p.tile_width + GAP),
                              GAP + rows * (p.tile_height + TITLE + GAP), 3, error));
    memset(sheet->pixels, 24, (size_t)(3 * sheet->width * sheet->height));
    p.sampler.recipe = &quiet;
    rvx__sample_draw(&p.sampler, p.image, p.labels, 0, 0);
    slice_choose(&p);
    slice_cut(&p);
    window_choose(&p);
    RVX_TRY(tile_add(&p, "original", params->one->identifier, error));
    RVX_TRY(transforms_add(&p, &quiet, error));
    for (int d = 0; d < draws; d++) {
        char title[32];
        snprintf(title, sizeof title, "draw %d", d + 1);
        RVX_TRY(sample_add(&p, params->recipe, d, title, "all, by chance", error));
    }
cleanup:
    free(p.sampler.temporary);
    free(p.image);
    free(p.cut);
    free(p.labels);
    free(p.outline);
    if (status != RVX_OK)
        rvx__image_free(sheet);
    return status;
}
