/* deinterleave and interleave on the GPU (see kernels/interleave.h). Owns: the way in which the
 * movement is done in place. Slices are copied aside, as many as the room holds, and brought back
 * with their parts apart (together); then the parts of the slices are turned from [slices][4] to
 * [4][slices] along the cycles of that permutation, every thread for its own word of them, so that
 * nobody waits for anybody. */
#include "kernels/cuda/block_move.h"
#include "kernels/cuda/combine.h"
#include "kernels/interleave.h"

namespace
{
using namespace rvx;

/* ---- within slices ----------------------------------------------------------------------------
 */

struct Slices {
    int64_t items;       /* words of all slices */
    Divisor word, voxel; /* words of a part's voxel; voxels of a slice */
    bool deal;           /* parts go apart */
};

template <class Word>
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) slices_kernel(Word *to, const Word *from, Slices s)
{
    for (int64_t i = first_item(); i < s.items; i += item_step()) {
        /* i counts the words with the parts apart: [slice][part][voxel][word] */
        const int64_t voxel = divide(i, s.word), word = i - voxel * s.word.by;
        const int64_t part = divide(voxel, s.voxel), v = voxel - part * s.voxel.by;
        const int64_t together =
            (((part / RVX_PARTS) * s.voxel.by + v) * RVX_PARTS + part % RVX_PARTS) * s.word.by +
            word;
        if (s.deal)
            to[i] = from[together];
        else
            to[together] = from[i];
    }
}

/* ---- between slices ---------------------------------------------------------------------------
 */

/* A matrix [rows][columns] of units of `words` words, turned to [columns][rows]. */
struct Turn {
    uint32_t rows, columns;
    int64_t words;
};

RVX_DEVICE uint32_t turn_source(const Turn &t, uint32_t to)
{
    return to % t.rows * t.columns + to / t.rows;
}

/* A cycle is walked from its least unit; one of a single unit is not walked. */
RVX_DEVICE bool turn_begins(const Turn &t, uint32_t unit)
{
    uint32_t other = turn_source(t, unit);
    if (other == unit)
        return false;
    while (other > unit)
        other = turn_source(t, other);
    return other == unit;
}

enum { TURN_BLOCKS = 2048 /* each finds where cycles begin, once for all its words */ };

inline size_t turn_bytes(const Turn &t) { return ((size_t)t.rows * t.columns + 31) / 32 * 4; }

template <class Word> RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) turn_kernel(Word *data, Turn t)
{
    RVX_SHARED(uint32_t, begins); /* a bit for each unit */
    const uint32_t count = t.rows * t.columns;
    for (uint32_t w = threadIdx.x; w < (count + 31) / 32; w += POINTWISE_THREADS) {
        uint32_t bits = 0;
        for (uint32_t b = 0; b < 32 && w * 32 + b < count; b++)
            bits |= (turn_begins(t, w * 32 + b) ? 1u : 0u) << b;
        begins[w] = bits;
    }
    simt::barrier();
    for (int64_t i = first_item(); i < t.words; i += item_step()) {
        for (uint32_t first = 1; first + 1 < count; first++) {
            if (!(begins[first / 32] >> first % 32 & 1))
                continue;
            const Word spare = data[first * t.words + i];
            uint32_t to = first;
            for (uint32_t from = turn_source(t, to); from != first;
                 to = from, from = turn_source(t, to))
                data[to * t.words + i] = data[from * t.words + i];
            data[to * t.words + i] = spare;
        }
    }
}

/* ---- queueing ---------------------------------------------------------------------------------
 */

template <class Word> void move_words(const rvx_call *call, const rvx_tensor &whole, bool deal)
{
    const rvx_shape &s = whole.shape;
    const int64_t slices = s.n * s.d, voxels = s.h * s.w;
    const int64_t unit = s.c / RVX_PARTS * rvx__dtype_bytes(whole.dtype);
    const int64_t slice = voxels * RVX_PARTS * unit;
    char *data = static_cast<char *>(whole.data);
    const uint32_t parts = RVX_PARTS, many = (uint32_t)slices;
    Turn turn = {deal ? many : parts, deal ? parts : many, voxels * unit / (int64_t)sizeof(Word)};
    const auto queue_turn = [&] {
        const dim3 most(TURN_BLOCKS), all = pointwise_grid(turn.words);
        simt::launch(turn_kernel<Word>, all.x < most.x ? all : most, POINTWISE_THREADS,
                     turn_bytes(turn), queue_of(call), reinterpret_cast<Word *>(data), turn);
    };
    if (!deal)
        queue_turn();
    const int64_t fit = rvx__interleave_aside_bytes(s) / slice;
    for (int64_t first = 0; first < slices; first += fit) {
        const int64_t count = slices - first < fit ? slices - first : fit;
        char *at = data + first * slice;
        block_copy(call, call->scratch, at, count * slice);
        Slices m = {};
        m.items = count * slice / (int64_t)sizeof(Word);
        m.word = divisor_of(unit / (int64_t)sizeof(Word));
        m.voxel = divisor_of(voxels);
        m.deal = deal;
        simt::launch(slices_kernel<Word>, pointwise_grid(m.items), POINTWISE_THREADS, 0,
                     queue_of(call), reinterpret_cast<Word *>(at),
                     static_cast<const Word *>(call->scratch), m);
    }
    if (deal)
        queue_turn();
}

