/* Strict JSON: positions, paths, ranges, unknown keys; printing reads back equal. */
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "tap.h"

#include <float.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static rvx_error error;

static json_t *parse(const char *text)
{
    json_t *root;
    rvx__json_parse(&root, text, (int64_t)strlen(text), "plan.json", &error);
    return root;
}

static int says(const char *expected)
{
    int same = strcmp(error.message, expected) == 0;
    if (!same)
        printf("# %s\n", error.message);
    return same;
}

static void test_parse(void)
{
    TAP_OK(!parse("{\n  \"a\": 1,\n  \"b\" 2\n}"));
    TAP_OK(strncmp(error.message, "plan.json:3:", 12) == 0);
    TAP_OK(!parse("{\"a\": 1, \"a\": 2}") && strstr(error.message, "duplicate"));
    TAP_OK(!parse("") && !parse("{") && !parse("nul") && !parse("{} {}"));
    TAP_OK(!parse("{\"a\": 99999999999999999999}") && !parse("[1e999]") && !parse("[NaN]"));
    TAP_OK(!parse("\"\xff\"") && !parse("[\"a\\u0000b\"]"));
    char *deep = malloc(200001);
    memset(deep, '[', 200000);
    deep[200000] = 0;
    TAP_OK(!parse(deep) && strstr(error.message, "depth"));
    free(deep);
    json_t *root;
    TAP_OK(rvx__json_load(&root, "/nowhere/plan.json", 100, &error) == RVX_ERROR_IO && !root);
}

static void test_reads(void)
{
    static const char *const keys[] = {"count", "rate", "group", "list", NULL};
    static const char *const names[] = {"sgd", "adamw", NULL};
    json_t *tree = parse("{\"count\": \"ten\", \"rate\": 2, \"group\": {\"on\": true, \"name\": "
                         "\"adam\", \"empty\": \"\"}, \"list\": [1, [2, 3.5]]}");
    rvx_json root = rvx__json_root(tree, "plan.json");
    rvx_json count = rvx__json_member(&root, "count"), rate = rvx__json_member(&root, "rate");
    rvx_json group = rvx__json_member(&root, "group"), list = rvx__json_member(&root, "list");
    rvx_json name = rvx__json_member(&group, "name"), on = rvx__json_member(&group, "on");
    rvx_json empty = rvx__json_member(&group, "empty"), none = rvx__json_member(&group, "none");
    rvx_json inner = rvx__json_element(&list, 1), last = rvx__json_element(&inner, 1);
    rvx_json deeper = rvx__json_member(&none, "still");
    int64_t integer = 0;
    double number = 0;
    bool boolean = false;
    int choice = -1;
    const char *string = NULL;
    TAP_OK(rvx__json_integer(&integer, &count, 1, 10, &error) == RVX_ERROR_FORMAT);
    TAP_OK(says("plan.json: field 'count' expected integer in [1, 10], found string \"ten\""));
    TAP_OK(rvx__json_integer(&integer, &rate, 1, 2, &error) == RVX_OK && integer == 2);
    TAP_OK(rvx__json_integer(&integer, &rate, 3, INT64_MAX, &error) == RVX_ERROR_FORMAT);
    TAP_OK(says("plan.json: field 'rate' expected integer of at least 3, found integer 2"));
    TAP_OK(rvx__json_integer(&integer, &last, 1, 9, &error) == RVX_ERROR_FORMAT);
    TAP_OK(says("plan.json: field 'list[1][1]' expected integer in [1, 9], found number 3.5"));
    TAP_OK(rvx__json_number(&number, &rate, 0, 2, &error) == RVX_OK && number == 2);
    TAP_OK(rvx__json_number(&number, &last, 0, 3, &error) == RVX_ERROR_FORMAT);
    TAP_OK(says("plan.json: field 'list[1][1]' expected number in [0, 3], found number 3.5"));
    TAP_OK(rvx__json_number(&number, &none, 0, INFINITY, &error) == RVX_ERROR_FORMAT);
    TAP_OK(says("plan.json: field 'group.none' expected number of at least 0, found nothing"));
    TAP_OK(rvx__json_integer(&integer, &deeper, 0, 1, &error) == RVX_ERROR_FORMAT);
    TAP_OK(rvx__json_boolean(&boolean, &on, &error) == RVX_OK && boolean);
    TAP_OK(rvx__json_boolean(&boolean, &rate, &error) == RVX_ERROR_FORMAT);
    TAP_OK(says("plan.json: field 'rate' expected true or false, found integer 2"));
    TAP_OK(rvx__json_string(&string, &name, 5, &error) == RVX_OK && !strcmp(string, "adam"));
    TAP_OK(rvx__json_string(&string, &name, 4, &error) == RVX_ERROR_FORMAT);
    TAP_OK(rvx__json_string(&string, &empty, 4, &error) == RVX_ERROR_FORMAT);
    TAP_OK(
        says("plan.json: field 'group.empty' expected string of 1 to 3 bytes, found string \"\""));
    TAP_OK(rvx__json_choice(&choice, &name, names, &error) == RVX_ERROR_FORMAT);
    TAP_OK(says("plan.json: field 'group.name' expected \"sgd\" or \"adamw\", found string "
                "\"adam\""));
    TAP_OK(rvx__json_array(&integer, &inner, 2, 2, &error) == RVX_OK && integer == 2);
    TAP_OK(rvx__json_array(&integer, &inner, 3, 3, &error) == RVX_ERROR_FORMAT);
    TAP_OK(says("plan.json: field 'list[1]' expected array of 3, found array of 2"));
    TAP_OK(rvx__json_object(&root, keys, &error) == RVX_OK);
    TAP_OK(rvx__json_object(&rate, keys, &error) == RVX_ERROR_FORMAT);
    TAP_OK(rvx__json_object(&group, keys, &error) == RVX_ERROR_FORMAT);
    TAP_OK(strstr(error.message, "field 'group.on' is not known") != NULL);
    json_decref(tree);
    tree = parse("{\"cuont\": 3}");
    root = rvx__json_root(tree, "plan.json");
    TAP_OK(rvx__json_object(&root, keys, &error) == RVX_ERROR_FORMAT);
    TAP_OK(says("plan.json: field 'cuont' is not known; did you mean 'count'?"));
    json_decref(tree);
    tree = parse("[]");
    root = rvx__json_root(tree, "plan.json");
    TAP_OK(rvx__json_object(&root, keys, &error) == RVX_ERROR_FORMAT);
    TAP_OK(says("plan.json: expected object, found array of 0"));
    json_decref(tree);
}

