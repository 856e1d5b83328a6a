/* The training log, three-plane pictures and the HTML report. */
#include "engine/segment/overlay.h"
#include "engine/segment/report.h"
#include "engine/segment/report_log.h"
#include "fixture.h"
#include "markup.h"

static void test_log(void)
{
    rvx_run_log log = {0};
    rvx_error error = {0};
    fixture_write("log.jsonl",
                  "{\"step\": 1, \"loss\": 2.5, \"lr\": 0.01, \"voxels_per_s\": 1e6}\n"
                  "\n{\"step\": 2}\n{\"note\": \"resumed\"}\n"
                  "{\"step\": 3, \"loss\": 9}\n"
                  "{\"validation\": {\"epoch\": 1, \"dice\": {\"liver\": 0.5, \"cyst\": null}, "
                  "\"mean_dice\": 0.5}}\n"
                  "{\"step\": 2, \"loss\": 1.5}\n{\"step\": 3, \"loss\": 1.0}\n"
                  "{\"step\": 3, \"validation\": {\"epoch\": 1, \"dice\": {\"liver\": 0.6, "
                  "\"vessel\": 0.2}, \"mean_dice\": 0.4, \"ema_dice\": 0.45}}\n"
                  "{\"step\": 4, \"lo");
    TAP_OK(rvx__run_log_load(&log, fixture_path("log.jsonl"), &error) == RVX_OK);
    TAP_OK(log.step_count == 3 && log.steps[0].loss == 2.5 && log.steps[0].learning_rate == 0.01);
    TAP_OK(isnan(log.steps[0].epoch) && log.steps[1].loss == 1.5 && log.steps[2].loss == 1.0);
    TAP_OK(log.class_count == 3 && strcmp(log.class_names[0], "liver") == 0);
    TAP_OK(log.validation_count == 2 && isnan(log.validations[0].ema_dice));
    TAP_OK(log.validations[1].dice[0] == 0.6 && isnan(log.validations[0].dice[2]));
    rvx__run_log_free(&log);
    fixture_write("log.jsonl", "{\"step\": 1}\n{\"step\": 2, \n{\"step\": 3}\n");
    TAP_OK(rvx__run_log_load(&log, fixture_path("log.jsonl"), &error) == RVX_ERROR_FORMAT);
    TAP_OK(strstr(error.message, "log.jsonl:2:") != NULL);
    rvx__run_log_free(&log);
    fixture_write("log.jsonl", "{\"step\": 5, \"loss\": 1}\n{\"step\": 5, \"mean_dice\": 0.7, "
                               "\"dice/a\": 0.6, \"dice/b\": null, \"ema_dice\": 0.5}\n");
    TAP_OK(rvx__run_log_load(&log, fixture_path("log.jsonl"), &error) == RVX_OK);
    TAP_OK(log.step_count == 1 && log.validation_count == 1 && log.class_count == 2);
    TAP_OK(log.validations[0].dice[0] == 0.6 && isnan(log.validations[0].dice[1]));
    TAP_OK(log.validations[0].ema_dice == 0.5 && log.validations[0].step == 5.0);
    rvx__run_log_free(&log);
    fixture_write("log.jsonl", "[1, 2]\n");
    TAP_OK(rvx__run_log_load(&log, fixture_path("log.jsonl"), &error) == RVX_ERROR_FORMAT);
    TAP_OK(strstr(error.message, "log.jsonl:1: expected a JSON object") != NULL);
    rvx__run_log_free(&log);
    fixture_write("log.jsonl", "");
    TAP_OK(rvx__run_log_load(&log, fixture_path("log.jsonl"), &error) == RVX_OK);
    rvx__run_log_free(&log);
}

/* A dark volume with one bright voxel near the patient's right, front and top, whatever the order
 * and sign of the voxel axes, must be drawn bright at the left and upper side. */
