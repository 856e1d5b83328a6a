/* Probe of one case: where it stands, how wide it opens, how it is set. Invariant: a pure function
 * of seed, case and field of view. */
#include "engine/phantom/scene.h"

#include <math.h>

static double draw(rvx_random *random, double low, double high)
{
    return low + (high - low) * (double)rvx__random_uniform(random);
}

static void set_display(rvx_probe *probe, rvx_random *random)
{
    probe->frequency_mhz = draw(random, 2.6, 4.0);
    probe->focus = draw(random, 55, 85);
    probe->noise_deep_db = draw(random, -26, -17);
    probe->clutter = draw(random, 0.5, 1.6);
    probe->gain_db = draw(random, -3, 3);
    probe->range_db = draw(random, 56, 64);
}

void rvx__probe_draw(rvx_probe *probe, uint64_t seed, int64_t case_index, const double field_mm[3])
{
    rvx_random random = {.seed = seed,
                         .stream = rvx__phantom_stream(case_index, RVX_PHANTOM_PROBE)};
    *probe = (rvx_probe){0};
    set_display(probe, &random);
    double face = draw(&random, 3, 7) * field_mm[1] / 160;
    probe->radius = draw(&random, 38, 50);
    probe->depth = (field_mm[1] - face) * draw(&random, 0.93, 0.985);
    probe->angle_centre = draw(&random, -0.06, 0.06);
    /* The fan ends about where the picture does. */
    double width = field_mm[0] * draw(&random, 0.47, 0.54);
    double sine = fmin(width / (probe->radius + probe->depth), 0.6);
    probe->angle_half = fmax(asin(sine), 0.15);
    probe->apex_x = field_mm[0] * draw(&random, -0.03, 0.03);
    probe->apex_y = face - probe->radius;
}

void rvx__probe_cover(rvx_probe *probe, uint64_t seed, int64_t case_index, const double field_mm[3])
{
    rvx_random random = {.seed = seed,
                         .stream = rvx__phantom_stream(case_index, RVX_PHANTOM_PROBE)};
    *probe = (rvx_probe){0};
    set_display(probe, &random);
    double half = 0.5 * field_mm[0];
    probe->apex_x = 0.1 * half * draw(&random, -1, 1);
    probe->apex_y = -field_mm[1] * draw(&random, 0.45, 0.6);
    double side = half + fabs(probe->apex_x);
    probe->radius = -probe->apex_y - 1;
    probe->depth = hypot(side, field_mm[1] - probe->apex_y) - probe->radius + 1;
    probe->angle_half = atan2(side, -probe->apex_y) + 0.01;
    probe->focus = 0.5 * probe->depth;
    /* Deep objects are looked at with a lower pitch. */
    probe->frequency_mhz = fmin(probe->frequency_mhz, 800.0 / probe->depth);
}
