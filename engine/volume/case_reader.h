/* A case as a stream: its files, or voxels in the caller's memory, normalised and on the network's
 * grid, slice by slice. Owns: the way from raw voxels to what a network reads. Invariant: what is
 * read is a function of the voxels and the recipe alone, however it is cut into calls and for any
 * thread count; memory is rvx__case_reader_bytes, whatever the length of the volume.
 *
 * Where the recipe crops or a z-score counts the mask of nonzero voxels, opening passes over the
 * image once for the two.
 * Where a map of intensities or the range of a spline needs statistics of the whole case, opening
 * passes over the image once. */
#ifndef RVX_CASE_READER_H
#define RVX_CASE_READER_H

#include "engine/volume/preprocess.h"

typedef struct rvx_case_reader rvx_case_reader;

/* Checks that the files lie on one grid. `label_path` may be NULL. */
rvx_status rvx__case_reader_open(rvx_case_reader **reader, const char *identifier,
                                 const char *const *image_paths, const char *label_path,
                                 const rvx_case_recipe *recipe, rvx_error *error);
/* channels[c][(z * Y + y) * X + x], which must outlive the reader. */
rvx_status rvx__case_reader_open_memory(rvx_case_reader **reader, const char *identifier,
                                        const rvx_geometry *geometry, const float *const *channels,
                                        const rvx_case_recipe *recipe, rvx_error *error);
void rvx__case_reader_close(rvx_case_reader *reader); /* NULL is legal */

const char *rvx__case_reader_name(const rvx_case_reader *reader);
const rvx_volume_info *rvx__case_reader_info(const rvx_case_reader *reader); /* of channel 0 */
const rvx_grid_map *rvx__case_reader_map(const rvx_case_reader *reader);
rvx_shape rvx__case_reader_shape(const rvx_case_reader *reader); /* on the network's grid */

/* Slices on the network's grid: image [z][y][x][channels]; labels [z][y][x], checked against the
 * recipe, only where there are any. Errors name the case. */
rvx_status rvx__case_reader_image(rvx_case_reader *reader, float *out, int64_t z_first,
                                  int64_t z_count, rvx_error *error);
rvx_status rvx__case_reader_labels(rvx_case_reader *reader, uint8_t *out, int64_t z_first,
                                   int64_t z_count, rvx_error *error);
/* The same as callbacks. */
rvx_slices rvx__case_reader_slices(rvx_case_reader *reader);
rvx_label_slices rvx__case_reader_label_slices(rvx_case_reader *reader);

/* What a reader of a case on such grids holds, but for the decompressors' windows. */
int64_t rvx__case_reader_bytes(const rvx_grid_map *map, const rvx_case_recipe *recipe);

#endif
