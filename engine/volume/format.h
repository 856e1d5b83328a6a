/* What a file format must tell the volume reader and writer. Owns: the format table. A format is a
 * header and, in the same file or in others, voxels in x-fastest order; everything else (streaming,
 * scaling, checking, atomic writing) is in volume.c, parts.c and writer.c. To add one: one file
 * with a row, one line in rvx__formats. */
#ifndef RVX_VOLUME_FORMAT_H
#define RVX_VOLUME_FORMAT_H

#include "engine/base/text.h"
#include "engine/volume/stream.h"
#include "engine/volume/volume.h"

enum { RVX__HEAD_BYTES = 544 };

/* Voxels that stand in no file as they are: bytes offset .. offset + count - 1 of all of them, in
 * this machine's byte order. */
typedef struct rvx__decoder {
    rvx_status (*read)(struct rvx__decoder *decoder, void *out, int64_t offset, int64_t count,
                       rvx_error *error);
    void (*free)(struct rvx__decoder *decoder);
} rvx__decoder;

/* Where the voxels stand: one run of bytes, cut into equal parts where several files hold them. */
typedef struct rvx__layout {
    bool swap; /* stored in the other byte order than this machine's */
    rvx__packing packing;
    int64_t start;        /* stored bytes before the voxels of a file, packed or not */
    int64_t stored_bytes; /* packed bytes after them; 0: up to the end of the file */
    int64_t data_offset;  /* uncompressed bytes before the first voxel of each file */
    int64_t line_skip;    /* lines before all these, in files of their own */
    bool at_end;          /* the voxels are a file's last bytes, whatever stands before them */
    int layers;           /* stored values per voxel; more than 1: a segmentation in layers */
    const char *field;    /* the header's word for where the voxels are, for messages */
    char **files;         /* paths; NULL: the header's own file */
    int64_t file_count;
    rvx_segments segments;
    rvx__decoder *decoder;       /* instead of all the above; freed with the layout; NULL: none */
    struct rvx_repairs *repairs; /* set before a header is parsed: see repair.h; NULL: refuse */
} rvx__layout;

void rvx__layout_free(rvx__layout *layout); /* zeroed is legal */

/* What a format writes. */
typedef struct rvx__header {
    rvx_text text;        /* all bytes before the voxels */
    rvx__packing packing; /* of the voxels; a name in .gz packs the header too */
    char *data_name;      /* of the file beside the header that holds the voxels; NULL: the same */
    int64_t size_at; /* where in `text` the stored bytes of the voxels go, in RVX__SIZE_DIGITS left
                        -aligned digits; 0: nowhere */
} rvx__header;

enum { RVX__SIZE_DIGITS = 20 };

typedef struct rvx__request {
    const rvx_geometry *geometry;
    rvx_voxel_type type;
    const rvx_volume_info *like;  /* NULL, or of the same grid */
    const rvx_segments *segments; /* NULL: none are known */
    const char *path;
} rvx__request;

struct rvx_names;

typedef struct rvx__format {
    const char *name;
    const char *suffixes[4]; /* names that the writer takes, NULL-terminated; none: read only */
    /* True when the first `count` (at most RVX__HEAD_BYTES) bytes are of this format, whole or
     * damaged. */
    bool (*recognise)(const uint8_t *head, int64_t count);
    bool (*folder)(const char *path); /* true where a folder is a volume; NULL: never */
    /* Fills info and layout, zeroed but for `layers` and `repairs`, from the head, or from
     * `header`, which stands at any place and is NULL for a folder. Sizes are positive; their
     * product with the voxel size fits int64. The caller frees the layout, also after a failure. */
    rvx_status (*parse)(rvx_volume_info *info, rvx__layout *layout, rvx__source *header,
                        const uint8_t *head, int64_t count, const char *path, rvx_error *error);
    /* Every file that the volume is read from, for volume_files.h; `files` is zeroed before and
     * freed by the caller, also after a failure. NULL: `path` and what its header names. */
    rvx_status (*list)(struct rvx_names *files, const char *path, rvx_error *error);
    /* The header, zeroed before; the caller frees it, also after a failure. */
    rvx_status (*compose)(rvx__header *header, const rvx__request *request, rvx_error *error);
} rvx__format;

extern const rvx__format rvx__format_dicom;
extern const rvx__format rvx__format_nifti;
extern const rvx__format rvx__format_metaimage;
extern const rvx__format rvx__format_nrrd;
extern const rvx__format rvx__format_raw;
extern const rvx__format *const rvx__formats[]; /* NULL-terminated */
/* The format that writes files of this name, by its ending; NULL where there is none. */
const rvx__format *rvx__format_find(const char *path);
bool rvx__dicom_file(const char *path); /* such files need no ending */
/* The format by which a folder is a volume; NULL where it is none. */
const rvx__format *rvx__format_of_folder(const char *path);
void rvx__header_free(rvx__header *header); /* zeroed is legal */

/* A volume whose format is known and whose header is still to be parsed. */
typedef struct rvx__opened {
    char *path; /* of the header: IMAGE.hdr where IMAGE.img was asked for */
    const rvx__format *format;
    rvx__source *source; /* NULL: a folder */
    uint8_t head[RVX__HEAD_BYTES];
    int64_t count; /* bytes of the head */
} rvx__opened;

/* Knows a file by its content. The caller closes it, also after a failure. */
rvx_status rvx__format_open(rvx__opened *opened, const char *path, rvx_error *error);
void rvx__format_close(rvx__opened *opened); /* zeroed is legal */

int64_t rvx__voxel_type_bytes(rvx_voxel_type type);
const char *rvx__voxel_type_name(rvx_voxel_type type);

/* ---- parts.c: stored voxels -------------------------------------------------------------------
 * The voxels' bytes as one run, whatever files they lie in. Opening checks that all files are there
 * and can be long enough; errors name the file and the header. */
typedef struct rvx__parts rvx__parts;

rvx_status rvx__parts_open(rvx__parts **parts, const char *path, const rvx_volume_info *info,
                           const rvx__layout *layout, rvx_error *error);
bool rvx__parts_compressed(const rvx__parts *parts);
/* Bytes offset .. offset + count - 1. Reading the last byte of a compressed file also checks that
 * it ends there. */
rvx_status rvx__parts_read(rvx__parts *parts, void *out, int64_t offset, int64_t count,
                           rvx_error *error);
void rvx__parts_close(rvx__parts *parts); /* NULL is legal */

#endif
