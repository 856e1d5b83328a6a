/* Training: see train.h. */
#include "engine/run/train.h"
#include "engine/run/log.h"
#include "engine/run/optimizer.h"
#include "engine/run/tensorboard.h"
#include "engine/run/timing.h"
#include "engine/run/train_inputs.h"
#include "engine/run/validate.h"
#include "engine/run/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct trainer {
    const rvx_train_job *job;
    const rvx_recipe *recipe;
    rvx_names train_names, validation_names;
    rvx_case *cases, *validation_cases;
    int64_t patch[3]; /* d, h, w */
    rvx_train_plan step_plan;
    rvx_session *session;
    rvx_inference *inference; /* validation; NULL without validation cases */
    rvx_optimizer optimizer;
    rvx_train_inputs inputs;
    rvx_log *log;
    rvx_tensorboard *board;
    rvx_train_status status;
    rvx_timing timing;
    double started;           /* seconds */
    int64_t first_step, lost; /* lost: values that did not fit the streams in training */
    /* What a checkpoint keeps beside the parameters and the optimiser. */
    int64_t step;
    double mean_loss, ema_dice, best_ema_dice; /* NaN: none yet */
} trainer;

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int report(trainer *t)
{
    return t->job->poll ? t->job->poll(t->job->context, &t->status) : 0;
}

static int poll_work(void *context, double done, double total)
{
    (void)done, (void)total;
    return report(context);
}

static int poll_validation(void *context, double done, double total)
{
    trainer *t = context;
    t->status.done = (int64_t)done;
    t->status.total = (int64_t)total;
    return report(t);
}

static int poll_load(void *context, const char *identifier, int64_t done, int64_t total)
{
    trainer *t = context;
    t->status.item = identifier;
    t->status.done = done;
    t->status.total = total;
    return report(t);
}

/* ---- preparation -------------------------------------------------------------------------------
 */

static rvx_status load_cases(trainer *t, rvx_error *error)
{
    const rvx_dataset *dataset = t->job->dataset;
    char splits[RVX_PATH_BYTES];
    char **identifiers = calloc((size_t)dataset->case_count + 1, sizeof *identifiers);
    rvx_status status = RVX_OK;
    if (!identifiers)
        return rvx__fail(error, RVX_ERROR_MEMORY, "training: out of memory");
    for (int64_t i = 0; i < dataset->case_count; i++)
        identifiers[i] = dataset->cases[i].identifier;
    const rvx_names all = {identifiers, dataset->case_count};
    RVX_TRY(rvx__path_join(splits, dataset->path, "splits_final.json", error));
    RVX_TRY(
        rvx__recipe_split(&t->train_names, &t->validation_names, t->recipe, &all, splits, error));
    if (t->train_names.count == 0) {
        status =
            rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: no case is left to train on", dataset->path);
        goto cleanup;
    }
    t->cases = calloc((size_t)t->train_names.count, sizeof *t->cases);
    t->validation_cases =
        calloc((size_t)t->validation_names.count + 1, sizeof *t->validation_cases);
    if (!t->cases || !t->validation_cases) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "training: out of memory");
        goto cleanup;
    }
    t->status.phase = "load";
    RVX_TRY(rvx__cases_load(t->cases, dataset, &t->train_names, t->recipe, t->job->cache, poll_load,
                            t, error));
    RVX_TRY(rvx__cases_load(t->validation_cases, dataset, &t->validation_names, t->recipe,
                            t->job->cache, poll_load, t, error));
cleanup:
    free(identifiers);
    return status;
}

/* The network that validates; adds to `bytes` what it takes for the largest case, of the memory
 * that the run has to do with: on a device cases and slices stay outside. */
static rvx_status build_validation(trainer *t, int64_t *bytes, rvx_error *error)
{
    int64_t most = 0;
    rvx_inference_options inference = rvx__train_inference(t->job, t->patch);
    if (t->validation_names.count == 0)
        return RVX_OK;
    inference.labels = true; /* where every case is one tile */
    for (int64_t i = 0; i < t->validation_names.count; i++) {
        const rvx_shape s = t->validation_cases[i].shape;
        inference.labels =
            inference.labels && s.d <= t->patch[0] && s.h <= t->patch[1] && s.w <= t->patch[2];
    }
    rvx_status status =
        rvx__inference_create(&t->inference, t->job->model, &t->job->config, &inference, error);
    for (int64_t i = 0; i < t->validation_names.count && status == RVX_OK; i++) {
        const rvx_shape s = t->validation_cases[i].shape;
        int64_t needed = t->job->device
                             ? rvx__inference_arena_bytes(t->inference)
                             : rvx__inference_bytes(t->inference, (int64_t[]){s.d, s.h, s.w});
        most = needed > most ? needed : most;
    }
    *bytes += most;
    return status;
}

