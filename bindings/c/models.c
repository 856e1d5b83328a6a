/* rvx_models: see revoxel.h. Owns: the description of networks. Figures come from the graph and
 * from its inference plan, never from a formula beside them. */
#include "models/models.h"
#include "bindings/c/facade.h"
#include "engine/plan/plan.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE_DEFAULT = 128, SIZE_MAX_EDGE = 1 << 20 };

typedef struct model_facts {
    const rvx_model *model;
    rvx_model_config config;
    int64_t parameters;
    rvx_shape output;
    double flops_per_voxel;
} model_facts;

rvx_status rvx__facade_network(const rvx_model **model, const char *name, rvx_error *error)
{
    *model = rvx__model_find(name);
    if (*model)
        return RVX_OK;
    char list[512] = "";
    for (int i = 0; rvx__models[i]; i++) {
        strncat(list, i ? ", " : "", sizeof list - strlen(list) - 1);
        strncat(list, rvx__models[i]->name, sizeof list - strlen(list) - 1);
    }
    return rvx__fail(error, RVX_ERROR_ARGUMENT, "there is no network \"%s\"; there are: %s", name,
                     list);
}

rvx_status rvx__facade_segmenter(const rvx_model **model, const char *name, rvx_error *error)
{
    rvx_status status = rvx__facade_network(model, name, error);
    if (status != RVX_OK || !(*model)->defaults.classifies)
        return status;
    return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                     "network \"%s\" gives one label an image, and a segmentation data set has "
                     "one a voxel; it can be listed (revoxel models) and built in code, but not "
                     "trained from such data",
                     name);
}

/* Strides of stage i where widths are given: 2, but for networks of slices their own. */
static void strides_set(int strides[3], const rvx_model_config *published, int i)
{
    bool slices = true;
    for (int k = 0; k < published->stage_count; k++)
        slices = slices && published->strides[k][0] == 1;
    for (int axis = 0; axis < 3; axis++)
        if (slices && i < published->stage_count)
            strides[axis] = published->strides[i][axis];
        else
            strides[axis] = i == 0 || (slices && axis == 0) ? 1 : 2;
}

rvx_status rvx__facade_configure(rvx_model_config *config, const rvx_model *model,
                                 const rvx_models_options *options, rvx_error *error)
{
    if (options->in_channels < 0 || options->in_channels > 65536)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "in_channels expected 1 to 65536, found %d",
                         options->in_channels);
    if (options->in_channels)
        config->in_channels = options->in_channels;
    if (options->classes)
        config->classes = options->classes;
    if (options->width_count < 0 || options->width_count > RVX_STAGES_MAX ||
        (options->width_count > 0 && !options->widths))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "widths expected 2 to %d channel counts, found %d", RVX_STAGES_MAX,
                         options->width_count);
    if (options->width_count) {
        config->stage_count = options->width_count;
        for (int i = 0; i < options->width_count; i++) {
            if (options->widths[i] < 1 || options->widths[i] > 65536)
                return rvx__fail(error, RVX_ERROR_ARGUMENT,
                                 "widths[%d] expected 1 to 65536, found %lld", i,
                                 (long long)options->widths[i]);
            config->widths[i] = (int)options->widths[i];
            strides_set(config->strides[i], &model->defaults, i);
        }
    }
    if (model->set_widths && !options->width_count)
        model->set_widths(config); /* they follow from the inputs, maybe */
    return rvx__model_config_check(config, error);
}

rvx_status rvx__facade_size_check(const int64_t size[3], const rvx_model_config *config,
                                  rvx_error *error)
{
    static const char axes[] = "xyz";
    double voxels = 1;
    for (int axis = 0; axis < 3; axis++) {
        int64_t divisor = 1;
        for (int i = 0; i < config->stage_count; i++)
            divisor *= config->strides[i][2 - axis];
        if (size[axis] < 1 || size[axis] > SIZE_MAX_EDGE || size[axis] % divisor)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "size expected a multiple of %lld along %c (%d stages), found %lld",
                             (long long)divisor, axes[axis], config->stage_count,
                             (long long)size[axis]);
        int64_t edge = size[axis] / divisor;
        voxels *= (double)edge;
    }
    if (voxels < 2)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "size leaves one voxel in the last of %d stages; use a larger one",
                         config->stage_count);
    return RVX_OK;
}

