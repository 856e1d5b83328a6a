/* Reading safetensors: see safetensors.h. safetensors_write.c has the writer. */
#include "engine/run/safetensors.h"
#include "engine/base/checksum.h"
#include "engine/base/file.h"
#include "engine/base/json.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are stored as they lie");

enum { HEADER_BYTES_MAX = 100000000, PIECE_BYTES = 1 << 20, DIGITS = 16 };

static const struct {
    const char *name;
    int64_t bytes;
} types[RVX_STORED_TYPE_COUNT] = {
    [RVX_STORED_BOOL] = {"BOOL", 1},       [RVX_STORED_U8] = {"U8", 1},
    [RVX_STORED_I8] = {"I8", 1},           [RVX_STORED_F8_E4M3] = {"F8_E4M3", 1},
    [RVX_STORED_F8_E5M2] = {"F8_E5M2", 1}, [RVX_STORED_I16] = {"I16", 2},
    [RVX_STORED_U16] = {"U16", 2},         [RVX_STORED_F16] = {"F16", 2},
    [RVX_STORED_BF16] = {"BF16", 2},       [RVX_STORED_I32] = {"I32", 4},
    [RVX_STORED_U32] = {"U32", 4},         [RVX_STORED_F32] = {"F32", 4},
    [RVX_STORED_I64] = {"I64", 8},         [RVX_STORED_U64] = {"U64", 8},
    [RVX_STORED_F64] = {"F64", 8},
};

struct rvx_safetensors {
    int fd; /* -1: parsed from a header alone */
    char *path, *header;
    int64_t header_bytes, data_bytes;
    json_t *root; /* owns the names and the metadata */
    rvx_stored_tensor *tensors;
    int64_t count;
};

const char *rvx__stored_type_name(rvx_stored_type type) { return types[type].name; }
int64_t rvx__stored_type_bytes(rvx_stored_type type) { return types[type].bytes; }

/* ---- Header -----------------------------------------------------------------------------------
 */

static rvx_status type_read(rvx_stored_type *type, const rvx_json *json, rvx_error *error)
{
    const char *names[RVX_STORED_TYPE_COUNT + 1] = {0};
    for (int i = 0; i < RVX_STORED_TYPE_COUNT; i++)
        names[i] = types[i].name;
    int choice = 0;
    rvx_status status = rvx__json_choice(&choice, json, names, error);
    *type = (rvx_stored_type)choice;
    return status;
}

static rvx_status tensor_read(rvx_stored_tensor *tensor, const rvx_json *json, int64_t data_bytes,
                              rvx_error *error)
{
    static const char *const keys[] = {"dtype", "shape", "data_offsets", NULL};
    rvx_status status;
    int64_t count, elements = 1, expected, offsets[2];
    RVX_TRY(rvx__json_object(json, keys, error));
    rvx_json dtype = rvx__json_member(json, "dtype"), shape = rvx__json_member(json, "shape");
    rvx_json places = rvx__json_member(json, "data_offsets");
    RVX_TRY(type_read(&tensor->type, &dtype, error));
    RVX_TRY(rvx__json_array(&count, &shape, 0, RVX_STORED_AXES_MAX, error));
    tensor->axes = (int)count;
    bool overflow = false;
    for (int64_t i = 0; i < count; i++) {
        rvx_json element = rvx__json_element(&shape, i);
        RVX_TRY(rvx__json_integer(&tensor->size[i], &element, 0, INT64_MAX, error));
        overflow |= __builtin_mul_overflow(elements, tensor->size[i], &elements);
    }
    overflow |= __builtin_mul_overflow(elements, types[tensor->type].bytes, &expected);
    if (overflow)
        return rvx__json_fail(&shape, error, "has more elements than any file can hold");
    RVX_TRY(rvx__json_array(&count, &places, 2, 2, error));
    for (int64_t i = 0; i < 2; i++) {
        rvx_json element = rvx__json_element(&places, i);
        RVX_TRY(rvx__json_integer(&offsets[i], &element, i ? offsets[0] : 0, data_bytes, error));
    }
    tensor->offset_bytes = offsets[0];
    tensor->bytes = offsets[1] - offsets[0];
    if (tensor->bytes != expected)
        return rvx__json_fail(&places, error, "expected %lld bytes by dtype and shape, found %lld",
                              (long long)expected, (long long)tensor->bytes);
cleanup:
    return status;
}

