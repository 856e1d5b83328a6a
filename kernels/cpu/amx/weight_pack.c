/* Packing for weight gradients on matrix tiles: see weight.h. */
#include "kernels/cpu/amx/tile.h"
#include "kernels/cpu/amx/weight.h"

enum { PAIRS = 16, PARTS_MAX = 3 };

typedef struct channels {
    const rvx__amx_line *line;
    const char *from;  /* position 0, first of the sixteen channels; may lie outside the volume */
    int64_t step;      /* bytes from position to position */
    int64_t low, high; /* positions inside */
    numbers numbers;
    int fold;
    __mmask16 mask;
    __m512 scale, shift, slope;
} channels;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Sixteen channels from `channel` on. */
static channels channels_open(const rvx__amx_line *line, int64_t channel)
{
    const rvx_tensor *t = line->tensor;
    const rvx_shape *s = &t->shape;
    const int64_t bytes = rvx__dtype_bytes(t->dtype);
    channels c = {.line = line, .numbers = numbers_of(t), .fold = line->fold != NULL};
    c.mask = lanes_mask(s->c - channel);
    c.step = line->step * t->pitch * bytes;
    if (line->z >= 0 && line->z < s->d && line->y >= 0 && line->y < s->h) {
        c.low = line->x < 0 ? (-line->x + line->step - 1) / line->step : 0;
        c.high = line->x < s->w ? (s->w - 1 - line->x) / line->step + 1 : 0;
        c.high = smaller(c.high, smaller(line->count, line->valid));
        const int64_t voxel = ((line->n * s->d + line->z) * s->h + line->y) * s->w + line->x;
        c.from = (const char *)t->data + (voxel * t->pitch + channel) * bytes;
    }
    if (c.fold) {
        const float *table = rvx__f32(line->fold) + line->n * 3 * line->fold->pitch + channel;
        c.scale = _mm512_maskz_loadu_ps(c.mask, table);
        c.shift = _mm512_maskz_loadu_ps(c.mask, table + line->fold->pitch);
        c.slope = _mm512_maskz_loadu_ps(c.mask, table + 2 * line->fold->pitch);
    }
    return c;
}

static inline __attribute__((always_inline)) __m512 position_load(const channels *c, int64_t i,
                                                                  rvx_dtype dtype, int fold)
{
    const __m512 zero = _mm512_setzero_ps();
    numbers kind = c->numbers;
    kind.dtype = dtype;
    if (i < c->low || i >= c->high)
        return zero;
    __m512 v = numbers_load(c->from + i * c->step, kind, c->mask);
    if (fold) {
        v = _mm512_fmadd_ps(v, c->scale, c->shift);
        v = _mm512_mask_mul_ps(v, _mm512_cmp_ps_mask(v, zero, _CMP_NGE_UQ), v, c->slope);
    }
    return v;
}

