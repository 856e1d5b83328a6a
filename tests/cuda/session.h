/* What the tests of sessions on a device share: the device, and graphs on it and on the CPU beside
 * one another. The device is a GPU where RVX_TEST_CUDA names librevoxel_cuda.so, else the
 * emulation. */
#ifndef RVX_TEST_CUDA_SESSION_H
#define RVX_TEST_CUDA_SESSION_H

#include "engine/run/session.h"
#include "kernels/random.h"
#include "tap.h"

#include <math.h>
#include <string.h>

#define SESSION_FUNCTION __attribute__((unused)) static

static rvx_device *session_device;

SESSION_FUNCTION const char *session_library(void)
{
    const char *path = getenv("RVX_TEST_CUDA");
    return path ? path : "build/librevoxel_cuda_emulated.so";
}

SESSION_FUNCTION int session_device_open(void)
{
    rvx_error error = {0};
    rvx_status status = rvx__device_open(&session_device, "cuda", session_library(), &error);
    return tap_ok(status == RVX_OK, "the device opens%s%s", status ? ": " : "",
                  status ? error.message : "");
}

typedef struct placed {
    rvx_plan *plan;
    rvx_session *session;
} placed;

SESSION_FUNCTION void placed_free(placed *p)
{
    rvx__session_free(p->session);
    rvx__plan_free(p->plan);
    *p = (placed){0};
}

/* Plans and makes a session: on the device where options.isa is RVX_ISA_CUDA. Parameters as
 * training starts, inputs at random. */
SESSION_FUNCTION bool placed_make(placed *p, const rvx_graph *graph, rvx_plan_options options,
                                  int classes, rvx_error *error)
{
    const rvx_device *device = options.isa == RVX_ISA_CUDA ? session_device : NULL;
    *p = (placed){0};
    if (rvx__plan_create(&p->plan, graph, &options, error) != RVX_OK ||
        rvx__session_create_on(&p->session, p->plan, device, error) != RVX_OK)
        return false;
    rvx__session_initialise(p->session, 3);
    if (rvx__session_upload(p->session, error) != RVX_OK)
        return false;
    for (int32_t v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind != RVX_VALUE_INPUT)
            continue;
        rvx_tensor t = rvx__session_tensor(p->session, (rvx_value){v});
        rvx_random random = {.seed = 5, .stream = (uint64_t)v};
        for (int64_t i = 0; i < rvx__shape_count(t.shape); i++)
            if (t.dtype == RVX_U8)
                ((uint8_t *)t.data)[i] = (uint8_t)rvx__random_below(&random, classes);
            else if (t.dtype == RVX_BF16)
                ((uint16_t *)t.data)[i] = rvx__bf16_of(rvx__random_normal(&random));
            else
                rvx__f32(&t)[i] = rvx__random_normal(&random);
    }
    return true;
}

/* Forward and backward, three times: queued, recorded, played. Gradients are then on the host. */
SESSION_FUNCTION bool placed_run(placed *p, rvx_error *error)
{
    for (int run = 0; run < 3; run++)
        if (rvx__session_run(p->session, NULL, NULL, error) != RVX_OK)
            return false;
    return rvx__session_download(p->session, error) == RVX_OK;
}

typedef struct comparison {
    int count, different; /* gradients, and those of other bits */
    double farthest;      /* of numbers, relative to the largest of the gradient, or to a
                             thousandth of the largest of all */
    const char *name;     /* of the farthest */
} comparison;

/* The largest number of a gradient; 0 where there is none. */
SESSION_FUNCTION double gradient_largest(const placed *p, rvx_value parameter)
{
    rvx_tensor t = rvx__session_gradient(p->session, parameter);
    double largest = 0;
    for (int64_t i = 0; t.data && i < rvx__shape_count(t.shape); i++)
        largest = fmax(largest, fabs((double)rvx__f32(&t)[i]));
    return largest;
}

/* A bias, or a shift without an activation, in front of a normalisation has no gradient but
 * rounding, of the same numbers that the gradient of the weight or scale beside it sums: that one
 * says how large rounding may be. */
SESSION_FUNCTION double weight_beside(const placed *p, const rvx_graph *graph, const char *name)
{
    static const char *const pairs[][2] = {{"/bias", "/weight"}, {"/beta", "/gamma"}};
    char beside[256];
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (length < 5 || length > 200 || strcmp(name + length - 5, pairs[i][0]) != 0)
            continue;
        snprintf(beside, sizeof beside, "%.*s%s", (int)(length - 5), name, pairs[i][1]);
        rvx_value value = rvx__graph_find(graph, beside);
        return value.index < 0 ? 0 : gradient_largest(p, value);
    }
    return 0;
}

SESSION_FUNCTION comparison compare_gradients(const placed *got, const placed *want)
{
    comparison c = {0, 0, 0, ""};
    const rvx_graph *graph = want->plan->graph;
    double largest = 1e-12;
    for (int64_t i = 0; i < rvx__session_parameter_floats(want->session); i++)
        largest = fmax(largest, fabs((double)rvx__session_gradients(want->session)[i]));
    for (int32_t v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind != RVX_VALUE_PARAMETER)
            continue;
        rvx_value other = rvx__graph_find(got->plan->graph, graph->values[v].name);
        rvx_tensor a = rvx__session_gradient(got->session, other);
        rvx_tensor b = rvx__session_gradient(want->session, (rvx_value){v});
        int64_t count = rvx__shape_count(b.shape);
        if (!a.data && !b.data)
            continue;
        c.count++;
        if (!a.data || !b.data || memcmp(a.data, b.data, (size_t)count * sizeof(float)) != 0)
            c.different++;
        double most = 0, magnitude = 1e-3 * largest;
        magnitude = fmax(magnitude, gradient_largest(want, (rvx_value){v}));
        magnitude = fmax(magnitude, weight_beside(want, graph, graph->values[v].name));
        for (int64_t i = 0; a.data && b.data && i < count; i++) {
            double difference = fabs((double)rvx__f32(&a)[i] - (double)rvx__f32(&b)[i]);
            most = difference <= most ? most : difference; /* a NaN stays */
        }
        if (!(most / magnitude <= c.farthest)) {
            c.farthest = most / magnitude;
            c.name = graph->values[v].name;
        }
    }
    return c;
}

SESSION_FUNCTION float first_of(const placed *p, rvx_value value)
{
    rvx_tensor t = rvx__session_tensor(p->session, value);
    return t.data ? *rvx__f32(&t) : NAN;
}

#endif
