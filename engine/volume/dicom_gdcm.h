/* Within the DICOM library: one file through GDCM. Owns: what dicom_gdcm.cc has for
 * dicom_process.cc. Nothing here throws; an assertion of GDCM still ends the process. */
#ifndef RVX_DICOM_GDCM_H
#define RVX_DICOM_GDCM_H

#include "engine/volume/dicom_plugin.h"

typedef struct rvx_dicom_pixels rvx_dicom_pixels;

rvx_status rvx__gdcm_image_read(rvx_dicom_image *image, const char *path, rvx_error *error);
void rvx__gdcm_image_free(rvx_dicom_image *image);
/* `image` is not kept. */
rvx_status rvx__gdcm_pixels_open(rvx_dicom_pixels **pixels, const char *path,
                                 const rvx_dicom_image *image, rvx_error *error);
rvx_status rvx__gdcm_pixels_read(rvx_dicom_pixels *pixels, void *out, int64_t frame,
                                 rvx_error *error);
void rvx__gdcm_pixels_close(rvx_dicom_pixels *pixels); /* NULL is legal */

#endif
