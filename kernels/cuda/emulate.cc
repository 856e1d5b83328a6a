/* The SIMT model on a CPU: see emulate.h. Owns: fibers, their schedule, what collectives do. */
#include "kernels/cuda/emulate.h"

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

namespace simt
{
enum { STACK_BYTES = 128 << 10, GUARD_BYTES = 4096 };

Block *block;
Statistics statistics;

[[noreturn]] void fail(const char *message)
{
    const Block *b = block;
    fprintf(stderr, "simt: %s: block (%u, %u, %u), thread %d of %zu\n", message, b->index.x,
            b->index.y, b->index.z, b->current, b->fibers.size());
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

/* A lane of the same warp if one can go on, else of some other warp. */
static int next_fiber()
{
    const std::vector<Fiber> &fibers = block->fibers;
    int count = (int)fibers.size(), first = self().warp * 32;
    for (int i = 1; i < 32; i++) {
        int k = first + (block->current - first + i) % 32;
        if (k < count && fibers[(size_t)k].state == READY)
            return k;
    }
    int warps = count / 32, start = (int)(next_random(&block->random) % (uint64_t)warps);
    for (int w = 0; w < warps; w++)
        for (int lane = 0; lane < 32; lane++) {
            int k = (start + w) % warps * 32 + lane;
            if (fibers[(size_t)k].state == READY)
                return k;
        }
    return -1;
}

static void yield()
{
    Fiber &from = self();
    if (block->alive == 0) {
        void *never;
        rvx__emulate_switch(&never, block->host_stack_pointer);
    }
    int next = next_fiber();
    if (next < 0)
        fail("deadlock: some threads wait at a barrier or a collective that others never reach");
    if (next == block->current)
        return;
    block->current = next;
    rvx__emulate_switch(&from.stack_pointer, block->fibers[(size_t)next].stack_pointer);
}

static void release_barrier()
{
    block->at_barrier = 0;
    for (Fiber &fiber : block->fibers)
        if (fiber.state == AT_BARRIER)
            fiber.state = READY;
}

void barrier()
{
    self().state = AT_BARRIER;
    if (++block->at_barrier == block->alive)
        release_barrier();
    yield();
}

void collective(Collective kind, void (*work)(Warp &))
{
    Warp &w = warp();
    if (w.arrived == 0)
        w.kind = kind;
    else if (w.kind != kind)
        fail("lanes of one warp stand at different collectives");
    if (++w.arrived < 32) {
        self().state = AT_COLLECTIVE;
        yield();
        return;
    }
    w.arrived = 0;
    work(w);
    for (int lane = 0; lane < 32; lane++) {
        Fiber &fiber = block->fibers[(size_t)(self().warp * 32 + lane)];
        if (fiber.state == AT_COLLECTIVE)
            fiber.state = READY;
    }
}

static void enter()
{
    (*block->body)();
    Fiber &fiber = self();
    if (!fiber.open.empty())
        fail("a thread ends with copies that it never committed");
    fiber.state = DONE;
    if (--block->alive > 0 && block->at_barrier == block->alive)
        release_barrier();
    yield();
    fail("a finished thread was resumed");
}

/* ---- a launch ---------------------------------------------------------------------------------
 */

static unsigned char *map(size_t bytes)
{
    void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        perror("simt: mmap");
        abort();
    }
    return static_cast<unsigned char *>(p);
}

static std::vector<unsigned char *> stacks;

static void start_fiber(Fiber &fiber, int i)
{
    fiber.thread = dim3((unsigned)i, 0, 0);
    fiber.warp = i / 32;
    fiber.lane = i % 32;
    fiber.state = READY;
    fiber.open.clear();
    fiber.committed.clear();
    void **top = reinterpret_cast<void **>(stacks[(size_t)i] + STACK_BYTES - 64);
    top[0] = reinterpret_cast<void *>(enter);
    top[1] = nullptr;
    fiber.stack_pointer = top - 6;
}

void run(dim3 grid, int threads, size_t shared_bytes, const std::function<void()> &body)
{
    static const char *const seed_text = getenv("RVX_EMULATE_SEED");
    static const uint64_t seed = seed_text ? strtoull(seed_text, nullptr, 10) : 1;
    if (threads < 32 || threads % 32 != 0 || threads > 1024 || shared_bytes > 227 * 1024 ||
        grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535) {
        fprintf(stderr, "simt: no GPU launches %u x %u x %u blocks of %d threads with %zu bytes\n",
                grid.x, grid.y, grid.z, threads, shared_bytes);
        abort();
    }
    while ((int)stacks.size() < threads)
        stacks.push_back(map(STACK_BYTES));
    Block b;
    block = &b;
    b.fibers.resize((size_t)threads);
    b.warps.resize((size_t)threads / 32);
    b.threads = dim3((unsigned)threads);
    b.grid = grid;
    b.body = &body;
    b.shared_bytes = shared_bytes;
    /* The end lies at a page boundary, behind which nothing may be touched. */
    size_t used = (shared_bytes + 127) / 128 * 128, pages = (used + 4095) / 4096 * 4096;
    unsigned char *area = map(pages + GUARD_BYTES);
    mprotect(area + pages, GUARD_BYTES, PROT_NONE);
    b.shared = area + pages - used;
    uint64_t total = (uint64_t)grid.x * grid.y * grid.z, order = seed;
    uint64_t first = next_random(&order) % total;
    for (uint64_t k = 0; k < total; k++) {
        uint64_t i = seed % 2 ? (first + k) % total : total - 1 - (first + k) % total;
        b.index = dim3((unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y),
                       (unsigned)(i / ((uint64_t)grid.x * grid.y)));
        b.random = seed * 0x10001 + i;
        memset(b.shared, 0xFF, used);
        b.alive = threads;
        b.at_barrier = 0;
        for (Warp &w : b.warps)
            w.arrived = 0;
        for (int t = 0; t < threads; t++)
            start_fiber(b.fibers[(size_t)t], t);
        b.current = (int)(next_random(&b.random) % (uint64_t)(threads / 32)) * 32;
        rvx__emulate_switch(&b.host_stack_pointer, self().stack_pointer);
        statistics.blocks++;
    }
    munmap(area, pages + GUARD_BYTES);
    block = nullptr;
}

/* ---- copies -----------------------------------------------------------------------------------
 */

static bool in_shared(const void *p, size_t bytes)
{
    const unsigned char *q = static_cast<const unsigned char *>(p);
    return q >= block->shared && q + bytes <= block->shared + block->shared_bytes;
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
    if (ok && reinterpret_cast<uintptr_t>(from) % 16)
        fail("a copy comes from an address that is not on 16 bytes");
    memset(to, 0xFF, 16);
    self().open.push_back({to, from, ok});
}

void copy_commit()
{
    self().committed.push_back(std::move(self().open));
    self().open.clear();
}

void copy_wait_until(size_t left)
{
    std::vector<std::vector<Copy>> &groups = self().committed;
    while (groups.size() > left) {
        for (const Copy &copy : groups.front()) {
            if (copy.ok)
                memcpy(copy.to, copy.from, 16);
            else
                memset(copy.to, 0, 16);
        }
        groups.erase(groups.begin());
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
        int uses[8] = {0}, most = 0;
        for (int r = 0; r < 8; r++) {
            int bank = (int)(reinterpret_cast<uintptr_t>(w.row[matrix * 8 + r]) / 16 % 8);
            uses[bank]++;
            most = uses[bank] > most ? uses[bank] : most;
        }
        statistics.matrix_phases++;
        statistics.matrix_wavefronts += most;
    }
}

static uint16_t element(const Warp &w, int matrix, int row, int column)
{
    uint16_t v;
    memcpy(&v, static_cast<const unsigned char *>(w.row[matrix * 8 + row]) + 2 * column, sizeof v);
    return v;
}

static void load_matrices(Warp &w, bool transposed)
{
    count_wavefronts(w);
    for (int matrix = 0; matrix < 4; matrix++)
        for (int lane = 0; lane < 32; lane++) {
            int row = lane / 4, column = 2 * (lane % 4);
            uint32_t low =
                transposed ? element(w, matrix, column, row) : element(w, matrix, row, column);
            uint32_t high = transposed ? element(w, matrix, column + 1, row)
                                       : element(w, matrix, row, column + 1);
            w.a[matrix][lane] = low | high << 16;
        }
}

void work_load_matrix(Warp &w) { load_matrices(w, false); }
void work_load_matrix_transposed(Warp &w) { load_matrices(w, true); }

static float half_of(uint32_t pair, int i) { return as_float(pair >> (16 * i) << 16); }

/* Sums in f32, rounded at each product: the order within the instruction is the machine's. */
static void multiply_dense(Warp &w, const float (&a)[16][16], const float (&b)[16][8], int depth)
{
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
            float sum = w.d[i][lane];
            for (int k = 0; k < depth; k++)
                sum += a[row][k] * b[k][column];
            w.d[i][lane] = sum;
        }
}

void work_multiply_bf16(Warp &w)
{
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++)
        for (int half = 0; half < 2; half++) {
            int k = 2 * (lane % 4) + half;
            for (int i = 0; i < 4; i++)
                a[lane / 4 + 8 * (i % 2)][k + 8 * (i / 2)] = half_of(w.a[i][lane], half);
            for (int i = 0; i < 2; i++)
                b[k + 8 * i][lane / 4] = half_of(w.b[i][lane], half);
        }
    multiply_dense(w, a, b, 16);
}

/* The low 13 bits of an operand take no part. */
void work_multiply_tf32(Warp &w)
{
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        int k = lane % 4;
        for (int i = 0; i < 4; i++)
            a[lane / 4 + 8 * (i % 2)][k + 4 * (i / 2)] = as_float(w.a[i][lane] & ~0x1FFFu);
        for (int i = 0; i < 2; i++)
            b[k + 4 * i][lane / 4] = as_float(w.b[i][lane] & ~0x1FFFu);
    }
    multiply_dense(w, a, b, 8);
}
} // namespace simt
