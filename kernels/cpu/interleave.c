/* deinterleave and interleave on the CPU (see kernels/interleave.h). */
#include "kernels/interleave.h"
#include "kernels/cpu/copy.h"
#include "kernels/cpu/units.h"

#include <omp.h>

/* The whole's memory, seen as lines of voxels. */
typedef struct memory {
    char *data;
    int64_t slices, h, w, unit; /* unit: bytes of a part's voxel */
    char *scratch;
    int64_t line_bytes, each_bytes;
    int threads;
} memory;

RVX_INLINE void voxels_deal(char *restrict to, const char *restrict from, int64_t w, int64_t unit)
{
    for (int64_t x = 0; x < w; x++)
        for (int64_t p = 0; p < RVX_PARTS; p++)
            memcpy(to + (p * w + x) * unit, from + (x * RVX_PARTS + p) * unit, (size_t)unit);
}

RVX_INLINE void voxels_collect(char *restrict to, const char *restrict from, int64_t w,
                               int64_t unit)
{
    for (int64_t x = 0; x < w; x++)
        for (int64_t p = 0; p < RVX_PARTS; p++)
            memcpy(to + (x * RVX_PARTS + p) * unit, from + (p * w + x) * unit, (size_t)unit);
}

/* A line of the whole [w][4] to or from lines of the parts [4][w]; units whose size the compiler
 * knows are moved by vectors. */
static void line_turn(char *line, char *aside, int64_t w, int64_t unit, int deal)
{
    memcpy(aside, line, (size_t)(w * RVX_PARTS * unit));
#define WITH_UNIT(bytes)                                                                           \
    if (deal)                                                                                      \
        voxels_deal(line, aside, w, bytes);                                                        \
    else                                                                                           \
        voxels_collect(line, aside, w, bytes)
    switch (unit) {
    case 16:
        WITH_UNIT(16);
        break;
    case 32:
        WITH_UNIT(32);
        break;
    case 64:
        WITH_UNIT(64);
        break;
    default:
        WITH_UNIT(unit);
    }
#undef WITH_UNIT
}

/* One slice between [h][w][4] and [4][h][w]. */
static void slice_turn(const memory *m, char *slice, char *own, int deal)
{
    int64_t line = m->w * m->unit;
    rvx_units lines = {deal ? m->h : RVX_PARTS, deal ? RVX_PARTS : m->h, line, line};
    if (!deal)
        rvx__units_turn(slice, lines, own, own + m->line_bytes);
    for (int64_t y = 0; y < m->h; y++)
        line_turn(slice + y * RVX_PARTS * line, own, m->w, m->unit, deal);
    if (deal)
        rvx__units_turn(slice, lines, own, own + m->line_bytes);
}

/* Slices of the batch between [slices][4] and [4][slices], a line of each at a time. */
static void slices_turn(const memory *m, int deal)
{
    int64_t line = m->w * m->unit;
    rvx_units slices = {deal ? m->slices : RVX_PARTS, deal ? RVX_PARTS : m->slices, line,
                        m->h * line};
#pragma omp parallel for num_threads(m->threads) schedule(static)
    for (int64_t y = 0; y < m->h; y++) {
        char *own = m->scratch + omp_get_thread_num() * m->each_bytes;
        rvx__units_turn(m->data + y * line, slices, own, own + m->line_bytes);
    }
}

static void move_in_place(const rvx_call *call, const rvx_tensor *whole, int deal)
{
    rvx_shape s = whole->shape;
    memory m = {whole->data,
                s.n * s.d,
                s.h,
                s.w,
                s.c / RVX_PARTS * rvx__dtype_bytes(whole->dtype),
                call->scratch,
                rvx__interleave_line_bytes(s),
                rvx__interleave_thread_bytes(s),
                call->threads};
    if (!deal)
        slices_turn(&m, deal);
#pragma omp parallel for num_threads(m.threads) schedule(static)
    for (int64_t z = 0; z < m.slices; z++)
        slice_turn(&m, m.data + z * RVX_PARTS * m.h * m.w * m.unit,
                   m.scratch + omp_get_thread_num() * m.each_bytes, deal);
    if (deal)
        slices_turn(&m, deal);
}

/* Channels of equal type keep their bits, whatever these say; others are numbers. */
static void move_channels(const rvx_call *call, const rvx_tensor *to, int64_t to_first,
                          const rvx_tensor *from, int64_t from_first, int64_t c, int add)
{
    int64_t rows = rvx__shape_voxels(to->shape), size = rvx__dtype_bytes(to->dtype);
    rvx_plane y = rvx__plane_of(to, to_first), x = rvx__plane_of(from, from_first);
    if (add) {
        rvx__combine(y, x, y, rows, c, RVX_COMBINE_SUM, call->threads);
    } else if (to->dtype != from->dtype) {
        rvx__combine(y, x, x, rows, c, RVX_COMBINE_COPY, call->threads);
    } else {
#pragma omp parallel for num_threads(call->threads) schedule(static)
        for (int64_t i = 0; i < rows; i++)
            memcpy(y.data + i * y.pitch * size, x.data + i * x.pitch * size, (size_t)(c * size));
    }
}

/* parts = whole; `add` bit p: to what part p is. Parts without memory are skipped. */
static void deal(const rvx_call *call, const rvx_tensor *parts, const rvx_tensor *whole,
                 uint32_t add)
{
    if (parts[0].data == whole->data) {
        move_in_place(call, whole, 1);
        return;
    }
    for (int p = 0; p < RVX_PARTS; p++)
        if (parts[p].data)
            move_channels(call, &parts[p], 0, whole, p * parts[p].shape.c, parts[p].shape.c,
                          add >> p & 1);
}

/* whole = parts, or whole += parts. Parts without memory are zero. */
static void collect(const rvx_call *call, const rvx_tensor *whole, const rvx_tensor *parts, int add)
{
    if (parts[0].data == whole->data) {
        move_in_place(call, whole, 0);
        return;
    }
    int64_t rows = rvx__shape_voxels(whole->shape), c = whole->shape.c / RVX_PARTS;
    for (int p = 0; p < RVX_PARTS; p++) {
        rvx_plane to = rvx__plane_of(whole, p * c);
        if (parts[p].data)
            move_channels(call, whole, p * c, &parts[p], 0, c, add);
        else if (!add)
            rvx__combine(to, to, to, rows, c, RVX_COMBINE_ZERO, call->threads);
    }
}

void RVX_KERNEL(rvx__deinterleave_forward)(const rvx_call *call)
{
    deal(call, call->out, &call->in[0], 0);
}

void RVX_KERNEL(rvx__deinterleave_backward)(const rvx_call *call)
{
    if (call->grad_in[0].data)
        collect(call, &call->grad_in[0], call->grad_out, (call->accumulate & 1u) != 0);
}

void RVX_KERNEL(rvx__deinterleave_inverse)(const rvx_call *call)
{
    collect(call, &call->in[0], call->out, 0);
}

void RVX_KERNEL(rvx__interleave_forward)(const rvx_call *call)
{
    collect(call, &call->out[0], call->in, 0);
}

void RVX_KERNEL(rvx__interleave_backward)(const rvx_call *call)
{
    deal(call, call->grad_in, &call->grad_out[0], call->accumulate);
}

void RVX_KERNEL(rvx__interleave_inverse)(const rvx_call *call)
{
    deal(call, call->in, &call->out[0], 0);
}
