/* See peer.h. */
#include "bench/gpu/cublas.h"
#include "bench/gpu/device.h"
#include "bench/gpu/peer.h"
#include "kernels/cuda/cudnn_gpu.h"

#include <algorithm>
#include <math.h>
#include <stdlib.h>

namespace bench
{
namespace
{
enum { ALGORITHMS = 96, SAMPLE = 1 << 16 };
rvx::Cudnn *cudnn;

int64_t workspace_bytes() { return amount((int64_t)2 << 30, 1 << 20); }

/* A transposed convolution is the data gradient of the convolution from y to x. */
rvx::LibraryConv conv_of(const Problem &p, int phase)
{
    rvx::LibraryConv c = {};
    const bool turned = p.c.kind == TRANSPOSED;
    c.phase = phases[phase] == RVX_BACKWARD_PARAMETERS         ? rvx::LIBRARY_WEIGHT
              : (phases[phase] == RVX_BACKWARD_DATA) != turned ? rvx::LIBRARY_DATA
                                                               : rvx::LIBRARY_FORWARD;
    c.bf16 = true;
    c.x = turned ? p.y : p.x;
    c.y = turned ? p.x : p.y;
    for (int a = 0; a < 3; a++) {
        c.kernel[a] = p.params.kernel[a];
        c.stride[a] = p.params.stride[a];
        c.pad[a] = p.params.pad[a];
    }
    return c;
}

rvx::LibraryOperands operands_of(const Peer &peer, const Problem &p, int phase, int set)
{
    const bool turned = p.c.kind == TRANSPOSED;
    rvx::LibraryOperands o = {};
    o.x = turned ? p.ys[set] : p.xs[set];
    o.y = turned ? p.xs[set] : p.ys[set];
    o.weight = phases[phase] == RVX_BACKWARD_PARAMETERS ? (void *)peer.weight_gradient
                                                        : (void *)p.peer_parameters;
    o.workspace = peer.workspace;
    o.workspace_bytes = workspace_bytes();
    return o;
}

void *prepare(const Peer &peer, const Problem &p, int phase, int set)
{
    return rvx::cudnn_prepare(cudnn, conv_of(p, phase), peer.algorithm.name,
                              operands_of(peer, p, phase, set));
}

/* Milliseconds; infinity: it fails. */
double try_algorithm(const Peer &peer, const Problem &p, int phase)
{
    double ms = INFINITY;
    void *prepared = prepare(peer, p, phase, 0);
    if (!prepared)
        return ms;
    bool good = rvx::cudnn_run(cudnn, prepared);
    good = settled() && good;
    for (int r = 0; r < 2 && good; r++)
        ms = std::min(ms, milliseconds(1, [&](int) { rvx::cudnn_run(cudnn, prepared); }));
    rvx::cudnn_unprepare(cudnn, prepared);
    return ms;
}

bool is_product(const Problem &p, int phase)
{
    return p.c.kind == CONV && p.c.kernel == 1 && p.c.stride == 1 && p.c.in == p.c.out &&
           phases[phase] == RVX_FORWARD;
}

bool is_cublas(const Peer &peer) { return strcmp(peer.algorithm.name, "cublas") == 0; }
} // namespace

int64_t peer_open()
{
    int64_t version = 0;
    cudnn = rvx::cudnn_open(stream, &version);
    return cudnn ? version : 0;
}

bool peer_there(const Peer &peer) { return peer.algorithm.name[0] != 0; }

Peer peer_best(const Problem &p, int phase, double until)
{
    static rvx::LibraryAlgorithm list[ALGORITHMS];
    Peer best = {};
    double least = INFINITY;
    if (p.c.kind == NORM || p.c.kind == BRANCH)
        return best;
    best.workspace = device_memory<char>(workspace_bytes());
    best.weight_gradient = device_memory<float>(4 * rvx__shape_count(p.weight));
    const double half = (until - now()) / 2; /* the other half is for trying them */
    const int count = cudnn ? rvx::cudnn_list(cudnn, list, ALGORITHMS, conv_of(p, phase), half) : 0;
    Peer tried = best;
    for (int i = 0; i < count && (i == 0 || now() < until); i++) {
        if (list[i].workspace_bytes > workspace_bytes())
            continue;
        tried.algorithm = list[i];
        const double ms = try_algorithm(tried, p, phase);
        best.tried += ms < INFINITY;
        if (ms < least) {
            least = ms;
            best.algorithm = list[i];
        }
    }
    if (cublas_there() && is_product(p, phase)) {
        double ms = INFINITY;
        tried.algorithm = {"cublas", 0, true, true};
        for (int r = 0; r < 3; r++)
            ms = std::min(ms, milliseconds(1, [&](int) { peer_run(tried, p, 0); }));
        if (ms < least)
            best.algorithm = tried.algorithm;
    }
    for (; peer_there(best) && !is_cublas(best) && best.sets < p.sets; best.sets++)
        if (!(best.prepared[best.sets] = prepare(best, p, phase, best.sets))) {
            best.algorithm.name[0] = 0;
            break;
        }
    return best;
}

bool peer_run(const Peer &peer, const Problem &p, int set)
{
    if (is_cublas(peer)) /* rows of x times [ci][co]: the same work, as the weights are square */
        return cublas_product(p.ys[set], p.xs[set], p.peer_parameters, rvx__shape_voxels(p.x),
                              p.c.out, p.c.in);
    return rvx::cudnn_run(cudnn, peer.prepared[set]);
}

/* Gradients of weights are f32, and lie differently. */
double peer_difference(const Peer &peer, const Problem &p, int phase, rvx_kernel kernel)
{
    const bool weights = phases[phase] == RVX_BACKWARD_PARAMETERS, forward = phase == 0;
    const rvx_shape &shape = weights ? p.weight : forward ? p.y : p.x;
    const int64_t all = rvx__shape_count(shape),
                  count = weights ? all : std::min<int64_t>(SAMPLE, all), size = weights ? 4 : 2;
    const int64_t ci = p.c.in, co = p.c.out, taps = rvx__shape_count(p.weight) / ci / co;
    const void *const result = forward ? p.ys[0] : p.xs[0];
    double worst = 0, largest = 0;
    if (!peer_there(peer) || is_cublas(peer))
        return -1;
    char *ours = static_cast<char *>(malloc((size_t)(count * size)));
    char *theirs = static_cast<char *>(malloc((size_t)(count * size)));
    const rvx_call call = call_of(p, phases[phase], 0);
    const auto number = [&](const char *from, int64_t i) {
        return weights ? (double)reinterpret_cast<const float *>(from)[i]
                       : (double)rvx__f32_of(reinterpret_cast<const uint16_t *>(from)[i]);
    };
    kernel(&call);
    to_host(ours, weights ? p.gradients : result, count * size);
    const bool ran = peer_run(peer, p, 0);
    to_host(theirs, weights ? peer.weight_gradient : result, count * size);
    for (int64_t i = 0; i < count; i++) {
        const int64_t tap = i / co / ci, in = i / co % ci, out = i % co;
        const int64_t there = !weights                 ? i
                              : p.c.kind == TRANSPOSED ? (in * taps + tap) * co + out
                                                       : (out * taps + tap) * ci + in;
        const double v = number(theirs, there);
        worst = std::max(worst, fabs(number(ours, i) - v));
        largest = std::max(largest, fabs(v));
    }
    free(ours);
    free(theirs);
    return ran ? worst / largest : -1;
}

void peer_free(Peer &peer)
{
    for (int i = 0; i < peer.sets; i++)
        rvx::cudnn_unprepare(cudnn, peer.prepared[i]);
    device_free(peer.workspace);
    device_free(peer.weight_gradient);
    peer = {};
}
} // namespace bench
