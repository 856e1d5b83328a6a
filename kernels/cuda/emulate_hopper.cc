/* Gates and bulk copies on a CPU: see emulate_hopper.h. Owns: what of a block's shared memory
 * products may see, and copies that are under way. */
#include "kernels/cuda/emulate_schedule.h"

#include <cstdlib>

namespace simt
{
enum { CHUNKS = SHARED_MAX / CHUNK };
enum : uint64_t { GATE_MARK = 0x6A7E6A7E6A7E0000u };
enum : uint32_t { BYTES_MAX = (1u << 20) - 1 };

/* What products can see of 16 bytes of shared memory. */
enum Visible : uint8_t { NOTHING, STORED, UNDER_WAY, PUBLISHED };

struct GateState {
    Gate *gate;
    uint32_t count, missing, phase;
    int64_t bytes; /* announced and not there, or there before they were announced */
    bool ready;
    uint32_t waiting[WARPS_MAX]; /* lanes */
};

struct BulkCopy {
    unsigned char *to;
    const void *from; /* bulk_copy */
    TensorMap map;    /* tensor_copy, where `from` is null */
    int32_t at[5];
    uint32_t bytes;
    size_t gate;
};

static bool used; /* in this block: else there is nothing to begin or end */
static unsigned char view[SHARED_MAX];
static Visible visible[CHUNKS];
static std::vector<GateState> gates;
static std::vector<BulkCopy> copies;
static std::vector<uint32_t> stored[THREADS_MAX]; /* chunks that a thread has not published */

void hopper_block_begin()
{
    if (!used)
        return;
    used = false;
    memset(visible, NOTHING, sizeof visible);
    gates.clear();
    copies.clear();
    for (std::vector<uint32_t> &chunks : stored)
        chunks.clear();
    products_block_begin();
}

void hopper_thread_end()
{
    if (!used)
        return;
    if (!stored[self().index].empty())
        fail("a thread ends with stores that it never published");
    products_thread_end();
}

void hopper_block_end()
{
    if (!used)
        return;
    if (!copies.empty())
        fail("a block ends with bulk copies that nobody waited for");
    products_block_end();
}

/* ---- gates ------------------------------------------------------------------------------------
 */

static size_t find_gate(const Gate *gate)
{
    for (size_t i = 0; i < gates.size(); i++)
        if (gates[i].gate == gate) {
            if (*gate != GATE_MARK + i)
                fail("something was written over a gate");
            return i;
        }
    fail("a gate is used that nobody has initialised");
}

void gate_init(Gate *gate, uint32_t count)
{
    used = true;
    if (!in_shared(gate, sizeof *gate) || reinterpret_cast<uintptr_t>(gate) % 8)
        fail("a gate is outside shared memory or not on 8 bytes");
    if (count == 0 || count > BYTES_MAX)
        fail("a gate counts from 1 to 2^20 - 1");
    for (const GateState &g : gates)
        if (g.gate == gate)
            fail("a gate is initialised twice");
    *gate = GATE_MARK + gates.size();
    GateState state = {};
    state.gate = gate;
    state.count = state.missing = count;
    gates.push_back(state);
}

void gates_ready()
{
    for (GateState &g : gates)
        g.ready = true;
}

static void open_if_complete(GateState &g)
{
    if (g.missing != 0 || g.bytes != 0)
        return;
    g.missing = g.count;
    g.phase++;
    for (int w = 0; w < WARPS_MAX; w++)
        if (g.waiting[w]) {
            wake(w, g.waiting[w]);
            g.waiting[w] = 0;
        }
}

static void arrive(Gate *gate, uint32_t bytes)
{
    GateState &g = gates[find_gate(gate)];
    if (g.missing == 0)
        fail("a gate is reached more often than it counts");
    g.bytes += bytes;
    if (g.bytes > (int64_t)BYTES_MAX)
        fail("a gate is told of more than 2^20 - 1 bytes");
    g.missing--;
    open_if_complete(g);
}

/* Whoever waited may go on first. */
void gate_arrive(Gate *gate)
{
    arrive(gate, 0);
    step_aside();
}
void gate_arrive_expecting(Gate *gate, uint32_t bytes) { arrive(gate, bytes); }

/* Whoever is woken looks again: meanwhile the gate may have opened once more. */
void gate_wait(Gate *gate, uint32_t parity)
{
    const size_t i = find_gate(gate);
    if (parity > 1)
        fail("the parity of a gate is 0 or 1");
    while ((gates[i].phase & 1) == parity) {
        gates[i].waiting[warp_index()] |= 1u << self().lane;
        sleep();
    }
}

/* ---- copies -----------------------------------------------------------------------------------
 */

static void show(unsigned char *p, size_t bytes, Visible how)
{
    const uint32_t at = shared_address(p);
    if (how == PUBLISHED)
        memcpy(view + at, p, bytes);
    memset(visible + at / CHUNK, how, bytes / CHUNK);
}

static void begin_copy(const BulkCopy &copy)
{
    if (!in_shared(copy.to, copy.bytes))
        fail("a bulk copy goes outside shared memory");
    if (!gates[copy.gate].ready)
        fail("a bulk copy reports to a gate before gates_ready");
    for (const BulkCopy &other : copies)
        if (copy.to < other.to + other.bytes && other.to < copy.to + copy.bytes)
            fail("two bulk copies to the same place are under way");
    memset(copy.to, 0xFF, copy.bytes);
    show(copy.to, copy.bytes, UNDER_WAY);
    copies.push_back(copy);
}

void bulk_copy(void *to, const void *from, uint32_t bytes, Gate *gate)
{
    if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16 ||
        bytes % 16 || bytes == 0)
        fail("a bulk copy is not of whole 16 bytes");
    BulkCopy copy = {};
    copy.to = static_cast<unsigned char *>(to);
    copy.from = from;
    copy.bytes = bytes;
    copy.gate = find_gate(gate);
    begin_copy(copy);
}