static rvx_status build_session(trainer *t, rvx_error *error)
{
    rvx_status status;
    int64_t held = t->job->device
                       ? 0
                       : rvx__cases_bytes(t->cases, t->train_names.count) +
                             rvx__cases_bytes(t->validation_cases, t->validation_names.count);
    rvx__patch_find(t->patch, t->recipe, t->cases, t->train_names.count);
    /* A step that does not fit is refused with advice before anything is allocated. */
    RVX_TRY(rvx__train_plan_create(&t->step_plan, t->job, t->patch, held, error));
    RVX_TRY(build_validation(t, &held, error));
    if (!rvx__train_plan_fits(&t->step_plan, t->job, t->patch, held)) {
        rvx__train_plan_free(&t->step_plan);
        RVX_TRY(rvx__train_plan_create(&t->step_plan, t->job, t->patch, held, error));
    }
    RVX_TRY(rvx__session_create_on(&t->session, t->step_plan.plan, t->job->device, error));
cleanup:
    return status;
}

static rvx_status in_run(char path[RVX_PATH_BYTES], const trainer *t, const char *name,
                         rvx_error *error)
{
    return rvx__path_join(path, t->job->run, name, error);
}

/* ---- checkpoints -------------------------------------------------------------------------------
 */

/* RUN/name with the parameters and `slots` optimiser slots; with `counters` also what resuming
 * needs. */
static rvx_status save(trainer *t, const char *name, const char *kind, int slots, bool counters,
                       rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_weights weights = {0};
    rvx_text plan = {0};
    char path[RVX_PATH_BYTES];
    RVX_TRY(in_run(path, t, name, error));
    RVX_TRY(rvx__recipe_print(&plan, t->recipe, error));
    RVX_TRY(rvx__weights_export(&weights, t->session, slots, 5, error));
    if (counters) {
        rvx_stored_tensor *extra = weights.tensors + weights.count;
        extra[0] = rvx__stored_integer("training/step", &t->step);
        extra[1] = rvx__stored_number("training/mean_loss", &t->mean_loss);
        extra[2] = rvx__stored_number("training/ema_dice", &t->ema_dice);
        extra[3] = rvx__stored_number("training/best_ema_dice", &t->best_ema_dice);
        weights.count += 4;
    }
    int32_t groups = rvx__session_stream_groups(t->session);
    if (groups > 0)
        weights.tensors[weights.count++] =
            (rvx_stored_tensor){.name = RVX_COARSER_KEY,
                                .type = RVX_STORED_I64,
                                .axes = 1,
                                .size = {groups},
                                .data = rvx__session_coarser(t->session)};
    const rvx_metadata metadata = {RVX_PLAN_KEY, plan.data};
    RVX_TRY(rvx__checkpoint_save(path, kind, weights.tensors, weights.count, &metadata, 1, error));
cleanup:
    rvx__weights_free(&weights);
    rvx__text_free(&plan);
    return status;
}

static rvx_status save_latest(trainer *t, rvx_error *error)
{
    rvx_status status =
        rvx__log_sync(t->log, error); /* the log must not fall behind the checkpoint */
    if (status == RVX_OK)
        status = rvx__timing_save(&t->timing, t->job->run, error);
    int slots = rvx__optimizer_slots(&t->optimizer);
    return status == RVX_OK ? save(t, "latest.safetensors", RVX_KIND_CHECKPOINT, slots, true, error)
                            : status;
}

static rvx_status save_best(trainer *t, rvx_error *error)
{
    return save(t, "best.safetensors", RVX_KIND_MODEL, 0, false, error);
}

/* The plan that a checkpoint was trained with must be the one in hand, word for word. */
static rvx_status check_same_plan(const trainer *t, const rvx_safetensors *file, const char *path,
                                  rvx_error *error)
{
    rvx_text plan = {0};
    rvx_status status = rvx__recipe_print(&plan, t->recipe, error);
    const char *stored = rvx__safetensors_metadata(file, RVX_PLAN_KEY);
    if (status == RVX_OK && (!stored || strcmp(stored, plan.data) != 0))
        status = rvx__fail(error, RVX_ERROR_ARGUMENT,
                           "%s: was trained with another plan than the one given; resume with the "
                           "plan.json of its run folder",
                           path);
    rvx__text_free(&plan);
    return status;
}

