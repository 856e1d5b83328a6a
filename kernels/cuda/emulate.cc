/* The SIMT model on a CPU: see emulate.h. Owns: fibers, their schedule, what collectives do. */
#include "kernels/cuda/emulate_schedule.h"
#include "kernels/cuda/emulate_sum.h"
#include "kernels/cuda/simt_hopper.h"

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

#if !defined(__x86_64__)
#error "the emulation switches stacks with x86-64 instructions"
#endif

/* Saves the registers that a call keeps, stores the stack pointer to *save, and goes on where
 * `load` was saved. */
extern "C" void rvx__emulate_switch(void **save, void *load);
asm(".text\n.globl rvx__emulate_switch\n.hidden rvx__emulate_switch\n"
    ".type rvx__emulate_switch, @function\nrvx__emulate_switch:\n"
    " push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    " mov %rsp, (%rdi)\n mov %rsi, %rsp\n"
    " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n");

/* Vectors where the processor has them; the same numbers everywhere. */
#define VECTORISED __attribute__((target_clones("avx2", "default"), optimize("O3")))

namespace simt
{
enum {
    PAGE_BYTES = 4096,
    STACK_BYTES = 128 << 10,
    STACK_OFFSETS = 32 /* stacks begin at different cache lines */
};

Block block;
Fiber *running;
Statistics statistics;

/* Beside `block`: what only the schedule needs. */
static Fiber fibers[THREADS_MAX];
static Warp warps[THREADS_MAX / 32];
static uint32_t ready_warps; /* bit w: warps[w].ready is not 0 */
static int thread_count, alive, at_barrier, barrier_line;
static uint32_t change_mask; /* a warp is left at a collective when these random bits are 0 */
static bool always_first;    /* of the warps that can go on, the first from `first_warp` on does */
static uint64_t first_warp;
static uint64_t random_state;
static void *host_stack_pointer;
static void (*launch_body)(void *);
static void *launch_data;
static void *stacks[THREADS_MAX]; /* tops of those that nobody uses: the first free_stacks */
static int free_stacks;

[[noreturn]] void fail(const char *message)
{
    fprintf(stderr, "simt: %s: block (%u, %u, %u), thread %d of %d\n", message, block.index.x,
            block.index.y, block.index.z, running ? running->index : -1, thread_count);
    abort();
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u; /* SplitMix64 */
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* ---- the schedule -----------------------------------------------------------------------------
 */

static void set_ready(int w, uint32_t lanes)
{
    warps[w].ready |= lanes;
    ready_warps |= lanes ? 1u << w : 0;
}

/* The first bit of `set`, counted round from bit `first` on. */
static int round_from(uint32_t set, int first)
{
    uint32_t turned = set >> first | set << (-first & 31);
    return (__builtin_ctz(turned) + first) & 31;
}

/* The next lane of the same warp that can go on, else, or where `leave`, one of another warp. */
static Fiber *next_fiber(bool leave)
{
    int w = running->index / 32, lane = running->lane + 1;
    while (!ready_warps && hopper_land())
        continue;
    if (!ready_warps)
        fail("deadlock: some threads wait at a barrier, a collective or a gate that others never "
             "reach");
    if (leave || !warps[w].ready) {
        uint64_t random = next_random(&random_state);
        uint64_t from = always_first ? first_warp : random & 0xFFFFFF;
        w = round_from(ready_warps, (int)(from % (uint64_t)(thread_count / 32)));
        lane = (int)(random >> 24 & 31);
    }
    lane = round_from(warps[w].ready, lane & 31);
    warps[w].ready &= ~(1u << lane);
    ready_warps &= warps[w].ready ? ~0u : ~(1u << w);
    return &fibers[w * 32 + lane];
}

static void fiber_main();

static void begin(Fiber &fiber)
{
    void **top = static_cast<void **>(stacks[--free_stacks]);
    top[0] = reinterpret_cast<void *>(fiber_main);
    top[1] = nullptr;
    fiber.stack_pointer = top - 6;
}

static void go_on(bool leave)
{
    Fiber &from = self(), &next = *next_fiber(leave);
    if (&next == &from)
        return;
    if (!next.stack_pointer)
        begin(next);
    running = &next;
    statistics.switches++;
    rvx__emulate_switch(&from.stack_pointer, next.stack_pointer);
}

void sleep() { go_on(true); }
void wake(int warp, uint32_t lanes) { set_ready(warp, lanes); }
void step_aside()
{
    if (next_random(&random_state) % 2)
        return;
    set_ready(running->index / 32, 1u << running->lane);
    go_on(true);
}
uint64_t schedule_random() { return next_random(&random_state); }

static void release_barrier()
{
    at_barrier = 0;
    for (int w = 0; w < thread_count / 32; w++) {
        set_ready(w, warps[w].at_barrier);
        warps[w].at_barrier = 0;
    }
}

void barrier(int line)
{
    Fiber &fiber = self();
    if (at_barrier == 0)
        barrier_line = line;
    else if (barrier_line != line)
        fail("threads of one block wait at different barriers");
    fiber.warp->at_barrier |= 1u << fiber.lane;
    if (++at_barrier == alive)
        release_barrier();
    go_on(true);
}

void collective(Collective kind, void (*work)(Warp &), int line)
{
    Fiber &fiber = self();
    Warp &w = *fiber.warp;
    if (w.done)
        fail("a collective of a warp of which some threads have ended");
    if (w.at_collective == 0) {
        w.kind = kind;
        w.line = line;
    } else if (w.kind != kind || w.line != line) {
        fail("lanes of one warp stand at different collectives");
    }
    w.at_collective |= 1u << fiber.lane;
    if (w.at_collective != ~0u) {
        go_on(false);
        return;
    }
    work(w);
    w.at_collective = 0;
    const uint32_t own = 1u << fiber.lane;
    bool leave = (next_random(&random_state) & change_mask) == 0;
    set_ready(fiber.index / 32, leave ? ~0u : ~own);
    if (leave)
        go_on(true);
}

/* The thread that runs has come to its end. */
static void end_fiber()
{
    Fiber &fiber = self();
    Warp &w = *fiber.warp;
    if (fiber.copies.size() > fiber.copies_done)
        fail("a thread ends with copies that it never waited for");
    if (w.at_collective)
        fail("a thread ends while lanes of its warp wait at a collective");
    hopper_thread_end();
    w.done |= 1u << fiber.lane;
    if (--alive > 0 && at_barrier == alive)
        release_barrier();
}

/* Threads that have not begun take over the stack of one that has ended. */
static void fiber_main()
{
    void *stack_top = stacks[free_stacks], *never;
    for (;;) {
        launch_body(launch_data);
        end_fiber();
        void *next = host_stack_pointer;
        if (alive > 0) {
            running = next_fiber(false);
            if (!running->stack_pointer) {
                running->stack_pointer = stack_top; /* begun */
                continue;
            }
            next = running->stack_pointer;
        }
        statistics.switches++;
        stacks[free_stacks++] = stack_top;
        rvx__emulate_switch(&never, next);
    }
}

/* ---- a launch ---------------------------------------------------------------------------------
 */

static unsigned char *map(size_t bytes, int protection)
{
    void *p = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        perror("simt: mmap");
        abort();
    }
    return static_cast<unsigned char *>(p);
}

static unsigned char *unprotected(unsigned char *p, size_t bytes)
{
    if (mprotect(p, bytes, PROT_READ | PROT_WRITE) != 0) {
        perror("simt: mprotect");
        abort();
    }
    return p;
}

/* A page that cannot be touched lies below each stack. Returns the end of the memory for `shared`,
 * which ends and begins at such pages too. */
static unsigned char *prepare()
{
    enum { SHARED_PAGES = (SHARED_MAX + PAGE_BYTES - 1) / PAGE_BYTES };
    unsigned char *area = map((size_t)THREADS_MAX * STACK_BYTES, PROT_NONE);
    for (int i = 0; i < THREADS_MAX; i++) {
        unsigned char *stack = area + (size_t)i * STACK_BYTES;
        unprotected(stack + PAGE_BYTES, STACK_BYTES - PAGE_BYTES);
        stacks[THREADS_MAX - 1 - i] = stack + STACK_BYTES - 64 - i % STACK_OFFSETS * 192;
        fibers[i].thread = dim3((unsigned)i, 0, 0);
        fibers[i].index = i;
        fibers[i].lane = i % 32;
        fibers[i].warp = &warps[i / 32];
    }
    free_stacks = THREADS_MAX;
    area = map((SHARED_PAGES + 2) * PAGE_BYTES, PROT_NONE);
    unprotected(area + PAGE_BYTES, SHARED_PAGES * PAGE_BYTES);
    return area + (SHARED_PAGES + 1) * PAGE_BYTES;
}

enum { EDGE_BYTES = 1024, EDGE = 0xA5 };

/* What lies beside a block's shared memory must stay as it is. */
static unsigned char edge[EDGE_BYTES];

static bool edge_intact(const unsigned char *p, size_t bytes) { return !memcmp(p, edge, bytes); }

static void run_block(size_t rounded, int fill)
{
    memset(block.shared, fill, rounded);
    memset(block.shared + block.shared_bytes, EDGE, rounded - block.shared_bytes);
    alive = thread_count;
    at_barrier = 0;
    ready_warps = 0;
    for (int w = 0; w < thread_count / 32; w++) {
        warps[w].at_collective = warps[w].at_barrier = warps[w].done = 0;
        set_ready(w, ~0u);
    }
    for (int t = 0; t < thread_count; t++) {
        fibers[t].stack_pointer = nullptr;
        fibers[t].copies.clear();
        fibers[t].ends.clear();
        fibers[t].copies_done = fibers[t].groups_done = 0;
    }
    hopper_block_begin();
    running = &fibers[0];
    running = next_fiber(true);
    begin(*running);
    rvx__emulate_switch(&host_stack_pointer, running->stack_pointer);
    if (!edge_intact(block.shared + block.shared_bytes, rounded - block.shared_bytes) ||
        !edge_intact(block.shared - EDGE_BYTES, EDGE_BYTES))
        fail("something was written beside shared memory");
    hopper_block_end();
    statistics.blocks++;
}

void run(dim3 grid, int threads, size_t shared_bytes, void (*body)(void *), void *data)
{
    static const char *const seed_text = getenv("RVX_EMULATE_SEED");
    static const uint64_t seed = seed_text ? strtoull(seed_text, nullptr, 10) : 1;
    static unsigned char *const shared_end = prepare();
    static const unsigned char fills[3] = {0xFE, 0xFF, 0x7F}; /* -1.7e38, NaN, 3.4e38 */
    static const uint32_t changes[5] = {~0u, ~0u, 7, 1, 0};
    if (threads < 32 || threads % 32 != 0 || threads > THREADS_MAX || shared_bytes > SHARED_MAX ||
        grid.x == 0 || grid.x > INT32_MAX || grid.y == 0 || grid.z == 0 || grid.y > 65535 ||
        grid.z > 65535) {
        fprintf(stderr, "simt: no GPU launches %u x %u x %u blocks of %d threads with %zu bytes\n",
                grid.x, grid.y, grid.z, threads, shared_bytes);
        abort();
    }
    size_t rounded = (shared_bytes + 127) / 128 * 128;
    launch_body = body;
    launch_data = data;
    thread_count = threads;
    block.threads = dim3((unsigned)threads);
    block.grid = grid;
    block.shared_bytes = shared_bytes;
    block.shared = shared_end - rounded;
    memset(edge, EDGE, EDGE_BYTES);
    memcpy(block.shared - EDGE_BYTES, edge, EDGE_BYTES);
    uint64_t total = (uint64_t)grid.x * grid.y * grid.z, order = seed;
    uint64_t first = next_random(&order) % total;
    for (uint64_t k = 0; k < total; k++) {
        uint64_t i = seed % 2 ? (first + k) % total : total - 1 - (first + k) % total;
        block.index = dim3((unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y),
                           (unsigned)(i / ((uint64_t)grid.x * grid.y)));
        random_state = seed * 0x10001 + i;
        first_warp = next_random(&random_state) >> 8;
        always_first = first_warp % 5 == 0;
        change_mask = changes[first_warp % 5];
        first_warp /= 5;
        run_block(rounded, fills[seed % 3]);
    }
    running = nullptr;
}

/* ---- copies -----------------------------------------------------------------------------------
 */

bool in_shared(const void *p, size_t bytes)
{
    const unsigned char *q = static_cast<const unsigned char *>(p);
    return q >= block.shared && q + bytes <= block.shared + block.shared_bytes;
}

void check_row(const void *row)
{
    if (!in_shared(row, 16) || reinterpret_cast<uintptr_t>(row) % 16)
        fail("a matrix row is outside shared memory or not on 16 bytes");
}

void copy16_async(void *to, const void *from, bool ok)
{
    if (!in_shared(to, 16) || reinterpret_cast<uintptr_t>(to) % 16)
        fail("a copy goes outside shared memory or not to 16 bytes");
    if (reinterpret_cast<uintptr_t>(from) % 16)
        fail("a copy comes from an address that is not on 16 bytes");
    memset(to, 0xFF, 16);
    self().copies.push_back({to, from, ok});
}

void copy_commit() { self().ends.push_back(self().copies.size()); }

void copy_wait_until(size_t left)
{
    Fiber &f = self();
    while (f.ends.size() - f.groups_done > left) {
        for (size_t end = f.ends[f.groups_done++]; f.copies_done < end; f.copies_done++) {
            const Copy &copy = f.copies[f.copies_done];
            if (copy.ok)
                memcpy(copy.to, copy.from, 16);
            else
                memset(copy.to, 0, 16);
        }
    }
    if (f.groups_done == f.ends.size() && f.copies_done == f.copies.size()) {
        f.copies.clear();
        f.ends.clear();
        f.copies_done = f.groups_done = 0;
    }
}

/* ---- collectives ------------------------------------------------------------------------------
 */

void work_nothing(Warp &) {}

void work_shuffle(Warp &w) { memcpy(w.shuffled, w.value, sizeof w.value); }

/* A phase reads eight rows of 16 bytes: 128 bytes, all banks once, if no two share banks. */
static void count_wavefronts(const Warp &w)
{
    for (int matrix = 0; matrix < 4; matrix++) {
        uint64_t uses = 0, most = 0; /* uses: a byte for each group of four banks */
        for (int r = 0; r < 8; r++)
            uses += (uint64_t)1 << (reinterpret_cast<uintptr_t>(w.row[matrix * 8 + r]) / 2 & 56);
        for (; uses; uses >>= 8)
            most = (uses & 255) > most ? uses & 255 : most;
        statistics.matrix_phases++;
        statistics.matrix_wavefronts += (int64_t)most;
    }
}

/* Lanes 4 r .. 4 r + 3 get the 16 bytes of row r. */
void work_load_matrix(Warp &w)
{
    count_wavefronts(w);
    for (int i = 0; i < 32; i++)
        memcpy(&w.a[i / 8][i % 8 * 4], w.row[i], 16);
}

void work_load_matrix_transposed(Warp &w)
{
    count_wavefronts(w);
    for (int matrix = 0; matrix < 4; matrix++) {
        uint16_t m[8][8];
        for (int r = 0; r < 8; r++)
            memcpy(m[r], w.row[matrix * 8 + r], 16);
        for (int lane = 0; lane < 32; lane++) {
            int row = lane / 4, column = 2 * (lane % 4);
            w.a[matrix][lane] = m[column][row] | (uint32_t)m[column + 1][row] << 16;
        }
    }
}

template <int depth>
static inline __attribute__((always_inline)) void
multiply_dense(Warp &w, const float (&a)[16][depth], const RightOperand<depth, 8> &b)
{
    const SumRule rule = sum_rule(hopper());
    for (int row = 0; row < 16; row++)
        add_products(&w.d[row / 8][row % 8 * 8], a[row], b, 8, rule);
}

/* A word of four lanes that follow each other is eight elements of one row, or column of b. */
VECTORISED void work_multiply_bf16(Warp &w)
{
    float a[16][16];
    RightOperand<16, 8> b;
    for (int i = 0; i < 4; i++)
        for (int row = 0; row < 8; row++) {
            uint16_t eight[8];
            memcpy(eight, &w.a[i][4 * row], sizeof eight);
            for (int k = 0; k < 8; k++)
                a[row + 8 * (i % 2)][k + 8 * (i / 2)] = as_float((uint32_t)eight[k] << 16);
        }
    for (int i = 0; i < 2; i++)
        for (int column = 0; column < 8; column++) {
            uint16_t eight[8];
            memcpy(eight, &w.b[i][4 * column], sizeof eight);
            for (int k = 0; k < 8; k++)
                b.set(k + 8 * i, column, as_float((uint32_t)eight[k] << 16));
        }
    multiply_dense<16>(w, a, b);
}

/* The low 13 bits of an operand take no part. */
VECTORISED void work_multiply_tf32(Warp &w)
{
    float a[16][8];
    RightOperand<8, 8> b;
    for (int lane = 0; lane < 32; lane++) {
        int k = lane % 4;
        for (int i = 0; i < 4; i++)
            a[lane / 4 + 8 * (i % 2)][k + 4 * (i / 2)] = as_float(w.a[i][lane] & ~0x1FFFu);
        for (int i = 0; i < 2; i++)
            b.set(k + 4 * i, lane / 4, as_float(w.b[i][lane] & ~0x1FFFu));
    }
    multiply_dense<8>(w, a, b);
}
} // namespace simt
