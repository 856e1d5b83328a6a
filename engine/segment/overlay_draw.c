/* One plane of a case as pictures: see overlay_draw.h. */
#include "engine/segment/overlay_draw.h"

#include "engine/segment/svg.h"

#include <math.h>
#include <stdlib.h>

enum { SAMPLES_MAX = 8, REACH = 3 };

static const double fill_share = 0.32, halo_share = 0.65;
static const double line_reach = 2.3, halo_reach = 3.0, outside_reach = 1.5; /* pixels */

/* Element of the slice at column, row of the picture. */
static int64_t slice_index(const rvx_overlay_view *v, int64_t column, int64_t row)
{
    int64_t across = v->across_flipped ? v->columns - 1 - column : column;
    int64_t down = v->down_flipped ? v->rows - 1 - row : row;
    return v->across_is_low ? down * v->columns + across : across * v->rows + down;
}

static int64_t clamp_index(int64_t i, int64_t count)
{
    return i < 0 ? 0 : i >= count ? count - 1 : i;
}

/* The four voxels around (column, row), counted in voxels from the picture's corner, and their
 * bilinear weights; beyond the centres of the outer voxels the edge repeats. */
static void corners_find(int64_t index[4], double weight[4], const rvx_overlay_view *v,
                         double column, double row)
{
    double c = column - 0.5, r = row - 0.5;
    int64_t c0 = (int64_t)floor(c), r0 = (int64_t)floor(r);
    double fc = c - (double)c0, fr = r - (double)r0;
    for (int k = 0; k < 4; k++) {
        index[k] = slice_index(v, clamp_index(c0 + (k & 1), v->columns),
                               clamp_index(r0 + (k >> 1), v->rows));
        weight[k] = (k & 1 ? fc : 1.0 - fc) * (k >> 1 ? fr : 1.0 - fr);
    }
}

static double grey_at(const rvx_overlay_view *v, double column, double row)
{
    int64_t index[4];
    double weight[4], sum = 0.0;
    corners_find(index, weight, v, column, row);
    for (int k = 0; k < 4; k++)
        sum += weight[k] * (double)v->image[index[k]];
    return sum;
}

/* The label with the largest bilinear weight: smooth outlines between voxel centres. */
static uint8_t label_at(const uint8_t *labels, const int64_t index[4], const double weight[4])
{
    uint8_t best = 0;
    double best_weight = -1.0;
    for (int k = 0; k < 4; k++) {
        double sum = 0.0;
        for (int j = 0; j < 4; j++)
            sum += labels[index[j]] == labels[index[k]] ? weight[j] : 0.0;
        if (sum > best_weight + 1e-12) {
            best_weight = sum;
            best = labels[index[k]];
        }
    }
    return best;
}

static uint8_t grey_byte(const rvx_overlay_view *v, double value)
{
    double share = (value - v->window_low) / (v->window_high - v->window_low);
    return (uint8_t)lround(255.0 * fmin(fmax(share, 0.0), 1.0));
}

/* Pixel (x, y) of a picture whose pixels are dx by dy voxels: the mean over the pixel where voxels
 * are smaller, so that speckle does not alias. */
static uint8_t pixel_grey(const rvx_overlay_view *v, double dx, double dy, int64_t x, int64_t y)
{
    int nx = (int)fmin(fmax(ceil(dx), 1.0), SAMPLES_MAX);
    int ny = (int)fmin(fmax(ceil(dy), 1.0), SAMPLES_MAX);
    double sum = 0.0;
    for (int j = 0; j < ny; j++)
        for (int i = 0; i < nx; i++)
            sum += grey_at(v, dx * ((double)x + (i + 0.5) / nx), dy * ((double)y + (j + 0.5) / ny));
    return grey_byte(v, sum / (nx * ny));
}

static void palette_fill(uint8_t palette[256][3], const rvx_class_list *list)
{
    for (int label = 0; label < 256; label++) {
        int64_t index = label > 0 ? label - 1 : 0;
        for (int64_t c = 0; list && c < list->count; c++)
            if (list->classes[c].label == label)
                index = c;
        unsigned long rgb = strtoul(rvx__class_colour(index) + 1, NULL, 16);
        for (int k = 0; k < 3; k++)
            palette[label][k] = (uint8_t)(rgb >> (16 - 8 * k) & 255);
    }
}

