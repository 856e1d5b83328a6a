/* See goals.h. */
#include "bench/gpu/goals.h"

namespace bench
{
namespace
{
Goals goals(double peer, double peer_stretch, double floor, double floor_stretch)
{
    Goals g = {};
    if (peer > 0)
        g.peer = {"times cuDNN", peer, peer_stretch, 1};
    if (floor > 0)
        g.floor = {"% of the floor", floor, floor_stretch, 1};
    return g;
}

Goals gather_goals(int64_t channels)
{
    return channels <= 8    ? goals(3.5, 5, 55, 70)
           : channels <= 16 ? goals(3.5, 5, 55, 75)
           : channels <= 24 ? goals(2.5, 3.5, 50, 65)
           : channels <= 32 ? goals(2.2, 3, 55, 75)
           : channels <= 64 ? goals(1.2, 1.6, 50, 70)
                            : goals(0.95, 0, 0, 0); /* else cuDNN is to do it */
}
} // namespace

Goals goals_of(const Case &c, int phase)
{
    const bool forward = phases[phase] == RVX_FORWARD,
               weights = phases[phase] == RVX_BACKWARD_PARAMETERS;
    if (c.kind == BRANCH && forward) /* torch.compile beside it: peers/gpu_torch.py */
        return goals(0, 0, 55, 70);
    if (c.kind == TRANSPOSED || (c.kind == CONV && c.kernel == 1))
        return goals(2, 3, 80, 90);
    if (c.kind != CONV)
        return {};
    if (c.stride == 2)
        return !forward && c.in < c.out ? goals(4, 6, 50, 65) : Goals{};
    if (weights)
        return c.in <= 32 ? goals(3, 4.5, 50, 65) : c.in <= 64 ? goals(1.2, 1.6, 50, 65) : Goals{};
    return gather_goals(c.in);
}
} // namespace bench
