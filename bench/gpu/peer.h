/* What a convolution of the benchmark is compared with: the best of all that cuDNN has for it, and
 * cuBLAS where it is one product of matrices. Owns: the choice among them. */
#ifndef BENCH_GPU_PEER_H
#define BENCH_GPU_PEER_H

#include "bench/gpu/problem.h"
#include "kernels/cuda/library.h"

namespace bench
{
struct Peer {
    rvx::LibraryAlgorithm algorithm; /* name "": there is none; "cublas" */
    void *prepared[SETS_MAX];        /* cuDNN's plans, one for each set of operands */
    int sets, tried;
    void *workspace;
    float *weight_gradient;
};

/* The version of cuDNN as it counts, 91002 is 9.10.2; 0: it is not there. */
int64_t peer_open();
/* The fastest of all algorithms for a phase, two runs each. No more are looked for after half of
 * the time until `until`. */
Peer peer_best(const Problem &p, int phase, double until);
bool peer_there(const Peer &peer);
bool peer_run(const Peer &peer, const Problem &p, int set);
/* Largest difference of a sample to a kernel of ours over its largest number; negative: not known.
 */
double peer_difference(const Peer &peer, const Problem &p, int phase, rvx_kernel kernel);
void peer_free(Peer &peer);
} // namespace bench

#endif
