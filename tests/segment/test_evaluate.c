/* Folders of predictions: pairing, refusals, means, JSON and table. */
#include "engine/segment/evaluate.h"
#include "fixture.h"

#include <jansson.h>

static bool said(const rvx_error *error, const char *a, const char *b)
{
    bool found = strstr(error->message, a) && strstr(error->message, b);
    if (!found)
        printf("# message: %s\n", error->message);
    return found;
}

static rvx_status run(rvx_evaluation *e, const rvx_evaluate_params *params, rvx_error *error)
{
    rvx__evaluation_free(e);
    memset(error, 0, sizeof *error);
    return rvx__evaluate(e, fixture_path("pred"), fixture_path("set/labelsTr"), params, error);
}

static void folders_make(void)
{
    uint8_t labels[FIXTURE_VOXELS] = {0};
    rvx_error error = {0};
    TAP_OK(rvx__directory_create(fixture_path("pred"), &error) == RVX_OK);
    TAP_OK(rvx__directory_create(fixture_path("set/labelsTr"), &error) == RVX_OK);
    fixture_box(labels, 2, 1);
    fixture_volume("set/labelsTr/a.nii.gz", labels, 0);
    fixture_volume("pred/a.nii", labels, 1e-4);
    fixture_volume("set/labelsTr/b.nii.gz", labels, 0);
    memset(labels, 0, sizeof labels);
    fixture_box(labels, 4, 1);
    fixture_volume("pred/b.nii.gz", labels, 0);
}

static void test_found_classes(void)
{
    rvx_evaluation e = {0};
    rvx_error error = {0};
    if (!tap_ok(run(&e, NULL, &error) == RVX_OK, "evaluate: %s", error.message))
        return;
    TAP_OK(e.case_count == 2 && e.list.count == 1 &&
           strcmp(e.list.classes[0].name, "label 1") == 0);
    TAP_OK(strcmp(e.cases[0].name, "a") == 0 && e.cases[0].metrics[0].dice == 1.0);
    TAP_OK(e.cases[1].metrics[0].dice == 0.5 && e.cases[1].spacing[1] == 2.0);
    TAP_OK(rvx__evaluation_mean(&e, 0) == 0.75);
    int64_t order[2];
    rvx__evaluation_order(order, &e);
    TAP_OK(order[0] == 1 && order[1] == 0);
    rvx__evaluation_free(&e);
}

static void test_dataset_and_json(void)
{
    rvx_evaluation e = {0};
    rvx_error error = {0};
    fixture_write("set/dataset.json", "{\"labels\": {\"background\": 0, \"tumour\": 2, "
                                      "\"gland\": 1, \"whole\": [1, 2], \"ignore\": 3}}");
    TAP_OK(run(&e, NULL, &error) == RVX_OK);
    TAP_OK(e.list.count == 3 && e.list.ignore_label == 3);
    TAP_OK(strcmp(e.list.classes[0].name, "gland") == 0);
    TAP_OK(strcmp(e.list.classes[1].name, "whole") == 0);
    TAP_OK(isnan(e.cases[0].metrics[2].dice));
    const char *path = fixture_path("metrics.json");
    TAP_OK(rvx__evaluation_write(&e, path, &error) == RVX_OK);
    json_t *root = json_load_file(path, JSON_DECODE_ANY, NULL);
    const char *name = NULL;
    double dice = 0, error_ml = 1, mean = 0;
    TAP_OK(json_unpack(root, "{s[{}{s s s[{s s, s F, s F}]}] s{s F}}", "cases", "case", &name,
                       "classes", "name", &(const char *){NULL}, "dice", &dice, "volume_error_ml",
                       &error_ml, "mean", "dice", &mean) == 0);
    TAP_OK(name && strcmp(name, "b") == 0 && dice == 0.5 && error_ml == 0.0 && mean == 0.75);
    json_t *absent = json_array_get(
        json_object_get(json_array_get(json_object_get(root, "cases"), 0), "classes"), 2);
    TAP_OK(json_is_null(json_object_get(absent, "dice")));
    TAP_OK(json_integer_value(json_object_get(absent, "true_positive")) == 0);
    json_decref(root);
    rvx_text table = {0};
    rvx__evaluation_table(&table, &e);
    TAP_OK(rvx__text_check(&table, &error) == RVX_OK);
    TAP_OK(strstr(table.data, "gland") && strstr(table.data, "0.7500"));
    const char *cases = strstr(table.data, "\nCase");
    TAP_OK(cases && strstr(cases, "\nb ") < strstr(cases, "\na "));
    printf("# %s\n", table.data ? "table:" : "");
    rvx__text_free(&table);
    rvx__evaluation_free(&e);
}

