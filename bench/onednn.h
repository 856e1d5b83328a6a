/* oneDNN's convolutions, for the benchmark: one primitive on oneDNN's own preferred layouts.
 * Tensors come and go in our layouts (NDHWC, [kd][kh][kw][ci][co]); these reorders are not timed.
 */
#ifndef BENCH_ONEDNN_H
#define BENCH_ONEDNN_H

#include <stdint.h>

typedef enum bench_direction { BENCH_FORWARD, BENCH_DATA, BENCH_WEIGHT } bench_direction;

typedef struct bench_problem {
    int transposed; /* convolution, or transposed convolution */
    bench_direction direction;
    int64_t n, ci, co;
    /* Axes d, h, w; as long as oneDNN declares its arguments. */
    int64_t in[12], out[12], kernel[12], stride[12], pad[12];
} bench_problem;

typedef struct onednn_conv onednn_conv;

/* x, weight, y: our layouts; what the direction reads is copied in. Exits on failure. */
onednn_conv *onednn_conv_create(const bench_problem *problem, const float *x, const float *weight,
                                const float *y);
void onednn_conv_run(onednn_conv *conv);
/* The result, in our layout. */
void onednn_conv_read(onednn_conv *conv, float *result);
const char *onednn_conv_implementation(const onednn_conv *conv);
void onednn_conv_free(onednn_conv *conv);

#endif
