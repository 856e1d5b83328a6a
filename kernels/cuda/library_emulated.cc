/* Plain loops that stand for a library's convolutions in the emulation: see library.h. Three that
 * may be chosen, which differ in the order of their sums and in workspace, and two that must not
 * be: one whose bits would vary, one that is not faithful. One more does not do what it is listed
 * for. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/emulate.h"
#include "kernels/cuda/library.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace
{
using namespace rvx;

#define FAILING "emulated:failing"
const LibraryAlgorithm algorithms[] = {
    {"emulated:forwards", 0, true, true},
    {"emulated:backwards", 64 << 10, true, true},
    {"emulated:large", (int64_t)1 << 40, true, true},
    {"emulated:atomic", 0, false, true},
    {"emulated:half", 0, true, false},
    {FAILING, 0, true, true}, /* where RVX_EMULATE_FAILING is set */
};

struct Opened {
    LibraryConv conv;
    LibraryOperands operands;
    int64_t workspace_bytes;
    bool backwards, failing;
};

float get(const LibraryConv &c, const void *p, int64_t i)
{
    return c.bf16 ? rvx__f32_of(static_cast<const uint16_t *>(p)[i])
                  : static_cast<const float *>(p)[i];
}

void put(const LibraryConv &c, void *p, int64_t i, float v)
{
    uint16_t *halves = static_cast<uint16_t *>(p);
    float *whole = static_cast<float *>(p);
    const bool bf16 = c.bf16 && !c.wide;
    if (c.add)
        v += bf16 ? rvx__f32_of(halves[i]) : whole[i];
    if (bf16)
        halves[i] = rvx__bf16_of(v);
    else
        whole[i] = v;
}

int64_t voxel(const rvx_shape &s, int64_t n, const int64_t (&at)[3])
{
    return ((n * s.d + at[0]) * s.h + at[1]) * s.w + at[2];
}

/* One product of the sum at hand: elements of x, the weight and y. */
struct Term {
    int64_t x, weight, y;
};

/* Calls to(term) for every product, x's channel and y's among them, in one of two orders. */
template <class To> void each_term(const Opened &o, const To &to)
{
    const LibraryConv &c = o.conv;
    const int64_t taps = (int64_t)c.kernel[0] * c.kernel[1] * c.kernel[2];
    const int64_t positions = rvx__shape_voxels(c.y), a_sample = c.y.d * c.y.h * c.y.w;
    for (int64_t i = 0; i < positions * taps; i++) {
        const int64_t k = o.backwards ? positions * taps - 1 - i : i;
        const int64_t position = k / taps, tap = k % taps, n = position / a_sample;
        const int64_t out[3] = {position / (c.y.h * c.y.w) % c.y.d, position / c.y.w % c.y.h,
                                position % c.y.w};
        const int64_t t[3] = {tap / (c.kernel[1] * c.kernel[2]), tap / c.kernel[2] % c.kernel[1],
                              tap % c.kernel[2]};
        const int64_t length[3] = {c.x.d, c.x.h, c.x.w};
        int64_t in[3];
        bool inside = true;
        for (int a = 0; a < 3; a++) {
            in[a] = out[a] * c.stride[a] - c.pad[a] + t[a];
            inside = inside && in[a] >= 0 && in[a] < length[a];
        }
        for (int64_t co = 0; inside && co < c.y.c; co++)
            for (int64_t ci = 0; ci < c.x.c; ci++)
                to(Term{voxel(c.x, n, in) * c.x.c + ci, (co * taps + tap) * c.x.c + ci,
                        position * c.y.c + co});
    }
}

void work(const Opened &o)
{
    const LibraryConv &c = o.conv;
    const LibraryOperands &p = o.operands;
    const int64_t taps = (int64_t)c.kernel[0] * c.kernel[1] * c.kernel[2];
    const int64_t count = c.phase == LIBRARY_FORWARD ? rvx__shape_count(c.y)
                          : c.phase == LIBRARY_DATA  ? rvx__shape_count(c.x)
                                                     : taps * c.x.c * c.y.c;
    float *sums = static_cast<float *>(calloc((size_t)count + 1, sizeof *sums));
    each_term(o, [&](const Term &t) {
        if (c.phase == LIBRARY_FORWARD)
            sums[t.y] += get(c, p.x, t.x) * get(c, p.weight, t.weight);
        else if (c.phase == LIBRARY_DATA)
            sums[t.x] += get(c, p.y, t.y) * get(c, p.weight, t.weight);
        else
            sums[t.weight] += get(c, p.x, t.x) * get(c, p.y, t.y);
    });
    memset(p.workspace, 0xFF, (size_t)o.workspace_bytes);
    for (int64_t i = 0; i < count; i++)
        if (c.phase == LIBRARY_WEIGHT)
            static_cast<float *>(p.weight)[i] = sums[i];
        else
            put(c, c.phase == LIBRARY_FORWARD ? p.y : p.x, i, sums[i]);
    free(sums);
}
} // namespace

namespace rvx
{
/* Tests of caches set RVX_EMULATE_LIBRARIES. */
const char *library_versions(rvx_cuda_device *)
{
    const char *versions = getenv("RVX_EMULATE_LIBRARIES");
    return versions ? versions : "emulated 1.0";
}

int library_list(LibraryAlgorithm *list, int most, rvx_cuda_device *device, const LibraryConv &)
{
    int count = 0;
    if (!library_versions(device)[0])
        return 0;
    for (const LibraryAlgorithm &one : algorithms)
        if (count < most && (strcmp(one.name, FAILING) != 0 || getenv("RVX_EMULATE_FAILING")))
            list[count++] = one;
    return count;
}

void *library_open(rvx_cuda_device *device, const LibraryConv &c, const char *name,
                   const LibraryOperands &operands)
{
    LibraryAlgorithm list[sizeof algorithms / sizeof *algorithms];
    const int count = library_list(list, sizeof list / sizeof *list, device, c);
    for (int i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0 && list[i].workspace_bytes <= operands.workspace_bytes)
            return new (std::nothrow)
                Opened{c, operands, list[i].workspace_bytes,
                       strcmp(name, "emulated:backwards") == 0, strcmp(name, FAILING) == 0};
    return nullptr;
}

void library_run(void *opened, rvx_cuda_device *device)
{
    const Opened *o = static_cast<const Opened *>(opened);
    if (o->failing)
        return device_failed(device);
    simt::enqueue(device_queue(device), [o] { work(*o); });
}

void library_close(void *opened) { delete static_cast<Opened *>(opened); }
} // namespace rvx
