/* rvx_evaluate: see revoxel.h. */
#include "engine/segment/evaluate.h"
#include "bindings/c/model_set.h"
#include "bindings/c/repairs.h"
#include "engine/segment/report.h"
#include "engine/segment/spread.h"

#include <math.h>

typedef struct evaluate_state {
    const rvx_evaluate_options *options;
    double started;
} evaluate_state;

static bool evaluate_progress(void *context, const rvx_evaluation *evaluation, int64_t done,
                              int64_t count)
{
    const evaluate_state *state = context;
    const char *name = done > 0 ? evaluation->cases[done - 1].name : NULL;
    rvx_progress progress = rvx__facade_phase("evaluate", name, done, count);
    if (done > 0)
        progress.seconds_left =
            (rvx__facade_seconds() - state->started) * (double)(count - done) / (double)done;
    return rvx__facade_progress(state->options->progress, state->options->context, progress) == 0;
}

rvx_status rvx_evaluate(char **table, const char *predictions, const char *references,
                        const rvx_evaluate_options *given, rvx_error *error)
{
    rvx_evaluate_options options;
    rvx_evaluation evaluation = {0};
    rvx_repairs repairs = {0};
    rvx_text text = {0};
    rvx_status status;
    int folds = 0;
    if (table)
        *table = NULL;
    RVX_TRY(rvx__facade_required(predictions, "predictions", error));
    RVX_TRY(rvx__facade_required(references, "references", error));
    RVX_TRY(rvx__facade_options(&options, sizeof options, given, "rvx_evaluate_options", error));
    RVX_TRY(rvx__facade_threads(options.threads, error));
    if (!(options.tolerance_mm >= 0) || !isfinite(options.tolerance_mm)) {
        status = rvx__fail(error, RVX_ERROR_ARGUMENT, "tolerance_mm expected 0 or more, found %g",
                           options.tolerance_mm);
        goto cleanup;
    }
    if (options.resamples < 0 || options.resamples > RVX_RESAMPLES_MAX) {
        status = rvx__fail(error, RVX_ERROR_ARGUMENT, "resamples expected 0 to %d, found %d",
                           RVX_RESAMPLES_MAX, options.resamples);
        goto cleanup;
    }
    RVX_TRY(rvx__folds_read(&folds, NULL, predictions, error));
    evaluate_state state = {.options = &options, .started = rvx__facade_seconds()};
    rvx_evaluate_params params = {.tolerance_mm = options.tolerance_mm,
                                  .threads = rvx__facade_thread_count(options.threads),
                                  .repairs = options.repair ? &repairs : NULL,
                                  .progress = evaluate_progress,
                                  .context = &state};
    RVX_TRY(folds > 0
                ? rvx__evaluate_folds(&evaluation, predictions, folds, references, &params, error)
                : rvx__evaluate(&evaluation, predictions, references, &params, error));
    evaluation.resamples = options.resamples;
    evaluation.seed = options.seed;
    rvx__facade_repairs_tell(&repairs, options.progress, options.context);
    RVX_TRY(rvx__repairs_check(&repairs, error));
    if (options.out)
        RVX_TRY(rvx__evaluation_write(&evaluation, options.out, error));
    if (options.csv)
        RVX_TRY(rvx__evaluation_csv(&evaluation, options.csv, error));
    if (options.html) {
        const rvx_report_request report = {.title = predictions, .evaluation = &evaluation};
        RVX_TRY(rvx__report_write(options.html, &report, error));
    }
    if (table) {
        rvx__evaluation_table(&text, &evaluation);
        status = rvx__facade_text(table, &text, status, error);
    }
cleanup:
    rvx__evaluation_free(&evaluation);
    rvx__repairs_free(&repairs);
    return status;
}