static rvx_status metadata_check(const rvx_json *root, rvx_error *error)
{
    rvx_json metadata = rvx__json_member(root, "__metadata__");
    const char *key;
    json_t *value;
    if (rvx__json_absent(&metadata))
        return RVX_OK;
    rvx_status status = rvx__json_object(&metadata, NULL, error);
    if (status != RVX_OK)
        return status;
    json_object_foreach((json_t *)(uintptr_t)metadata.value, key, value)
    {
        rvx_json member = rvx__json_member(&metadata, key);
        if (!json_is_string(value))
            return rvx__json_fail(&member, error, "expected a string");
    }
    return RVX_OK;
}

static int compare_places(const void *a, const void *b)
{
    const rvx_stored_tensor *x = a, *y = b;
    if (x->offset_bytes != y->offset_bytes)
        return x->offset_bytes < y->offset_bytes ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Sorted by place, every tensor begins where the one before ends. */
static rvx_status tiling_check(rvx_safetensors *file, rvx_error *error)
{
    int64_t end = 0;
    if (file->count)
        qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, compare_places);
    for (int64_t i = 0; i < file->count; i++) {
        const rvx_stored_tensor *tensor = &file->tensors[i];
        if (tensor->offset_bytes != end)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: tensor '%.200s' begins at byte %lld of the data, expected %lld "
                             "(tensors must neither overlap nor leave a hole)",
                             file->path, tensor->name, (long long)tensor->offset_bytes,
                             (long long)end);
        end += tensor->bytes;
    }
    if (end != file->data_bytes)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: the header describes %lld bytes of data, the file has %lld",
                         file->path, (long long)end, (long long)file->data_bytes);
    return RVX_OK;
}

static rvx_status header_parse(rvx_safetensors *file, rvx_error *error)
{
    rvx_status status;
    const char *key;
    json_t *value;
    if (file->header_bytes == 0 || file->header[0] != '{')
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: not a safetensors file: the header does not begin with '{'",
                         file->path);
    RVX_TRY(rvx__json_parse(&file->root, file->header, file->header_bytes, file->path, error));
    rvx_json root = rvx__json_root(file->root, file->path);
    RVX_TRY(rvx__json_object(&root, NULL, error));
    RVX_TRY(metadata_check(&root, error));
    file->tensors = calloc(json_object_size(file->root) + 1, sizeof *file->tensors);
    if (!file->tensors)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for %lld tensors", file->path,
                         (long long)json_object_size(file->root));
    json_object_foreach(file->root, key, value)
    {
        if (strcmp(key, "__metadata__") == 0)
            continue;
        rvx_json member = rvx__json_member(&root, key);
        rvx_stored_tensor *tensor = &file->tensors[file->count++];
        tensor->name = key;
        RVX_TRY(tensor_read(tensor, &member, file->data_bytes, error));
    }
    status = tiling_check(file, error);
cleanup:
    return status;
}

static rvx_status file_allocate(rvx_safetensors **file, const char *path, int64_t header_bytes,
                                rvx_error *error)
{
    *file = calloc(1, sizeof **file);
    if (*file) {
        (*file)->fd = -1;
        (*file)->path = strdup(path);
        (*file)->header = malloc((size_t)header_bytes + 1);
        (*file)->header_bytes = header_bytes;
    }
    if (*file && (*file)->path && (*file)->header)
        return RVX_OK;
    return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for a header of %lld bytes", path,
                     (long long)header_bytes);
}

