/* PNG images in memory: see png.h. Uses libpng; its errors return by longjmp, so everything that
 * outlives the jump stands in one struct. */
#include "engine/segment/png.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>

enum { SIDE_MAX = 65535 };

typedef struct png_output {
    rvx_text *out;
    char message[200];
} png_output;

rvx_status rvx__image_create(rvx_image *image, int64_t width, int64_t height, int channels,
                             rvx_error *error)
{
    *image = (rvx_image){0};
    if (width < 1 || height < 1 || width > SIDE_MAX || height > SIDE_MAX ||
        (channels != 1 && channels != 3))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "image of %lld x %lld pixels, %d channels; expected sides of 1..%d and 1 "
                         "or 3 channels",
                         (long long)width, (long long)height, channels, SIDE_MAX);
    image->pixels = calloc((size_t)(width * height), (size_t)channels);
    if (!image->pixels)
        return rvx__fail(error, RVX_ERROR_MEMORY, "image of %lld x %lld pixels: no memory",
                         (long long)width, (long long)height);
    image->width = width;
    image->height = height;
    image->channels = channels;
    return RVX_OK;
}

void rvx__image_free(rvx_image *image)
{
    free(image->pixels);
    *image = (rvx_image){0};
}

static void on_write(png_structp png, png_bytep data, png_size_t bytes)
{
    png_output *output = png_get_io_ptr(png);
    rvx__text_append(output->out, (const char *)data, (int64_t)bytes);
}

static void on_flush(png_structp png) { (void)png; }

static void on_error(png_structp png, png_const_charp message)
{
    png_output *output = png_get_error_ptr(png);
    snprintf(output->message, sizeof output->message, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) { (void)png, (void)message; }

rvx_status rvx__png_encode(rvx_text *out, const rvx_image *image, rvx_error *error)
{
    png_output output = {.out = out};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &output, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_write_struct(&png, NULL);
        return rvx__fail(error, RVX_ERROR_MEMORY, "PNG encoder: no memory");
    }
    if (setjmp(png_jmpbuf(png))) {
        png_destroy_write_struct(&png, &info);
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "PNG encoder: %s", output.message);
    }
    png_set_write_fn(png, &output, on_write, on_flush);
    png_set_IHDR(png, info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 image->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (int64_t y = 0; y < image->height; y++)
        png_write_row(png, image->pixels + y * image->width * image->channels);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    return rvx__text_check(out, error);
}

void rvx__base64_add(rvx_text *out, const void *data, int64_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *in = data;
    for (int64_t i = 0; i < bytes; i += 3) {
        int64_t left = bytes - i;
        uint32_t word = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                        (left > 2 ? in[i + 2] : 0);
        char four[4] = {digits[word >> 18], digits[word >> 12 & 63],
                        left > 1 ? digits[word >> 6 & 63] : '=',
                        left > 2 ? digits[word & 63] : '='};
        rvx__text_append(out, four, 4);
    }
}

rvx_status rvx__png_data_uri(rvx_text *out, const rvx_image *image, rvx_error *error)
{
    rvx_text file = {0};
    rvx_status status = RVX_OK;
    RVX_TRY(rvx__png_encode(&file, image, error));
    rvx__text_add(out, "data:image/png;base64,");
    rvx__base64_add(out, file.data, file.bytes);
    status = rvx__text_check(out, error);
cleanup:
    rvx__text_free(&file);
    return status;
}