static rvx_status load_latest(trainer *t, rvx_error *error)
{
    static const char *const kinds[] = {RVX_KIND_CHECKPOINT, NULL};
    rvx_safetensors *file = NULL;
    rvx_status status = RVX_OK;
    char path[RVX_PATH_BYTES];
    RVX_TRY(in_run(path, t, "latest.safetensors", error));
    RVX_TRY(rvx__checkpoint_open(&file, path, kinds, error));
    RVX_TRY(check_same_plan(t, file, path, error));
    for (int slot = -1; slot < rvx__optimizer_slots(&t->optimizer); slot++)
        RVX_TRY(rvx__weights_import(t->session, file, slot, false, error));
    RVX_TRY(rvx__safetensors_load(file, "training/step", RVX_STORED_I64, 0, NULL, &t->step, error));
    RVX_TRY(rvx__safetensors_load(file, "training/mean_loss", RVX_STORED_F64, 0, NULL,
                                  &t->mean_loss, error));
    RVX_TRY(rvx__safetensors_load(file, "training/ema_dice", RVX_STORED_F64, 0, NULL, &t->ema_dice,
                                  error));
    RVX_TRY(rvx__safetensors_load(file, "training/best_ema_dice", RVX_STORED_F64, 0, NULL,
                                  &t->best_ema_dice, error));
cleanup:
    rvx__safetensors_close(file);
    return status;
}

/* A run that is there is only touched to be resumed. Asked before anything that takes time. */
static rvx_status check_run(const trainer *t, rvx_error *error)
{
    char path[RVX_PATH_BYTES];
    rvx_status status = in_run(path, t, "latest.safetensors", error);
    if (status == RVX_OK && !t->job->resume && rvx__path_exists(path))
        status = rvx__fail(error, RVX_ERROR_ARGUMENT,
                           "%s: exists; resume this run (--resume) or choose another folder", path);
    return status;
}

static rvx_status open_run(trainer *t, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char path[RVX_PATH_BYTES];
    RVX_TRY(rvx__directory_create(t->job->run, error));
    RVX_TRY(in_run(path, t, "latest.safetensors", error));
    bool exists = rvx__path_exists(path);
    if (exists)
        RVX_TRY(load_latest(t, error));
    else
        rvx__session_initialise(t->session, (uint64_t)t->recipe->training.seed);
    RVX_TRY(rvx__session_upload(t->session, error));
    RVX_TRY(in_run(path, t, "plan.json", error));
    RVX_TRY(rvx__recipe_save(t->recipe, path, error));
    RVX_TRY(in_run(path, t, "metrics.jsonl", error));
    RVX_TRY(rvx__log_open(&t->log, path, exists ? t->step : -1, error));
    RVX_TRY(rvx__tensorboard_open(&t->board, t->job->run, t->step, error));
cleanup:
    return status;
}

/* ---- steps -------------------------------------------------------------------------------------
 */

static rvx_status open_inputs(trainer *t, rvx_error *error)
{
    const rvx_loader_options options = {.recipe = t->recipe,
                                        .patch = {t->patch[0], t->patch[1], t->patch[2]},
                                        .cases = t->cases,
                                        .case_count = t->train_names.count,
                                        .first_step = t->step,
                                        .threads = t->job->threads,
                                        .elsewhere = t->job->device != NULL};
    return rvx__train_inputs_open(&t->inputs, &t->step_plan, t->session, &options, error);
}

