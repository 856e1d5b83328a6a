/* Headers made of lines, as MetaImage and NRRD have them. Owns: the bounded reading of their text,
 * their numbers and the names of their data files. Numbers have '.' in every locale. */
#ifndef RVX_VOLUME_HEADER_TEXT_H
#define RVX_VOLUME_HEADER_TEXT_H

#include "engine/volume/format.h"

/* Sequences write a matrix for each frame into the header: thousands of lines. */
enum { RVX__HEADER_TEXT_MAX = 16 << 20 };

/* Reads lines from the start of the file up to and with the first for which `last` is true, or to
 * the end of the file. `*text` is zero-terminated, without zeros inside, and freed by the caller;
 * `*bytes` is where the next line would begin. A line is given without its end. */
rvx_status rvx__header_lines(char **text, int64_t *bytes, rvx__source *source,
                             bool (*last)(const char *line, int64_t bytes), const char *path,
                             rvx_error *error);
/* Cuts the next line off `*rest`: zero-terminated, without its end and the blanks around it. NULL
 * where no line is left. */
char *rvx__header_line(char **rest);
/* Cuts the blanks around `text` off. */
char *rvx__header_trim(char *text);

/* Numbers between blanks, commas and parentheses. Returns how many there are, at most `most` + 1;
 * -1 where something else stands among them. */
int rvx__header_reals(double *out, int most, const char *text);
int rvx__header_integers(int64_t *out, int most, const char *text);

/* Adds a data file, named from the header's folder. */
rvx_status rvx__layout_file_add(rvx__layout *layout, const char *header_path, const char *name,
                                rvx_error *error);
/* "image%03d.raw 1 20 1": true where `text` has a pattern and three or four numbers behind it;
 * numbers[0 .. 3] are first, last, step and, where it stands there, the axes of one file (else 0).
 * `text` is cut after the pattern. */
bool rvx__header_pattern(int64_t numbers[4], char *text);
/* Adds the files of a pattern, which must be `count`. */
rvx_status rvx__layout_pattern_add(rvx__layout *layout, const char *header_path,
                                   const char *pattern, const int64_t numbers[4], int64_t count,
                                   rvx_error *error);

#endif
