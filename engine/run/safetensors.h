/* Safetensors files: named tensors and a map of strings. Owns: the file format
 * (huggingface/safetensors, format documentation): 8 bytes little-endian header length, a JSON
 * header, then the tensors' bytes without gaps. Invariant: a file that opens has a header of at
 * most 100 MB whose tensors tile the data exactly: in bounds, no overlap, no hole, no duplicate,
 * and bytes = elements x element size without overflow.
 *
 * Files of ours also carry a checksum over everything (metadata key RVX_CHECKSUM_KEY, XXH64 of the
 * whole file with its own sixteen digits set to zero), so a flipped bit anywhere is found. A tool
 * that rewrites the header must drop that key. */
#ifndef RVX_SAFETENSORS_H
#define RVX_SAFETENSORS_H

#include "kernels/status.h"

#include <stdbool.h>
#include <stdint.h>

#define RVX_CHECKSUM_KEY "revoxel.checksum"

enum { RVX_STORED_AXES_MAX = 8 };

typedef enum rvx_stored_type {
    RVX_STORED_BOOL,
    RVX_STORED_U8,
    RVX_STORED_I8,
    RVX_STORED_F8_E4M3,
    RVX_STORED_F8_E5M2,
    RVX_STORED_I16,
    RVX_STORED_U16,
    RVX_STORED_F16,
    RVX_STORED_BF16,
    RVX_STORED_I32,
    RVX_STORED_U32,
    RVX_STORED_F32,
    RVX_STORED_I64,
    RVX_STORED_U64,
    RVX_STORED_F64,
    RVX_STORED_TYPE_COUNT
} rvx_stored_type;

typedef struct rvx_stored_tensor {
    const char *name;
    rvx_stored_type type;
    int axes;                          /* 0: a scalar */
    int64_t size[RVX_STORED_AXES_MAX]; /* slowest axis first, contiguous */
    const void *data;                  /* writing: the elements; reading: NULL */
    int64_t offset_bytes, bytes;       /* reading: place within the data */
} rvx_stored_tensor;

typedef struct rvx_metadata {
    const char *key, *value; /* UTF-8 */
} rvx_metadata;

const char *rvx__stored_type_name(rvx_stored_type type); /* "F32", ... */
int64_t rvx__stored_type_bytes(rvx_stored_type type);

/* ---- Writing ----------------------------------------------------------------------------------
 * Atomic: the old file stays until the new one is complete and durable. Tensors may come in any
 * order; they are stored by falling element size, so every one is aligned. Adds the checksum. */
rvx_status rvx__safetensors_write(const char *path, const rvx_stored_tensor *tensors, int64_t count,
                                  const rvx_metadata *metadata, int64_t metadata_count,
                                  rvx_error *error);

/* ---- Reading ----------------------------------------------------------------------------------
 */
typedef struct rvx_safetensors rvx_safetensors;

rvx_status rvx__safetensors_open(rvx_safetensors **file, const char *path, rvx_error *error);
void rvx__safetensors_close(rvx_safetensors *file); /* NULL is legal */

/* Tensors in the order of their data; pointers live as long as the file is open. */
int64_t rvx__safetensors_count(const rvx_safetensors *file);
const rvx_stored_tensor *rvx__safetensors_at(const rvx_safetensors *file, int64_t index);
const rvx_stored_tensor *rvx__safetensors_find(const rvx_safetensors *file, const char *name);
/* NULL where the key is absent. */
const char *rvx__safetensors_metadata(const rvx_safetensors *file, const char *key);

/* Reads the whole file against its checksum: RVX_ERROR_FORMAT where they differ, or where there is
 * none and `required`. */
rvx_status rvx__safetensors_verify(const rvx_safetensors *file, bool required, rvx_error *error);

/* Elements of one tensor of this file; `out` holds tensor->bytes. */
rvx_status rvx__safetensors_read(const rvx_safetensors *file, const rvx_stored_tensor *tensor,
                                 void *out, rvx_error *error);
/* By name, with the type and shape that the caller needs; anything else is RVX_ERROR_FORMAT with
 * expected and found. */
rvx_status rvx__safetensors_load(const rvx_safetensors *file, const char *name,
                                 rvx_stored_type type, int axes, const int64_t *size, void *out,
                                 rvx_error *error);

/* The header alone (used by open and by the fuzzer): `data_bytes` follow it in the file. Such a
 * file answers everything but verify, read and load. */
rvx_status rvx__safetensors_parse(rvx_safetensors **file, const char *header, int64_t header_bytes,
                                  int64_t data_bytes, const char *name, rvx_error *error);

#endif
