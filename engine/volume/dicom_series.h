/* The series of a DICOM folder, for people. Owns: that one question; reading a series is the
 * format's (format.h). */
#ifndef RVX_DICOM_SERIES_H
#define RVX_DICOM_SERIES_H

#include "engine/base/text.h"

/* How many series `path`, a folder that is DICOM (rvx__format_of_folder), holds. Where they are
 * several, a list of them is appended: the name by which each is read, modality, description,
 * slices, UID. */
rvx_status rvx__dicom_series_describe(rvx_text *out, int64_t *count, const char *path,
                                      rvx_error *error);

#endif
