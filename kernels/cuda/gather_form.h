/* What the kernels of 3 x 3 taps in a plane, stride 1, have in common on the host. Owns: the part
 * of their parameters that says what is gathered and where it goes, and the choice of a form by the
 * number of groups of 8 source channels. */
#ifndef RVX_CUDA_GATHER_FORM_H
#define RVX_CUDA_GATHER_FORM_H

#include "kernels/cuda/finish.h"

namespace rvx
{
struct Gathered {
    View source;
    Fold fold;
    Finish finish;
    int32_t first[3]; /* voxels from a target to the source of its first tap */
};

inline Gathered gathered_of(const Correlation &c)
{
    const rvx__cuda_gather &g = c.gather;
    Gathered p = {};
    p.source = view_of(c.source);
    p.fold = fold_of(c.fold);
    p.finish = finish_of(c);
    for (int a = 0; a < 3; a++)
        p.first[a] = g.scatter ? g.pad[a] - (g.kernel[a] - 1) : -g.pad[a];
    return p;
}

template <int i> struct Number {
    enum { VALUE = i };
};

/* Calls with(Number<groups>()), for 1 to 4 groups. */
template <class With> void with_groups(int32_t groups, const With &with)
{
    switch (groups) {
    case 1:
        return with(Number<1>());
    case 2:
        return with(Number<2>());
    case 3:
        return with(Number<3>());
    default:
        return with(Number<4>());
    }
}
} // namespace rvx

#endif
