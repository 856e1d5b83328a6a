/* What a file format must tell the volume reader and writer. Owns: the format table. A format is a
 * header and, somewhere, voxels in x-fastest order; everything else (streaming, scaling, checking,
 * atomic writing) is in volume.c. To add one: one file with a row, one line in rvx__formats. */
#ifndef RVX_VOLUME_FORMAT_H
#define RVX_VOLUME_FORMAT_H

#include "engine/volume/stream.h"
#include "engine/volume/volume.h"

enum { RVX__HEAD_BYTES = 544, RVX__HEADER_BYTES_MAX = 4096 };

/* Where the voxels stand in the uncompressed bytes. */
typedef struct rvx__layout {
    int64_t data_offset;
    bool swap; /* stored in the other byte order than this machine's */
} rvx__layout;

typedef struct rvx__header {
    uint8_t bytes[RVX__HEADER_BYTES_MAX];
    int64_t count;
} rvx__header;

typedef struct rvx__format {
    const char *name;
    const char *suffixes[4]; /* names that the writer takes, NULL-terminated */
    /* True when the first `count` (at most RVX__HEAD_BYTES) bytes are of this format, whole or
     * damaged. */
    bool (*recognise)(const uint8_t *head, int64_t count);
    /* Fills info and layout from the head. Sizes are positive; their product with the voxel size
     * fits int64. */
    rvx_status (*parse)(rvx_volume_info *info, rvx__layout *layout, const uint8_t *head,
                        int64_t count, const char *path, rvx_error *error);
    /* All bytes before the voxels. `like` is NULL or describes the same grid. */
    rvx_status (*compose)(rvx__header *header, const rvx_geometry *geometry, rvx_voxel_type type,
                          const rvx_volume_info *like, const char *path, rvx_error *error);
} rvx__format;

extern const rvx__format rvx__format_nifti;
extern const rvx__format *const rvx__formats[]; /* NULL-terminated */
/* The format that writes files of this name, by its ending; NULL where there is none. */
const rvx__format *rvx__format_find(const char *path);

int64_t rvx__voxel_type_bytes(rvx_voxel_type type);
const char *rvx__voxel_type_name(rvx_voxel_type type);

#endif
