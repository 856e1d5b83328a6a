/* The inputs of training steps: see train_inputs.h. */
#include "engine/run/train_inputs.h"
#include "engine/run/dropout.h"

/* The batch of the next step, straight into the network's inputs. */
static void fill(rvx_train_inputs *inputs)
{
    const rvx_supervision *supervision = &inputs->plan->supervision;
    rvx_tensor image = rvx__session_tensor(inputs->session, inputs->plan->image);
    rvx_tensor finest = rvx__session_tensor(inputs->session, supervision->labels[0]);
    rvx__loader_next(inputs->loader, image.data, finest.data);
    for (int i = 1; i < supervision->count; i++)
        rvx__labels_shrink(rvx__session_tensor(inputs->session, supervision->labels[i]), &finest);
    rvx__dropout_training(inputs->session, (uint64_t)inputs->recipe->training.seed, inputs->step);
    inputs->step++;
}

/* Asked by a session on a device while it works on the step before. */
static bool fill_next(void *context)
{
    rvx_train_inputs *inputs = context;
    if (inputs->step >= inputs->recipe->training.steps)
        return false;
    fill(inputs);
    return true;
}

rvx_status rvx__train_inputs_open(rvx_train_inputs *inputs, const rvx_train_plan *plan,
                                  rvx_session *session, const rvx_loader_options *options,
                                  rvx_error *error)
{
    rvx_loader_options full = *options;
    full.dtype = rvx__session_tensor(session, plan->image).dtype;
    full.idle = rvx__session_idle(session, &full.idle_bytes);
    *inputs = (rvx_train_inputs){
        .recipe = options->recipe, .plan = plan, .session = session, .step = options->first_step};
    rvx_status status = rvx__loader_create(&inputs->loader, &full, error);
    if (status == RVX_OK)
        rvx__session_set_next(session, fill_next, inputs);
    return status;
}

void rvx__train_inputs_fill(rvx_train_inputs *inputs)
{
    if (!rvx__session_has_next(inputs->session))
        fill(inputs);
}

void rvx__train_inputs_close(rvx_train_inputs *inputs)
{
    if (inputs->loader)
        rvx__session_set_next(inputs->session, NULL, NULL);
    rvx__loader_free(inputs->loader);
    *inputs = (rvx_train_inputs){0};
}
