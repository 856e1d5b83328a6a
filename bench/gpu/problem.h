/* One case of the kernels' benchmark: an op, its sizes, its operands in device memory, the call of
 * each phase, and the least time that the card could take. Owns: the list of cases. */
#ifndef BENCH_GPU_PROBLEM_H
#define BENCH_GPU_PROBLEM_H

#include "kernels/op.h"

namespace bench
{
enum { SETS_MAX = 16, PHASES = 3 };

/* BRANCH: norm_conv, half a coupling: y = residual + conv(act(norm(x))), statistics of x included.
 */
enum Kind { CONV, TRANSPOSED, NORM, BRANCH };

struct Case {
    Kind kind;
    int64_t in, out, side; /* channels of x and y; of x, a cube */
    int kernel, stride;
};
extern const Case cases[];
extern const int case_count;

const rvx_phase phases[PHASES] = {RVX_FORWARD, RVX_BACKWARD_PARAMETERS, RVX_BACKWARD_DATA};
const char *const phase_names[PHASES] = {"fwd", "wgrad", "dgrad"};

/* Operands: x and y in several sets, parameters once. */
struct Problem {
    Case c;
    const rvx_op *op;
    rvx_op_params params;
    rvx_shape x, y, weight;
    int sets;
    char *xs[SETS_MAX], *ys[SETS_MAX];
    float *parameters, *gradients; /* ours: f32 */
    float *tables;                 /* norm: statistics, fold table */
    uint16_t *peer_parameters; /* [co][k][k][k][ci] bf16, as cuDNN's convolution has ci and co */
    void *scratch;
    int64_t scratch_bytes;
};

Problem problem_make(const Case &c);
void problem_fill(Problem &p); /* random x and y */
void problem_free(Problem &p);
/* "conv3 s1 C=16 fwd" */
void problem_name(char (&name)[64], const Case &c, int phase);
rvx_call call_of(const Problem &p, rvx_phase phase, int set);
/* Booked for one phase, until scratch_free. */
void scratch_make(Problem &p, int phase);
void scratch_free(Problem &p);
/* The longer of all operands moved once at the copy bandwidth and all products at the matrix rate.
 */
double floor_milliseconds(const Problem &p, int phase, double *flops);
} // namespace bench

#endif
