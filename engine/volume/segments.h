/* Segmentations in NRRD (.seg.nrrd), as 3D Slicer keeps them: names, colours and label values in
 * keys such as Segment0_Name, several layers where segments overlap. Owns: these keys. */
#ifndef RVX_VOLUME_SEGMENTS_H
#define RVX_VOLUME_SEGMENTS_H

#include "engine/volume/format.h"

#include <stdbool.h>

/* Takes "Segment12_Name" and its value; true where the key is of a segment. */
rvx_status rvx__segments_key(rvx_segments *segments, const char *key, const char *value,
                             const char *path, rvx_error *error);
/* Once all keys are in: leaves out numbers without keys, checks the layers and gives each segment
 * the value that it has in the label map that is read: its own in a file of one layer, else its
 * place among the segments, from 1. */
rvx_status rvx__segments_settle(rvx_segments *segments, int layers, const char *path,
                                rvx_error *error);
void rvx__segments_compose(rvx_text *text, const rvx_segments *segments, const int64_t size[3]);

/* Turns `count` voxels of `layers` stored values each into labels, in place. Returns -1, or the
 * first voxel that cannot be one label, with a message of what stands there in `why`. */
int64_t rvx__segments_merge(double *values, int64_t count, int layers, const rvx_segments *segments,
                            char why[256]);

#endif