rvx_status rvx__safetensors_parse(rvx_safetensors **out, const char *header, int64_t header_bytes,
                                  int64_t data_bytes, const char *name, rvx_error *error)
{
    rvx_status status;
    rvx_safetensors *file = NULL;
    *out = NULL;
    RVX_TRY(file_allocate(&file, name, header_bytes, error));
    file->data_bytes = data_bytes;
    memcpy(file->header, header, (size_t)header_bytes);
    RVX_TRY(header_parse(file, error));
    *out = file;
cleanup:
    if (status != RVX_OK)
        rvx__safetensors_close(file);
    return status;
}

/* ---- Files ------------------------------------------------------------------------------------
 */

static rvx_status read_at(int fd, const char *path, int64_t offset, void *out, int64_t bytes,
                          rvx_error *error)
{
    char *next = out;
    while (bytes > 0) {
        ssize_t count = pread(fd, next, (size_t)bytes, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return rvx__fail(error, RVX_ERROR_IO, "%s: cannot read: %s", path, strerror(errno));
        if (count == 0)
            return rvx__fail(error, RVX_ERROR_FORMAT, "%s: file ends at byte %lld", path,
                             (long long)offset);
        next += count;
        offset += count;
        bytes -= count;
    }
    return RVX_OK;
}

rvx_status rvx__safetensors_open(rvx_safetensors **out, const char *path, rvx_error *error)
{
    rvx_safetensors *file = NULL;
    rvx_status status;
    uint64_t header_bytes = 0;
    struct stat info;
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info)) {
        status = rvx__fail(error, RVX_ERROR_IO, "%s: cannot open: %s", path, strerror(errno));
        goto cleanup;
    }
    if (!S_ISREG(info.st_mode)) {
        status = rvx__fail(error, RVX_ERROR_IO, "%s: cannot open: not a regular file", path);
        goto cleanup;
    }
    if (info.st_size < 8) {
        status = rvx__fail(error, RVX_ERROR_FORMAT,
                           "%s: not a safetensors file: expected at least 8 bytes, found %lld",
                           path, (long long)info.st_size);
        goto cleanup;
    }
    RVX_TRY(read_at(fd, path, 0, &header_bytes, 8, error));
    if (header_bytes > HEADER_BYTES_MAX) {
        status = rvx__fail(error, RVX_ERROR_FORMAT,
                           "%s: not a safetensors file: header length expected at most %d, found "
                           "%llu",
                           path, HEADER_BYTES_MAX, (unsigned long long)header_bytes);
        goto cleanup;
    }
    if ((int64_t)header_bytes > info.st_size - 8) {
        status = rvx__fail(error, RVX_ERROR_FORMAT,
                           "%s: file is cut short: the header has %llu bytes, the file %lld", path,
                           (unsigned long long)header_bytes, (long long)info.st_size);
        goto cleanup;
    }
    RVX_TRY(file_allocate(&file, path, (int64_t)header_bytes, error));
    file->fd = fd;
    fd = -1;
    file->data_bytes = info.st_size - 8 - (int64_t)header_bytes;
    RVX_TRY(read_at(file->fd, path, 8, file->header, file->header_bytes, error));
    RVX_TRY(header_parse(file, error));
    *out = file;
cleanup:
    if (fd >= 0)
        close(fd);
    if (status != RVX_OK)
        rvx__safetensors_close(file);
    return status;
}

void rvx__safetensors_close(rvx_safetensors *file)
{
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    json_decref(file->root);
    free(file->path);
    free(file->header);
    free(file->tensors);
    free(file);
}

int64_t rvx__safetensors_count(const rvx_safetensors *file) { return file->count; }

const rvx_stored_tensor *rvx__safetensors_at(const rvx_safetensors *file, int64_t index)
{
    return &file->tensors[index];
}

