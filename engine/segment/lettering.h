/* Short words in pictures. Owns: a fixed font of 5 x 8 dots for lower-case letters, digits and a
 * few signs; upper case is written as lower case, what the font lacks as a blank. */
#ifndef RVX_SEGMENT_LETTERING_H
#define RVX_SEGMENT_LETTERING_H

#include "engine/segment/png.h"

enum { RVX_LETTER_WIDTH = 6, RVX_LETTER_HEIGHT = 9 }; /* with the gap to the next */

/* Writes into an RGB image, upper left corner at x, y, every dot `scale` pixels wide; what lies
 * outside the image is left out. */
void rvx__letters_draw(rvx_image *image, int64_t x, int64_t y, int scale, const uint8_t colour[3],
                       const char *text);

#endif
