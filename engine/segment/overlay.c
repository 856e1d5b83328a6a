/* Three-plane pictures of a case, first half: slices, orientation, window: see overlay.h. The
 * drawing is in overlay_draw.c. */
#include "engine/segment/overlay.h"

#include "engine/segment/overlay_draw.h"
#include "engine/volume/repair.h"
#include "engine/volume/volume.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLAB = 4, SIDE_PIXELS = 400, WINDOW_PIXELS_MIN = 50 };

void rvx__overlay_free(rvx_overlay *overlay)
{
    for (int p = 0; p < 3; p++) {
        rvx__image_free(&overlay->planes[p].plain);
        rvx__image_free(&overlay->planes[p].overlaid);
    }
    *overlay = (rvx_overlay){0};
}

/* axis[k] is the voxel axis nearest to patient axis k (L, P, S), sign[k] whether it grows along or
 * against it: the assignment with the largest sum of cosines. */
static void axes_assign(int axis[3], int sign[3], const rvx_geometry *geometry)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    double best = -1.0;
    for (int o = 0; o < 6; o++) {
        double sum = 0.0;
        for (int k = 0; k < 3; k++)
            sum += fabs(geometry->direction[k][orders[o][k]]);
        if (sum > best + 1e-9) {
            best = sum;
            memcpy(axis, orders[o], sizeof orders[o]);
        }
    }
    for (int k = 0; k < 3; k++)
        sign[k] = geometry->direction[k][axis[k]] < 0.0 ? -1 : 1;
}

/* For every voxel axis the slice with the most reference voxels plus wrong voxels; where there are
 * none at all, the middle. `count`: size[0] + size[1] + size[2] zeros. */
static void slices_choose(int64_t slice[3], const uint8_t *reference, const uint8_t *prediction,
                          const int64_t size[3], int64_t *count)
{
    int64_t *along[3] = {count, count + size[0], count + size[0] + size[1]};
    const uint8_t *target = reference ? reference : prediction;
    for (int64_t z = 0; z < size[2] && target; z++) {
        for (int64_t y = 0; y < size[1]; y++) {
            const int64_t row = (z * size[1] + y) * size[0];
            for (int64_t x = 0; x < size[0]; x++) {
                int64_t score = target[row + x] != 0;
                if (reference && prediction)
                    score += reference[row + x] != prediction[row + x];
                along[0][x] += score;
                along[1][y] += score;
                along[2][z] += score;
            }
        }
    }
    for (int a = 0; a < 3; a++) {
        int64_t best = size[a] / 2;
        for (int64_t i = 0; i < size[a]; i++)
            best = along[a][i] > along[a][best] ? i : best;
        slice[a] = best;
    }
}

/* Reads the image once, slab by slab, and keeps the three slices: cut[a] has the other two voxel
 * axes in ascending order, the lower one fastest. */
static rvx_status cuts_read(float *cut[3], const int64_t slice[3], rvx_volume_reader *reader,
                            const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const int64_t *size = rvx__volume_reader_info(reader)->geometry.size;
    int64_t plane = size[0] * size[1];
    float *slab = malloc((size_t)(plane * SLAB) * sizeof(float));
    for (int a = 0; a < 3; a++) {
        int64_t pixels = plane * size[2] / size[a];
        cut[a] = malloc((size_t)pixels * sizeof(float));
        if (!slab || !cut[a]) {
            status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its slices", path);
            goto cleanup;
        }
    }
    for (int64_t z = 0; z < size[2]; z++) {
        if (z % SLAB == 0) {
            int64_t count = size[2] - z < SLAB ? size[2] - z : SLAB;
            RVX_TRY(rvx__volume_reader_slab_f32(reader, slab, z, count, error));
        }
        const float *in = slab + z % SLAB * plane;
        for (int64_t y = 0; y < size[1]; y++)
            cut[0][z * size[1] + y] = in[y * size[0] + slice[0]];
        memcpy(cut[1] + z * size[0], in + slice[1] * size[0], (size_t)size[0] * sizeof(float));
        if (z == slice[2])
            memcpy(cut[2], in, (size_t)plane * sizeof(float));
    }
cleanup:
    free(slab);
    return status;
}

/* The same slice of a label map that is in memory. */
static void cut_labels(uint8_t *out, const uint8_t *labels, int axis, int64_t slice,
                       const int64_t size[3])
{
    int64_t low = axis == 0 ? size[1] : size[0], high = axis == 2 ? size[1] : size[2];
    int64_t step[3] = {1, size[0], size[0] * size[1]};
    int64_t low_step = axis == 0 ? step[1] : step[0], high_step = axis == 2 ? step[1] : step[2];
    for (int64_t j = 0; j < high; j++)
        for (int64_t i = 0; i < low; i++)
            out[j * low + i] = labels[slice * step[axis] + j * high_step + i * low_step];
}

