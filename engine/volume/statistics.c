/* Statistics of a stream of voxels: see statistics.h. */
#include "engine/volume/statistics.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { PIECE_VOXELS = 1 << 15, PIECES = 256 };

typedef __typeof__(((rvx_statistics *)0)->open) piece;

static piece piece_empty(void) { return (piece){.least = DBL_MAX, .greatest = -DBL_MAX}; }

static void piece_add(piece *p, const float *voxels, int64_t count, int64_t pitch)
{
    for (int64_t i = 0; i < count; i++) {
        const double v = voxels[i * pitch];
        if (v == 0)
            continue;
        if (p->count++ == 0)
            p->first = v;
        p->sum += v - p->first;
        p->squares += (v - p->first) * (v - p->first);
        p->least = v < p->least ? v : p->least;
        p->greatest = v > p->greatest ? v : p->greatest;
    }
}

static rvx_moments join(const rvx_moments *a, const rvx_moments *b)
{
    if (a->count == 0 || b->count == 0)
        return a->count == 0 ? *b : *a;
    const double n = (double)a->count, m = (double)b->count, between = b->mean - a->mean;
    return (rvx_moments){.count = a->count + b->count,
                         .mean = a->mean + between * m / (n + m),
                         .squares = a->squares + b->squares + between * between * n * m / (n + m),
                         .least = fmin(a->least, b->least),
                         .greatest = fmax(a->greatest, b->greatest)};
}

static void piece_join(rvx_statistics *s, const piece *p)
{
    if (p->count == 0)
        return;
    const double n = (double)p->count;
    const rvx_moments m = {.count = p->count,
                           .mean = p->first + p->sum / n,
                           .squares = fmax(p->squares - p->sum * p->sum / n, 0),
                           .least = p->least,
                           .greatest = p->greatest};
    s->nonzero = join(&s->nonzero, &m);
}

void rvx__statistics_start(rvx_statistics *s)
{
    memset(s, 0, sizeof *s);
    s->open = piece_empty();
}

static void open_close(rvx_statistics *s)
{
    piece_join(s, &s->open);
    s->open = piece_empty();
}

void rvx__statistics_add(rvx_statistics *s, const float *voxels, int64_t count, int64_t pitch)
{
    while (count > 0) {
        int64_t into = s->seen % PIECE_VOXELS, whole = into ? 0 : count / PIECE_VOXELS, part;
        if (whole > 0) {
            piece pieces[PIECES];
            whole = whole < PIECES ? whole : PIECES;
#pragma omp parallel for schedule(static)
            for (int64_t i = 0; i < whole; i++) {
                pieces[i] = piece_empty();
                piece_add(&pieces[i], voxels + i * PIECE_VOXELS * pitch, PIECE_VOXELS, pitch);
            }
            for (int64_t i = 0; i < whole; i++)
                piece_join(s, &pieces[i]);
            part = whole * PIECE_VOXELS;
        } else {
            part = count < PIECE_VOXELS - into ? count : PIECE_VOXELS - into;
            piece_add(&s->open, voxels, part, pitch);
            if (into + part == PIECE_VOXELS)
                open_close(s);
        }
        voxels += part * pitch;
        count -= part;
        s->seen += part;
    }
}

void rvx__statistics_end(rvx_statistics *s) { open_close(s); }

rvx_moments rvx__moments_with_zeros(const rvx_moments *nonzero, int64_t zeros)
{
    const rvx_moments none = {.count = zeros};
    return join(nonzero, &none);
}
