/* The CUDA kernels one by one, beside the best of all of cuDNN's engines and cuBLAS, and beside
 * what this very card can do: its copy bandwidth and matrix rate are measured first. Medians of
 * interleaved runs on random data, operands rotated through more memory than the L2 holds.
 *
 * usage: bench_gpu [--library FILE] [--json FILE] [--seconds S] [--only TEXT] [--rounds N]
 * [--joules S]
 *
 * `floor`: the longer of all operands moved once at the copy bandwidth and all products at the
 * matrix rate. `error`: largest difference to the peer's result over the largest number, of a
 * sample. Where a convolution has several kernels, each is pinned and run beside the chosen one.
 * --joules: every kernel of ours runs for S more seconds, for the energy of one run, where NVML can
 * be read: its counter moves in steps of some 20 ms. */
#include "bench/gpu_energy.h"
#include "bench/gpu_peers.h"
#include "bench/json_keep.h"
#include "kernels/cuda/conv_sizes.h"
#include "kernels/cuda/plugin.h"
#include "kernels/cuda/simt_hopper.h"

#include <algorithm>
#include <chrono>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace
{
enum { SETS_MAX = 16, PLANS_MAX = 96, ROUNDS_MAX = 64, SAMPLE = 1 << 16, THREADS = 256 };

void must(cudaError_t code, const char *doing)
{
    if (code == cudaSuccess)
        return;
    fprintf(stderr, "bench_gpu: %s: %s\n", doing, cudaGetErrorString(code));
    exit(1);
}

double now()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

/* ---- the card ---------------------------------------------------------------------------------
 */

struct alignas(16) Words4 {
    uint32_t word[4];
};

RVX_GLOBAL void RVX_BOUNDS(THREADS) copy_kernel(Words4 *to, const Words4 *from, int64_t count)
{
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count;
         i += (int64_t)gridDim.x * THREADS)
        to[i] = from[i];
}

/* Eight products under way in each warp. */
RVX_GLOBAL void RVX_BOUNDS(THREADS) multiply_kernel(float *sums, int repeats)
{
    float d[8][4] = {};
    uint32_t a[4];
    for (int i = 0; i < 4; i++)
        a[i] = simt::pack_bf16((float)threadIdx.x * 0.001f + (float)i, 1.0f - (float)i);
    for (int r = 0; r < repeats; r++)
#pragma unroll
        for (int k = 0; k < 8; k++)
            simt::multiply_bf16(d[k], a, a[k % 4], a[(k + 1) % 4]);
    float sum = 0;
    for (int k = 0; k < 8; k++)
        for (int i = 0; i < 4; i++)
            sum += d[k][i];
    sums[(int64_t)blockIdx.x * THREADS + threadIdx.x] = sum;
}

/* Products of four warps as correlate_stream.cu has them: groups of 8 channels lie in planes of
 * rows of 34 voxels, `shift` bytes beside addresses on 128. Two groups of four warps, each with
 * four sums; what is multiplied is zeros. */
enum {
    PRODUCT_ROW = 34 * 16,
    PRODUCT_PLANE = 18 * PRODUCT_ROW,
    PRODUCT_WEIGHT = 2 * PRODUCT_PLANE
};

template <int N>
RVX_GLOBAL void RVX_BOUNDS(THREADS, 1) product_kernel(float *sums, int repeats, int shift)
{
    RVX_SHARED(unsigned char, shared);
    for (int i = (int)threadIdx.x; i < (PRODUCT_WEIGHT + N * 32) / 16; i += THREADS)
        simt::store_shared(shared + 16 * i, {0, 0, 0, 0});
    simt::publish();
    simt::barrier();
    const uint32_t at = simt::shared_address(shared) + (uint32_t)shift;
    const uint64_t b = simt::matrix_at(at - (uint32_t)shift + PRODUCT_WEIGHT, 128, 256);
    float d[4][N / 2] = {};
    for (int r = 0; r < repeats; r++) {
        for (float(&sum)[N / 2] : d)
            simt::settle(sum);
        simt::products_begin();
#pragma unroll
        for (int k = 0; k < 16; k++)
            simt::multiply_tiles<N>(
                d[k % 4],
                simt::matrix_at(at + (uint32_t)(k / 4 * PRODUCT_ROW + k % 4 * 128), PRODUCT_PLANE,
                                PRODUCT_ROW),
                b);
        simt::products_commit();
        simt::products_wait<0>();
        for (float(&sum)[N / 2] : d)
            simt::settle(sum);
    }
    float sum = 0;
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < N / 2; i++)
            sum += d[k][i];
    sums[(int64_t)blockIdx.x * THREADS + threadIdx.x] = sum;
}

