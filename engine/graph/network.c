/* Checks of a network's configuration, and deep supervision: see network.h. */
#include "engine/graph/network.h"

#include <stdio.h>

rvx_status rvx__model_config_check(const rvx_model_config *config, rvx_error *error)
{
    if (config->in_channels < 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "network: in_channels must be at least 1, found %d", config->in_channels);
    int classes_max = config->classifies ? 65536 : 255;
    if (config->classes < 2 || config->classes > classes_max)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "network: classes must be 2 to %d (background included), found %d",
                         classes_max, config->classes);
    if (config->stage_count < 2 || config->stage_count > RVX_STAGES_MAX)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "network: widths must name 2 to %d stages, found %d", RVX_STAGES_MAX,
                         config->stage_count);
    if (config->depth < 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "network: depth must be at least 1, found %d",
                         config->depth);
    for (int stage = 0; stage < config->stage_count; stage++)
        if (config->widths[stage] < 1)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "network: widths[%d] must be at least 1, found %d", stage,
                             config->widths[stage]);
    return RVX_OK;
}

rvx_supervision rvx__supervise(rvx_graph *graph, const rvx_value *logits, int count, rvx_loss loss)
{
    rvx_supervision s = {.count = count > 1 ? count - 1 : 1};
    float total = 0;
    for (int i = 0; i < s.count; i++)
        total += s.weights[i] = 1.0f / (float)(1 << i);
    for (int i = 0; i < s.count; i++) {
        char name[16];
        snprintf(name, sizeof name, "labels%d", i);
        rvx_shape shape = rvx__shape(graph, logits[i]);
        shape.c = 1;
        s.labels[i] = rvx__input(graph, name, shape, RVX_U8);
        s.weights[i] /= total;
        rvx_loss weighted = loss;
        weighted.weight = loss.weight * s.weights[i];
        rvx__scope_push(graph, "loss%d", i);
        s.losses[i] = rvx__segmentation_loss(graph, logits[i], s.labels[i], weighted,
                                             i == 0 ? &s.statistics : NULL);
        rvx__scope_pop(graph);
    }
    return s;
}
