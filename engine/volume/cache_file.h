/* The file of a cached case: what cache.c reads and cache_write.c writes. Internal to both. */
#ifndef RVX_CACHE_FILE_H
#define RVX_CACHE_FILE_H

#include "engine/base/file.h"
#include "engine/volume/cache.h"

/* At the start of the file, as it lies in memory: caches do not travel between machines of
 * different byte order (the magic and the checksum then differ). Offsets are multiples of 4096. */
typedef struct rvx_cache_header {
    char magic[8]; /* "rvxcase" */
    int64_t format;
    uint64_t checksum; /* XXH64 of the header with this field 0 */
    uint64_t recipe;   /* of all that the voxels depend on beside the sources */
    uint64_t sources;  /* of names, sizes and times of the source files */
    int64_t file_bytes;
    int64_t size[3], channels; /* d, h, w */
    int64_t image_offset;      /* float32 chunks */
    int64_t labels_offset;     /* uint8 chunks; 0: none */
    int64_t locations_offset;  /* per class voxel_count and count, then the voxels; int64 */
    int64_t class_count;
    rvx_grid_map map;
    rvx_geometry geometry;  /* of the files */
    int64_t repairs_offset; /* what was repaired: lines, each with a 0 behind it */
    int64_t repairs_bytes;
} rvx_cache_header;

/* Where a case is or will be, and what it must have been made from. */
typedef struct rvx_cache_place {
    char path[RVX_PATH_BYTES];
    uint64_t recipe, sources;
} rvx_cache_place;

rvx_status rvx__cache_place_find(rvx_cache_place *place, const char *folder, const char *identifier,
                                 const char *const *image_paths, const char *label_path,
                                 const rvx_case_recipe *recipe, rvx_error *error);
void rvx__cache_header_start(rvx_cache_header *header, const rvx_cache_place *place);
uint64_t rvx__cache_checksum(const rvx_cache_header *header);

static inline int64_t rvx__cache_chunks(int64_t size)
{
    return (size + RVX_CACHE_CHUNK - 1) / RVX_CACHE_CHUNK;
}

rvx_status rvx__cache_write(const rvx_cache_place *place, const char *identifier,
                            const char *const *image_paths, const char *label_path,
                            const rvx_case_recipe *recipe, rvx_error *error);

#endif
