/* Convolutions against oneDNN, on the same data, in one process: each round runs ours once and
 * oneDNN's once, and the least time of each counts. The median of the rounds' own ratios stands
 * beside it, for machines that are busy with other things. oneDNN works on the layouts it likes
 * best; bringing tensors there and back is not timed. Both results are compared.
 *
 *   bench_conv [--threads N] [--seconds S] [--only TEXT] [--isa base|avx2|avx512|amx]
 *              [--clock wall|cpu] [--json FILE]
 *
 * `--clock cpu` takes the processor time of all threads for the time, which other programs on the
 * machine disturb less; run it with OMP_WAIT_POLICY=passive, or waiting counts as work.
 *
 * Exit status 1 if a case is slower than 0.9 of oneDNN or a result differs. */
#include "bench/onednn.h"
#include "kernels/op.h"
#include "kernels/random.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct bench_case {
    int transposed;
    bench_direction direction;
    int ci, co, size, kernel, stride, pad;
} bench_case;

enum { CONV = 0, TRANSPOSED = 1, ROUNDS_MAX = 1000 };

/* Sizes such that a run takes tens of milliseconds; lengths are those of the input. */
#define EVERY_DIRECTION(op, ci, co, size, kernel, stride, pad)                                     \
    {op, BENCH_FORWARD, ci, co, size, kernel, stride, pad},                                        \
        {op, BENCH_DATA, ci, co, size, kernel, stride, pad},                                       \
    {                                                                                              \
        op, BENCH_WEIGHT, ci, co, size, kernel, stride, pad                                        \
    }

static const bench_case cases[] = {
    EVERY_DIRECTION(CONV, 16, 16, 64, 3, 1, 1),
    EVERY_DIRECTION(CONV, 32, 32, 48, 3, 1, 1),
    EVERY_DIRECTION(CONV, 64, 64, 32, 3, 1, 1),
    EVERY_DIRECTION(CONV, 128, 128, 24, 3, 1, 1),
    EVERY_DIRECTION(CONV, 16, 16, 96, 3, 2, 1),
    EVERY_DIRECTION(CONV, 32, 32, 64, 3, 2, 1),
    EVERY_DIRECTION(CONV, 64, 64, 48, 3, 2, 1),
    EVERY_DIRECTION(CONV, 128, 128, 32, 3, 2, 1),
    EVERY_DIRECTION(TRANSPOSED, 16, 16, 48, 2, 2, 0),
    EVERY_DIRECTION(TRANSPOSED, 32, 32, 40, 2, 2, 0),
    EVERY_DIRECTION(TRANSPOSED, 64, 64, 32, 2, 2, 0),
    EVERY_DIRECTION(TRANSPOSED, 128, 128, 16, 2, 2, 0),
};

static const double ratio_wanted = 0.9;
static const char *const direction_names[] = {"forward", "data", "weight"};
static const char *const isa_names[RVX_ISA_COUNT] = {"base", "avx2", "avx512", "amx"};

typedef struct bench_options {
    int threads;
    double seconds;
    const char *only, *json;
    rvx_isa isa;
    clockid_t clock;
} bench_options;

typedef struct bench_result {
    double ours_seconds, onednn_seconds; /* least */
    double paired_ratio;                 /* median over rounds of oneDNN / ours */
    double difference;
    char implementation[64];
} bench_result;

/* Our side: one call, ready to run. */
typedef struct bench_ours {
    rvx_op_params params;
    rvx_call call;
    rvx_kernel kernel;
    float *x, *weight, *y;
    int64_t x_count, weight_count, y_count;
    float *result;
    int64_t result_count, sum_length; /* products that go into one result */
} bench_ours;

static double now_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *allocate(int64_t bytes)
{
    void *p = aligned_alloc(64, (size_t)(bytes + 127) / 64 * 64);
    if (!p) {
        fprintf(stderr, "bench_conv: no memory for %lld bytes\n", (long long)bytes);
        exit(1);
    }
    return p;
}

static float *random_values(int64_t count, uint64_t stream)
{
    float *values = allocate(count * 4);
    rvx_random random = {.seed = 1, .stream = stream};
    for (int64_t i = 0; i < count; i++)
        values[i] = rvx__random_range(&random, -1.0f, 1.0f);
    return values;
}

