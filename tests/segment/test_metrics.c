/* Metrics against cases worked out by hand and against SciPy's (golden_metrics.py). */
#include "engine/segment/metrics.h"
#include "tap.h"

#include <math.h>
#include <string.h>

enum { SIDE = 10 };

static void cube_fill(uint8_t *labels, const int64_t size[3], int64_t x0, int64_t y0, int64_t z0,
                      int64_t edge, uint8_t value)
{
    for (int64_t z = z0; z < z0 + edge; z++)
        for (int64_t y = y0; y < y0 + edge; y++)
            for (int64_t x = x0; x < x0 + edge; x++)
                labels[(z * size[1] + y) * size[0] + x] = value;
}

/* `bound` relative: a distance is the root of a square rounded to float32 at most three times. */
static int near(double found, double expected)
{
    if (isnan(expected))
        return isnan(found);
    return fabs(found - expected) <= 2.0 * 0x1p-24 * fabs(expected) + 1e-15;
}

static rvx_class_metrics compute(const uint8_t *r, const uint8_t *p, const int64_t size[3],
                                 const double spacing[3], const rvx_label_class *label_class,
                                 double tolerance_mm)
{
    rvx_class_metrics m = {0};
    rvx_metrics_params params = {.tolerance_mm = tolerance_mm, .threads = 3};
    rvx_error error = {0};
    if (rvx__metrics_compute(&m, r, p, size, spacing, label_class, 1, &params, &error) != RVX_OK)
        tap_ok(0, "compute: %s", error.message);
    return m;
}

/* A 4^3 cube moved by one voxel along x. 56 of its 64 voxels are surface. The 16 of the far face
 * lie one x step away, the 4 inner ones of the near face one step in y, z or x; 36 coincide. */
static void test_shifted_cube(void)
{
    const int64_t size[3] = {SIDE, SIDE, SIDE};
    uint8_t r[SIDE * SIDE * SIDE] = {0}, p[SIDE * SIDE * SIDE] = {0};
    cube_fill(r, size, 2, 3, 4, 4, 1);
    cube_fill(p, size, 3, 3, 4, 4, 1);
    rvx_label_class one;
    rvx__label_class_set(&one, NULL, 1);
    rvx_class_metrics m = compute(r, p, size, (double[]){1, 1, 1}, &one, 0.5);
    TAP_OK(strcmp(one.name, "label 1") == 0);
    TAP_OK(m.true_positive == 48 && m.false_positive == 16 && m.false_negative == 16);
    TAP_OK(m.dice == 0.75 && m.iou == 0.6 && m.precision == 0.75 && m.recall == 0.75);
    TAP_OK(near(m.assd_mm, 20.0 / 56.0) && m.hd_mm == 1.0 && m.hd95_mm == 1.0);
    TAP_OK(near(m.nsd, 36.0 / 56.0));
    TAP_OK(m.volume_error_ml == 0.0 && m.volume_error_relative == 0.0);
    TAP_OK(near(m.reference_volume_ml, 0.064));
    m = compute(r, p, size, (double[]){3, 1, 1}, &one, 1.0);
    TAP_OK(near(m.assd_mm, (16 * 3.0 + 4 * 1.0) / 56.0) && m.hd_mm == 3.0 && m.hd95_mm == 3.0);
    TAP_OK(near(m.nsd, 40.0 / 56.0));
    TAP_OK(near(m.reference_volume_ml, 0.192));
    /* A tenth of a millimetre is no float: the inclusive tolerance must still hold. */
    m = compute(r, p, size, (double[]){0.1, 0.1, 0.1}, &one, 0.1);
    TAP_OK(m.nsd == 1.0);
    m = compute(r, p, size, (double[]){0.1, 0.1, 0.1}, &one, 0.0999);
    TAP_OK(near(m.nsd, 36.0 / 56.0));
}