static void test_refusals(void)
{
    rvx_evaluation e = {0};
    rvx_error error = {0};
    uint8_t labels[FIXTURE_VOXELS] = {0};
    fixture_box(labels, 2, 3);
    fixture_volume("pred/b.nii.gz", labels, 0);
    TAP_OK(run(&e, NULL, &error) == RVX_ERROR_FORMAT);
    TAP_OK(said(&error, "pred/b.nii.gz", "label 3, which means ignore"));
    fixture_box(labels, 2, 9);
    fixture_volume("pred/b.nii.gz", labels, 0);
    TAP_OK(run(&e, NULL, &error) == RVX_ERROR_FORMAT);
    TAP_OK(
        said(&error, "64 voxels have label 9; expected 0, 1, 2", "set/labelsTr/../dataset.json"));
    fixture_box(labels, 2, 1);
    fixture_volume("pred/b.nii.gz", labels, 0.5);
    TAP_OK(run(&e, NULL, &error) != RVX_OK);
    TAP_OK(said(&error, "pred/b.nii.gz", "set/labelsTr/b.nii.gz"));
    fixture_volume("pred/c.nii.gz", labels, 0);
    TAP_OK(unlink(fixture_path("pred/b.nii.gz")) == 0);
    TAP_OK(run(&e, NULL, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(said(&error, "no prediction for 1 of the 2 references", "b.nii.gz"));
    rvx_evaluate_params some = {.allow_missing = true};
    TAP_OK(run(&e, &some, &error) == RVX_OK && e.case_count == 1);
    TAP_OK(e.unmatched_count == 1 && strcmp(e.unmatched[0], "c.nii.gz") == 0);
    TAP_OK(unlink(fixture_path("pred/a.nii")) == 0);
    TAP_OK(run(&e, &some, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(said(&error, "no prediction for 2 of the 2", "a.nii.gz, b.nii.gz"));
    fixture_write("pred/a.nii.gz", "not a volume");
    fixture_volume("pred/b.nii.gz", labels, 0);
    TAP_OK(run(&e, NULL, &error) != RVX_OK && said(&error, "pred/a.nii.gz", ""));
    rvx__evaluation_free(&e);
    TAP_OK(rvx__evaluate(&e, fixture_path("nowhere"), fixture_path("set/labelsTr"), NULL, &error) ==
           RVX_ERROR_IO);
    rvx__evaluation_free(&e);
}

static void test_class_files(void)
{
    static const struct {
        const char *text, *part;
    } bad[] = {{"{\"labels\": {\"background\": 0, \"a\": 256}}", "labels.a"},
               {"{\"labels\": {\"background\": 0, \"a\": -1}}", "labels.a"},
               {"{\"labels\": {\"background\": 0, \"a\": [1, \"b\"]}}", "labels.a[1]"},
               {"{\"labels\": {\"background\": 0}}", "no class"},
               {"{\"labels\": [0, 1]}", "labels"},
               {"{\"label\": {}}", "labels"},
               {"{\"labels\": {\"x\": \"liver\"}}", "labels.x"},
               {"{\"labels\": ", "json"}};
    rvx_class_list list = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rvx_error error = {0};
        fixture_write("bad.json", bad[i].text);
        rvx_status status = rvx__class_list_load(&list, fixture_path("bad.json"), &error);
        tap_ok(status == RVX_ERROR_FORMAT && said(&error, bad[i].part, "bad.json"), "refused: %s",
               error.message);
    }
    fixture_write("old.json", "{\"labels\": {\"0\": \"background\", \"2\": \"spleen\"}}");
    TAP_OK(rvx__class_list_load(&list, fixture_path("old.json"), NULL) == RVX_OK);
    TAP_OK(list.count == 1 && list.classes[0].label == 2 && list.classes[0].member[2]);
    TAP_OK(strcmp(list.classes[0].name, "spleen") == 0);
    rvx__class_list_free(&list);
}

static bool stop_at_once(void *context, const rvx_evaluation *e, int64_t done, int64_t count)
{
    *(int64_t *)context = done * 100 + count;
    return e->case_count < 1;
}

static void test_cancel(void)
{
    rvx_evaluation e = {0};
    rvx_error error = {0};
    int64_t seen = 0;
    rvx_evaluate_params params = {.progress = stop_at_once, .context = &seen};
    TAP_OK(run(&e, &params, &error) == RVX_CANCELLED && seen == 102);
    rvx__evaluation_free(&e);
}

int main(void)
{
    fixture_begin();
    folders_make();
    test_found_classes();
    test_cancel();
    test_dataset_and_json();
    test_refusals();
    test_class_files();
    fixture_end();
    return tap_done();
}
