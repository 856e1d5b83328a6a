/* What the engine knows of DICOM: a table of functions in a library of its own,
 * librevoxel_dicom.so, which is loaded when a DICOM file is read, so that the engine needs neither
 * GDCM nor C++. Owns: that interface. The library reads one file: what it says of each of its
 * frames, and their voxels. What several files and frames mean together is found in dicom_stack.c.
 */
#ifndef RVX_DICOM_PLUGIN_H
#define RVX_DICOM_PLUGIN_H

#include "kernels/status.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    RVX_DICOM_INTERFACE = 3,
    RVX_DICOM_WORD_BYTES = 72, /* a UID has at most 64 */
    RVX_DICOM_FRAMES_MAX = 1 << 20,
    RVX_DICOM_SEGMENTS_MAX = 4096
};

/* One frame. Numbers are finite where they are there. */
typedef struct rvx_dicom_frame {
    bool has_position, has_direction, has_spacing;
    double position[3];      /* mm; LPS, or in the volume's own frame of reference */
    double direction[2][3];  /* of growing x (along a row), of growing y */
    double spacing[2];       /* along x, along y */
    double thickness;        /* SpacingBetweenSlices, else SliceThickness; 0: neither */
    bool has_step;           /* it is SpacingBetweenSlices */
    double slope, intercept; /* 1 and 0 where the file gives none */
    int64_t number;          /* InstanceNumber, or of the frame in its file */
    int64_t segment;         /* ReferencedSegmentNumber; 0: none */
} rvx_dicom_frame;

/* Of a Segmentation. */
typedef struct rvx_dicom_segment {
    int64_t number;
    char name[RVX_DICOM_WORD_BYTES];
    bool has_color;
    int64_t color[3]; /* RecommendedDisplayCIELabValue, 0 .. 65535 each */
} rvx_dicom_segment;

typedef struct rvx_dicom_image {
    char series[RVX_DICOM_WORD_BYTES], instance[RVX_DICOM_WORD_BYTES]; /* UIDs */
    char kind[RVX_DICOM_WORD_BYTES];                                   /* SOP class UID */
    char modality[RVX_DICOM_WORD_BYTES], description[RVX_DICOM_WORD_BYTES];
    char photometric[RVX_DICOM_WORD_BYTES];
    char concatenation[RVX_DICOM_WORD_BYTES]; /* UID of what this file is a part of; "": of nothing
                                               */
    int64_t part_count; /* of the concatenation, which together are one file; 0: not given */
    int64_t columns, rows;
    int samples, bits_allocated, bits_stored, high_bit;
    bool is_signed;
    bool is_real;      /* voxels are floating point numbers */
    bool has_table;    /* values go through a lookup table instead of a slope */
    bool many_frames;  /* a file by itself: it describes each of its frames, be it one */
    bool volume_frame; /* positions are in the volume's own frame of reference */
    double tilt;       /* GantryDetectorTilt in degrees; 0: none */
    int64_t frame_count;
    rvx_dicom_frame *frames;
    char segmentation[RVX_DICOM_WORD_BYTES]; /* SegmentationType; "": an image */
    bool single_bits; /* stored in one bit, read as bytes of 0 and 1: BitsAllocated is said to be 8
                       */
    int64_t segment_count;
    rvx_dicom_segment *segments;
} rvx_dicom_image;

/* A process of the library's own, in which files are read: GDCM ends its process by an assertion
 * where a file is damaged in some ways, and what a process cannot survive must not be ours. One
 * that has ended is replaced by the next call. A session serves one thread at a time. */
typedef struct rvx_dicom_session rvx_dicom_session;

typedef struct rvx_dicom {
    uint32_t interface; /* RVX_DICOM_INTERFACE of the library */
    rvx_status (*session_open)(rvx_dicom_session **session, rvx_error *error);
    void (*session_close)(rvx_dicom_session *session); /* NULL is legal */
    /* All that stands before the voxels; `image` is overwritten, and freed by image_free after a
     * success. A file without an image has frame_count 0. */
    rvx_status (*image_read)(rvx_dicom_session *session, rvx_dicom_image *image, const char *path,
                             rvx_error *error);
    void (*image_free)(rvx_dicom_image *image);
    /* Voxels of one frame, decompressed, in this machine's byte order, rows * columns * bits / 8
     * bytes. `image` is what image_read said of the file. Frames of one file after each other open
     * it once. */
    rvx_status (*frame_read)(rvx_dicom_session *session, void *out, const char *path,
                             const rvx_dicom_image *image, int64_t frame, rvx_error *error);
} rvx_dicom;

#define RVX_DICOM_LIBRARY "librevoxel_dicom.so"
/* The only symbol of the library. */
#define RVX_DICOM_SYMBOL "rvx_dicom_interface"

#ifdef __cplusplus
}
#endif

#endif
