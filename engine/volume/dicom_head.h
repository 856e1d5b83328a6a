/* Whether bytes are the beginning of a DICOM file. Owns: that question, for files with the 128-byte
 * preamble and for those without (DICOM PS3.10, PS3.5 chapter 7). Invariant: looks at no byte but
 * those given, and knows no file. */
#ifndef RVX_DICOM_HEAD_H
#define RVX_DICOM_HEAD_H

#include <stdint.h>

typedef enum rvx__dicom_head {
    RVX__DICOM_NOT = 0,
    RVX__DICOM_WHOLE,     /* 128 bytes of anything, then DICM */
    RVX__DICOM_BARE,      /* begins with its elements, of group 0002 or 0008 */
    RVX__DICOM_DIRECTORY, /* as WHOLE, of the class of a disk's DICOMDIR, which holds no image */
    RVX__DICOM_CUT        /* begins with DICM: the 128 bytes before it are gone */
} rvx__dicom_head;

/* `count` bytes, of which the first few hundred matter. */
rvx__dicom_head rvx__dicom_head_of(const uint8_t *head, int64_t count);

#endif
