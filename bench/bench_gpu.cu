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
 * Under a row with a goal (gpu/goals.cu) stands whether it is met.
 * --joules: every kernel of ours runs for S more seconds, for the energy of one run, where NVML can
 * be read: its counter moves in steps of some 20 ms. */
#include "bench/gpu/card.h"
#include "bench/gpu/cublas.h"
#include "bench/gpu/device.h"
#include "bench/gpu/goals.h"
#include "bench/gpu/peer.h"
#include "bench/gpu_energy.h"
#include "bench/json_keep.h"
#include "kernels/cuda/conv_sizes.h"

#include <algorithm>
#include <stdlib.h>

using namespace bench;

namespace
{
enum { ROUNDS_MAX = 64, PINS = 2 };

struct Options {
    const char *library, *json, *only;
    double seconds, joule_seconds; /* joule_seconds: that a kernel runs for its energy; 0: none */
    int rounds;
};

/* A kernel of a convolution that can be pinned. */
struct Pin {
    const char *name;
    rvx_kernel kernel;
    double rounds[ROUNDS_MAX], ms, error;
};

/* What is known of one phase of one case. */
struct Row {
    char name[64];
    double ms, least_ms, flops, floor_ms;
    double peer_ms, error; /* NaN: no peer; negative: not known */
    double joules;         /* negative: cannot be read, or not asked for */
    int rounds, pin_count;
    Pin pins[PINS];
};

/* Those that take this phase of it. */
int pins_of(Pin (&pins)[PINS], const Problem &p, int phase)
{
    if (p.c.kind != CONV || phases[phase] == RVX_BACKWARD_PARAMETERS)
        return 0;
    const rvx__cuda_gather g = phases[phase] == RVX_BACKWARD_DATA
                                   ? rvx__cuda_gather_of(&p.y, &p.x, &p.params, 1, 1)
                                   : rvx__cuda_gather_of(&p.x, &p.y, &p.params, 0, 0);
    int count = 0;
    if (rvx__cuda_halo_fits(g.kernel, g.stride, g.source_c, g.target_c))
        pins[count++].name = "conv.halo";
    if (rvx__cuda_stream_fits(&g) && card.hopper)
        pins[count++].name = "conv.stream";
    for (int i = 0; i < count; i++)
        pins[i].kernel = plugin->kernel(pins[i].name, phases[phase]);
    return count;
}

/* Joules of one run, from so many seconds of runs. */
template <class F> double joules_of(double seconds, double ms, F work)
{
    if (seconds <= 0 || gpu_joules(0) < 0)
        return -1;
    const int repeats = (int)std::clamp(1e3 * seconds / ms, 1.0, 1e6);
    const double before = gpu_joules(0);
    milliseconds(repeats, work);
    return (gpu_joules(0) - before) / repeats;
}

/* Ours, the peer and the pinned kernels in turn. */
void measure(Row &row, const Problem &p, int phase, rvx_kernel kernel, const Peer &peer,
             const Options &options, double until)
{
    double ours[ROUNDS_MAX], theirs[ROUNDS_MAX];
    const auto runs = [&](rvx_kernel one) {
        return [&p, phase, one](int i) {
            const rvx_call call = call_of(p, phases[phase], i % p.sets);
            one(&call);
        };
    };
    const auto run_peer = [&](int i) { peer_run(peer, p, i % p.sets); };
    milliseconds(2, runs(kernel));
    const int repeats = (int)std::clamp(2 / milliseconds(1, runs(kernel)), 1.0, 40.0);
    for (row.rounds = 0; row.rounds < options.rounds && (row.rounds < 3 || now() < until);
         row.rounds++) {
        ours[row.rounds] = milliseconds(repeats, runs(kernel));
        if (peer_there(peer))
            theirs[row.rounds] = milliseconds(repeats, run_peer);
        for (int k = 0; k < row.pin_count; k++)
            row.pins[k].rounds[row.rounds] = milliseconds(repeats, runs(row.pins[k].kernel));
    }
    row.ms = median(ours, row.rounds);
    row.least_ms = ours[0];
    row.peer_ms = peer_there(peer) ? median(theirs, row.rounds) : NAN;
    row.floor_ms = floor_milliseconds(p, phase, &row.flops);
    row.joules = joules_of(options.joule_seconds, row.ms, runs(kernel));
    row.error = peer_difference(peer, p, phase, kernel);
    for (int k = 0; k < row.pin_count; k++) {
        row.pins[k].ms = median(row.pins[k].rounds, row.rounds);
        row.pins[k].error = peer_difference(peer, p, phase, row.pins[k].kernel);
    }
}

void print_row(const Row &row, const Case &c, const Peer &peer)
{
    printf("%-28s %4d^3 %8.3f ms %7.1f TFLOP/s %5.1f %% of floor", row.name, (int)c.side, row.ms,
           row.flops / row.ms * 1e-9, 100 * row.floor_ms / row.ms);
    if (peer_there(peer))
        printf("  %8.3f ms  %5.2fx  error %.1e  %s", row.peer_ms, row.peer_ms / row.ms, row.error,
               peer.algorithm.name);
    if (row.joules >= 0)
        printf("  %.4f J", row.joules);
    printf("\n");
    for (int k = 0; k < row.pin_count; k++)
        printf("  %-26s        %8.3f ms %7.1f TFLOP/s %5.1f %% of floor  error %.1e\n",
               row.pins[k].name, row.pins[k].ms, row.flops / row.pins[k].ms * 1e-9,
               100 * row.floor_ms / row.pins[k].ms, row.pins[k].error);
}

void json_row(FILE *json, const Row &row, const Case &c, int phase, const Peer &peer)
{
    fprintf(json,
            "\n  {\"row\": \"%s\", \"kernel\": %d, \"stride\": %d, \"channels\": %d, "
            "\"channels_out\": %d, \"side\": %d, \"phase\": \"%s\", \"ms\": %.5f, "
            "\"least_ms\": %.5f, \"tflops\": %.2f, \"floor_ms\": %.5f, \"rounds\": %d",
            row.name, c.kernel, c.stride, (int)c.in, (int)c.out, (int)c.side, phase_names[phase],
            row.ms, row.least_ms, row.flops / row.ms * 1e-9, row.floor_ms, row.rounds);
    if (peer_there(peer))
        fprintf(json,
                ", \"peer\": \"%s\", \"peers_tried\": %d, \"peer_workspace\": %lld, "
                "\"peer_repeatable\": %s, \"peer_ms\": %.5f, \"ratio\": %.4f, \"error\": %.3e",
                peer.algorithm.name, peer.tried, (long long)peer.algorithm.workspace_bytes,
                peer.algorithm.repeatable ? "true" : "false", row.peer_ms, row.peer_ms / row.ms,
                row.error);
    if (row.joules >= 0)
        fprintf(json, ", \"joules\": %.5f", row.joules);
    for (int k = 0; k < row.pin_count; k++)
        fprintf(json, ", \"%s_ms\": %.5f, \"%s_error\": %.3e", row.pins[k].name + 5, row.pins[k].ms,
                row.pins[k].name + 5, row.pins[k].error);
}

/* A line each, and the list that ends the row's object. */
void report_goals(FILE *json, const Row &row, const Case &c, int phase)
{
    const Goals goals = goals_of(c, phase);
    const bench_goal *const both[2] = {&goals.peer, &goals.floor};
    const double figures[2] = {row.peer_ms / row.ms, 100 * row.floor_ms / row.ms};
    bool first = true;
    if (json)
        fprintf(json, ", \"goals\": [");
    for (int i = 0; i < 2; i++) {
        if (!both[i]->figure)
            continue;
        goal_print(both[i], row.name, figures[i]);
        if (json)
            goal_json(json, both[i], figures[i], first);
        first = false;
    }
    if (json)
        fprintf(json, "]}");
}

void bench_phase(Problem &p, int phase, const Options &options, double until, FILE *json,
                 bool *first)
{
    Row row = {};
    rvx_kernel kernel = plugin->kernel(p.op->name, phases[phase]);
    problem_name(row.name, p.c, phase);
    if (!kernel || (options.only && !strstr(row.name, options.only)) ||
        (p.c.kind == BRANCH && phases[phase] != RVX_FORWARD))
        return;
    scratch_make(p, phase);
    problem_fill(p);
    Peer peer = peer_best(p, phase, until - 1);
    row.pin_count = pins_of(row.pins, p, phase);
    measure(row, p, phase, kernel, peer, options, until);
    print_row(row, p.c, peer);
    if (json) {
        fprintf(json, "%s", *first ? "" : ",");
        json_row(json, row, p.c, phase, peer);
    }
    report_goals(json, row, p.c, phase);
    if (json) {
        *first = false;
        json_keep(json);
    }
    fflush(stdout);
    peer_free(peer);
    scratch_free(p);
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

/* What the floors are made of, and whom we are compared with. */
void report_card(FILE *json, int64_t cudnn)
{
    printf("%s, %d multiprocessors, L2 %.0f MB; copy %.0f GB/s, mma.sync %.0f TFLOP/s, matrices "
           "%.0f TFLOP/s; cuDNN %lld%s\n",
           card.name, card.multiprocessors, (double)card.l2_bytes * 1e-6, card.copy_rate * 1e-9,
           card.multiply_rate * 1e-12, card.matrix_rate * 1e-12, (long long)cudnn,
           cublas_there() ? ", cuBLAS" : ", no cuBLAS");
    for (int i = 0; i < 4 && card.hopper; i++)
        printf("wgmma of 64 x %d x 16 without swizzle: %.0f TFLOP/s, %.0f beside 128 bytes\n",
               24 * (i + 1), card.product_rate[i][0] * 1e-12, card.product_rate[i][1] * 1e-12);
    if (!json)
        return;
    fprintf(json,
            "{\"device\": \"%s\", \"multiprocessors\": %d, \"l2_bytes\": %lld, "
            "\"copy_gb_per_second\": %.1f, \"mma_tflops\": %.1f, \"matrix_tflops\": %.1f",
            card.name, card.multiprocessors, (long long)card.l2_bytes, card.copy_rate * 1e-9,
            card.multiply_rate * 1e-12, card.matrix_rate * 1e-12);
    for (int shifted = 0; shifted < 2; shifted++)
        fprintf(json, ", \"%s\": [%.1f, %.1f, %.1f, %.1f]",
                shifted ? "wgmma_shifted_tflops" : "wgmma_tflops",
                card.product_rate[0][shifted] * 1e-12, card.product_rate[1][shifted] * 1e-12,
                card.product_rate[2][shifted] * 1e-12, card.product_rate[3][shifted] * 1e-12);
    fprintf(json, ", \"cudnn\": %lld, \"rows\": [", (long long)cudnn);
    json_keep(json);
}
} // namespace

int main(int argc, char **argv)
{
    const Options options = options_of(argc, argv);
    const double started = now();
    if (!device_open(options.library)) {
        fprintf(stderr, "bench_gpu: no GPU here\n");
        return 3;
    }
    const int64_t cudnn = peer_open();
    cublas_open(stream);
    measure_card();
    FILE *json = options.json ? fopen(options.json, "w") : nullptr;
    bool first = true;
    report_card(json, cudnn);
    for (int i = 0; i < case_count; i++) {
        Problem p = problem_make(cases[i]);
        for (int phase = 0; phase < PHASES; phase++) {
            const double left = options.seconds - (now() - started);
            const double share = left / (PHASES * (case_count - i) - phase);
            bench_phase(p, phase, options, now() + std::max(share, 0.5), json, &first);
        }
        problem_free(p);
    }
    if (json) {
        fprintf(json, "\n]}\n");
        fclose(json);
    }
    return 0;
}
