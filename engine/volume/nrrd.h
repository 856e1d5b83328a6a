/* What the two halves of the NRRD format share: reading in nrrd.c, writing in nrrd_write.c. */
#ifndef RVX_VOLUME_NRRD_H
#define RVX_VOLUME_NRRD_H

#include "engine/volume/format.h"

#include <stdbool.h>

/* By any of its names, in small letters; false where there is none. */
bool rvx__nrrd_type_find(rvx_voxel_type *type, const char *name);
rvx_status rvx__nrrd_compose(rvx__header *header, const rvx__request *request, rvx_error *error);

#endif
