/* Several GPUs, one a session: whoever owns one keeps to it, in one thread by turns and in threads
 * of their own. The emulation ends the program where work for one device is queued while the thread
 * works with another, as CUDA refuses it. On a machine with one GPU there is nothing to test. */
#include "engine/run/optimizer.h"
#include "models/models.h"
#include "tests/cuda/session.h"

#include <pthread.h>

enum { DEVICES = 2, STEPS = 4 };

typedef struct network {
    rvx_graph *graph;
    rvx_plan_options options;
} network;

static network network_make(void)
{
    network net = {.graph = rvx__graph_create()};
    const rvx_model *model = rvx__model_find("revunet3d");
    rvx_value logits[RVX_STAGES_MAX];
    rvx_model_config config = model->defaults;
    config.in_channels = 1;
    config.stage_count = 2;
    config.widths[0] = 8;
    config.widths[1] = 16;
    rvx__graph_set_streams(net.graph, RVX_I16, 10);
    rvx_value image = rvx__input(net.graph, "image", (rvx_shape){1, 8, 8, 8, 1}, RVX_F32);
    int count = model->build(net.graph, image, &config, logits);
    rvx_supervision s = rvx__supervise(
        net.graph, logits, count, (rvx_loss){.ignore_label = -1, .weight = 1, .smooth = 1e-5f});
    net.options = (rvx_plan_options){.policy = RVX_POLICY_REVERSIBLE,
                                     .isa = RVX_ISA_CUDA,
                                     .threads = 1,
                                     .loss_count = 1,
                                     .output_count = 1,
                                     .optimizer_slots = 1};
    net.options.losses[0] = net.options.outputs[0] = s.losses[0];
    return net;
}

/* A session on a device of its own, and the steps that it has taken. */
typedef struct trainee {
    const network *net;
    rvx_device *device;
    placed placed;
    rvx_error error;
    bool good;
} trainee;

static bool make(trainee *t, const network *net, const char *name)
{
    *t = (trainee){.net = net, .good = true};
    t->good = rvx__device_open(&t->device, name, session_library(), &t->error) == RVX_OK;
    session_device = t->device;
    t->good = t->good && placed_make(&t->placed, net->graph, net->options, 3, &t->error);
    return t->good;
}

static void run(trainee *t)
{
    t->good = t->good && rvx__session_run(t->placed.session, NULL, NULL, &t->error) == RVX_OK;
}

static void update(trainee *t)
{
    static const rvx_optimizer sgd = {.name = RVX_OPTIMIZER_SGD,
                                      .learning_rate = 0.01,
                                      .momentum = 0.9,
                                      .gradient_clip = 12,
                                      .schedule = RVX_SCHEDULE_CONSTANT};
    double norm;
    t->good =
        t->good && rvx__optimizer_step(&norm, &sgd, t->placed.session, 0, &t->error) == RVX_OK;
}

static void *steps(void *context)
{
    for (int i = 0; i < STEPS; i++) {
        run(context);
        update(context);
    }
    return NULL;
}

static bool same(trainee *a, trainee *b)
{
    return a->good && b->good && rvx__session_download(a->placed.session, &a->error) == RVX_OK &&
           rvx__session_download(b->placed.session, &b->error) == RVX_OK &&
           memcmp(rvx__session_parameters(a->placed.session),
                  rvx__session_parameters(b->placed.session),
                  (size_t)rvx__session_parameter_floats(a->placed.session) * sizeof(float)) == 0;
}

static void leave(trainee *t)
{
    placed_free(&t->placed);
    rvx__device_close(t->device);
}

static bool there_are_two(void)
{
    rvx_error error;
    rvx_device *second = NULL;
    bool there = rvx__device_open(&second, "cuda:1", session_library(), &error) == RVX_OK;
    rvx__device_close(second);
    return there;
}

int main(void)
{
    const char *names[DEVICES] = {"cuda:0", "cuda:1"};
    trainee alone, turns[DEVICES], threads[DEVICES];
    pthread_t running[DEVICES];
    setenv("RVX_EMULATE_DEVICES", "2", 0);
    if (!there_are_two()) {
        tap_skip("one GPU, or none");
        return tap_done();
    }
    network net = network_make();
    tap_ok(make(&alone, &net, "cuda"), "one device: %s", alone.error.message);
    steps(&alone);
    for (int i = 0; i < DEVICES; i++)
        tap_ok(make(&turns[i], &net, names[i]), "%s: %s", names[i], turns[i].error.message);
    for (int i = 0; i < STEPS; i++)
        for (int k = 0; k < 2 * DEVICES; k++) /* both run, then both are updated */
            (k < DEVICES ? run : update)(&turns[(i + k) % DEVICES]);
    tap_ok(same(&turns[0], &alone) && same(&turns[1], &alone),
           "one thread, by turns: the bits of one device alone");
    for (int i = 0; i < DEVICES; i++)
        tap_ok(make(&threads[i], &net, names[i]), "%s again: %s", names[i],
               threads[i].error.message);
    /* the emulation runs one block at a time: one thread after the other, none of which opened the
     * device that it works with */
    for (int i = 0; i < DEVICES; i++) {
        pthread_create(&running[i], NULL, steps, &threads[i]);
        pthread_join(running[i], NULL);
    }
    tap_ok(same(&threads[0], &alone) && same(&threads[1], &alone),
           "threads that did not open their device: the same");
    leave(&turns[1]); /* in another order than they came */
    leave(&turns[0]);
    leave(&threads[0]);
    leave(&threads[1]);
    leave(&alone);
    rvx__graph_free(net.graph);
    return tap_done();
}