static int float_compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Grey values of the three slices: all of them, or (labelled) those of labelled voxels. values:
 * room for all pixels; scratch: two slices. Returns how many. */
static int64_t window_values(float *values, bool labelled, float *const cut[3],
                             const uint8_t *const maps[2], const int64_t slice[3],
                             const int64_t size[3], uint8_t *scratch)
{
    int64_t count = 0, voxels = size[0] * size[1] * size[2];
    for (int a = 0; a < 3; a++) {
        int64_t pixels = voxels / size[a];
        memset(scratch, labelled ? 0 : 1, 2 * (size_t)pixels);
        for (int m = 0; m < 2; m++)
            if (labelled && maps[m])
                cut_labels(scratch + m * pixels, maps[m], a, slice[a], size);
        for (int64_t i = 0; i < pixels; i++)
            if (scratch[i] || scratch[pixels + i])
                values[count++] = cut[a][i];
    }
    qsort(values, (size_t)count, sizeof(float), float_compare);
    return count;
}

static double sorted_at(const float *values, int64_t first, int64_t count, double share)
{
    return values[first + (int64_t)(share * (double)(count - 1 - first))];
}

/* Black and white. 0.5 % and 99.5 % of everything shown but the plateau at the lowest value
 * (outside the sector of an ultrasound image, padding); within these, where something is labelled,
 * its 5 % to 95 % range widened by itself on both sides, so that a CT shows the organs and not bone
 * and air. */
static rvx_status window_choose(rvx_overlay *overlay, float *const cut[3],
                                const uint8_t *const maps[2], const int64_t slice[3],
                                const int64_t size[3], uint8_t *scratch, rvx_error *error)
{
    int64_t voxels = size[0] * size[1] * size[2], room = 0, first = 0;
    for (int a = 0; a < 3; a++)
        room += voxels / size[a];
    float *values = malloc((size_t)room * sizeof(float));
    if (!values)
        return rvx__fail(error, RVX_ERROR_MEMORY, "picture: no memory for its grey window");
    int64_t count = window_values(values, false, cut, maps, slice, size, scratch);
    while (first < count - 1 && values[first] == values[0])
        first++;
    if (first < count / 20)
        first = 0;
    double low = sorted_at(values, first, count, 0.005);
    double high = sorted_at(values, first, count, 0.995);
    if (!(high > low)) {
        low = values[0];
        high = values[count - 1] > values[0] ? (double)values[count - 1] : low + 1.0;
    }
    count = window_values(values, true, cut, maps, slice, size, scratch);
    if (count >= WINDOW_PIXELS_MIN) {
        double inner = sorted_at(values, 0, count, 0.05), outer = sorted_at(values, 0, count, 0.95);
        double span = outer - inner;
        if (span > 0.05 * (high - low)) {
            low = fmax(low, inner - span);
            high = fmin(high, outer + span);
        }
    }
    overlay->window_low = low;
    overlay->window_high = high;
    free(values);
    return RVX_OK;
}

/* Which way plane `p` (0 axial, 1 coronal, 2 sagittal) looks at its cut. */
static void view_set(rvx_overlay_view *view, rvx_overlay_plane *plane, int p,
                     const rvx_geometry *geometry, const int64_t slice[3])
{
    static const char *const names[3] = {"Axial", "Coronal", "Sagittal"};
    static const char towards[3] = {'L', 'P', 'S'}, away[3] = {'R', 'A', 'I'};
    /* patient axes: normal, to the right, downwards (+1) or upwards (-1) */
    static const struct {
        int normal, right, down, down_sign;
    } looks[3] = {{2, 0, 1, 1}, {1, 0, 2, -1}, {0, 1, 2, -1}};
    int axis[3], sign[3];
    axes_assign(axis, sign, geometry);
    int normal = axis[looks[p].normal], right = axis[looks[p].right], down = axis[looks[p].down];
    plane->name = names[p];
    plane->axis = (char)('x' + normal);
    plane->slice = slice[normal] + 1;
    plane->slices = geometry->size[normal];
    plane->edge[0] = away[looks[p].right];
    plane->edge[1] = towards[looks[p].right];
    plane->edge[2] = looks[p].down_sign > 0 ? away[looks[p].down] : towards[looks[p].down];
    plane->edge[3] = looks[p].down_sign > 0 ? towards[looks[p].down] : away[looks[p].down];
    *view = (rvx_overlay_view){.normal = normal,
                               .across_is_low = right < down,
                               .across_flipped = sign[looks[p].right] < 0,
                               .down_flipped = sign[looks[p].down] * looks[p].down_sign < 0,
                               .columns = geometry->size[right],
                               .rows = geometry->size[down],
                               .column_mm = geometry->spacing[right],
                               .row_mm = geometry->spacing[down]};
}

