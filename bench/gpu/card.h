/* What this very card can do, measured: copy bandwidth and matrix rates, which floors of kernels
 * are made of. Owns: those numbers. */
#ifndef BENCH_GPU_CARD_H
#define BENCH_GPU_CARD_H

#include <stdint.h>

namespace bench
{
struct Card {
    char name[256];
    int multiprocessors;
    int64_t l2_bytes;
    bool hopper;
    double copy_rate;     /* bytes read and written a second */
    double multiply_rate; /* FLOP a second of mma.sync */
    double matrix_rate;   /* the same of the faster of that and cuBLAS */
    double product_rate[4]
                       [2]; /* of wgmma with 24, 48, 72, 96 columns, addresses on 128 and beside */
};
extern Card card;

/* With cuBLAS where cublas_open found it. */
void measure_card();
} // namespace bench

#endif
