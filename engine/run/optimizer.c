/* SGD with Nesterov momentum (Sutskever 2013, in PyTorch's form) and AdamW (Loshchilov 2019). */
#include "engine/run/optimizer.h"
#include "engine/run/session_state.h"

#include <math.h>

enum { PIECE_FLOATS = 1 << 14 };

void rvx__optimizer_make(rvx_optimizer *optimizer, const rvx_recipe *recipe)
{
    *optimizer = (rvx_optimizer){.name = (rvx_optimizer_name)recipe->optimizer.name,
                                 .learning_rate = recipe->optimizer.learning_rate,
                                 .weight_decay = recipe->optimizer.weight_decay,
                                 .momentum = recipe->optimizer.momentum,
                                 .nesterov = recipe->optimizer.nesterov,
                                 .beta1 = recipe->optimizer.beta1,
                                 .beta2 = recipe->optimizer.beta2,
                                 .epsilon = recipe->optimizer.epsilon,
                                 .gradient_clip = recipe->optimizer.gradient_clip,
                                 .schedule = (rvx_schedule)recipe->optimizer.schedule,
                                 .poly_power = recipe->optimizer.poly_power,
                                 .warmup_steps = recipe->optimizer.warmup_steps,
                                 .total_steps = recipe->training.steps};
}

int rvx__optimizer_slots(const rvx_optimizer *optimizer)
{
    return optimizer->name == RVX_OPTIMIZER_ADAMW ? 2 : 1;
}

double rvx__optimizer_rate(const rvx_optimizer *o, int64_t step)
{
    if (step < o->warmup_steps)
        return o->learning_rate * (double)(step + 1) / (double)o->warmup_steps;
    double span = (double)(o->total_steps - o->warmup_steps);
    double t = span > 0 ? (double)(step - o->warmup_steps) / span : 0;
    t = t > 1 ? 1 : t;
    if (o->schedule == RVX_SCHEDULE_POLY)
        return o->learning_rate * pow(1 - t, o->poly_power);
    if (o->schedule == RVX_SCHEDULE_COSINE)
        return o->learning_rate * 0.5 * (1 + cos(3.14159265358979323846 * t));
    return o->learning_rate;
}

/* Sum of squares of one piece in double: pieces are cut by index, so the total does not know
 * threads. */
static double piece_square_sum(const float *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

static double gradient_norm(const rvx_session *session)
{
    const float *gradients = rvx__session_gradients(session);
    int64_t count = rvx__session_parameter_floats(session),
            pieces = (count + PIECE_FLOATS - 1) / PIECE_FLOATS;
    double total = 0;
    /* A fixed number of partial sums at a time: ordered, and no allocation. */
    for (int64_t first = 0; first < pieces; first += 64) {
        double sums[64] = {0};
        int64_t here = pieces - first < 64 ? pieces - first : 64;
#pragma omp parallel for schedule(static) num_threads(rvx__session_plan(session)->options.threads)
        for (int64_t p = 0; p < here; p++) {
            int64_t begin = (first + p) * PIECE_FLOATS, left = count - begin;
            sums[p] =
                piece_square_sum(gradients + begin, left < PIECE_FLOATS ? left : PIECE_FLOATS);
        }
        for (int64_t p = 0; p < here; p++)
            total += sums[p];
    }
    return sqrt(total);
}

/* g += wd p; m = mu m + g; p -= lr (g + mu m). The first step starts from m = 0, as PyTorch's does.
 */
static void sgd_piece(const rvx_cuda_update u, float *p, const float *g, float *m, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        float gradient = g[i] * u.scale + u.weight_decay * p[i];
        m[i] = u.momentum * m[i] + gradient;
        p[i] -= u.rate * (u.nesterov ? gradient + u.momentum * m[i] : m[i]);
    }
}

/* What every piece of an AdamW update shares. 1 - 0.999f is off by 5e-5: subtract in double, as
 * PyTorch does. */
static rvx_cuda_update adamw_of(const rvx_optimizer *o, float scale, float rate, int64_t step)
{
    float correction1 = (float)(1 - pow(o->beta1, (double)(step + 1)));
    return (rvx_cuda_update){.adamw = 1,
                             .beta1 = (float)o->beta1,
                             .beta2 = (float)o->beta2,
                             .new1 = (float)(1 - o->beta1),
                             .new2 = (float)(1 - o->beta2),
                             .epsilon = (float)o->epsilon,
                             .correction2 = (float)sqrt(1 - pow(o->beta2, (double)(step + 1))),
                             .keep = (float)(1 - (double)rate * o->weight_decay),
                             .size = rate / correction1,
                             .scale = scale};
}

static void adamw_piece(const rvx_cuda_update u, float *p, const float *g, float *m, float *v,
                        int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        float gradient = g[i] * u.scale;
        m[i] = u.beta1 * m[i] + u.new1 * gradient;
        v[i] = u.beta2 * v[i] + u.new2 * gradient * gradient;
        p[i] = p[i] * u.keep - u.size * m[i] / (sqrtf(v[i]) / u.correction2 + u.epsilon);
    }
}

static rvx_cuda_update sgd_of(const rvx_optimizer *o, float scale, float rate)
{
    return (rvx_cuda_update){.nesterov = o->nesterov,
                             .rate = rate,
                             .momentum = (float)o->momentum,
                             .weight_decay = (float)o->weight_decay,
                             .scale = scale};
}

static void update_pieces(rvx_session *session, const rvx_cuda_update *u)
{
    float *p = rvx__session_parameters(session), *g = rvx__session_gradients(session);
    float *m = rvx__session_slot(session, 0), *v = rvx__session_slot(session, 1);
    int64_t count = rvx__session_parameter_floats(session),
            pieces = (count + PIECE_FLOATS - 1) / PIECE_FLOATS;
#pragma omp parallel for schedule(static) num_threads(rvx__session_plan(session)->options.threads)
    for (int64_t piece = 0; piece < pieces; piece++) {
        int64_t begin = piece * PIECE_FLOATS, left = count - begin;
        int64_t here = left < PIECE_FLOATS ? left : PIECE_FLOATS;
        if (u->adamw)
            adamw_piece(*u, p + begin, g + begin, m + begin, v + begin, here);
        else
            sgd_piece(*u, p + begin, g + begin, m + begin, here);
    }
}

rvx_status rvx__optimizer_step(double *norm, const rvx_optimizer *o, rvx_session *session,
                               int64_t step, rvx_error *error)
{
    const bool device = rvx__session_device(session) != NULL;
    rvx_status status = RVX_OK;
    if (device)
        status = rvx__session_device_norm(norm, session, error);
    else
        *norm = gradient_norm(session);
    if (status != RVX_OK || !isfinite(*norm))
        return status;
    /* torch.nn.utils.clip_grad_norm_: clip / (norm + 1e-6), at most 1. */
    double ratio = o->gradient_clip > 0 ? o->gradient_clip / (*norm + 1e-6) : 1;
    float scale = (float)(ratio < 1 ? ratio : 1), rate = (float)rvx__optimizer_rate(o, step);
    bool adamw = o->name == RVX_OPTIMIZER_ADAMW;
    const rvx_cuda_update update = adamw ? adamw_of(o, scale, rate, step) : sgd_of(o, scale, rate);
    if (device)
        rvx__session_device_update(session, update);
    else
        update_pieces(session, &update);
    return RVX_OK;
}