static rvx_status train_step(trainer *t, rvx_error *error)
{
    double start = now_seconds(), loss = 0;
    double waited = rvx__loader_wait_seconds(t->inputs.loader);
    rvx__train_inputs_fill(&t->inputs);
    int64_t halvings_before = rvx__session_halvings(t->session);
    rvx_status status = rvx__session_run(t->session, poll_work, t, error);
    if (status != RVX_OK)
        return status;
    for (int i = 0; i < t->step_plan.supervision.count; i++) {
        rvx_tensor scalar = rvx__session_tensor(t->session, t->step_plan.supervision.losses[i]);
        loss += (double)*rvx__f32(&scalar);
    }
    double rate = rvx__optimizer_rate(&t->optimizer, t->step);
    double norm;
    status = rvx__optimizer_step(&norm, &t->optimizer, t->session, t->step, error);
    if (status != RVX_OK)
        return status;
    if (!isfinite(loss) || !isfinite(norm))
        return rvx__fail(error, RVX_ERROR_NUMERIC,
                         "step %lld: loss %g, gradient norm %g; the checkpoint before it is kept. "
                         "A smaller optimizer.learning_rate or a gradient_clip may help",
                         (long long)t->step, loss, norm);
    t->step++;
    t->mean_loss = isnan(t->mean_loss) ? loss : 0.95 * t->mean_loss + 0.05 * loss;
    double seconds = now_seconds() - start, voxels = (double)t->recipe->patch.batch;
    for (int a = 0; a < 3; a++)
        voxels *= (double)t->patch[a];
    double speed = voxels / seconds;
    t->status.voxels_per_second =
        t->status.voxels_per_second > 0 ? 0.9 * t->status.voxels_per_second + 0.1 * speed : speed;
    waited = rvx__loader_wait_seconds(t->inputs.loader) - waited;
    if (t->step > t->first_step + 1) { /* the first batch has nothing to be drawn beside */
        t->timing.steps++;
        t->timing.step_seconds += seconds;
        t->timing.wait_seconds += waited;
    }
    t->status.wait_share = rvx__timing_wait_share(&t->timing);
    t->status.loss = t->mean_loss;
    t->status.learning_rate = rate;
    int64_t lost = rvx__session_overflow(t->session, &t->status.overflow_name);
    int64_t overflow = lost - t->lost; /* of this step: also after resuming */
    t->status.overflow += overflow;
    t->lost = lost;
    rvx_log_value line[] = {
        {.name = "epoch", .number = (double)((t->step - 1) / t->recipe->training.steps_per_epoch)},
        {.name = "loss", .number = loss},
        {.name = "lr", .number = rate},
        {.name = "gradient_norm", .number = norm},
        {.name = "overflow", .number = (double)overflow},
        {.name = "grid_halvings", .number = (double)rvx__session_halvings(t->session)}};
    int64_t count = overflow ? 5 : 4;
    if (rvx__session_halvings(t->session) != halvings_before)
        line[count++] = line[5];
    const rvx_scalar scalars[] = {{"loss/train", loss},
                                  {"optimizer/learning_rate", rate},
                                  {"optimizer/gradient_norm", norm},
                                  {"speed/voxels_per_second", speed},
                                  {"speed/loader_wait_share", waited / seconds}};
    status = rvx__log_write(t->log, t->step, line, count, error);
    return status == RVX_OK ? rvx__tensorboard_write(t->board, t->step, scalars, 5, error) : status;
}

static rvx_status log_validation(trainer *t, const rvx_validation *v, rvx_error *error)
{
    rvx_log_value dice[RVX_CLASSES_MAX];
    rvx_scalar scalars[RVX_CLASSES_MAX + 2];
    char names[RVX_CLASSES_MAX][RVX_NAME_BYTES + 8];
    int64_t classes = t->recipe->network.classes, count = 0;
    for (int64_t k = 1; k < classes; k++, count++) {
        dice[count] = (rvx_log_value){.name = t->recipe->labels[k], .number = v->dice[k]};
        snprintf(names[count], sizeof names[count], "dice/%s", t->recipe->labels[k]);
        scalars[count] = (rvx_scalar){names[count], v->dice[k]};
    }
    scalars[count] = (rvx_scalar){"dice/mean", v->mean_dice};
    scalars[count + 1] = (rvx_scalar){"dice/moving_average", t->ema_dice};
    double epoch = (double)((t->step - 1) / t->recipe->training.steps_per_epoch);
    const rvx_log_value members[] = {{.name = "epoch", .number = epoch},
                                     {.name = "dice", .members = dice, .member_count = count},
                                     {.name = "mean_dice", .number = v->mean_dice},
                                     {.name = "ema_dice", .number = t->ema_dice}};
    const rvx_log_value line = {.name = "validation", .members = members, .member_count = 4};
    rvx_status status = rvx__log_write(t->log, t->step, &line, 1, error);
    return status == RVX_OK ? rvx__tensorboard_write(t->board, t->step, scalars, count + 2, error)
                            : status;
}

