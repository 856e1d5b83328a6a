/* Any frames as a DICOM stack: what headers may claim, without the library that reads them. Each
 * frame takes six bytes of the input: its place along the normal and in its plane, its number, and
 * what is wrong with it. What is made must be a sound grid whose slices come from frames. */
#include "engine/volume/dicom_stack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FRAMES_MAX = 64, FRAME_BYTES = 6 };

static rvx_status same(bool *answer, void *context, const rvx__dicom_source *a,
                       const rvx__dicom_source *b, rvx_error *error)
{
    (void)context;
    (void)error;
    *answer = a->at.number == b->at.number;
    return RVX_OK;
}

static rvx__dicom_source source_make(const uint8_t *bytes, int64_t index)
{
    static const double odd[4] = {0, 1e300, -1e300, 1e-300};
    rvx__dicom_source s = {.columns = 4, .rows = 3, .file = index, .name = "f", .instance = "i"};
    s.at = (rvx_dicom_frame){.has_position = true,
                             .has_direction = true,
                             .has_spacing = true,
                             .direction = {{1, 0, 0}, {0, 1, 0}},
                             .spacing = {0.5, 0.25},
                             .slope = 1,
                             .number = bytes[3]};
    s.at.position[2] = bytes[0] * 0.5 + bytes[1] * 1e-3;
    s.at.position[1] = (int8_t)bytes[2] * 0.01 + (bytes[4] & 1 ? 0.3 * bytes[0] : 0);
    if (bytes[5] & 0x80) /* one field goes wrong */
        switch (bytes[5] & 7) {
        case 0:
            s.at.has_position = false;
            break;
        case 1:
            s.at.direction[0][1] = bytes[4] / 64.0;
            break;
        case 2:
            s.at.spacing[0] = odd[bytes[4] & 3];
            break;
        case 3:
            s.at.position[2] = odd[bytes[4] & 3];
            break;
        case 4:
            s.columns = bytes[4] + 1;
            break;
        case 5:
            s.at.position[0] = odd[bytes[4] & 3];
            break;
        case 6:
            memset(s.at.direction, 0, sizeof s.at.direction);
            break;
        default:
            s.at.thickness = odd[bytes[4] & 3];
            break;
        }
    return s;
}

/* The same frames as those of a segmentation: every one has its slice. */
static void sparse_check(const rvx__dicom_source *given, int64_t count)
{
    rvx__dicom_source sources[FRAMES_MAX];
    rvx__dicom_stack stack;
    rvx_error error = {0};
    int64_t *places;
    const rvx__dicom_question question = {.path = "fuzz"};
    memcpy(sources, given, (size_t)count * sizeof *sources);
    if (rvx__dicom_stack_sparse(&stack, &places, sources, count, &question, &error) == RVX_OK) {
        const int64_t slices = stack.geometry.size[2];
        if (rvx__geometry_check(&stack.geometry, "fuzz", &error) != RVX_OK || places[0] != 0 ||
            places[slices] != count || places[1] < 1 || places[slices - 1] >= count)
            abort();
        for (int64_t z = 0; z < slices; z++)
            for (int64_t i = places[z]; i < places[z + 1]; i++)
                if (!(fabs(sources[i].along - sources[0].along -
                           (double)z * stack.geometry.spacing[2]) <=
                      0.051 * stack.geometry.spacing[2]))
                    abort();
    } else if (!error.message[0]) {
        abort();
    }
    free(places);
    rvx__dicom_stack_free(&stack);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rvx__dicom_source sources[FRAMES_MAX];
    rvx__dicom_stack stack;
    rvx_repairs repairs = {0};
    rvx_error error = {0};
    int64_t count = size > 1 ? (int64_t)(size - 1) / FRAME_BYTES : 0;
    count = count > FRAMES_MAX ? FRAMES_MAX : count;
    if (count < 1)
        return 0;
    const rvx__dicom_question question = {
        .path = "fuzz", .tilt = data[0], .repairs = data[0] & 1 ? &repairs : NULL, .same = same};
    for (int64_t i = 0; i < count; i++)
        sources[i] = source_make(data + 1 + i * FRAME_BYTES, i);
    sparse_check(sources, count);
    if (rvx__dicom_stack_make(&stack, sources, count, &question, &error) == RVX_OK) {
        if (rvx__geometry_check(&stack.geometry, "fuzz", &error) != RVX_OK ||
            (stack.resampled && !repairs.count) || stack.source_count > count)
            abort();
        for (int64_t z = 0; z < stack.geometry.size[2]; z++) {
            const rvx__dicom_slice *one = &stack.slices[z];
            if (one->low < 0 || one->low >= stack.source_count || one->high < 0 ||
                one->high >= stack.source_count || !(one->weight >= 0 && one->weight < 1))
                abort();
        }
        for (int64_t i = 0; i < stack.source_count; i++)
            if (!isfinite(sources[i].shift[0]) || !isfinite(sources[i].shift[1]))
                abort();
    } else if (!error.message[0]) {
        abort();
    }
    rvx__dicom_stack_free(&stack);
    rvx__repairs_free(&repairs);
    return 0;
}