/* Two single voxels, 3 apart in x and 4 in y, of 2 mm: 10 mm. */
static void test_points(void)
{
    const int64_t size[3] = {SIDE, SIDE, SIDE};
    const double spacing[3] = {2, 2, 7};
    uint8_t r[SIDE * SIDE * SIDE] = {0}, p[SIDE * SIDE * SIDE] = {0};
    rvx_label_class five;
    rvx__label_class_set(&five, "spot", 5);
    cube_fill(r, size, 1, 1, 6, 1, 5);
    cube_fill(p, size, 4, 5, 6, 1, 5);
    cube_fill(p, size, 0, 0, 0, 1, 1);
    rvx_class_metrics m = compute(r, p, size, spacing, &five, 10.0);
    TAP_OK(m.dice == 0.0 && m.iou == 0.0 && m.hd_mm == 10.0 && m.hd95_mm == 10.0);
    TAP_OK(m.assd_mm == 10.0 && m.nsd == 1.0 && m.precision == 0.0 && m.recall == 0.0);
    m = compute(r, p, size, spacing, &five, 0.0);
    TAP_OK(m.nsd == 0.0); /* the default of 1 mm */
    /* Twice the voxels: +100 %, one voxel of 28 mm^3 too many. */
    cube_fill(p, size, 1, 1, 6, 1, 5);
    m = compute(r, p, size, spacing, &five, 1.0);
    TAP_OK(near(m.volume_error_ml, 0.028) && m.volume_error_relative == 1.0);
    TAP_OK(near(m.dice, 2.0 / 3.0) && m.iou == 0.5 && m.recall == 1.0);
    /* r to P: 0. P to r: 0 and 10; 95th percentile of {0, 10} is 9.5. */
    TAP_OK(near(m.hd95_mm, 9.5) && near(m.assd_mm, 10.0 / 3.0) && near(m.nsd, 2.0 / 3.0));
}

static void test_empty(void)
{
    const int64_t size[3] = {SIDE, SIDE, SIDE};
    const double spacing[3] = {1, 1, 1};
    uint8_t r[SIDE * SIDE * SIDE] = {0}, p[SIDE * SIDE * SIDE] = {0};
    rvx_label_class one;
    rvx__label_class_set(&one, NULL, 1);
    rvx_class_metrics m = compute(r, p, size, spacing, &one, 1.0);
    TAP_OK(isnan(m.dice) && isnan(m.iou) && isnan(m.nsd) && isnan(m.hd95_mm) && isnan(m.assd_mm));
    TAP_OK(isnan(m.precision) && isnan(m.recall) && isnan(m.volume_error_relative));
    TAP_OK(m.volume_error_ml == 0.0);
    cube_fill(p, size, 2, 2, 2, 2, 1);
    m = compute(r, p, size, spacing, &one, 1.0);
    TAP_OK(m.dice == 0.0 && m.iou == 0.0 && m.nsd == 0.0 && isnan(m.hd95_mm) && isnan(m.hd_mm));
    TAP_OK(m.precision == 0.0 && isnan(m.recall) && isnan(m.volume_error_relative));
    m = compute(p, r, size, spacing, &one, 1.0);
    TAP_OK(m.dice == 0.0 && isnan(m.precision) && m.recall == 0.0);
    TAP_OK(m.volume_error_relative == -1.0 && near(m.volume_error_ml, -0.008));
}

static void test_regions_and_ignore(void)
{
    const int64_t size[3] = {SIDE, SIDE, SIDE};
    const double spacing[3] = {1, 1, 1};
    uint8_t r[SIDE * SIDE * SIDE] = {0}, p[SIDE * SIDE * SIDE] = {0};
    cube_fill(r, size, 0, 0, 0, 4, 1);
    cube_fill(r, size, 4, 0, 0, 4, 2);
    cube_fill(p, size, 0, 0, 0, 4, 2);
    cube_fill(p, size, 4, 0, 0, 4, 1);
    rvx_label_class region;
    rvx__label_class_set(&region, "both", 1);
    region.member[2] = 1;
    rvx_class_metrics m = compute(r, p, size, spacing, &region, 1.0);
    TAP_OK(m.dice == 1.0 && m.hd_mm == 0.0 && m.assd_mm == 0.0 && m.nsd == 1.0);
    rvx_label_class background;
    rvx__label_class_set(&background, "background", 0);
    m = compute(r, p, size, spacing, &background, 1.0);
    TAP_OK(m.dice == 1.0 && m.hd_mm == 0.0 && m.reference_voxels == 1000 - 128);
    cube_fill(r, size, 6, 6, 6, 4, 3);
    cube_fill(p, size, 6, 6, 6, 4, 1);
    m = compute(r, p, size, spacing, &region, 1.0);
    TAP_OK(m.false_positive == 64);
    rvx__metrics_ignore(r, p, SIDE * SIDE * SIDE, 3);
    m = compute(r, p, size, spacing, &region, 1.0);
    TAP_OK(m.false_positive == 0 && m.dice == 1.0);
}