void move_in_place(const rvx_call *call, const rvx_tensor &whole, bool deal)
{
    const int64_t unit = whole.shape.c / RVX_PARTS * rvx__dtype_bytes(whole.dtype);
    const uintptr_t all = reinterpret_cast<uintptr_t>(whole.data) | (uintptr_t)unit;
    if (all % sizeof(Words4) == 0)
        move_words<Words4>(call, whole, deal);
    else if (all % sizeof(uint64_t) == 0)
        move_words<uint64_t>(call, whole, deal);
    else
        move_words<uint16_t>(call, whole, deal);
}

/* ---- between different tensors ----------------------------------------------------------------
 */

template <class Word>
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS)
    channels_kernel(Word *to, const Word *from, int64_t to_pitch, int64_t from_pitch, int64_t items,
                    Divisor words)
{
    for (int64_t i = first_item(); i < items; i += item_step()) {
        const int64_t voxel = divide(i, words), word = i - voxel * words.by;
        to[voxel * to_pitch + word] = from[voxel * from_pitch + word];
    }
}

template <class Word>
void channels_move(const rvx_call *call, const rvx_tensor &to, const rvx_tensor &from)
{
    const int64_t size = rvx__dtype_bytes(to.dtype), word = (int64_t)sizeof(Word);
    const int64_t words = to.shape.c * size / word;
    const int64_t items = rvx__shape_voxels(to.shape) * words;
    simt::launch(channels_kernel<Word>, pointwise_grid(items), POINTWISE_THREADS, 0, queue_of(call),
                 static_cast<Word *>(to.data), static_cast<const Word *>(from.data),
                 to.pitch * size / word, from.pitch * size / word, items, divisor_of(words));
}

/* Elements of one type keep their bits, whatever these say; others, and sums, are numbers. */
void move_channels(const rvx_call *call, const rvx_tensor &to, const rvx_tensor &from, bool add)
{
    const int64_t size = rvx__dtype_bytes(to.dtype);
    const uintptr_t all = reinterpret_cast<uintptr_t>(to.data) |
                          reinterpret_cast<uintptr_t>(from.data) | (uintptr_t)(to.pitch * size) |
                          (uintptr_t)(from.pitch * size) | (uintptr_t)(to.shape.c * size);
    if (add || to.dtype != from.dtype)
        combine(call, to, from, to, add ? SUM : COPY);
    else if (all % sizeof(Words4) == 0)
        channels_move<Words4>(call, to, from);
    else if (all % sizeof(uint64_t) == 0)
        channels_move<uint64_t>(call, to, from);
    else
        channels_move<uint16_t>(call, to, from);
}

/* parts = whole; `add` bit p: to what part p is. */
void deal(const rvx_call *call, const rvx_tensor *parts, const rvx_tensor &whole, uint32_t add)
{
    if (parts[0].data == whole.data) {
        move_in_place(call, whole, true);
        return;
    }
    for (int p = 0; p < RVX_PARTS; p++) {
        const int64_t c = parts[p].shape.c;
        if (parts[p].data)
            move_channels(call, parts[p], channels_of(whole, p * c, c), add >> p & 1u);
    }
}

/* whole = parts, or whole += parts. Parts without memory are zero. */
void collect(const rvx_call *call, const rvx_tensor &whole, const rvx_tensor *parts, bool add)
{
    if (parts[0].data == whole.data) {
        move_in_place(call, whole, false);
        return;
    }
    const int64_t c = whole.shape.c / RVX_PARTS;
    for (int p = 0; p < RVX_PARTS; p++) {
        const rvx_tensor to = channels_of(whole, p * c, c);
        if (parts[p].data)
            move_channels(call, to, parts[p], add);
        else if (!add)
            combine(call, to, to, to, ZERO);
    }
}
} // namespace

extern "C" void rvx__cuda_deinterleave_forward(const rvx_call *call)
{
    deal(call, call->out, call->in[0], 0);
}

extern "C" void rvx__cuda_deinterleave_backward(const rvx_call *call)
{
    if (call->grad_in[0].data)
        collect(call, call->grad_in[0], call->grad_out, (call->accumulate & 1u) != 0);
}

extern "C" void rvx__cuda_deinterleave_inverse(const rvx_call *call)
{
    collect(call, call->in[0], call->out, false);
}

extern "C" void rvx__cuda_interleave_forward(const rvx_call *call)
{
    collect(call, call->out[0], call->in, false);
}

extern "C" void rvx__cuda_interleave_backward(const rvx_call *call)
{
    deal(call, call->grad_in, call->grad_out[0], call->accumulate);
}

extern "C" void rvx__cuda_interleave_inverse(const rvx_call *call)
{
    deal(call, call->in, call->out[0], false);
}
