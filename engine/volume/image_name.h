/* What images of a case are called: CASE_0000 for the first channel, and behind it the ending of a
 * volume; or `.dcm`, one file of DICOM; or nothing, a folder with one DICOM series. Owns: these
 * names. */
#ifndef RVX_IMAGE_NAME_H
#define RVX_IMAGE_NAME_H

#include "engine/base/file.h"

/* Bytes of CASE_0000 in the name of a file or folder in `folder`; -1 where it is called like no
 * image. `ending` is that of volumes, NULL: any. */
int64_t rvx__image_stem_bytes(const char *folder, const char *name, const char *ending);
/* The channel of a stem that ends in _0000; -1 where it does not. */
int rvx__image_channel(const char *stem, int64_t bytes);
/* The image that is there among STEM and `ending`, STEM and STEM.dcm; the first of these where none
 * is. `ending` NULL: DICOM only. Two of them are refused. */
rvx_status rvx__image_find(char out[RVX_PATH_BYTES], const char *stem, const char *ending,
                           rvx_error *error);
/* The image of a channel beside `first`, that of channel 0, which is called CASE_0000 where
 * `channel` is above 0: of the same ending, or DICOM; beside DICOM any. */
rvx_status rvx__image_beside(char out[RVX_PATH_BYTES], const char *first, int channel,
                             rvx_error *error);
/* True where a folder holds images of cases with up to `channel_count` channels, and no DICOM file
 * that is called otherwise, as slices of a series are. */
bool rvx__images_in(const char *folder, int channel_count);

#endif