static void test_errors(void)
{
    uint8_t r = 1;
    rvx_class_metrics m;
    rvx_label_class one;
    rvx_error error = {0};
    rvx_metrics_params params = {.tolerance_mm = -1.0};
    rvx__label_class_set(&one, NULL, 1);
    TAP_OK(rvx__metrics_compute(&m, &r, &r, (int64_t[]){1, 1, 1}, (double[]){1, 1, 1}, &one, 1,
                                &params, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(strstr(error.message, "tolerance is -1 mm") != NULL);
    TAP_OK(rvx__metrics_compute(&m, &r, &r, (int64_t[]){1, 1, 1}, (double[]){1, 0, 1}, &one, 1,
                                NULL, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(rvx__metrics_compute(&m, &r, &r, (int64_t[]){1, 1, 1}, (double[]){1, 9, 1}, &one, 1,
                                NULL, &error) == RVX_OK);
    TAP_OK(m.dice == 1.0 && m.hd_mm == 0.0);
}

static int labels_scan(FILE *file, uint8_t *labels, int64_t voxels)
{
    for (int64_t i = 0; i < voxels; i++) {
        char digit;
        if (fscanf(file, " %c", &digit) != 1)
            return 0;
        labels[i] = (uint8_t)(digit - '0');
    }
    return 1;
}

static void test_golden(void)
{
    FILE *file = fopen("tests/segment/golden_metrics.txt", "r");
    if (!tap_ok(file != NULL, "golden file opens"))
        return;
    long long x, y, z;
    double spacing[3], tolerance;
    int classes, cases = 0;
    while (fscanf(file, " case %lld %lld %lld %lf %lf %lf %lf %d", &x, &y, &z, &spacing[0],
                  &spacing[1], &spacing[2], &tolerance, &classes) == 8) {
        int64_t size[3] = {x, y, z}, voxels = x * y * z;
        uint8_t *r = malloc((size_t)voxels), *p = malloc((size_t)voxels);
        tap_ok(labels_scan(file, r, voxels) && labels_scan(file, p, voxels), "golden maps %d",
               cases);
        for (int c = 1; c <= classes; c++) {
            long long tp, fp, fn;
            double e[6];
            int read = fscanf(file, "%lld %lld %lld %lf %lf %lf %lf %lf %lf", &tp, &fp, &fn, &e[0],
                              &e[1], &e[2], &e[3], &e[4], &e[5]);
            rvx_label_class label_class;
            rvx__label_class_set(&label_class, NULL, c);
            rvx_class_metrics m = compute(r, p, size, spacing, &label_class, tolerance);
            tap_ok(read == 9 && m.true_positive == tp && m.false_positive == fp &&
                       m.false_negative == fn && near(m.dice, e[0]) && near(m.iou, e[1]) &&
                       near(m.nsd, e[2]) && near(m.hd95_mm, e[3]) && near(m.assd_mm, e[4]) &&
                       near(m.hd_mm, e[5]),
                   "golden case %d class %d: hd95 %.9g for %.9g, assd %.9g for %.9g, nsd %g for %g",
                   cases, c, m.hd95_mm, e[3], m.assd_mm, e[4], m.nsd, e[2]);
        }
        free(r);
        free(p);
        cases++;
    }
    fclose(file);
    TAP_OK(cases == 5);
}

int main(void)
{
    test_shifted_cube();
    test_points();
    test_empty();
    test_regions_and_ignore();
    test_errors();
    test_golden();
    return tap_done();
}
