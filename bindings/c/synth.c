/* rvx_synth: see revoxel.h. */
#include "bindings/c/facade.h"
#include "engine/phantom/phantom.h"

#include <math.h>
#include <string.h>

typedef struct synth_state {
    const rvx_synth_options *options;
    char item[256];       /* the case at hand */
    int64_t cases_before; /* finished */
    int64_t cases_total;  /* 0: unknown */
    double started;
} synth_state;

/* The phantom counts slices of one case; the caller sees cases. */
static int synth_progress(void *context, const char *identifier, int64_t slices_done,
                          int64_t slices_total)
{
    synth_state *state = context;
    if (strncmp(state->item, identifier, sizeof state->item - 1) != 0) {
        state->cases_before += state->item[0] != 0;
        strncpy(state->item, identifier, sizeof state->item - 1);
    }
    rvx_progress progress =
        rvx__facade_phase("synth", identifier, state->cases_before, state->cases_total);
    double part = (double)slices_done / (double)(slices_total > 0 ? slices_total : 1);
    double done = (double)state->cases_before + part;
    double elapsed = rvx__facade_seconds() - state->started;
    if (state->cases_total > 0 && done > 0 && elapsed > 1) /* before, it would be a wild guess */
        progress.seconds_left = elapsed * fmax((double)state->cases_total - done, 0) / done;
    if (slices_done == slices_total)
        progress.done++;
    return rvx__facade_progress(state->options->progress, state->options->context, progress);
}

static rvx_status check(const rvx_synth_options *options, rvx_error *error)
{
    if (options->cases < 0 || options->cases > 1000000)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "cases expected 0 to 1000000, found %lld",
                         (long long)options->cases);
    if (options->test_cases < 0 || options->test_cases > 1000000)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "test_cases expected 0 to 1000000, found %lld",
                         (long long)options->test_cases);
    if (!options->anatomy && options->merge)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "merge groups the labels of an anatomy, and no anatomy is given");
    if (!options->anatomy && options->spacing_mm != 0)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "spacing_mm resamples an anatomy, and no anatomy is given");
    if (!(options->spacing_mm >= 0) || !isfinite(options->spacing_mm))
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "spacing_mm expected 0 or more, found %g",
                         options->spacing_mm);
    return rvx__facade_threads(options->threads, error);
}

rvx_status rvx_synth(const char *out, const rvx_synth_options *given, rvx_error *error)
{
    rvx_synth_options options;
    rvx_status status;
    RVX_TRY(rvx__facade_required(out, "out", error));
    RVX_TRY(rvx__facade_options(&options, sizeof options, given, "rvx_synth_options", error));
    RVX_TRY(check(&options, error));
    synth_state state = {.options = &options, .started = rvx__facade_seconds()};
    if (!options.anatomy || options.cases > 0)
        state.cases_total = (options.cases > 0 ? options.cases : 10) + options.test_cases;
    rvx_phantom_options phantom = {.cases = options.cases,
                                   .test_cases = options.test_cases,
                                   .size = {options.size[0], options.size[1], options.size[2]},
                                   .seed = options.seed,
                                   .anatomy = options.anatomy,
                                   .merge = options.merge,
                                   .spacing_mm = options.spacing_mm,
                                   .threads = options.threads,
                                   .progress = synth_progress,
                                   .context = &state};
    status = rvx__phantom_generate(out, &phantom, error);
cleanup:
    return status;
}
