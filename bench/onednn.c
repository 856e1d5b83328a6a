/* oneDNN's side of the benchmark: see onednn.h. */
#include "bench/onednn.h"

#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>

enum { X, WEIGHT, Y, TENSOR_COUNT };

struct onednn_conv {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_desc_t description;
    dnnl_primitive_t primitive;
    dnnl_memory_desc_t ours[TENSOR_COUNT];
    dnnl_memory_t memory[TENSOR_COUNT];
    dnnl_exec_arg_t arguments[TENSOR_COUNT];
    int result; /* the tensor that the direction writes */
};

static void check(dnnl_status_t status, const char *what)
{
    if (status == dnnl_success)
        return;
    fprintf(stderr, "oneDNN: %s: status %d\n", what, (int)status);
    exit(1);
}
#define CHECK(call) check((call), #call)

/* Describes the three tensors: our layouts if `ours`, else whatever oneDNN likes best. */
static void describe(dnnl_memory_desc_t *md, const bench_problem *p, int ours)
{
    const dnnl_dims_t x = {p->n, p->ci, p->in[0], p->in[1], p->in[2]};
    const dnnl_dims_t y = {p->n, p->co, p->out[0], p->out[1], p->out[2]};
    const dnnl_dims_t w = {p->co, p->ci, p->kernel[0], p->kernel[1], p->kernel[2]};
    const dnnl_format_tag_t data = ours ? dnnl_ndhwc : dnnl_format_tag_any;
    const dnnl_format_tag_t weight = ours ? dnnl_dhwio : dnnl_format_tag_any;
    CHECK(dnnl_memory_desc_init_by_tag(&md[X], 5, x, dnnl_f32, data));
    CHECK(dnnl_memory_desc_init_by_tag(&md[WEIGHT], 5, w, dnnl_f32, weight));
    CHECK(dnnl_memory_desc_init_by_tag(&md[Y], 5, y, dnnl_f32, data));
}

static void describe_convolution(onednn_conv *conv, const bench_problem *p,
                                 const dnnl_memory_desc_t *md)
{
    dnnl_convolution_desc_t d;
    dnnl_primitive_desc_t forward;
    const dnnl_alg_kind_t algorithm = dnnl_convolution_direct;
    CHECK(dnnl_convolution_forward_desc_init(&d, dnnl_forward_training, algorithm, &md[X],
                                             &md[WEIGHT], NULL, &md[Y], p->stride, p->pad, p->pad));
    CHECK(dnnl_primitive_desc_create(&forward, &d, NULL, conv->engine, NULL));
    if (p->direction == BENCH_FORWARD) {
        conv->description = forward;
        return;
    }
    if (p->direction == BENCH_DATA)
        CHECK(dnnl_convolution_backward_data_desc_init(&d, algorithm, &md[X], &md[WEIGHT], &md[Y],
                                                       p->stride, p->pad, p->pad));
    else
        CHECK(dnnl_convolution_backward_weights_desc_init(&d, algorithm, &md[X], &md[WEIGHT], NULL,
                                                          &md[Y], p->stride, p->pad, p->pad));
    CHECK(dnnl_primitive_desc_create(&conv->description, &d, NULL, conv->engine, forward));
    dnnl_primitive_desc_destroy(forward);
}

static void describe_deconvolution(onednn_conv *conv, const bench_problem *p,
                                   const dnnl_memory_desc_t *md)
{
    dnnl_deconvolution_desc_t d;
    dnnl_primitive_desc_t forward;
    const dnnl_alg_kind_t algorithm = dnnl_deconvolution_direct;
    CHECK(dnnl_deconvolution_forward_desc_init(&d, dnnl_forward_training, algorithm, &md[X],
                                               &md[WEIGHT], NULL, &md[Y], p->stride, p->pad,
                                               p->pad));
    CHECK(dnnl_primitive_desc_create(&forward, &d, NULL, conv->engine, NULL));
    if (p->direction == BENCH_FORWARD) {
        conv->description = forward;
        return;
    }
    if (p->direction == BENCH_DATA)
        CHECK(dnnl_deconvolution_backward_data_desc_init(&d, algorithm, &md[X], &md[WEIGHT], &md[Y],
                                                         p->stride, p->pad, p->pad));
    else
        CHECK(dnnl_deconvolution_backward_weights_desc_init(
            &d, algorithm, &md[X], &md[WEIGHT], NULL, &md[Y], p->stride, p->pad, p->pad));
    CHECK(dnnl_primitive_desc_create(&conv->description, &d, NULL, conv->engine, forward));
    dnnl_primitive_desc_destroy(forward);
}

