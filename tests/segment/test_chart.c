/* Markup helpers, line charts, PNG and base64. */
#include "engine/segment/png.h"
#include "engine/segment/svg.h"
#include "markup.h"
#include "tap.h"

#include <math.h>
#include <png.h>

static bool gives(rvx_text *text, const char *expected)
{
    bool same = text->data && strcmp(text->data, expected) == 0;
    if (!same)
        printf("# found '%s', expected '%s'\n", text->data ? text->data : "", expected);
    rvx__text_free(text);
    *text = (rvx_text){0};
    return same;
}

static void test_numbers(void)
{
    static const struct {
        double value;
        int digits;
        const char *text;
    } fixed[] = {{0.125, 2, "0.13"},  {-0.004, 2, "0.00"}, {-1.005, 1, "-1.0"},
                 {1234.5, 0, "1235"}, {0.05, 3, "0.050"},  {-12, 0, "-12"}};
    static const struct {
        double value;
        const char *brief, *plain;
    } both[] = {
        {12345, "12.3k", "12345"}, {999.9, "1.00k", "999.9"},       {4.5e6, "4.50M", "4500000"},
        {0.5, "0.50", "0.5"},      {-2e9, "-2.00G", "-2000000000"}, {1199, "1.20k", "1199"},
        {0, "0.00", "0"},          {0.12345, "0.12", "0.123"}};
    rvx_text text = {0};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        rvx__markup_fixed(&text, fixed[i].value, fixed[i].digits);
        tap_ok(gives(&text, fixed[i].text), "fixed %g", fixed[i].value);
    }
    for (size_t i = 0; i < sizeof both / sizeof *both; i++) {
        rvx__markup_short(&text, both[i].value);
        tap_ok(gives(&text, both[i].brief), "short %g", both[i].value);
        rvx__markup_plain(&text, both[i].value);
        tap_ok(gives(&text, both[i].plain), "plain %g", both[i].value);
    }
    rvx__markup_fixed(&text, NAN, 2);
    TAP_OK(gives(&text, "\xe2\x80\x93"));
    rvx__markup_short(&text, INFINITY);
    rvx__text_free(&text);
    text = (rvx_text){0};
    rvx__markup_add(&text, "a<b>&\"c'\x01\x7f");
    TAP_OK(gives(&text, "a&lt;b&gt;&amp;&quot;c&#39;\x7f"));
}

/* Draws and checks; returns the bytes. */
static int64_t chart(const rvx_series *series, int64_t count, const char *name)
{
    rvx_text text = {0};
    rvx__svg_chart(&text, &(rvx_chart){.title = "<Loss & more>",
                                       .x_label = "step",
                                       .y_label = "y",
                                       .series = series,
                                       .series_count = count});
    bool good = !text.failed && text.data && markup_well_formed(text.data) &&
                !strstr(text.data, "nan") && !strstr(text.data, "inf") && !strstr(text.data, "<L");
    tap_ok(good, "chart %s is well formed", name);
    int64_t bytes = text.bytes;
    rvx__text_free(&text);
    return bytes;
}

static void test_charts(void)
{
    enum { MANY = 100000 };
    double *x = malloc(MANY * sizeof *x), *y = malloc(MANY * sizeof *y);
    for (int i = 0; i < MANY; i++) {
        x[i] = i;
        y[i] = sin(i * 0.01) * 1e3;
    }
    rvx_series series = {.name = "a \"quoted\" <name>", .colour = "#112233", .x = x, .y = y};
    chart(&series, 0, "without series");
    chart(&series, 1, "without points");
    series.count = 1;
    chart(&series, 1, "of one point");
    series.count = MANY;
    int64_t bytes = chart(&series, 1, "of many points");
    tap_ok(bytes < 40000, "100000 points thin to %lld bytes", (long long)bytes);
    series.count = 20;
    y[3] = NAN;
    y[4] = INFINITY;
    y[5] = 1e300;
    y[6] = -1e300;
    chart(&series, 1, "with NaN, infinity and huge values");
    for (int i = 0; i < 20; i++)
        y[i] = 0.25;
    chart(&series, 1, "of a constant");
    for (int i = 0; i < 20; i++)
        y[i] = 1e-12 * i;
    chart(&series, 1, "of tiny values");
    for (int i = 0; i < 20; i++)
        x[i] = y[i] = NAN;
    chart(&series, 1, "of nothing finite");
    free(x);
    free(y);
}

static void test_png(void)
{
    rvx_error error = {0};
    for (int channels = 1; channels <= 3; channels += 2) {
        rvx_image image = {0};
        TAP_OK(rvx__image_create(&image, 17, 9, channels, &error) == RVX_OK);
        int64_t bytes = 17 * 9 * channels;
        for (int64_t i = 0; i < bytes; i++)
            image.pixels[i] = (uint8_t)(i * 7);
        rvx_text file = {0};
        TAP_OK(rvx__png_encode(&file, &image, &error) == RVX_OK);
        png_image in = {.version = PNG_IMAGE_VERSION};
        uint8_t back[17 * 9 * 3] = {0};
        TAP_OK(png_image_begin_read_from_memory(&in, file.data, (size_t)file.bytes));
        TAP_OK(in.width == 17 && in.height == 9);
        in.format = channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
        TAP_OK(png_image_finish_read(&in, NULL, back, 0, NULL));
        TAP_OK(memcmp(back, image.pixels, (size_t)bytes) == 0);
        rvx__text_free(&file);
        rvx__image_free(&image);
    }
    rvx_image image = {0};
    TAP_OK(rvx__image_create(&image, 0, 4, 1, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(rvx__image_create(&image, 4, 70000, 1, &error) == RVX_ERROR_ARGUMENT);
    static const char *const pairs[][2] = {{"f", "Zg=="},         {"fo", "Zm8="},
                                           {"foo", "Zm9v"},       {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        rvx_text text = {0};
        rvx__base64_add(&text, pairs[i][0], (int64_t)strlen(pairs[i][0]));
        tap_ok(gives(&text, pairs[i][1]), "base64 of %s (RFC 4648)", pairs[i][0]);
    }
}

int main(void)
{
    test_numbers();
    test_charts();
    test_png();
    return tap_done();
}
