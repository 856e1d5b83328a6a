/* The goals of the kernels' benchmark, by case and phase. Owns: that table. */
#ifndef BENCH_GPU_GOALS_H
#define BENCH_GPU_GOALS_H

#include "bench/goal.h"
#include "bench/gpu/problem.h"

namespace bench
{
struct Goals {
    bench_goal peer, floor; /* times the peer; percent of the floor. figure NULL: no goal */
};
Goals goals_of(const Case &c, int phase);
} // namespace bench

#endif