static void picture_of(const int axis[3], const int sign[3])
{
    int64_t size[3], at[3];
    static const int64_t extent[3] = {12, 10, 8}; /* voxels along L, P, S */
    rvx_geometry grid = {.spacing = {1, 1, 1}};
    for (int k = 0; k < 3; k++) {
        int a = axis[k];
        grid.size[a] = size[a] = extent[k];
        grid.direction[k][a] = sign[k];
        int64_t place = k == 2 ? extent[k] - 2 : 1; /* right, anterior, superior */
        at[a] = sign[k] > 0 ? place : extent[k] - 1 - place;
    }
    uint8_t voxels[FIXTURE_VOXELS] = {0};
    voxels[(at[2] * size[1] + at[1]) * size[0] + at[0]] = 1;
    rvx_error error = {0};
    rvx_overlay overlay = {0};
    rvx_overlay_params params = {.side_pixels = 24};
    const char *path = fixture_path("turn.nii.gz");
    rvx__volume_write(path, &grid, RVX_VOXEL_U8, voxels, NULL, &error);
    bool good = rvx__overlay_create(&overlay, path, path, path, &params, &error) == RVX_OK;
    static const int64_t columns[3] = {12, 12, 10}, rows[3] = {10, 8, 8};
    static const char *const edges[3] = {"RLAP", "RLSI", "APSI"};
    for (int p = 0; p < 3 && good; p++) {
        const rvx_overlay_plane *plane = &overlay.planes[p];
        good = plane->plain.width == columns[p] && plane->plain.height == rows[p] &&
               memcmp(plane->edge, edges[p], 4) == 0 &&
               plane->plain.pixels[columns[p] + 1] == 255 && plane->plain.pixels[0] == 0 &&
               plane->overlaid.width == 2 * columns[p] && plane->overlaid.height == 2 * rows[p];
        /* the outline's colour, and black far away */
        const uint8_t *pixel = plane->overlaid.pixels + 3 * (3 * plane->overlaid.width + 3);
        good = good && pixel[1] > pixel[0] && plane->overlaid.pixels[3 * 20] == 0;
    }
    tap_ok(good, "axes %d%d%d signs %d %d %d: turned as radiologists expect %s", axis[0], axis[1],
           axis[2], sign[0], sign[1], sign[2], error.message);
    rvx__overlay_free(&overlay);
}

static void test_overlay(void)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int o = 0; o < 6; o++)
        for (int bits = 0; bits < 8; bits++)
            picture_of(orders[o], (int[]){bits & 1 ? -1 : 1, bits & 2 ? -1 : 1, bits & 4 ? -1 : 1});
    rvx_overlay overlay = {0};
    rvx_error error = {0};
    rvx_overlay_params params = {0};
    uint8_t labels[FIXTURE_VOXELS] = {0};
    fixture_volume("flat.nii.gz", labels, 0);
    const char *flat = fixture_path("flat.nii.gz");
    TAP_OK(rvx__overlay_create(&overlay, flat, flat, flat, &params, &error) == RVX_OK);
    TAP_OK(overlay.planes[0].slice == 5 && overlay.planes[0].slices == 8);
    rvx__overlay_free(&overlay);
    TAP_OK(rvx__overlay_create(&overlay, flat, NULL, NULL, &params, &error) == RVX_OK);
    rvx__overlay_free(&overlay);
    /* the slices of the box: most voxels, the wrong ones counted too */
    fixture_box(labels, 2, 1);
    fixture_volume("boxed.nii.gz", labels, 0);
    const char *boxed = fixture_path("boxed.nii.gz");
    TAP_OK(rvx__overlay_create(&overlay, flat, boxed, NULL, &params, &error) == RVX_OK);
    TAP_OK(overlay.planes[0].slice >= 3 && overlay.planes[0].slice <= 6);
    TAP_OK(overlay.planes[2].slice >= 3 && overlay.planes[2].slice <= 6);
    rvx__overlay_free(&overlay);
    TAP_OK(rvx__overlay_create(&overlay, flat, fixture_path("none.nii.gz"), NULL, &params,
                               &error) != RVX_OK);
    TAP_OK(rvx__overlay_create(&overlay, flat, fixture_path("turn.nii.gz"), NULL, &params,
                               &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(strstr(error.message, "turn.nii.gz: has 8 x 10 x 12 voxels; expected 12 x 10 x 8"));
}

static int64_t occurrences(const char *text, const char *part)
{
    int64_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part))
        count++;
    return count;
}