static rvx_status describe(model_facts *facts, const int64_t size[3], rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_plan *plan = NULL;
    rvx_value logits[RVX_STAGES_MAX] = {{0}};
    rvx_graph *graph = rvx__graph_create();
    if (!graph)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for a graph");
    rvx_shape shape = {1, size[2], size[1], size[0], facts->config.in_channels};
    rvx_value image = rvx__input(graph, "image", shape, RVX_F32);
    facts->model->build(graph, image, &facts->config, logits);
    RVX_TRY(rvx__graph_status(graph, error));
    facts->parameters = rvx__graph_parameter_count(graph);
    facts->output = rvx__shape(graph, logits[0]);
    rvx_plan_options options = {
        .isa = rvx__isa_detect(), .threads = 1, .outputs = {logits[0]}, .output_count = 1};
    RVX_TRY(rvx__plan_create(&plan, graph, &options, error));
    facts->flops_per_voxel =
        rvx__plan_cost(plan, false).flops / (double)(size[0] * size[1] * size[2]);
cleanup:
    rvx__plan_free(plan);
    rvx__graph_free(graph);
    return status;
}

static void print_json(rvx_text *text, const model_facts *facts)
{
    rvx__text_add(text, "{\"name\": ");
    rvx__text_quote(text, facts->model->name);
    rvx__text_add(text, ", \"summary\": ");
    rvx__text_quote(text, facts->model->summary);
    rvx__text_format(text, ", \"in_channels\": %d, \"classes\": %d, \"widths\": [",
                     facts->config.in_channels, facts->config.classes);
    for (int i = 0; i < facts->config.stage_count; i++)
        rvx__text_format(text, "%s%d", i ? ", " : "", facts->config.widths[i]);
    rvx_shape out = facts->output;
    rvx__text_format(text,
                     "], \"parameters\": %lld, \"output_shape\": [%lld, %lld, %lld, %lld, %lld], "
                     "\"flops_per_voxel\": ",
                     (long long)facts->parameters, (long long)out.n, (long long)out.c,
                     (long long)out.d, (long long)out.h, (long long)out.w);
    rvx__text_number(text, facts->flops_per_voxel);
    rvx__text_add(text, "}");
}

static void print_row(rvx_text *text, const model_facts *facts)
{
    char widths[128] = "", output[96];
    for (int i = 0; i < facts->config.stage_count; i++) {
        char one[16];
        snprintf(one, sizeof one, "%s%d", i ? "," : "", facts->config.widths[i]);
        strncat(widths, one, sizeof widths - strlen(widths) - 1);
    }
    snprintf(output, sizeof output, "%lld x %lld x %lld x %lld x %lld", (long long)facts->output.n,
             (long long)facts->output.c, (long long)facts->output.d, (long long)facts->output.h,
             (long long)facts->output.w);
    rvx__text_format(text, "%-13s %11lld %12.1f  %-26s  %2d -> %-4d  %s\n%-13s %s\n",
                     facts->model->name, (long long)facts->parameters, facts->flops_per_voxel / 1e3,
                     output, facts->config.in_channels, facts->config.classes, widths, "",
                     facts->model->summary);
}

rvx_status rvx_models(char **text, const rvx_models_options *given, rvx_error *error)
{
    rvx_models_options options;
    rvx_text out = {0};
    const rvx_model *only = NULL;
    rvx_status status;
    if (!text)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "text is NULL");
    *text = NULL;
    RVX_TRY(rvx__facade_options(&options, sizeof options, given, "rvx_models_options", error));
    if (options.name)
        RVX_TRY(rvx__facade_network(&only, options.name, error));
    if (options.json)
        rvx__text_add(&out, "[");
    else
        rvx__text_format(&out, "%-13s %11s %12s  %-26s  %-10s  %s\n", "name", "parameters",
                         "kFLOP/voxel", "output n, classes, z, y, x", "in -> out", "widths");
    int64_t size[3];
    for (int axis = 0; axis < 3; axis++)
        size[axis] = options.size[axis] ? options.size[axis] : SIZE_DEFAULT;
    for (int i = 0, printed = 0; rvx__models[i]; i++) {
        if (only && rvx__models[i] != only)
            continue;
        model_facts facts = {.model = rvx__models[i], .config = rvx__models[i]->defaults};
        RVX_TRY(rvx__facade_configure(&facts.config, facts.model, &options, error));
        RVX_TRY(rvx__facade_size_check(size, &facts.config, error));
        RVX_TRY(describe(&facts, size, error));
        if (options.json) {
            rvx__text_add(&out, printed++ ? ",\n " : "");
            print_json(&out, &facts);
        } else {
            print_row(&out, &facts);
        }
    }
    if (options.json)
        rvx__text_add(&out, "]\n");
cleanup:
    return rvx__facade_text(text, &out, status, error);
}