/* Without validation cases the newest parameters are the best. */
static rvx_status validate(trainer *t, rvx_error *error)
{
    rvx_status status = RVX_OK;
    if (!t->inference)
        return save_best(t, error);
    rvx_validation v;
    t->status.phase = "validate";
    RVX_TRY(rvx__inference_copy_parameters(t->inference, t->session, error));
    RVX_TRY(rvx__validate(&v, t->inference, t->recipe, t->validation_cases,
                          t->validation_names.count, poll_validation, t, error));
    t->status.done = t->step;
    t->status.total = t->recipe->training.steps;
    t->status.overflow = t->lost + rvx__session_overflow(rvx__inference_session(t->inference),
                                                         t->lost ? NULL : &t->status.overflow_name);
    double keep = t->recipe->training.validation_smoothing;
    double dice = isnan(v.mean_dice) ? 0 : v.mean_dice;
    t->ema_dice = isnan(t->ema_dice) ? dice : keep * t->ema_dice + (1 - keep) * dice;
    t->status.dice = v.mean_dice;
    RVX_TRY(log_validation(t, &v, error));
    t->status.phase = "train";
    if (isnan(t->best_ema_dice) || t->ema_dice > t->best_ema_dice) {
        t->best_ema_dice = t->ema_dice;
        RVX_TRY(save_best(t, error));
    }
cleanup:
    return status;
}

static bool every(int64_t period, int64_t step) { return period > 0 && step % period == 0; }

static rvx_status train_all(trainer *t, rvx_error *error)
{
    int64_t steps = t->recipe->training.steps;
    rvx_status status = RVX_OK;
    t->status.phase = "train";
    t->status.item = NULL;
    t->status.total = steps;
    bool out_of_time = false;
    while (t->step < steps && !out_of_time) {
        t->status.done = t->step;
        RVX_TRY(train_step(t, error));
        double elapsed = now_seconds() - t->started;
        double limit = 60 * t->recipe->training.time_limit_minutes;
        t->status.done = t->step;
        t->status.seconds_left =
            elapsed / (double)(t->step - t->first_step) * (double)(steps - t->step);
        out_of_time = limit > 0 && elapsed > limit;
        bool last = t->step == steps || out_of_time;
        if (last || every(t->recipe->training.validation_every, t->step))
            RVX_TRY(validate(t, error));
        if (last || every(t->recipe->training.validation_every, t->step) ||
            every(t->recipe->training.checkpoint_every, t->step))
            RVX_TRY(save_latest(t, error));
        if (report(t))
            RVX_TRY(rvx__fail(error, RVX_CANCELLED, "cancelled"));
    }
cleanup:
    /* Stopped on request between two updates: keep the work. Within a validation there is nothing
     * to keep: resuming from before it repeats it, and only so are the bits those of an unbroken
     * run. */
    if (status == RVX_CANCELLED && t->step > t->first_step &&
        strcmp(t->status.phase, "train") == 0) {
        rvx_error ignored;
        save_latest(t, &ignored);
    }
    return status;
}

rvx_status rvx__train(const rvx_train_job *job, rvx_error *error)
{
    rvx_status status = RVX_OK;
    trainer t = {.job = job, .recipe = job->recipe};
    t.mean_loss = t.ema_dice = t.best_ema_dice = (double)NAN;
    t.status = (rvx_train_status){.loss = (double)NAN, .dice = (double)NAN, .seconds_left = -1};
    rvx__optimizer_make(&t.optimizer, job->recipe);
    RVX_TRY(rvx__model_config_check(&job->config, error));
    RVX_TRY(check_run(&t, error));
    RVX_TRY(load_cases(&t, error));
    RVX_TRY(build_session(&t, error));
    RVX_TRY(open_run(&t, error));
    RVX_TRY(open_inputs(&t, error));
    t.started = now_seconds();
    t.first_step = t.step;
    RVX_TRY(train_all(&t, error));
cleanup:
    rvx__train_inputs_close(&t.inputs);
    rvx__log_close(t.log);
    rvx__tensorboard_close(t.board);
    rvx__inference_free(t.inference);
    rvx__session_free(t.session);
    rvx__train_plan_free(&t.step_plan);
    for (int64_t i = 0; i < t.train_names.count && t.cases; i++)
        rvx__case_free(&t.cases[i]);
    for (int64_t i = 0; i < t.validation_names.count && t.validation_cases; i++)
        rvx__case_free(&t.validation_cases[i]);
    free(t.cases);
    free(t.validation_cases);
    rvx__names_free(&t.train_names);
    rvx__names_free(&t.validation_names);
    return status;
}
