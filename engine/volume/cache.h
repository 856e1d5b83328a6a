/* Preprocessed cases on disk. Owns: one file per case and recipe, FOLDER/CASE-<recipe>.rvxcase,
 * mapped into memory, so that training reads the chunks that its patches touch and the data set may
 * be larger than memory. Several runs, folds and processes may share a folder.
 *
 * Invariant: a cached case holds the bits that rvx__case_load makes. A file is used only where its
 * header's checksum, its format, the recipe, and name, size and time of every source file, those
 * behind headers and in DICOM folders too, are those in hand; otherwise it is made anew, appears
 * whole or not at all, and whoever has the old one mapped keeps it. docs/cache.md describes the
 * format. */
#ifndef RVX_CACHE_H
#define RVX_CACHE_H

#include "engine/volume/preprocess.h"

enum {
    RVX_CACHE_FORMAT = 4,
    RVX_CACHE_CHUNK = 16, /* voxels along each axis: labels of a chunk fill a page */
    RVX_CACHE_HEADER_BYTES = 4096
};

/* Whether a folder holds the case as this recipe makes it from these files. */
bool rvx__cache_has(const char *folder, const char *identifier, const char *const *image_paths,
                    const char *label_path, const rvx_case_recipe *recipe);
/* The case mapped from the folder, made first where it is not there; `label_path` may be NULL. Free
 * with rvx__case_free, also after a failure. Making takes a reader's memory and
 * 2 x RVX_CACHE_CHUNK slices. What was repaired when the file was made is added to the recipe's
 * list whenever it is used. */
rvx_status rvx__cache_load(rvx_case *out, const char *folder, const char *identifier,
                           const char *const *image_paths, const char *label_path,
                           const rvx_case_recipe *recipe, rvx_error *error);

/* Tells the system that voxels low .. high - 1 (d, h, w; clipped to the case) will be read: their
 * chunks are fetched together, and nothing around them. Of a case in memory: does nothing. */
void rvx__case_fetch(const rvx_case *one, const int64_t low[3], const int64_t high[3]);

#endif
