/* What the GPU benchmark compares with: cuDNN's convolutions (backend API, version 9) and cuBLAS'
 * matrix product, loaded at run time where the machine has them. Owns: that interface. Tensors are
 * NDHWC bf16, weights [co][kd][kh][kw][ci] bf16, sums f32. */
#ifndef BENCH_GPU_PEERS_H
#define BENCH_GPU_PEERS_H

#include <stdint.h>

enum PeerPhase { PEER_FORWARD, PEER_WEIGHT, PEER_DATA };

struct PeerConv {
    PeerPhase phase;
    int64_t in[5];  /* n, d, h, w, ci */
    int64_t out[5]; /* n, d, h, w, co */
    int64_t kernel, stride, pad;
};

struct PeerPlan; /* one engine with its settings, for one problem */

/* What both libraries are called, or why they are not there; NULL: not there. */
const char *peer_cudnn_open(void *stream);
const char *peer_cublas_open(void *stream);

/* All plans that cuDNN makes of a problem: its heuristics' lists A, B and fallback, then every
 * engine with its own defaults; at most `most`, none that needs more than workspace_bytes. Some
 * engines are compiled when a plan is made: none is begun after `seconds`, but for the first. */
int peer_plans(PeerPlan **plans, int most, const PeerConv &conv, int64_t workspace_bytes,
               double seconds);
/* x, weight, y: the problem's operands in device memory; what the phase writes is overwritten.
 * False: refused. */
bool peer_run(PeerPlan *plan, const void *x, const void *weight, const void *y, void *workspace);
int64_t peer_engine(const PeerPlan *plan);
int64_t peer_workspace(const PeerPlan *plan);
void peer_free(PeerPlan *plan);

/* c (rows x columns) = a (rows x depth) b (depth x columns), all row by row, bf16. */
bool peer_product(void *c, const void *a, const void *b, int64_t rows, int64_t columns,
                  int64_t depth);

#endif
