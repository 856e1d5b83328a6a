/* Parameters on disk: see weights.h. */
#include "engine/run/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 128 };

/* Shape on disk. */
static int stored_size(int64_t size[5], const rvx_value_info *info)
{
    rvx_shape s = info->shape;
    bool transposed = info->role == RVX_ROLE_CONV_TRANSPOSE_WEIGHT;
    bool square = info->role == RVX_ROLE_CAYLEY || info->role == RVX_ROLE_EXPONENTIAL;
    if (!transposed && !square && info->role != RVX_ROLE_CONV_WEIGHT) {
        size[0] = s.c;
        return 1;
    }
    size[0] = transposed ? s.w : s.c;
    size[1] = transposed ? s.c : s.w;
    size[2] = s.n;
    size[3] = s.d;
    size[4] = s.h;
    return 5;
}

/* Copies between the engine's layout [tap][ci][co] and the stored one, element by element. */
static void convert(float *engine, float *stored, const rvx_value_info *info, bool to_engine)
{
    int64_t size[5], count = rvx__shape_count(info->shape);
    if (stored_size(size, info) == 1) {
        if (to_engine)
            memcpy(engine, stored, (size_t)count * sizeof(float));
        else
            memcpy(stored, engine, (size_t)count * sizeof(float));
        return;
    }
    bool transposed = info->role == RVX_ROLE_CONV_TRANSPOSE_WEIGHT;
    int64_t taps = size[2] * size[3] * size[4];
    for (int64_t a = 0; a < size[0]; a++)
        for (int64_t b = 0; b < size[1]; b++)
            for (int64_t tap = 0; tap < taps; tap++) {
                int64_t ci = transposed ? a : b, co = transposed ? b : a;
                float *e = &engine[(tap * info->shape.w + ci) * info->shape.c + co];
                float *s = &stored[(a * size[1] + b) * taps + tap];
                if (to_engine)
                    *e = *s;
                else
                    *s = *e;
            }
}

static void stored_name(char out[NAME_BYTES], const char *name, int slot)
{
    if (slot < 0)
        snprintf(out, NAME_BYTES, "%s", name);
    else
        snprintf(out, NAME_BYTES, "optimizer/%d/%s", slot, name);
}

/* The engine's floats of a parameter: in the parameter block, or at the same place of a slot. */
static float *engine_data(const rvx_session *session, int32_t value, int slot)
{
    rvx_tensor t = rvx__session_tensor(session, (rvx_value){value});
    if (slot < 0)
        return t.data;
    return rvx__session_slot(session, slot) + (rvx__f32(&t) - rvx__session_parameters(session));
}

rvx_status rvx__weights_export(rvx_weights *weights, const rvx_session *session, int slots,
                               int64_t extra, rvx_error *error)
{
    const rvx_graph *graph = rvx__session_plan(session)->graph;
    int64_t parameters = 0, numbers = 0, copies = 1 + slots, at = 0;
    for (int32_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].kind == RVX_VALUE_PARAMETER) {
            parameters++;
            numbers += rvx__shape_count(graph->values[v].shape);
        }
    *weights = (rvx_weights){.capacity = parameters * copies + extra};
    weights->tensors = calloc((size_t)weights->capacity, sizeof *weights->tensors);
    weights->names = malloc((size_t)(parameters * copies * NAME_BYTES));
    weights->data = malloc((size_t)(numbers * copies) * sizeof *weights->data);
    if (!weights->tensors || !weights->names || !weights->data)
        return rvx__fail(error, RVX_ERROR_MEMORY, "checkpoint: out of memory");
    rvx_status status = rvx__session_download(session, error);
    if (status != RVX_OK)
        return status;
    for (int slot = -1; slot < slots; slot++)
        for (int32_t v = 0; v < graph->value_count; v++) {
            const rvx_value_info *info = &graph->values[v];
            if (info->kind != RVX_VALUE_PARAMETER)
                continue;
            rvx_stored_tensor *t = &weights->tensors[weights->count];
            char *name = weights->names + weights->count * NAME_BYTES;
            stored_name(name, info->name, slot);
            *t = (rvx_stored_tensor){
                .name = name, .type = RVX_STORED_F32, .data = weights->data + at};
            t->axes = stored_size(t->size, info);
            convert(engine_data(session, v, slot), weights->data + at, info, false);
            at += rvx__shape_count(info->shape);
            weights->count++;
        }
    return RVX_OK;
}

void rvx__weights_free(rvx_weights *weights)
{
    free(weights->tensors);
    free(weights->names);
    free(weights->data);
    *weights = (rvx_weights){0};
}

rvx_status rvx__weights_import(rvx_session *session, const rvx_safetensors *file, int slot,
                               bool skip_missing, rvx_error *error)
{
    const rvx_graph *graph = rvx__session_plan(session)->graph;
    int64_t largest = 0, found = 0;
    for (int32_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].kind == RVX_VALUE_PARAMETER &&
            rvx__shape_count(graph->values[v].shape) > largest)
            largest = rvx__shape_count(graph->values[v].shape);
    float *stored = malloc((size_t)(largest + 1) * sizeof *stored);
    rvx_status status = RVX_OK;
    if (!stored)
        return rvx__fail(error, RVX_ERROR_MEMORY, "checkpoint: out of memory");
    for (int32_t v = 0; v < graph->value_count; v++) {
        const rvx_value_info *info = &graph->values[v];
        if (info->kind != RVX_VALUE_PARAMETER)
            continue;
        char name[NAME_BYTES];
        int64_t size[5];
        stored_name(name, info->name, slot);
        if (skip_missing && !rvx__safetensors_find(file, name))
            continue;
        int axes = stored_size(size, info);
        RVX_TRY(rvx__safetensors_load(file, name, RVX_STORED_F32, axes, size, stored, error));
        convert(engine_data(session, v, slot), stored, info, true);
        found++;
    }
    if (!found)
        RVX_TRY(rvx__fail(error, RVX_ERROR_FORMAT,
                          "the model file has none of this network's parameters"));
    int64_t groups = rvx__session_stream_groups(session);
    if (slot < 0 && groups > 0 && rvx__safetensors_find(file, RVX_COARSER_KEY)) {
        int64_t coarser[RVX_STREAM_GROUPS_MAX] = {0};
        if (groups > RVX_STREAM_GROUPS_MAX)
            RVX_TRY(rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                              "the network has %lld groups of streams", (long long)groups));
        RVX_TRY(rvx__safetensors_load(file, RVX_COARSER_KEY, RVX_STORED_I64, 1, &groups, coarser,
                                      error));
        for (int64_t g = 0; g < groups; g++)
            if (coarser[g] < 0 || coarser[g] > 15)
                RVX_TRY(rvx__fail(error, RVX_ERROR_FORMAT,
                                  "tensor '" RVX_COARSER_KEY
                                  "' expected 0 to 15 halvings of a grid, "
                                  "found %lld",
                                  (long long)coarser[g]));
        rvx__session_set_coarser(session, coarser);
    }
cleanup:
    free(stored);
    return status;
}