/* Numbers of mean 0 and variance 1, the sum of four uniform ones. */
RVX_GLOBAL void RVX_BOUNDS(THREADS) random_kernel(uint16_t *to, int64_t count, uint32_t seed)
{
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count;
         i += (int64_t)gridDim.x * THREADS) {
        uint64_t z = ((uint64_t)seed << 40) + (uint64_t)i;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        float sum = -2;
        for (int k = 0; k < 4; k++)
            sum += (float)(z >> (16 * k) & 0xFFFF) * 0x1p-16f;
        to[i] = (uint16_t)simt::pack_bf16(sum * 1.7320508f, 0.0f);
    }
}

const rvx_cuda *plugin;
rvx_cuda_device *device;
cudaStream_t stream; /* the plug-in's queue */
cudaEvent_t begun, ended;

template <class F> double milliseconds(int repeats, F work)
{
    float ms;
    must(cudaEventRecord(begun, stream), "time");
    for (int i = 0; i < repeats; i++)
        work(i);
    must(cudaEventRecord(ended, stream), "time");
    must(cudaEventSynchronize(ended), "run");
    must(cudaGetLastError(), "launch");
    must(cudaEventElapsedTime(&ms, begun, ended), "time");
    return (double)ms / repeats;
}

double median(double *values, int count)
{
    std::sort(values, values + count);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

template <class T> T *device_memory(int64_t bytes)
{
    void *p = nullptr;
    must(cudaMalloc(&p, (size_t)bytes), "allocate");
    return static_cast<T *>(p);
}

void randomise(void *to, int64_t count, uint32_t seed)
{
    simt::launch(random_kernel, dim3(2048), THREADS, 0, stream, static_cast<uint16_t *>(to), count,
                 seed);
}

struct Card {
    char name[256];
    int multiprocessors;
    int64_t l2_bytes;
    double copy_rate;     /* bytes read and written a second */
    double multiply_rate; /* FLOP a second of mma.sync */
    double matrix_rate;   /* the same of the faster of that and cuBLAS */
    double product_rate[4]
                       [2]; /* of wgmma with 24, 48, 72, 96 columns, addresses on 128 and beside */
    const char *cudnn, *cublas;
} card;

template <int N> void measure_product(float *to, double (&rate)[2])
{
    enum { ROUNDS = 5, REPEATS = 2048 };
    double ms[ROUNDS];
    for (int shifted = 0; shifted < 2; shifted++) {
        for (double &m : ms)
            m = milliseconds(1, [&](int) {
                simt::launch(product_kernel<N>, dim3((unsigned)card.multiprocessors), THREADS,
                             PRODUCT_WEIGHT + N * 32, stream, to, (int)REPEATS, 16 * shifted);
            });
        rate[shifted] = 2.0 * 64 * N * 16 * 16 * REPEATS * (THREADS / 128) * card.multiprocessors /
                        median(ms, ROUNDS) * 1e3;
    }
}

void measure_card()
{
    enum { ROUNDS = 9 };
    const int64_t bytes = (int64_t)1 << 30;
    double ms[ROUNDS];
    cudaDeviceProp properties;
    must(cudaGetDeviceProperties(&properties, 0), "device");
    snprintf(card.name, sizeof card.name, "%s", properties.name);
    card.multiprocessors = properties.multiProcessorCount;
    card.l2_bytes = properties.l2CacheSize;
    char *from = device_memory<char>(bytes), *to = device_memory<char>(bytes);
    randomise(from, bytes / 2, 1);
    for (double &m : ms)
        m = milliseconds(2, [&](int) {
            simt::launch(copy_kernel, dim3((unsigned)(card.multiprocessors * 32)), THREADS, 0,
                         stream, (Words4 *)to, (const Words4 *)from, bytes / 16);
        });
    card.copy_rate = 2.0 * (double)bytes / median(ms, ROUNDS) * 1e3;
    const int repeats = 4096, blocks = card.multiprocessors * 8;
    for (double &m : ms)
        m = milliseconds(1, [&](int) {
            simt::launch(multiply_kernel, dim3((unsigned)blocks), THREADS, 0, stream, (float *)to,
                         (int)repeats);
        });
    card.multiply_rate =
        2.0 * 16 * 8 * 16 * 8 * repeats * (THREADS / 32) * blocks / median(ms, ROUNDS) * 1e3;
    card.matrix_rate = card.multiply_rate;
    if (simt::hopper()) {
        measure_product<24>((float *)to, card.product_rate[0]);
        measure_product<48>((float *)to, card.product_rate[1]);
        measure_product<72>((float *)to, card.product_rate[2]);
        measure_product<96>((float *)to, card.product_rate[3]);
    }
    const int64_t n = 8192;
    if (card.cublas) {
        bool good = true;
        for (double &m : ms)
            m = milliseconds(
                2, [&](int) { good = peer_product(to, from, from + n * n * 2, n, n, n) && good; });
        if (good)
            card.matrix_rate =
                std::max(card.matrix_rate, 2.0 * n * n * n / median(ms, ROUNDS) * 1e3);
    }
    cudaFree(from);
    cudaFree(to);
}

/* ---- one case ---------------------------------------------------------------------------------
 */

enum Kind { CONV, TRANSPOSED, NORM };

struct Case {
    Kind kind;
    int64_t channels, side; /* of the input, a cube */
    int kernel, stride;
};

/* Sizes such that a run takes milliseconds, and operands exceed the L2. */
const Case cases[] = {
    {CONV, 8, 192, 3, 1},       {CONV, 16, 192, 3, 1},      {CONV, 24, 160, 3, 1},
    {CONV, 32, 160, 3, 1},      {CONV, 64, 112, 3, 1},      {CONV, 128, 80, 3, 1},
    {CONV, 8, 192, 3, 2},       {CONV, 16, 192, 3, 2},      {CONV, 24, 160, 3, 2},
    {CONV, 32, 160, 3, 2},      {CONV, 64, 112, 3, 2},      {CONV, 128, 80, 3, 2},
    {TRANSPOSED, 16, 96, 2, 2}, {TRANSPOSED, 32, 80, 2, 2}, {TRANSPOSED, 64, 56, 2, 2},
    {CONV, 16, 192, 1, 1},      {CONV, 32, 160, 1, 1},      {CONV, 64, 112, 1, 1},
    {NORM, 16, 192, 0, 1},      {NORM, 32, 160, 0, 1},      {NORM, 64, 112, 0, 1},
};

const char *const kind_names[] = {"conv", "conv_transpose", "norm_act"};
const rvx_phase phases[3] = {RVX_FORWARD, RVX_BACKWARD_PARAMETERS, RVX_BACKWARD_DATA};
const char *const phase_names[3] = {"fwd", "wgrad", "dgrad"};

const rvx_op *op_of(const Case &c)
{
    return c.kind == CONV         ? &rvx__op_conv
           : c.kind == TRANSPOSED ? &rvx__op_conv_transpose
                                  : &rvx__op_norm_act;
}

/* Operands: x and y in several sets, parameters once. */
struct Problem {
    Case c;
    rvx_op_params params;
    rvx_shape x, y, weight;
    int sets;
    char *xs[SETS_MAX], *ys[SETS_MAX];
    float *parameters, *gradients; /* ours: f32 */
    float *tables;                 /* norm: statistics, fold table */
    uint16_t *peer_parameters;     /* [co][k][k][k][ci] bf16 */
    void *scratch;
    int64_t scratch_bytes;
};

rvx_shape cube(int64_t side, int64_t channels) { return {1, side, side, side, channels}; }

rvx_tensor tensor(void *data, rvx_shape shape, rvx_dtype dtype)
{
    rvx_tensor t = {};
    t.data = data;
    t.shape = shape;
    t.pitch = shape.c;
    t.dtype = dtype;
    return t;
}

Problem make_problem(const Case &c)
{
    Problem p = {};
    p.c = c;
    const int64_t side =
        c.kind == TRANSPOSED ? c.side * c.stride : (c.side + c.stride - 1) / c.stride;
    p.x = cube(c.side, c.channels);
    p.y = cube(side, c.channels);
    p.weight = {c.kernel, c.kernel, c.kernel, c.channels, c.channels};
    for (int a = 0; a < 3; a++) {
        p.params.kernel[a] = c.kernel;
        p.params.stride[a] = c.stride;
        p.params.pad[a] = c.kind == CONV ? c.kernel / 2 : 0;
    }
    p.params.channels_out = (int32_t)c.channels;
    p.params.epsilon = 1e-5f;
    p.params.slope = 0.01f;
    const int64_t x_bytes = 2 * rvx__shape_count(p.x), y_bytes = 2 * rvx__shape_count(p.y);
    p.sets = (int)std::clamp<int64_t>(3 * card.l2_bytes / (x_bytes + y_bytes) + 1, 2, SETS_MAX);
    for (int i = 0; i < p.sets; i++) {
        p.xs[i] = device_memory<char>(x_bytes);
        p.ys[i] = device_memory<char>(y_bytes);
    }
    const int64_t count = c.kind == NORM ? 2 * c.channels : rvx__shape_count(p.weight);
    p.parameters = device_memory<float>(4 * count);
    p.gradients = device_memory<float>(4 * count);
    p.tables = device_memory<float>(4 * 8 * c.channels);
    p.peer_parameters = device_memory<uint16_t>(2 * count);
    float *ours = static_cast<float *>(malloc((size_t)count * sizeof *ours));
    uint16_t *peers = static_cast<uint16_t *>(malloc((size_t)count * sizeof *peers));
    const int64_t taps = (int64_t)c.kernel * c.kernel * c.kernel;
    const float scale = c.kind == NORM ? 1 : 1 / sqrtf((float)(taps * c.channels));
    for (int64_t i = 0; i < count; i++) {
        const uint16_t bits = rvx__bf16_of(scale * sinf(1.7f * (float)i + 0.3f) * 1.4f);
        ours[i] = c.kind == NORM ? 1 : rvx__f32_of(bits);
        const int64_t tap = i / c.channels / c.channels, in = i / c.channels % c.channels,
                      out = i % c.channels;
        if (c.kind == CONV)
            peers[(out * taps + tap) * c.channels + in] = bits;
        else /* a transposed convolution is the data gradient of one: its in is that one's out */
            peers[c.kind == NORM ? i : (in * taps + tap) * c.channels + out] = bits;
    }
    must(cudaMemcpy(p.parameters, ours, 4 * (size_t)count, cudaMemcpyHostToDevice), "copy");
    must(cudaMemcpy(p.peer_parameters, peers, 2 * (size_t)count, cudaMemcpyHostToDevice), "copy");
    free(ours);
    free(peers);
    return p;
}

void fill_problem(Problem &p)
{
    for (int i = 0; i < p.sets; i++) {
        randomise(p.xs[i], rvx__shape_count(p.x), (uint32_t)i + 1);
        randomise(p.ys[i], rvx__shape_count(p.y), (uint32_t)i + 101);
    }
}

void free_problem(Problem &p)
{
    for (int i = 0; i < p.sets; i++) {
        cudaFree(p.xs[i]);
        cudaFree(p.ys[i]);
    }
    cudaFree(p.parameters);
    cudaFree(p.gradients);
    cudaFree(p.tables);
    cudaFree(p.peer_parameters);
}

rvx_call call_of(const Problem &p, rvx_phase phase, int set)
{
    rvx_call call = {};
    const rvx_tensor x = tensor(p.xs[set], p.x, RVX_BF16), y = tensor(p.ys[set], p.y, RVX_BF16);
    const int64_t c = p.c.channels;
    call.params = &p.params;
    call.threads = 1;
    call.queue = stream;
    call.scratch = p.scratch;
    call.scratch_bytes = p.scratch_bytes;
    call.in[0] = x;
    call.out[0] = y;
    if (p.c.kind == NORM) {
        const rvx_shape row = {1, 1, 1, 1, c};
        call.in[1] = tensor(p.parameters, row, RVX_F32);
        call.in[2] = tensor(p.parameters + c, row, RVX_F32);
        call.out[1] = tensor(p.tables, {1, 1, 1, c, 2}, RVX_F32);
        call.out[2] = tensor(p.tables + 2 * c, {1, 1, 1, 3, c}, RVX_F32);
        if (phase == RVX_BACKWARD_PARAMETERS) {
            call.grad_in[1] = tensor(p.gradients, row, RVX_F32);
            call.grad_in[2] = tensor(p.gradients + c, row, RVX_F32);
        }
    } else {
        call.in[1] = tensor(p.parameters, p.weight, RVX_F32);
        if (phase == RVX_BACKWARD_PARAMETERS)
            call.grad_in[1] = tensor(p.gradients, p.weight, RVX_F32);
    }
    if (phase == RVX_FORWARD)
        return call;
    call.grad_out[0] = y;
    call.out[0].data = nullptr;
    if (phase == RVX_BACKWARD_DATA) {
        call.grad_in[0] = x;
        if (p.c.kind == NORM) /* reads x and writes dx: another set's */
            call.grad_in[0].data = p.xs[(set + 1) % p.sets];
        else
            call.in[0].data = nullptr;
    }
    return call;
}

PeerConv peer_of(const Problem &p, int phase)
{
    PeerConv c = {};
    const bool turned = p.c.kind == TRANSPOSED;
    const rvx_shape &in = turned ? p.y : p.x, &out = turned ? p.x : p.y;
    c.phase = turned && phase != 1 ? (phase == 0 ? PEER_DATA : PEER_FORWARD) : (PeerPhase)phase;
    const int64_t sizes[2][5] = {{in.n, in.d, in.h, in.w, in.c},
                                 {out.n, out.d, out.h, out.w, out.c}};
    memcpy(c.in, sizes[0], sizeof c.in);
    memcpy(c.out, sizes[1], sizeof c.out);
    c.kernel = p.c.kernel;
    c.stride = p.c.stride;
    c.pad = p.params.pad[0];
    return c;
}

/* ---- the peer ---------------------------------------------------------------------------------
 */

struct Peer {
    PeerPlan *plan; /* NULL: cuBLAS, or none */
    bool product;
    int tried;
    void *workspace;
    uint16_t *weight_gradient;
};

bool run_peer(const Peer &peer, const Problem &p, int phase, int set)
{
    const bool turned = p.c.kind == TRANSPOSED;
    void *x = p.xs[set], *y = p.ys[set], *w = phase == 1 ? peer.weight_gradient : p.peer_parameters;
    if (peer.product) /* rows of x times [ci][co]: the same numbers, as the weights are square */
        return peer_product(y, x, w, rvx__shape_voxels(p.x), p.c.channels, p.c.channels);
    return peer.plan && peer_run(peer.plan, turned ? y : x, w, turned ? x : y, peer.workspace);
}

/* The fastest of all plans, two runs each. */
Peer best_peer(const Problem &p, int phase, double until)
{
    Peer best = {};
    const int64_t workspace_bytes = (int64_t)2 << 30;
    PeerPlan *plans[PLANS_MAX];
    double least = INFINITY;
    if (p.c.kind == NORM || !card.cudnn)
        return best;
    best.workspace = device_memory<char>(workspace_bytes);
    best.weight_gradient = device_memory<uint16_t>(2 * rvx__shape_count(p.weight));
    const double half = (until - now()) / 2; /* the other half is for trying them */
    const int count = peer_plans(plans, PLANS_MAX, peer_of(p, phase), workspace_bytes, half);
    PeerPlan *chosen = nullptr;
    for (int i = 0; i < count; i++) {
        best.plan = plans[i];
        bool good = now() < until && run_peer(best, p, phase, 0);
        good = cudaStreamSynchronize(stream) == cudaSuccess && good;
        if (good) {
            double ms = INFINITY;
            for (int r = 0; r < 2; r++)
                ms = std::min(ms, milliseconds(1, [&](int) { run_peer(best, p, phase, 1); }));
            best.tried++;
            if (ms < least) {
                least = ms;
                std::swap(chosen, plans[i]);
            }
        }
        peer_free(plans[i]);
    }
    best.plan = chosen;
    if (card.cublas && p.c.kind == CONV && p.c.kernel == 1 && phase == 0) {
        Peer blas = best;
        blas.product = true;
        double ms = INFINITY;
        for (int r = 0; r < 3; r++)
            ms = std::min(ms, milliseconds(1, [&](int) { run_peer(blas, p, phase, 1); }));
        best.product = ms < least;
    }
    return best;
}

/* Largest difference of a sample over its largest number. Weight gradients lie differently. */
double difference(const Problem &p, int phase, const Peer &peer, rvx_kernel kernel)
{
    const bool weights = phase == 1;
    const int64_t count = weights
                              ? rvx__shape_count(p.weight)
                              : std::min<int64_t>(SAMPLE, rvx__shape_count(phase == 0 ? p.y : p.x));
    const int64_t channels = p.c.channels, taps = (int64_t)p.c.kernel * p.c.kernel * p.c.kernel;
    const void *result = phase == 0 ? p.ys[0] : p.xs[0];
    double worst = 0, largest = 0;
    float *ours = static_cast<float *>(malloc((size_t)count * 4));
    uint16_t *theirs = static_cast<uint16_t *>(malloc((size_t)count * 2));
    const rvx_call call = call_of(p, phases[phase], 0);
    kernel(&call);
    must(cudaStreamSynchronize(stream), "run");
    if (weights) {
        must(cudaMemcpy(ours, p.gradients, (size_t)count * 4, cudaMemcpyDeviceToHost), "copy");
    } else {
        must(cudaMemcpy(theirs, result, (size_t)count * 2, cudaMemcpyDeviceToHost), "copy");
        for (int64_t i = 0; i < count; i++)
            ours[i] = rvx__f32_of(theirs[i]);
    }
    run_peer(peer, p, phase, 0);
    must(cudaStreamSynchronize(stream), "run");
    must(cudaMemcpy(theirs, weights ? (const void *)peer.weight_gradient : result,
                    (size_t)count * 2, cudaMemcpyDeviceToHost),
         "copy");
    for (int64_t i = 0; i < count; i++) {
        const int64_t tap = i / channels / channels, in = i / channels % channels,
                      out = i % channels;
        const int64_t there = !weights           ? i
                              : p.c.kind == CONV ? (out * taps + tap) * channels + in
                                                 : (in * taps + tap) * channels + out;
        const double v = (double)rvx__f32_of(theirs[there]);
        worst = std::max(worst, fabs((double)ours[i] - v));
        largest = std::max(largest, fabs(v));
    }
    free(ours);
    free(theirs);
    return worst / largest;
}

/* ---- the table --------------------------------------------------------------------------------
 */

struct Options {
    const char *library, *json, *only;
    double seconds, joule_seconds; /* joule_seconds: that a kernel runs for its energy; 0: none */
    int rounds;
};

double floor_milliseconds(const Problem &p, int phase, double *flops)
{
    const double bytes = 2.0 * (double)(rvx__shape_count(p.x) + rvx__shape_count(p.y));
    *flops = 0;
    if (p.c.kind == NORM) /* statistics need x before the first y: x twice; dx needs x, dy twice */
        return 1e3 * bytes / card.copy_rate * (phase == 0 ? 1.5 : phase == 1 ? 1 : 2.5);
    const double voxels = (double)rvx__shape_voxels(p.c.kind == TRANSPOSED ? p.x : p.y);
    *flops = 2 * voxels * (double)rvx__shape_count(p.weight);
    return 1e3 * std::max(bytes / card.copy_rate, *flops / card.matrix_rate);
}

/* Joules of one run, from so many seconds of runs; negative: cannot be read, or not asked for. */
template <class F> double joules_of(double seconds, double ms, F work)
{
    if (seconds <= 0 || gpu_joules(0) < 0)
        return -1;
    const int repeats = (int)std::clamp(1e3 * seconds / ms, 1.0, 1e6);
    const double before = gpu_joules(0);
    milliseconds(repeats, work);
    return (gpu_joules(0) - before) / repeats;
}

/* Kernels of a convolution that can be pinned and take this phase of it. */
enum { PINS = 2 };
struct Pin {
    const char *name;
    rvx_kernel kernel;
    double ms[ROUNDS_MAX];
};

int pins_of(Pin (&pins)[PINS], const Problem &p, int phase)
{
    const rvx__cuda_gather g = phase == 2 ? rvx__cuda_gather_of(&p.y, &p.x, &p.params, 1, 1)
                                          : rvx__cuda_gather_of(&p.x, &p.y, &p.params, 0, 0);
    int count = 0;
    if (p.c.kind != CONV || phase == 1)
        return 0;
    if (rvx__cuda_halo_fits(g.kernel, g.stride, g.source_c, g.target_c))
        pins[count++].name = "conv.halo";
    if (rvx__cuda_stream_fits(&g) && simt::hopper())
        pins[count++].name = "conv.stream";
    for (int i = 0; i < count; i++)
        pins[i].kernel = plugin->kernel(pins[i].name, phases[phase]);
    return count;
}

void bench_phase(Problem &p, int phase, const Options &options, double until, FILE *json,
                 bool *first)
{
    const rvx_op *op = op_of(p.c);
    rvx_kernel kernel = plugin->kernel(op->name, phases[phase]);
    double ours[ROUNDS_MAX], theirs[ROUNDS_MAX], flops, error = -1;
    char name[64];
    snprintf(name, sizeof name, "%s%d s%d C=%d %s", kind_names[p.c.kind], p.c.kernel, p.c.stride,
             (int)p.c.channels, phase_names[phase]);
    if (!kernel || (options.only && !strstr(name, options.only)))
        return;
    rvx_shape in[RVX_IN_MAX] = {}, out[RVX_OUT_MAX] = {};
    const rvx_call shapes = call_of(p, phases[phase], 0);
    for (int i = 0; i < RVX_IN_MAX; i++)
        in[i] = shapes.in[i].shape;
    for (int i = 0; i < RVX_OUT_MAX; i++)
        out[i] = shapes.out[i].shape;
    p.scratch_bytes = op->cuda_scratch ? op->cuda_scratch(phases[phase], in, out, &p.params) : 0;
    p.scratch = device_memory<char>(std::max<int64_t>(p.scratch_bytes, 256));
    fill_problem(p);
    const auto run_ours = [&](int i) {
        const rvx_call call = call_of(p, phases[phase], i % p.sets);
        kernel(&call);
    };
    Peer peer = best_peer(p, phase, until - 1);
    const bool has_peer = peer.plan || peer.product;
    Pin pins[PINS];
    const int pin_count = pins_of(pins, p, phase);
    milliseconds(2, run_ours);
    const int repeats = (int)std::clamp(2 / milliseconds(1, run_ours), 1.0, 40.0);
    int rounds = 0;
    for (; rounds < options.rounds && (rounds < 3 || now() < until); rounds++) {
        ours[rounds] = milliseconds(repeats, run_ours);
        theirs[rounds] =
            has_peer ? milliseconds(repeats, [&](int i) { run_peer(peer, p, phase, i % p.sets); })
                     : NAN;
        for (int k = 0; k < pin_count; k++)
            pins[k].ms[rounds] = milliseconds(repeats, [&](int i) {
                const rvx_call call = call_of(p, phases[phase], i % p.sets);
                pins[k].kernel(&call);
            });
    }
    const double mine = median(ours, rounds), peers = has_peer ? median(theirs, rounds) : NAN;
    const double least = floor_milliseconds(p, phase, &flops);
    const double joules = joules_of(options.joule_seconds, mine, run_ours);
    if (has_peer && !peer.product) /* its weights lie otherwise */
        error = difference(p, phase, peer, kernel);
    printf("%-28s %4d^3 %8.3f ms %7.1f TFLOP/s %5.1f %% of floor", name, (int)p.c.side, mine,
           flops / mine * 1e-9, 100 * least / mine);
    if (has_peer)
        printf("  %s %8.3f ms  %5.2fx  error %.1e", peer.product ? "cuBLAS" : "cuDNN", peers,
               peers / mine, error);
    if (joules >= 0)
        printf("  %.4f J", joules);
    printf("\n");
    double pinned[PINS], pinned_error[PINS];
    for (int k = 0; k < pin_count; k++) {
        pinned[k] = median(pins[k].ms, rounds);
        pinned_error[k] =
            has_peer && !peer.product ? difference(p, phase, peer, pins[k].kernel) : -1;
        printf("  %-26s        %8.3f ms %7.1f TFLOP/s %5.1f %% of floor  error %.1e\n",
               pins[k].name, pinned[k], flops / pinned[k] * 1e-9, 100 * least / pinned[k],
               pinned_error[k]);
    }
    fflush(stdout);
    if (json) {
        fprintf(
            json,
            "%s\n  {\"op\": \"%s\", \"kernel\": %d, \"stride\": %d, \"channels\": %d, \"side\": "
            "%d, \"phase\": \"%s\", \"ms\": %.5f, \"least_ms\": %.5f, \"tflops\": %.2f, "
            "\"floor_ms\": %.5f, \"rounds\": %d",
            *first ? "" : ",", kind_names[p.c.kind], p.c.kernel, p.c.stride, (int)p.c.channels,
            (int)p.c.side, phase_names[phase], mine, ours[0], flops / mine * 1e-9, least, rounds);
        if (has_peer)
            fprintf(json,
                    ", \"peer\": \"%s\", \"engine\": %d, \"engines_tried\": %d, "
                    "\"peer_workspace\": %.0f, \"peer_ms\": %.5f, \"ratio\": %.4f, \"error\": %.3e",
                    peer.product ? "cuBLAS" : "cuDNN",
                    peer.product ? -1 : (int)peer_engine(peer.plan), peer.tried,
                    peer.product ? 0.0 : (double)peer_workspace(peer.plan), peers, peers / mine,
                    error);
        if (joules >= 0)
            fprintf(json, ", \"joules\": %.5f", joules);
        for (int k = 0; k < pin_count; k++)
            fprintf(json, ", \"%s_ms\": %.5f, \"%s_error\": %.3e", pins[k].name + 5, pinned[k],
                    pins[k].name + 5, pinned_error[k]);
        fprintf(json, "}");
        *first = false;
        json_keep(json);
    }
    peer_free(peer.plan);
    cudaFree(peer.workspace);
    cudaFree(peer.weight_gradient);
    cudaFree(p.scratch);
}

void open_plugin(const char *path)
{
    rvx_error error = {};
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    rvx_cuda_entry entry =
        library ? reinterpret_cast<rvx_cuda_entry>(dlsym(library, RVX_CUDA_SYMBOL)) : nullptr;
    if (!entry) {
        fprintf(stderr, "bench_gpu: %s\n", dlerror());
        exit(1);
    }
    plugin = entry();
    if (plugin->interface != RVX_CUDA_INTERFACE ||
        plugin->device_open(&device, 0, &error) != RVX_OK) {
        fprintf(stderr, "bench_gpu: %s: %s\n", path, error.message);
        exit(1);
    }
    stream = static_cast<cudaStream_t>(plugin->device_queue(device));
}

Options options_of(int argc, char **argv)
{
    Options o = {"build/librevoxel_cuda.so", nullptr, nullptr, 140, 0, 15};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--json") == 0)
            o.json = argv[i + 1];
        else if (i + 1 < argc && strcmp(argv[i], "--library") == 0)
            o.library = argv[i + 1];
        else if (i + 1 < argc && strcmp(argv[i], "--only") == 0)
            o.only = argv[i + 1];
        else if (i + 1 < argc && strcmp(argv[i], "--joules") == 0)
            o.joule_seconds = atof(argv[i + 1]);
        else if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0)
            o.seconds = atof(argv[i + 1]);
        else if (i + 1 < argc && strcmp(argv[i], "--rounds") == 0)
            o.rounds = std::clamp(atoi(argv[i + 1]), 3, (int)ROUNDS_MAX);
        else {
            fprintf(stderr, "usage: bench_gpu [--library FILE] [--json FILE] [--seconds S] [--only "
                            "TEXT] [--rounds N] [--joules S]\n");
            exit(2);
        }
    }
    return o;
}
} // namespace