const rvx_stored_tensor *rvx__safetensors_find(const rvx_safetensors *file, const char *name)
{
    for (int64_t i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    return NULL;
}

const char *rvx__safetensors_metadata(const rvx_safetensors *file, const char *key)
{
    return json_string_value(json_object_get(json_object_get(file->root, "__metadata__"), key));
}

/* ---- Contents ---------------------------------------------------------------------------------
 */

rvx_status rvx__safetensors_read(const rvx_safetensors *file, const rvx_stored_tensor *tensor,
                                 void *out, rvx_error *error)
{
    assert(file->fd >= 0);
    return read_at(file->fd, file->path, 8 + file->header_bytes + tensor->offset_bytes, out,
                   tensor->bytes, error);
}

static void shape_print(rvx_text *text, rvx_stored_type type, int axes, const int64_t *size)
{
    rvx__text_format(text, "%s [", types[type].name);
    for (int i = 0; i < axes; i++)
        rvx__text_format(text, "%s%lld", i ? ", " : "", (long long)size[i]);
    rvx__text_add(text, "]");
}

rvx_status rvx__safetensors_load(const rvx_safetensors *file, const char *name,
                                 rvx_stored_type type, int axes, const int64_t *size, void *out,
                                 rvx_error *error)
{
    const rvx_stored_tensor *tensor = rvx__safetensors_find(file, name);
    if (!tensor)
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: has no tensor '%s'", file->path, name);
    if (tensor->type == type && tensor->axes == axes &&
        (axes == 0 || memcmp(tensor->size, size, (size_t)axes * sizeof *size) == 0))
        return rvx__safetensors_read(file, tensor, out, error);
    rvx_text expected = {0}, found = {0};
    shape_print(&expected, type, axes, size);
    shape_print(&found, tensor->type, tensor->axes, tensor->size);
    rvx__fail(error, RVX_ERROR_FORMAT, "%s: tensor '%s' expected %s, found %s", file->path, name,
              expected.data ? expected.data : "?", found.data ? found.data : "?");
    rvx__text_free(&expected);
    rvx__text_free(&found);
    return RVX_ERROR_FORMAT;
}

rvx_status rvx__safetensors_verify(const rvx_safetensors *file, bool required, rvx_error *error)
{
    static const char marker[] = "\"" RVX_CHECKSUM_KEY "\":\"xxh64:";
    assert(file->fd >= 0);
    const char *stored = rvx__safetensors_metadata(file, RVX_CHECKSUM_KEY);
    if (!stored && !required)
        return RVX_OK;
    const char *place = memmem(file->header, (size_t)file->header_bytes, marker, sizeof marker - 1);
    int64_t first = place ? place - file->header + (int64_t)sizeof marker - 1 : 0;
    if (!stored || !place || first + DIGITS > file->header_bytes)
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: has no checksum (metadata '%s')", file->path,
                         RVX_CHECKSUM_KEY);
    char *piece = malloc(PIECE_BYTES);
    if (!piece)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory to read it", file->path);
    rvx_hash hash;
    rvx_status status = RVX_OK;
    uint64_t length = (uint64_t)file->header_bytes;
    rvx__hash_start(&hash);
    rvx__hash_add(&hash, &length, 8);
    rvx__hash_add(&hash, file->header, first);
    rvx__hash_add(&hash, "0000000000000000", DIGITS);
    rvx__hash_add(&hash, file->header + first + DIGITS, file->header_bytes - first - DIGITS);
    for (int64_t at = 0, bytes; at < file->data_bytes; at += bytes) {
        bytes = file->data_bytes - at < PIECE_BYTES ? file->data_bytes - at : PIECE_BYTES;
        RVX_TRY(read_at(file->fd, file->path, 8 + file->header_bytes + at, piece, bytes, error));
        rvx__hash_add(&hash, piece, bytes);
    }
    char digits[DIGITS + 1];
    snprintf(digits, sizeof digits, "%016llx", (unsigned long long)rvx__hash_value(&hash));
    if (memcmp(digits, file->header + first, DIGITS) != 0)
        status = rvx__fail(error, RVX_ERROR_FORMAT,
                           "%s: checksum expected %.16s, found %s: the file is damaged", file->path,
                           file->header + first, digits);
cleanup:
    free(piece);
    return status;
}