/* Lane by lane, a in the low and b in the high half. */
static inline __m512i pair_of(__m256i a, __m256i b)
{
    return _mm512_or_si512(_mm512_cvtepu16_epi32(a),
                           _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

/* Constants of the loop are compile-time constants. */
static inline __attribute__((always_inline)) void pairs_typed(__m512i pair[PARTS_MAX][PAIRS],
                                                              const channels *c, int64_t first,
                                                              int64_t count, int64_t parts,
                                                              rvx_dtype dtype, int fold)
{
    for (int64_t i = 0; i < count; i++) {
        __m512 a = position_load(c, first + 2 * i, dtype, fold);
        __m512 b = position_load(c, first + 2 * i + 1, dtype, fold);
        for (int64_t p = 0; p < parts; p++) {
            const __m256i low = bf16_of(a), high = bf16_of(b);
            pair[p][i] = pair_of(low, high);
            a = _mm512_sub_ps(a, f32_of(low));
            b = _mm512_sub_ps(b, f32_of(high));
        }
    }
}

/* `count` pairs of positions from `first` on, of each part. */
static void pairs_load(__m512i pair[PARTS_MAX][PAIRS], const channels *c, int64_t first,
                       int64_t count, int64_t parts)
{
    const rvx_dtype dtype = c->numbers.dtype;
    if (parts == 1 && dtype == RVX_BF16 && !c->fold && first >= c->low &&
        first + 2 * count <= c->high) {
        const char *from = c->from + first * c->step;
        for (int64_t i = 0; i < count; i++, from += 2 * c->step)
            pair[0][i] = pair_of(_mm256_maskz_loadu_epi16(c->mask, from),
                                 _mm256_maskz_loadu_epi16(c->mask, from + c->step));
    } else if (parts == 1 && dtype == RVX_BF16)
        pairs_typed(pair, c, first, count, 1, RVX_BF16, c->fold);
    else if (parts == 1 && dtype == RVX_I16)
        pairs_typed(pair, c, first, count, 1, RVX_I16, c->fold);
    else if (parts == 1)
        pairs_typed(pair, c, first, count, 1, RVX_F32, c->fold);
    else if (dtype == RVX_I16 && c->fold)
        pairs_typed(pair, c, first, count, 3, RVX_I16, 1);
    else if (dtype == RVX_F32 && !c->fold)
        pairs_typed(pair, c, first, count, 3, RVX_F32, 0);
    else
        pairs_typed(pair, c, first, count, 3, dtype, c->fold);
}

/* Four perfect shuffles of a square of 16 x 16 words swap the bits of its rows and columns. */
static inline void square_transpose(__m512i *m)
{
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    for (int pass = 0; pass < 4; pass++) {
        __m512i t[16];
        for (int i = 0; i < 8; i++) {
            t[2 * i] = _mm512_permutex2var_epi32(m[i], low, m[i + 8]);
            t[2 * i + 1] = _mm512_permutex2var_epi32(m[i], high, m[i + 8]);
        }
        memcpy(m, t, sizeof t);
    }
}

void rvx__amx_pack_many(uint16_t *to, const rvx__amx_weight_plan *plan, const rvx__amx_line *line)
{
    for (int64_t tile = 0; tile < plan->m_tiles; tile++) {
        const channels c = channels_open(line, tile * RVX__AMX_ROWS);
        for (int64_t i = 0; i < line->count; i += 2 * PAIRS) {
            __m512i pair[PARTS_MAX][PAIRS];
            const int64_t count = smaller(PAIRS, (line->count - i) / 2);
            const __mmask16 mask = lanes_mask(count);
            if (count < PAIRS)
                memset(pair, 0, sizeof pair);
            pairs_load(pair, &c, i, count, plan->parts);
            for (int64_t p = 0; p < plan->parts; p++) {
                uint16_t *at = to + p * plan->many_part + tile * RVX__AMX_ROWS * plan->row + i;
                square_transpose(pair[p]);
                for (int channel = 0; channel < RVX__AMX_ROWS; channel++)
                    _mm512_mask_storeu_epi32(at + channel * plan->row, mask, pair[p][channel]);
            }
        }
    }
}

void rvx__amx_pack_few(uint16_t *to, const rvx__amx_weight_plan *plan, const rvx__amx_line *line,
                       int64_t first, int64_t tile, int64_t tiles)
{
    for (int64_t n = tile; n < tile + tiles; n++) {
        const int64_t in_panel = n % RVX__AMX_PANEL;
        const int64_t columns = smaller(RVX__AMX_PANEL, plan->n_tiles - n + in_panel);
        uint16_t *panel = to + (n - in_panel) * RVX__AMX_COLUMNS * plan->depth +
                          in_panel * RVX__AMX_TILE_ELEMENTS;
        const channels c = channels_open(line, n * RVX__AMX_COLUMNS);
        for (int64_t i = 0; i < line->count; i += 2 * PAIRS) {
            __m512i pair[PARTS_MAX][PAIRS];
            const int64_t count = smaller(PAIRS, (line->count - i) / 2);
            pairs_load(pair, &c, i, count, plan->parts);
            for (int64_t p = 0; p < plan->parts; p++)
                for (int64_t j = 0; j < larger(count, 0); j++) {
                    const int64_t at = (first + i) / 2 + j;
                    _mm512_storeu_si512(panel + p * plan->few_part +
                                            at / PAIRS * columns * RVX__AMX_TILE_ELEMENTS +
                                            at % PAIRS * 2 * RVX__AMX_COLUMNS,
                                        pair[p][j]);
                }
        }
    }
}