int main(int argc, char **argv)
{
    const Options options = options_of(argc, argv);
    const double started = now();
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        fprintf(stderr, "bench_gpu: no GPU here\n");
        return 3;
    }
    must(cudaSetDevice(0), "device");
    open_plugin(options.library);
    must(cudaEventCreate(&begun), "event");
    must(cudaEventCreate(&ended), "event");
    card.cudnn = peer_cudnn_open(stream);
    card.cublas = peer_cublas_open(stream);
    measure_card();
    printf(
        "%s, %d multiprocessors, L2 %.0f MB; copy %.0f GB/s, mma.sync %.0f TFLOP/s, matrices %.0f "
        "TFLOP/s; %s, %s\n",
        card.name, card.multiprocessors, (double)card.l2_bytes * 1e-6, card.copy_rate * 1e-9,
        card.multiply_rate * 1e-12, card.matrix_rate * 1e-12, card.cudnn ? card.cudnn : "no cuDNN",
        card.cublas ? card.cublas : "no cuBLAS");
    for (int i = 0; i < 4 && simt::hopper(); i++)
        printf("wgmma of 64 x %d x 16 without swizzle: %.0f TFLOP/s, %.0f beside 128 bytes\n",
               24 * (i + 1), card.product_rate[i][0] * 1e-12, card.product_rate[i][1] * 1e-12);
    FILE *json = options.json ? fopen(options.json, "w") : nullptr;
    bool first = true;
    if (json)
        fprintf(json,
                "{\"device\": \"%s\", \"multiprocessors\": %d, \"l2_bytes\": %.0f, "
                "\"copy_gb_per_second\": %.1f, \"mma_tflops\": %.1f, \"matrix_tflops\": %.1f, "
                "\"wgmma_tflops\": [%.1f, %.1f, %.1f, %.1f], "
                "\"wgmma_shifted_tflops\": [%.1f, %.1f, %.1f, %.1f], "
                "\"cudnn\": \"%s\", \"rows\": [",
                card.name, card.multiprocessors, (double)card.l2_bytes, card.copy_rate * 1e-9,
                card.multiply_rate * 1e-12, card.matrix_rate * 1e-12,
                card.product_rate[0][0] * 1e-12, card.product_rate[1][0] * 1e-12,
                card.product_rate[2][0] * 1e-12, card.product_rate[3][0] * 1e-12,
                card.product_rate[0][1] * 1e-12, card.product_rate[1][1] * 1e-12,
                card.product_rate[2][1] * 1e-12, card.product_rate[3][1] * 1e-12,
                card.cudnn ? card.cudnn : "");
    const int count = (int)(sizeof cases / sizeof *cases);
    for (int i = 0; i < count; i++) {
        Problem p = make_problem(cases[i]);
        for (int phase = 0; phase < 3; phase++) {
            const double left = options.seconds - (now() - started);
            const double share = left / (3 * (count - i) - phase);
            bench_phase(p, phase, options, now() + std::max(share, 0.5), json, &first);
        }
        free_problem(p);
    }
    if (json) {
        fprintf(json, "\n]}\n");
        fclose(json);
    }
    return 0;
}
