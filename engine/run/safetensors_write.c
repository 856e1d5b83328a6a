/* Writing safetensors: see safetensors.h. */
#include "engine/base/checksum.h"
#include "engine/base/file.h"
#include "engine/base/text.h"
#include "engine/run/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The data begins at a multiple of this, so a mapped file can be used in place. */
enum { ALIGN_BYTES = 64, DIGITS = 16, HEADER_BYTES_MAX = 100000000 };

static rvx_status tensor_bytes(int64_t *bytes, const rvx_stored_tensor *tensor, rvx_error *error)
{
    bool bad = tensor->axes < 0 || tensor->axes > RVX_STORED_AXES_MAX || !*tensor->name ||
               strcmp(tensor->name, "__metadata__") == 0;
    *bytes = rvx__stored_type_bytes(tensor->type);
    for (int i = 0; i < tensor->axes && !bad; i++)
        bad = tensor->size[i] < 0 || __builtin_mul_overflow(*bytes, tensor->size[i], bytes);
    if (bad || (!tensor->data && *bytes))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "cannot store tensor '%.200s': bad name, shape or no data", tensor->name);
    return RVX_OK;
}

static int compare_types(const void *a, const void *b)
{
    const rvx_stored_tensor *x = *(const rvx_stored_tensor *const *)a;
    const rvx_stored_tensor *y = *(const rvx_stored_tensor *const *)b;
    int64_t x_bytes = rvx__stored_type_bytes(x->type), y_bytes = rvx__stored_type_bytes(y->type);
    if (x_bytes != y_bytes)
        return x_bytes > y_bytes ? -1 : 1;
    return x < y ? -1 : x > y; /* the caller's order */
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const rvx_stored_tensor *const *)a)->name,
                  (*(const rvx_stored_tensor *const *)b)->name);
}

static rvx_status order_tensors(const rvx_stored_tensor **order, const rvx_stored_tensor *tensors,
                                int64_t count, rvx_error *error)
{
    for (int64_t i = 0; i < count; i++)
        order[i] = &tensors[i];
    if (count)
        qsort(order, (size_t)count, sizeof *order, compare_names);
    for (int64_t i = 1; i < count; i++)
        if (strcmp(order[i]->name, order[i - 1]->name) == 0)
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "two tensors are named '%.200s'",
                             order[i]->name);
    if (count)
        qsort(order, (size_t)count, sizeof *order, compare_types);
    return RVX_OK;
}

/* A key that came twice would make a file that no reader accepts. */
static rvx_status metadata_check(const rvx_metadata *metadata, int64_t count, rvx_error *error)
{
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j <= i; j++)
            if (strcmp(metadata[i].key, j < i ? metadata[j].key : RVX_CHECKSUM_KEY) == 0)
                return rvx__fail(error, RVX_ERROR_ARGUMENT, "metadata key '%.200s' comes twice",
                                 metadata[i].key);
    return RVX_OK;
}

/* The header with sixteen zeros for the checksum, which stand at *digits. */
static rvx_status header_print(rvx_text *text, int64_t *digits, const rvx_stored_tensor **order,
                               int64_t count, const rvx_metadata *metadata, int64_t metadata_count,
                               rvx_error *error)
{
    int64_t offset = 0, bytes;
    rvx_status status;
    rvx__text_add(text, "{\"__metadata__\":{\"" RVX_CHECKSUM_KEY "\":\"xxh64:");
    *digits = text->bytes;
    rvx__text_add(text, "0000000000000000\"");
    for (int64_t i = 0; i < metadata_count; i++) {
        rvx__text_add(text, ",");
        rvx__text_quote(text, metadata[i].key);
        rvx__text_add(text, ":");
        rvx__text_quote(text, metadata[i].value);
    }
    rvx__text_add(text, "}");
    for (int64_t i = 0; i < count; i++) {
        RVX_TRY(tensor_bytes(&bytes, order[i], error));
        rvx__text_add(text, ",");
        rvx__text_quote(text, order[i]->name);
        rvx__text_format(text, ":{\"dtype\":\"%s\",\"shape\":[",
                         rvx__stored_type_name(order[i]->type));
        for (int axis = 0; axis < order[i]->axes; axis++)
            rvx__text_format(text, "%s%lld", axis ? "," : "", (long long)order[i]->size[axis]);
        if (__builtin_add_overflow(offset, bytes, &bytes))
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "the tensors exceed 2^63 bytes");
        rvx__text_format(text, "],\"data_offsets\":[%lld,%lld]}", (long long)offset,
                         (long long)bytes);
        offset = bytes;
    }
    rvx__text_add(text, "}");
    while ((text->bytes + 8) % ALIGN_BYTES && !text->failed)
        rvx__text_add(text, " ");
    if (text->bytes > HEADER_BYTES_MAX)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "the header would have %lld bytes; the format allows %d",
                         (long long)text->bytes, HEADER_BYTES_MAX);
    status = rvx__text_check(text, error);
cleanup:
    return status;
}

rvx_status rvx__safetensors_write(const char *path, const rvx_stored_tensor *tensors, int64_t count,
                                  const rvx_metadata *metadata, int64_t metadata_count,
                                  rvx_error *error)
{
    rvx_status status;
    rvx_text header = {0};
    rvx_output *output = NULL;
    rvx_hash hash;
    int64_t digits, bytes;
    const rvx_stored_tensor **order = malloc((size_t)(count + 1) * sizeof(*order));
    if (!order)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for %lld tensors", path,
                         (long long)count);
    RVX_TRY(metadata_check(metadata, metadata_count, error));
    RVX_TRY(order_tensors(order, tensors, count, error));
    RVX_TRY(header_print(&header, &digits, order, count, metadata, metadata_count, error));
    RVX_TRY(rvx__output_create(&output, path, error));
    uint64_t length = (uint64_t)header.bytes;
    rvx__hash_start(&hash);
    rvx__hash_add(&hash, &length, 8);
    rvx__hash_add(&hash, header.data, header.bytes);
    RVX_TRY(rvx__output_write(output, &length, 8, error));
    RVX_TRY(rvx__output_write(output, header.data, header.bytes, error));
    for (int64_t i = 0; i < count; i++) {
        RVX_TRY(tensor_bytes(&bytes, order[i], error));
        rvx__hash_add(&hash, order[i]->data, bytes);
        RVX_TRY(rvx__output_write(output, order[i]->data, bytes, error));
    }
    char value[DIGITS + 1];
    snprintf(value, sizeof value, "%016llx", (unsigned long long)rvx__hash_value(&hash));
    RVX_TRY(rvx__output_write_at(output, 8 + digits, value, DIGITS, error));
    status = rvx__output_commit(output, error);
    output = NULL;
cleanup:
    rvx__output_abandon(output);
    rvx__text_free(&header);
    free(order);
    return status;
}