/* A run of two cases, "good" and "bad<&>": the second is worse. */
static void run_make(void)
{
    uint8_t labels[FIXTURE_VOXELS] = {0};
    rvx_error error = {0};
    rvx_evaluation e = {0};
    rvx__directory_create(fixture_path("run/validation"), &error);
    rvx__directory_create(fixture_path("set/labelsTr"), &error);
    rvx__directory_create(fixture_path("set/imagesTr"), &error);
    fixture_box(labels, 2, 1);
    fixture_volume("set/labelsTr/good.nii.gz", labels, 0);
    fixture_volume("set/labelsTr/bad<&>.nii.gz", labels, 0);
    fixture_volume("set/imagesTr/good_0000.nii.gz", labels, 0);
    fixture_volume("set/imagesTr/bad<&>_0000.nii.gz", labels, 0);
    fixture_volume("run/validation/good.nii.gz", labels, 0);
    memset(labels, 0, sizeof labels);
    fixture_box(labels, 5, 1);
    fixture_volume("run/validation/bad<&>.nii.gz", labels, 0);
    fixture_write("set/dataset.json", "{\"labels\": {\"background\": 0, \"<gland>\": 1, "
                                      "\"absent\": 2}}");
    TAP_OK(rvx__evaluate(&e, fixture_path("run/validation"), fixture_path("set/labelsTr"), NULL,
                         &error) == RVX_OK);
    TAP_OK(rvx__evaluation_write(&e, fixture_path("run/validation.json"), &error) == RVX_OK);
    rvx_evaluation back = {0};
    TAP_OK(rvx__evaluation_load(&back, fixture_path("run/validation.json"), &error) == RVX_OK);
    TAP_OK(back.case_count == 2 && back.list.count == 2);
    bool same = true;
    for (int field = 0; field < RVX_METRICS_FIELD_COUNT && back.case_count == 2; field++)
        for (int64_t i = 0; i < 2; i++)
            for (int64_t c = 0; c < 2; c++) {
                double a = *rvx__metrics_value(&e.cases[i].metrics[c], field);
                double b = *rvx__metrics_value(&back.cases[i].metrics[c], field);
                same = same && (a == b || (isnan(a) && isnan(b)));
            }
    tap_ok(same, "metrics read back to the bit");
    TAP_OK(strcmp(back.cases[0].name, "bad<&>") == 0 && back.cases[0].spacing[2] == 3.0);
    TAP_OK(back.cases[0].metrics[0].true_positive == e.cases[0].metrics[0].true_positive);
    rvx__evaluation_free(&e);
    rvx__evaluation_free(&back);
}