void tensor_copy(void *to, const TensorMap *map, const int32_t (&at)[5], Gate *gate)
{
    if (shared_address(to) % 128)
        fail("a tensor copy goes to an address that is not on 128 bytes");
    BulkCopy copy = {};
    copy.to = static_cast<unsigned char *>(to);
    copy.map = *map;
    memcpy(copy.at, at, sizeof at);
    copy.bytes = (uint32_t)map->element_bytes;
    for (uint32_t length : map->box)
        copy.bytes *= length;
    copy.gate = find_gate(gate);
    begin_copy(copy);
}

uint32_t swizzled(uint32_t at, Swizzle swizzle)
{
    const uint32_t mask = swizzle == SWIZZLE_NONE  ? 0
                          : swizzle == SWIZZLE_128 ? 7
                          : swizzle == SWIZZLE_64  ? 3
                                                   : 1;
    return at ^ (at >> 7 & mask) << 4;
}

static void land_box(const BulkCopy &copy)
{
    const TensorMap &m = copy.map;
    const uint32_t bytes = (uint32_t)m.element_bytes, start = shared_address(copy.to);
    for (uint32_t i = 0; i < copy.bytes / bytes; i++) {
        uint32_t rest = i;
        const char *from = m.base;
        bool inside = true;
        for (int a = 0; a < 5; a++) {
            const int64_t c = (int64_t)copy.at[a] + rest % m.box[a];
            rest /= m.box[a];
            inside = inside && c >= 0 && c < (int64_t)m.length[a];
            from += c * (int64_t)m.pitch[a];
        }
        unsigned char *to = block.shared + swizzled(start + i * bytes, m.swizzle);
        if (inside)
            memcpy(to, from, bytes);
        else
            memset(to, 0, bytes);
    }
}

static bool awaited(const GateState &g)
{
    for (uint32_t lanes : g.waiting)
        if (lanes)
            return true;
    return false;
}

bool hopper_land()
{
    size_t which = copies.size(), seen = 0;
    for (size_t i = 0; i < copies.size(); i++)
        if (awaited(gates[copies[i].gate]) && schedule_random() % ++seen == 0)
            which = i;
    if (which == copies.size())
        return false;
    const BulkCopy copy = copies[which];
    copies.erase(copies.begin() + (ptrdiff_t)which);
    if (copy.from)
        memcpy(copy.to, copy.from, copy.bytes);
    else
        land_box(copy);
    show(copy.to, copy.bytes, PUBLISHED);
    GateState &g = gates[copy.gate];
    g.bytes -= copy.bytes;
    open_if_complete(g);
    return true;
}

void store_shared(void *to, const uint32_t (&words)[4])
{
    used = true;
    if (!in_shared(to, 16) || reinterpret_cast<uintptr_t>(to) % 16)
        fail("a store goes outside shared memory or not to 16 bytes");
    memcpy(to, words, 16);
    show(static_cast<unsigned char *>(to), 16, STORED);
    stored[self().index].push_back(shared_address(to));
}

void read_visible(unsigned char *to, uint32_t at)
{
    if (at + CHUNK > block.shared_bytes)
        fail("a product reads outside shared memory");
    const Visible how = visible[at / CHUNK];
    if (how == STORED)
        fail("a product reads what was stored and not published");
    if (how == UNDER_WAY)
        fail("a product reads what a bulk copy has yet to bring");
    if (how == NOTHING)
        fail("a product reads shared memory that nothing was published in");
    memcpy(to, view + at, CHUNK);
}

void use_hopper() { used = true; }

void publish()
{
    for (uint32_t at : stored[self().index])
        show(block.shared + at, CHUNK, PUBLISHED);
    stored[self().index].clear();
}

/* ---- host -------------------------------------------------------------------------------------
 */

bool hopper()
{
    const char *capability = getenv("RVX_EMULATE_CAPABILITY");
    return capability && strcmp(capability, "9") == 0;
}

bool tensor_map(TensorMap *map, const void *base, int element_bytes, const uint64_t (&length)[5],
                const uint64_t (&pitch)[4], const uint32_t (&box)[5], Swizzle swizzle)
{
    static const uint32_t row_most[4] = {UINT32_MAX, 128, 64, 32};
    *map = {};
    const uint32_t row = box[0] * (uint32_t)element_bytes;
    bool good = reinterpret_cast<uintptr_t>(base) % 16 == 0 && row % 16 == 0 &&
                row <= row_most[swizzle] &&
                (element_bytes == 2 || element_bytes == 4 || element_bytes == 8);
    map->base = static_cast<const char *>(base);
    map->element_bytes = element_bytes;
    map->swizzle = swizzle;
    for (int a = 0; a < 5; a++) {
        map->length[a] = length[a];
        map->box[a] = box[a];
        map->pitch[a] = a == 0 ? (uint64_t)element_bytes : pitch[a - 1];
        good = good && length[a] >= 1 && length[a] <= (uint64_t)1 << 32 && box[a] >= 1 &&
               box[a] <= 256 &&
               (a == 0 || (map->pitch[a] % 16 == 0 && map->pitch[a] < (uint64_t)1 << 40));
    }
    return good;
}
} // namespace simt