static void ours_create(bench_ours *ours, bench_problem *problem, const bench_case *c,
                        const bench_options *options)
{
    static const rvx_phase phases[] = {RVX_FORWARD, RVX_BACKWARD_DATA, RVX_BACKWARD_PARAMETERS};
    const rvx_op *op = c->transposed ? &rvx__op_conv_transpose : &rvx__op_conv;
    const rvx_phase phase = phases[c->direction];
    rvx_error error;
    *ours = (bench_ours){.params = {.channels_out = c->co}};
    for (int i = 0; i < 3; i++) {
        ours->params.kernel[i] = c->kernel;
        ours->params.stride[i] = c->stride;
        ours->params.pad[i] = c->pad;
    }
    const rvx_shape in[3] = {{1, c->size, c->size, c->size, c->ci},
                             {c->kernel, c->kernel, c->kernel, c->ci, c->co},
                             {0}};
    rvx_shape out;
    if (op->shape(&out, in, 3, &ours->params, &error) != RVX_OK) {
        fprintf(stderr, "bench_conv: %s\n", error.message);
        exit(1);
    }
    ours->x_count = rvx__shape_count(in[0]);
    ours->weight_count = rvx__shape_count(in[1]);
    ours->y_count = rvx__shape_count(out);
    ours->x = random_values(ours->x_count, 1);
    ours->weight = random_values(ours->weight_count, 2);
    ours->y = random_values(ours->y_count, 3);
    rvx_tensor x = {.data = ours->x, .shape = in[0], .pitch = c->ci};
    rvx_tensor weight = {.data = ours->weight, .shape = in[1], .pitch = c->co};
    rvx_tensor y = {.data = ours->y, .shape = out, .pitch = c->co};
    rvx_call *call = &ours->call;
    call->params = &ours->params;
    call->threads = options->threads;
    call->scratch_bytes =
        op->scratch ? op->scratch(phase, in, &out, &ours->params, options->threads) : 0;
    call->scratch = allocate(call->scratch_bytes);
    call->in[1] = weight;
    int64_t taps = (int64_t)c->kernel * c->kernel * c->kernel;
    if (c->direction == BENCH_FORWARD) {
        call->in[0] = x;
        call->out[0] = y;
    } else {
        call->grad_out[0] = y;
        if (c->direction == BENCH_DATA)
            call->grad_in[0] = x;
        else {
            call->in[0] = x;
            call->grad_in[1] = weight;
            call->in[1].data = NULL;
        }
    }
    ours->result = (float *[]){ours->y, ours->x, ours->weight}[c->direction];
    ours->result_count =
        (int64_t[]){ours->y_count, ours->x_count, ours->weight_count}[c->direction];
    ours->sum_length =
        (int64_t[]){taps * c->ci, taps * c->co, rvx__shape_voxels(out)}[c->direction];
    ours->kernel = op->cpu[phase][options->isa];
    *problem = (bench_problem){.transposed = c->transposed,
                               .direction = c->direction,
                               .n = 1,
                               .ci = c->ci,
                               .co = c->co,
                               .in = {c->size, c->size, c->size},
                               .out = {out.d, out.h, out.w},
                               .kernel = {c->kernel, c->kernel, c->kernel},
                               .stride = {c->stride, c->stride, c->stride},
                               .pad = {c->pad, c->pad, c->pad}};
}