static void reorder(onednn_conv *conv, dnnl_memory_t from, dnnl_memory_t to)
{
    const dnnl_memory_desc_t *from_md, *to_md;
    dnnl_primitive_desc_t description;
    dnnl_primitive_t primitive;
    CHECK(dnnl_memory_get_memory_desc(from, &from_md));
    CHECK(dnnl_memory_get_memory_desc(to, &to_md));
    CHECK(dnnl_reorder_primitive_desc_create(&description, from_md, conv->engine, to_md,
                                             conv->engine, NULL));
    CHECK(dnnl_primitive_create(&primitive, description));
    const dnnl_exec_arg_t arguments[2] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    CHECK(dnnl_primitive_execute(primitive, conv->stream, 2, arguments));
    CHECK(dnnl_stream_wait(conv->stream));
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(description);
}

onednn_conv *onednn_conv_create(const bench_problem *p, const float *x, const float *weight,
                                const float *y)
{
    static const int names[3][TENSOR_COUNT] = {
        {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
        {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
        {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST}};
    static const int results[3] = {Y, X, WEIGHT};
    static const dnnl_query_t queries[3][TENSOR_COUNT] = {
        {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md},
        {dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md},
        {dnnl_query_src_md, dnnl_query_diff_weights_md, dnnl_query_diff_dst_md}};
    const float *values[TENSOR_COUNT] = {x, weight, y};
    dnnl_memory_desc_t any[TENSOR_COUNT];
    onednn_conv *conv = calloc(1, sizeof *conv);
    if (!conv)
        check(dnnl_out_of_memory, "onednn_conv");
    CHECK(dnnl_engine_create(&conv->engine, dnnl_cpu, 0));
    CHECK(dnnl_stream_create(&conv->stream, conv->engine, dnnl_stream_default_flags));
    describe(any, p, 0);
    describe(conv->ours, p, 1);
    if (p->transposed)
        describe_deconvolution(conv, p, any);
    else
        describe_convolution(conv, p, any);
    CHECK(dnnl_primitive_create(&conv->primitive, conv->description));
    conv->result = results[p->direction];
    for (int i = 0; i < TENSOR_COUNT; i++) {
        const dnnl_memory_desc_t *best =
            dnnl_primitive_desc_query_md(conv->description, queries[p->direction][i], 0);
        CHECK(dnnl_memory_create(&conv->memory[i], best, conv->engine, DNNL_MEMORY_ALLOCATE));
        conv->arguments[i] = (dnnl_exec_arg_t){names[p->direction][i], conv->memory[i]};
        if (i == conv->result)
            continue;
        dnnl_memory_t given;
        CHECK(
            dnnl_memory_create(&given, &conv->ours[i], conv->engine, (void *)(uintptr_t)values[i]));
        reorder(conv, given, conv->memory[i]);
        dnnl_memory_destroy(given);
    }
    return conv;
}

void onednn_conv_run(onednn_conv *conv)
{
    CHECK(dnnl_primitive_execute(conv->primitive, conv->stream, TENSOR_COUNT, conv->arguments));
    CHECK(dnnl_stream_wait(conv->stream));
}

void onednn_conv_read(onednn_conv *conv, float *result)
{
    dnnl_memory_t wanted;
    CHECK(dnnl_memory_create(&wanted, &conv->ours[conv->result], conv->engine, result));
    reorder(conv, conv->memory[conv->result], wanted);
    dnnl_memory_destroy(wanted);
}

const char *onednn_conv_implementation(const onednn_conv *conv)
{
    const char *name = "?";
    dnnl_primitive_desc_query(conv->description, dnnl_query_impl_info_str, 0, (void *)&name);
    return name;
}

void onednn_conv_free(onednn_conv *conv)
{
    if (!conv)
        return;
    for (int i = 0; i < TENSOR_COUNT; i++)
        dnnl_memory_destroy(conv->memory[i]);
    dnnl_primitive_destroy(conv->primitive);
    dnnl_primitive_desc_destroy(conv->description);
    dnnl_stream_destroy(conv->stream);
    dnnl_engine_destroy(conv->engine);
    free(conv);
}