static int round_trips(double number)
{
    rvx_text text = {0};
    rvx__text_number(&text, number);
    int same = strtod(text.data, NULL) == number;
    rvx__text_free(&text);
    return same;
}

static void test_print(void)
{
    const char *pretty =
        "{\n  \"a\": [1, 2.5, [true, null]],\n  \"b\": {\n    \"c\": \"q\\\"\\u000a"
        "\"\n  },\n  \"d\": {},\n  \"e\": [\n    {\n      \"f\": 0.1\n    }\n  ]\n}";
    json_t *tree = parse(pretty), *again;
    rvx_text text = {0};
    rvx__json_print(&text, tree);
    TAP_OK(strcmp(text.data, pretty) == 0);
    char path[] = "/tmp/rvx-json-XXXXXX";
    int fd = mkstemp(path);
    TAP_OK(fd >= 0 && close(fd) == 0);
    TAP_OK(rvx__json_save(tree, path, &error) == RVX_OK);
    TAP_OK(rvx__json_load(&again, path, 10000, &error) == RVX_OK && json_equal(tree, again));
    json_decref(again);
    TAP_OK(rvx__json_load(&again, path, 10, &error) == RVX_ERROR_FORMAT && !again);
    unlink(path);
    json_decref(tree);
    rvx__text_free(&text);
    const double numbers[] = {0,        -0.0,    0.1,          1e-5,    1.0 / 3,
                              1e300,    DBL_MIN, DBL_TRUE_MIN, DBL_MAX, 123456789012345678.0,
                              -2.5e-10, 12345};
    int same = 1;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        same &= round_trips(numbers[i]);
    TAP_OK(same);
    rvx__text_number(&text, 0.1);
    rvx__text_add(&text, " ");
    rvx__text_number(&text, 3);
    rvx__text_add(&text, " ");
    rvx__text_number(&text, NAN);
    TAP_OK(strcmp(text.data, "0.1 3.0 null") == 0);
    rvx__text_free(&text);
    rvx__text_quote(&text, "\xc3\xa9\xff\xed\xa0\x80\xe2\x82");
    TAP_OK(text.data[0] == '"' && strstr(text.data, "\xc3\xa9\xef\xbf\xbd"));
    again = json_loads(text.data, JSON_DECODE_ANY, NULL);
    TAP_OK(again != NULL);
    json_decref(again);
    rvx__text_free(&text);
    /* A decimal comma in the process must not reach a file. */
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8")) {
        rvx__text_number(&text, 0.5);
        TAP_OK(strcmp(text.data, "0.5") == 0);
        rvx__text_free(&text);
        setlocale(LC_NUMERIC, "C");
    } else
        tap_skip("no locale with a decimal comma");
}

static void test_nearest(void)
{
    static const char *const names[] = {"learning_rate", "momentum", "name", "rate", NULL};
    TAP_OK(!strcmp(rvx__text_nearest("lerning_rate", names), "learning_rate"));
    TAP_OK(!strcmp(rvx__text_nearest("learning", names), "learning_rate"));
    TAP_OK(!strcmp(rvx__text_nearest("nmae", names), "name"));
    TAP_OK(rvx__text_nearest("zzzzzz", names) == NULL);
    TAP_OK(rvx__text_nearest("", names) == NULL);
}

int main(void)
{
    test_parse();
    test_reads();
    test_print();
    test_nearest();
    return tap_done();
}