static void blend(uint8_t *pixel, const uint8_t *colour, double share)
{
    for (int k = 0; k < 3; k++)
        pixel[k] = (uint8_t)lround((1.0 - share) * pixel[k] + share * colour[k]);
}

/* Distance in pixels, at most REACH + 1, from (x, y) to the nearest pixel of another label. */
static double border_distance(const uint8_t *labels, int64_t width, int64_t height, int64_t x,
                              int64_t y)
{
    double best = REACH + 1.0;
    uint8_t own = labels[y * width + x];
    for (int64_t j = -REACH; j <= REACH; j++)
        for (int64_t i = -REACH; i <= REACH; i++)
            if (x + i >= 0 && x + i < width && y + j >= 0 && y + j < height &&
                labels[(y + j) * width + x + i] != own)
                best = fmin(best, sqrt((double)(i * i + j * j)));
    return best;
}

/* Outlines: a line inside the label's border in the brightest form of its colour, so that it stands
 * out from the fill, between dark halos. */
static void outline_draw(rvx_image *image, const uint8_t *labels, uint8_t palette[256][3])
{
    static const uint8_t dark[3] = {0, 0, 0};
    for (int64_t y = 0; y < image->height; y++) {
        for (int64_t x = 0; x < image->width; x++) {
            uint8_t *pixel = image->pixels + 3 * (y * image->width + x);
            const uint8_t label = labels[y * image->width + x], *colour = palette[label];
            double distance = border_distance(labels, image->width, image->height, x, y);
            if (label && distance <= line_reach) {
                int brightest = colour[0] > colour[1] ? colour[0] : colour[1];
                brightest = colour[2] > brightest ? colour[2] : brightest;
                for (int k = 0; k < 3; k++)
                    pixel[k] = (uint8_t)(255 * colour[k] / brightest);
            } else if (distance <= (label ? halo_reach : outside_reach)) {
                blend(pixel, dark, halo_share);
            }
        }
    }
}

/* The image with the reference filled in; the prediction's labels go to `outline`. */
static void overlaid_fill(rvx_image *overlaid, uint8_t *outline, const rvx_overlay_view *v,
                          uint8_t palette[256][3])
{
    double dx = v->pixel_mm / v->column_mm, dy = v->pixel_mm / v->row_mm;
    for (int64_t y = 0; y < overlaid->height; y++) {
        for (int64_t x = 0; x < overlaid->width; x++) {
            int64_t index[4];
            double weight[4];
            uint8_t *pixel = overlaid->pixels + 3 * (y * overlaid->width + x);
            pixel[0] = pixel[1] = pixel[2] = pixel_grey(v, dx, dy, x, y);
            corners_find(index, weight, v, ((double)x + 0.5) * dx, ((double)y + 0.5) * dy);
            uint8_t label = v->reference ? label_at(v->reference, index, weight) : 0;
            if (label)
                blend(pixel, palette[label], fill_share);
            outline[y * overlaid->width + x] =
                v->prediction ? label_at(v->prediction, index, weight) : 0;
        }
    }
}

rvx_status rvx__overlay_draw(rvx_image *plain, rvx_image *overlaid, const rvx_overlay_view *view,
                             const rvx_class_list *list, rvx_error *error)
{
    const rvx_overlay_view *v = view;
    rvx_status status = RVX_OK;
    uint8_t palette[256][3], *outline = NULL;
    int64_t width = llround(fmax(1.0, (double)v->columns * v->column_mm / v->pixel_mm));
    int64_t height = llround(fmax(1.0, (double)v->rows * v->row_mm / v->pixel_mm));
    palette_fill(palette, list);
    RVX_TRY(rvx__image_create(plain, v->columns < width ? v->columns : width,
                              v->rows < height ? v->rows : height, 1, error));
    RVX_TRY(rvx__image_create(overlaid, width, height, 3, error));
    outline = calloc((size_t)(width * height), 1);
    if (!outline) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "picture of %lld x %lld pixels: no memory",
                           (long long)width, (long long)height);
        goto cleanup;
    }
    double dx = (double)v->columns / (double)plain->width;
    double dy = (double)v->rows / (double)plain->height;
    for (int64_t y = 0; y < plain->height; y++)
        for (int64_t x = 0; x < plain->width; x++)
            plain->pixels[y * plain->width + x] = pixel_grey(v, dx, dy, x, y);
    overlaid_fill(overlaid, outline, v, palette);
    if (v->prediction)
        outline_draw(overlaid, outline, palette);
cleanup:
    free(outline);
    return status;
}
