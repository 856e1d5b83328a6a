/* Which files a volume is read from. Owns: the question, for whoever must know that one of them is
 * another now, as a cache does. */
#ifndef RVX_VOLUME_FILES_H
#define RVX_VOLUME_FILES_H

#include "engine/base/file.h"

/* Paths, in an order that depends on their names alone: `path` itself, where it is a file, and all
 * others that hold voxels: those that a header names, the slices of a DICOM series. Headers are
 * read, voxels are not, and no file behind a header is looked for. What --repair mends is no error
 * here. Free with rvx__names_free, also after a failure. */
rvx_status rvx__volume_files(rvx_names *files, const char *path, rvx_error *error);

#endif
