/* PNG images in memory. Owns: the way from pixels to PNG bytes and to a data URI. Invariant: the
 * same pixels give the same bytes. */
#ifndef RVX_SEGMENT_PNG_H
#define RVX_SEGMENT_PNG_H

#include "engine/base/text.h"

/* An 8-bit image, rows from the top, `channels` 1 (grey) or 3 (RGB). Owns its pixels. */
typedef struct rvx_image {
    uint8_t *pixels;
    int64_t width, height;
    int channels;
} rvx_image;

rvx_status rvx__image_create(rvx_image *image, int64_t width, int64_t height, int channels,
                             rvx_error *error);
void rvx__image_free(rvx_image *image); /* of a zeroed struct is legal */

/* Appends the PNG file. Errors: ARGUMENT for a side outside 1..65535, MEMORY. */
rvx_status rvx__png_encode(rvx_text *out, const rvx_image *image, rvx_error *error);
/* Appends "data:image/png;base64,...". */
rvx_status rvx__png_data_uri(rvx_text *out, const rvx_image *image, rvx_error *error);

void rvx__base64_add(rvx_text *out, const void *data, int64_t bytes);

#endif