static rvx_status labels_read(rvx_volume *volume, const char *path, const char *image_path,
                              const rvx_geometry *grid, rvx_error *error)
{
    /* What was judged with repairs is shown with them; the page lists them. */
    rvx_repairs repairs = {0};
    rvx_status status = rvx__volume_read_labels_repair(volume, path, &repairs, error);
    rvx__repairs_free(&repairs);
    if (status != RVX_OK)
        return status;
    const int64_t *size = volume->info.geometry.size;
    if (size[0] == grid->size[0] && size[1] == grid->size[1] && size[2] == grid->size[2])
        return RVX_OK;
    return rvx__fail(error, RVX_ERROR_ARGUMENT,
                     "%s: has %lld x %lld x %lld voxels; expected %lld x %lld x %lld as in %s",
                     path, (long long)size[0], (long long)size[1], (long long)size[2],
                     (long long)grid->size[0], (long long)grid->size[1], (long long)grid->size[2],
                     image_path);
}

/* Draws the three planes from the slices. labels: scratch for two slices of each axis. */
static rvx_status planes_draw(rvx_overlay *overlay, float *const cut[3], const uint8_t *reference,
                              const uint8_t *prediction, const int64_t slice[3],
                              const rvx_geometry *grid, const rvx_overlay_params *params,
                              uint8_t *scratch, rvx_error *error)
{
    double longest_mm = 0.0;
    for (int a = 0; a < 3; a++)
        longest_mm = fmax(longest_mm, (double)grid->size[a] * grid->spacing[a]);
    int64_t side = params->side_pixels > 0 ? params->side_pixels : SIDE_PIXELS;
    for (int p = 0; p < 3; p++) {
        rvx_overlay_plane *plane = &overlay->planes[p];
        rvx_overlay_view view;
        view_set(&view, plane, p, grid, slice);
        int64_t pixels = view.columns * view.rows;
        view.pixel_mm = longest_mm / (double)side;
        view.image = cut[view.normal];
        view.window_low = overlay->window_low;
        view.window_high = overlay->window_high;
        if (reference) {
            cut_labels(scratch, reference, view.normal, slice[view.normal], grid->size);
            view.reference = scratch;
        }
        if (prediction) {
            cut_labels(scratch + pixels, prediction, view.normal, slice[view.normal], grid->size);
            view.prediction = scratch + pixels;
        }
        rvx_status status =
            rvx__overlay_draw(&plane->plain, &plane->overlaid, &view, params->list, error);
        if (status != RVX_OK)
            return status;
    }
    return RVX_OK;
}

rvx_status rvx__overlay_create(rvx_overlay *overlay, const char *image_path,
                               const char *reference_path, const char *prediction_path,
                               const rvx_overlay_params *params, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_volume_reader *reader = NULL;
    rvx_repairs repairs = {0}; /* as in labels_read */
    rvx_volume reference = {0}, prediction = {0};
    float *cut[3] = {NULL, NULL, NULL};
    int64_t *count = NULL, slice[3];
    uint8_t *scratch = NULL;
    *overlay = (rvx_overlay){0};
    RVX_TRY(rvx__volume_reader_open_repair(&reader, image_path, &repairs, error));
    const rvx_geometry *grid = &rvx__volume_reader_info(reader)->geometry;
    const int64_t *size = grid->size;
    if (reference_path)
        RVX_TRY(labels_read(&reference, reference_path, image_path, grid, error));
    if (prediction_path)
        RVX_TRY(labels_read(&prediction, prediction_path, image_path, grid, error));
    int64_t voxels = rvx__geometry_voxels(grid);
    int64_t largest = voxels / size[0];
    for (int a = 1; a < 3; a++)
        largest = voxels / size[a] > largest ? voxels / size[a] : largest;
    count = calloc((size_t)(size[0] + size[1] + size[2]), sizeof *count);
    scratch = malloc(2 * (size_t)largest);
    if (!count || !scratch) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its pictures", image_path);
        goto cleanup;
    }
    slices_choose(slice, reference.voxels, prediction.voxels, size, count);
    RVX_TRY(cuts_read(cut, slice, reader, image_path, error));
    RVX_TRY(window_choose(overlay, cut,
                          (const uint8_t *const[2]){reference.voxels, prediction.voxels}, slice,
                          size, scratch, error));
    status = planes_draw(overlay, cut, reference.voxels, prediction.voxels, slice, grid, params,
                         scratch, error);
cleanup:
    rvx__volume_reader_close(reader);
    rvx__repairs_free(&repairs);
    rvx__volume_free(&reference);
    rvx__volume_free(&prediction);
    for (int a = 0; a < 3; a++)
        free(cut[a]);
    free(count);
    free(scratch);
    if (status != RVX_OK)
        rvx__overlay_free(overlay);
    return status;
}