static void test_report(void)
{
    rvx_error error = {0};
    const char *out = fixture_path("run/report.html"), *run = fixture_path("run");
    run_make();
    fixture_write("run/plan.json", "{\"network\": {\"name\": \"<unet>\", \"widths\": [16, 32]}}");
    fixture_write("run/metrics.jsonl",
                  "{\"step\": 1, \"loss\": 2.5, \"lr\": 0.1}\n{\"step\": 2, \"loss\": 2}\n"
                  "{\"validation\": {\"step\": 2, \"mean_dice\": 0.4, \"dice\": {\"<gland>\": 0.4, "
                  "\"absent\": 0.1}}}\n");
    tap_ok(rvx__report_run(out, run, NULL, &error) == RVX_OK, "report: %s", error.message);
    char *page = fixture_read(out);
    TAP_OK(markup_well_formed(page));
    TAP_OK(occurrences(page, "data:image/png;base64,") == 12);
    TAP_OK(!strstr(page, "<script") && !strstr(page, "bad<") && !strstr(page, "<unet"));
    TAP_OK(occurrences(page, "http") == occurrences(page, "http://www.w3.org/2000/svg"));
    TAP_OK(occurrences(page, "src=") == 12 && !strstr(page, "@import") && !strstr(page, "url("));
    TAP_OK(strstr(page, "<h3>bad&lt;&amp;&gt;</h3>") < strstr(page, "<h3>good</h3>"));
    TAP_OK(strstr(page, "network.name") && strstr(page, "&lt;unet&gt;"));
    TAP_OK(strstr(page, "Training loss") && strstr(page, "Validation Dice"));
    TAP_OK(strstr(page, "href=\"#case-bad_3c_26_3e\"") && strstr(page, "id=\"case-bad_3c_26_3e\""));
    TAP_OK(rvx__report_run(out, run, NULL, &error) == RVX_OK);
    char *again = fixture_read(out);
    tap_ok(strcmp(page, again) == 0, "the same inputs give the same bytes");
    free(again);
    free(page);
    TAP_OK(unlink(fixture_path("set/imagesTr/good_0000.nii.gz")) == 0);
    fixture_write("run/validation/bad<&>.nii.gz", "cut");
    TAP_OK(rvx__report_run(out, run, NULL, &error) == RVX_OK);
    page = fixture_read(out);
    TAP_OK(markup_well_formed(page) && strstr(page, "No image is known"));
    TAP_OK(strstr(page, "No picture: ") && strstr(page, "bad&lt;&amp;&gt;.nii.gz"));
    free(page);
}

static bool stop(void *context, const char *name, int64_t done, int64_t count)
{
    (void)context, (void)name, (void)count;
    return done < 1;
}

static void test_refusals(void)
{
    rvx_error error = {0};
    const char *out = fixture_path("out.html"), *run = fixture_path("run");
    rvx_report_request settings = {.progress = stop};
    TAP_OK(rvx__report_run(out, run, &settings, &error) == RVX_CANCELLED);
    TAP_OK(!rvx__path_exists(out));
    TAP_OK(rvx__report_run(out, fixture_path("nowhere"), NULL, &error) == RVX_ERROR_IO);
    TAP_OK(rvx__report_run(out, fixture_path("set"), NULL, &error) == RVX_ERROR_IO);
    TAP_OK(strstr(error.message, "neither metrics.jsonl nor validation.json"));
    fixture_write("run/metrics.jsonl", "{\"step\": \n{}\n");
    TAP_OK(rvx__report_run(out, run, NULL, &error) == RVX_ERROR_FORMAT);
    TAP_OK(strstr(error.message, "metrics.jsonl:1") && !rvx__path_exists(out));
    fixture_write("run/metrics.jsonl", "");
    static const char *const bad[] = {
        "{\"tolerance_mm\": 1, \"classes\": [], \"cases\": []}",
        "{\"tolerance_mm\": 1, \"classes\": [{\"label\": 1, \"name\": \"a\"}], \"cases\": [{}]}",
        "{\"tolerance_mm\": 1, \"classes\": [{\"label\": 1, \"name\": \"a\"}], \"cases\": "
        "[{\"case\": \"x\", \"prediction\": \"p\", \"reference\": \"r\", \"spacing_mm\": [1, 1, "
        "1], \"classes\": [{\"dice\": \"high\"}]}]}",
        "[]", "{"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fixture_write("run/validation.json", bad[i]);
        tap_ok(rvx__report_run(out, run, NULL, &error) == RVX_ERROR_FORMAT &&
                   strstr(error.message, "validation.json") && !rvx__path_exists(out),
               "refused: %s", error.message);
    }
    rvx_report_request empty = {.title = "Empty & new"};
    TAP_OK(rvx__report_write(out, &empty, &error) == RVX_OK);
    char *page = fixture_read(out);
    TAP_OK(markup_well_formed(page) && strstr(page, "<h1>Empty &amp; new</h1>"));
    free(page);
}

int main(void)
{
    fixture_begin();
    test_log();
    test_overlay();
    test_report();
    test_refusals();
    fixture_end();
    return tap_done();
}