static void ours_free(bench_ours *ours)
{
    free(ours->x);
    free(ours->weight);
    free(ours->y);
    free(ours->call.scratch);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Least times over interleaved rounds, and the largest difference between the results. */
static bench_result case_run(const bench_case *c, const bench_options *options)
{
    bench_ours ours;
    bench_problem problem;
    bench_result result = {.ours_seconds = INFINITY, .onednn_seconds = INFINITY};
    ours_create(&ours, &problem, c, options);
    onednn_conv *onednn = onednn_conv_create(&problem, ours.x, ours.weight, ours.y);
    snprintf(result.implementation, sizeof result.implementation, "%s",
             onednn_conv_implementation(onednn));
    const double end = now_seconds(CLOCK_MONOTONIC) + options->seconds;
    double ratios[ROUNDS_MAX];
    int round = 0;
    for (; round < ROUNDS_MAX && (round < 8 || now_seconds(CLOCK_MONOTONIC) < end); round++) {
        double t0 = now_seconds(options->clock);
        ours.kernel(&ours.call);
        double t1 = now_seconds(options->clock);
        onednn_conv_run(onednn);
        double t2 = now_seconds(options->clock);
        result.ours_seconds = fmin(result.ours_seconds, t1 - t0);
        result.onednn_seconds = fmin(result.onednn_seconds, t2 - t1);
        ratios[round] = (t2 - t1) / (t1 - t0);
    }
    qsort(ratios, (size_t)round, sizeof ratios[0], compare_doubles);
    result.paired_ratio = ratios[round / 2];
    float *theirs = allocate(ours.result_count * 4);
    onednn_conv_read(onednn, theirs);
    for (int64_t i = 0; i < ours.result_count; i++) {
        double difference = fabs((double)ours.result[i] - theirs[i]);
        if (!(difference <= result.difference))
            result.difference = difference;
    }
    /* Two chains of n roundings, each at most 2^-24 of a partial sum of size sqrt(n) / 3: in units
     * of 4 n 2^-24, which is far out in the tail. */
    result.difference /= 4 * 0x1p-24 * (double)ours.sum_length;
    free(theirs);
    onednn_conv_free(onednn);
    ours_free(&ours);
    return result;
}

static void usage(void)
{
    fprintf(stderr, "usage: bench_conv [--threads N] [--seconds S] [--only TEXT] "
                    "[--isa base|avx2|avx512|amx] [--clock wall|cpu] [--json FILE]\n");
    exit(2);
}

static bench_options options_parse(int argc, char **argv)
{
    bench_options options = {.threads = omp_get_max_threads(),
                             .seconds = 1.0,
                             .isa = rvx__isa_detect(),
                             .clock = CLOCK_MONOTONIC};
    for (int i = 1; i < argc; i++) {
        if (i + 1 == argc)
            usage();
        const char *value = argv[++i];
        if (!strcmp(argv[i - 1], "--threads"))
            options.threads = atoi(value);
        else if (!strcmp(argv[i - 1], "--seconds"))
            options.seconds = atof(value);
        else if (!strcmp(argv[i - 1], "--only"))
            options.only = value;
        else if (!strcmp(argv[i - 1], "--json"))
            options.json = value;
        else if (!strcmp(argv[i - 1], "--clock")) {
            if (strcmp(value, "wall") && strcmp(value, "cpu"))
                usage();
            options.clock = strcmp(value, "cpu") ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID;
        } else if (!strcmp(argv[i - 1], "--isa")) {
            options.isa = RVX_ISA_COUNT;
            for (int isa = 0; isa < RVX_ISA_COUNT; isa++)
                if (!strcmp(value, isa_names[isa]))
                    options.isa = (rvx_isa)isa;
            if (options.isa > rvx__isa_detect())
                usage();
        } else
            usage();
    }
    if (options.threads < 1)
        usage();
    return options;
}

int main(int argc, char **argv)
{
    const bench_options options = options_parse(argc, argv);
    FILE *json = options.json ? fopen(options.json, "w") : NULL;
    if (options.json && !json) {
        perror(options.json);
        return 1;
    }
    omp_set_num_threads(options.threads);
    printf("%d threads, %s; GFLOP/s, least time of interleaved rounds\n", options.threads,
           isa_names[options.isa]);
    printf("%-42s %9s %9s %7s %7s\n", "case", "ours", "oneDNN", "ratio", "paired");
    int failures = 0, printed = 0;
    if (json)
        fprintf(json, "[\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const bench_case *c = &cases[i];
        char name[96];
        snprintf(name, sizeof name, "%s %d->%d %d^3 stride %d at %d^3 %s",
                 c->transposed ? "conv_transpose" : "conv", c->ci, c->co, c->kernel, c->stride,
                 c->size, direction_names[c->direction]);
        if (options.only && !strstr(name, options.only))
            continue;
        bench_result r = case_run(c, &options);
        int64_t length =
            c->transposed ? c->size : (c->size + 2 * c->pad - c->kernel) / c->stride + 1;
        double flops = 2.0 * pow(c->kernel, 3) * pow((double)length, 3) * c->ci * c->co;
        if (options.clock == CLOCK_PROCESS_CPUTIME_ID) {
            r.ours_seconds /= options.threads;
            r.onednn_seconds /= options.threads;
        }
        double ratio = r.onednn_seconds / r.ours_seconds;
        int right = r.difference <= 1.0, passed = right && ratio >= ratio_wanted;
        failures += !passed;
        printf("%-42s %9.1f %9.1f %7.2f %7.2f  %s%s  (%s)\n", name, flops / r.ours_seconds * 1e-9,
               flops / r.onednn_seconds * 1e-9, ratio, r.paired_ratio, passed ? "pass" : "FAIL",
               right ? "" : " (results differ)", r.implementation);
        fflush(stdout);
        if (json)
            fprintf(json,
                    "%s  {\"case\": \"%s\", \"ours_seconds\": %.9g, \"onednn_seconds\": %.9g, "
                    "\"flops\": %.9g, \"ratio\": %.4f, \"paired_ratio\": %.4f, \"passed\": %s}",
                    printed++ ? ",\n" : "", name, r.ours_seconds, r.onednn_seconds, flops, ratio,
                    r.paired_ratio, passed ? "true" : "false");
    }
    if (json) {
        fprintf(json, "\n]\n");
        if (fclose(json)) {
            perror(options.json);
            return 1;
        }
    }
    return failures > 0;
}
