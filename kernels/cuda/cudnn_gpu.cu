/* cuDNN's backend API: see cudnn_gpu.h. An algorithm is an engine with the choices of its knobs, as
 * cuDNN's own logs name it: "cudnn:eng5_k2=3_k6=1". */
#include "kernels/cuda/cudnn_gpu.h"

#include <chrono>
#include <stdio.h>
#include <stdlib.h>

#if __has_include(<cudnn.h>)
#include <cudnn.h>
#include <dlfcn.h>

namespace rvx
{
namespace
{
typedef cudnnBackendDescriptor_t Descriptor;
enum { PARTS = 6, HEURISTICS = 32, KNOBS = CUDNN_KNOB_TYPE_COUNTS };
enum Uid : int64_t { UID_X = 1, UID_WEIGHT, UID_Y };
} // namespace

struct Cudnn {
    cudnnHandle_t handle;
    decltype(&cudnnCreate) create;
    decltype(&cudnnDestroy) end;
    decltype(&cudnnSetStream) set_stream;
    decltype(&cudnnGetVersion) version;
    decltype(&cudnnBackendCreateDescriptor) make;
    decltype(&cudnnBackendDestroyDescriptor) destroy;
    decltype(&cudnnBackendSetAttribute) set;
    decltype(&cudnnBackendGetAttribute) get;
    decltype(&cudnnBackendFinalize) finalize;
    decltype(&cudnnBackendExecute) execute;
};

namespace
{
/* The graph of one convolution, with what it is made of. */
struct Graph {
    Descriptor parts[PARTS];
    int count;
    Descriptor graph;
};

struct Plan {
    Descriptor plan, pack;
};

template <class F> bool find(F &function, void *library, const char *name)
{
    function = reinterpret_cast<F>(dlsym(library, name));
    return function != nullptr;
}

Descriptor make(const Cudnn &cudnn, cudnnBackendDescriptorType_t type)
{
    Descriptor d = nullptr;
    return cudnn.make(type, &d) == CUDNN_STATUS_SUCCESS ? d : nullptr;
}

void destroy(const Cudnn &cudnn, Descriptor d)
{
    if (d)
        cudnn.destroy(d);
}

bool set(const Cudnn &cudnn, Descriptor d, cudnnBackendAttributeName_t name,
         cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    return d && cudnn.set(d, name, type, count, values) == CUDNN_STATUS_SUCCESS;
}

bool set(const Cudnn &cudnn, Descriptor d, cudnnBackendAttributeName_t name, Descriptor value)
{
    return value && set(cudnn, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

bool finish(const Cudnn &cudnn, Descriptor d) { return cudnn.finalize(d) == CUDNN_STATUS_SUCCESS; }

/* ---- graphs -----------------------------------------------------------------------------------
 */

Descriptor part(const Cudnn &cudnn, Graph *graph, cudnnBackendDescriptorType_t type)
{
    return graph->parts[graph->count++] = make(cudnn, type);
}

/* cuDNN names axes n, c, d, h, w, wherever they lie. */
Descriptor tensor(const Cudnn &cudnn, Graph *graph, int64_t uid, const rvx_shape &s, bool bf16)
{
    const int64_t sizes[5] = {s.n, s.c, s.d, s.h, s.w}, alignment = 16;
    const int64_t strides[5] = {s.d * s.h * s.w * s.c, 1, s.h * s.w * s.c, s.w * s.c, s.c};
    const cudnnDataType_t type = bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    Descriptor t = part(cudnn, graph, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    const bool made =
        set(cudnn, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid) &&
        set(cudnn, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type) &&
        set(cudnn, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment) &&
        set(cudnn, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 5, sizes) &&
        set(cudnn, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 5, strides) && finish(cudnn, t);
    return made ? t : nullptr;
}

Descriptor convolution(const Cudnn &cudnn, Graph *graph, const LibraryConv &c)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t axes = 3, one[3] = {1, 1, 1}, pad[3] = {c.pad[0], c.pad[1], c.pad[2]};
    const int64_t stride[3] = {c.stride[0], c.stride[1], c.stride[2]};
    Descriptor d = part(cudnn, graph, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const cudnnBackendAttributeType_t whole = CUDNN_TYPE_INT64;
    const bool made =
        set(cudnn, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, whole, 1, &axes) &&
        set(cudnn, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute) &&
        set(cudnn, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode) &&
        set(cudnn, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, whole, 3, pad) &&
        set(cudnn, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, whole, 3, pad) &&
        set(cudnn, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, whole, 3, one) &&
        set(cudnn, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, whole, 3, stride) && finish(cudnn, d);
    return made ? d : nullptr;
}

struct PhaseNames {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t conv, x, weight, y, alpha, beta;
};

/* In the order of LibraryPhase. */
const PhaseNames phase_names[] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

void graph_free(const Cudnn &cudnn, Graph *graph)
{
    destroy(cudnn, graph->graph);
    while (graph->count > 0)
        destroy(cudnn, graph->parts[--graph->count]);
}

bool graph_make(const Cudnn &cudnn, Graph *graph, const LibraryConv &c)
{
    const PhaseNames &names = phase_names[c.phase];
    const rvx_shape filter = {c.y.c, c.kernel[0], c.kernel[1], c.kernel[2], c.x.c};
    const float alpha = 1, beta = c.add ? 1.0f : 0.0f;
    *graph = {};
    const bool x_bf16 = c.bf16 && !(c.wide && c.phase == LIBRARY_DATA),
               y_bf16 = c.bf16 && !(c.wide && c.phase == LIBRARY_FORWARD);
    Descriptor conv = convolution(cudnn, graph, c), x = tensor(cudnn, graph, UID_X, c.x, x_bf16),
               weight =
                   tensor(cudnn, graph, UID_WEIGHT, filter, c.bf16 && c.phase != LIBRARY_WEIGHT),
               y = tensor(cudnn, graph, UID_Y, c.y, y_bf16),
               operation = part(cudnn, graph, names.type);
    graph->graph = make(cudnn, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    const bool made =
        set(cudnn, operation, names.conv, conv) && set(cudnn, operation, names.x, x) &&
        set(cudnn, operation, names.weight, weight) && set(cudnn, operation, names.y, y) &&
        set(cudnn, operation, names.alpha, CUDNN_TYPE_FLOAT, 1, &alpha) &&
        set(cudnn, operation, names.beta, CUDNN_TYPE_FLOAT, 1, &beta) && finish(cudnn, operation) &&
        set(cudnn, graph->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1,
            &cudnn.handle) &&
        set(cudnn, graph->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, operation) &&
        finish(cudnn, graph->graph);
    if (!made)
        graph_free(cudnn, graph);
    return made;
}

/* ---- engines and knobs ------------------------------------------------------------------------
 */

struct Knob {
    cudnnBackendKnobType_t type;
    int64_t value;
};

/* Knobs of a configuration, by type. */
int knobs_of(const Cudnn &cudnn, Knob (&knobs)[KNOBS], Descriptor config)
{
    Descriptor list[KNOBS];
    int64_t count = 0, one;
    int found = 0;
    for (Descriptor &d : list)
        d = make(cudnn, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    if (cudnn.get(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, KNOBS,
                  &count, list) != CUDNN_STATUS_SUCCESS)
        count = 0;
    for (int i = 0; i < count && i < KNOBS; i++) {
        Knob k;
        if (cudnn.get(list[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &one,
                      &k.type) == CUDNN_STATUS_SUCCESS &&
            cudnn.get(list[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &one,
                      &k.value) == CUDNN_STATUS_SUCCESS)
            knobs[found++] = k;
    }
    for (Descriptor d : list)
        destroy(cudnn, d);
    for (int i = 1; i < found; i++)
        for (int k = i; k > 0 && knobs[k].type < knobs[k - 1].type; k--) {
            const Knob other = knobs[k];
            knobs[k] = knobs[k - 1];
            knobs[k - 1] = other;
        }
    return found;
}

/* What an engine says of its numbers. */
void read_notes(const Cudnn &cudnn, LibraryAlgorithm *a, Descriptor engine, const LibraryConv &c)
{
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t count = 0;
    a->repeatable = a->faithful =
        cudnn.get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                  CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes) == CUDNN_STATUS_SUCCESS;
    for (int64_t i = 0; i < count && i < CUDNN_NUMERICAL_NOTE_TYPE_COUNT; i++) {
        const bool rounds = notes[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE && !c.bf16 && !c.tf32;
        if (notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)
            a->repeatable = false;
        else if (rounds || (notes[i] != CUDNN_NUMERICAL_NOTE_TENSOR_CORE &&
                            notes[i] != CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP))
            a->faithful = false;
    }
}

Descriptor plan_of(const Cudnn &cudnn, Descriptor config, int64_t *workspace)
{
    int64_t count;
    Descriptor plan = make(cudnn, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    if (set(cudnn, plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &cudnn.handle) &&
        set(cudnn, plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config) && finish(cudnn, plan) &&
        cudnn.get(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count,
                  workspace) == CUDNN_STATUS_SUCCESS)
        return plan;
    destroy(cudnn, plan);
    return nullptr;
}

typedef std::chrono::steady_clock Clock;

/* Appends a configuration that can be run and is not there yet. Some are compiled for that: after
 * `until` only the first is. */
int add(const Cudnn &cudnn, LibraryAlgorithm *list, int count, int most, Descriptor config,
        const LibraryConv &c, Clock::time_point until)
{
    LibraryAlgorithm a = {};
    Knob knobs[KNOBS];
    int64_t one, index = -1;
    if (count == most || (count > 0 && Clock::now() >= until))
        return count;
    Descriptor engine = make(cudnn, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    Descriptor plan = plan_of(cudnn, config, &a.workspace_bytes);
    bool usable = plan &&
                  cudnn.get(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                            &one, &engine) == CUDNN_STATUS_SUCCESS &&
                  cudnn.get(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &one,
                            &index) == CUDNN_STATUS_SUCCESS;
    if (usable)
        read_notes(cudnn, &a, engine, c);
    int length = snprintf(a.name, sizeof a.name, "cudnn:eng%lld", (long long)index);
    const int knob_count = usable ? knobs_of(cudnn, knobs, config) : 0;
    for (int i = 0; i < knob_count && length < (int)sizeof a.name; i++)
        length += snprintf(a.name + length, sizeof a.name - (size_t)length, "_k%d=%lld",
                           (int)knobs[i].type, (long long)knobs[i].value);
    usable = usable && length < (int)sizeof a.name;
    for (int i = 0; i < count; i++)
        usable = usable && strcmp(list[i].name, a.name) != 0;
    if (usable)
        list[count++] = a;
    destroy(cudnn, plan);
    destroy(cudnn, engine);
    return count;
}

/* An engine with knobs as they are in `text`, "_k2=3_k6=1"; cuDNN's own choice for the others. */
Descriptor config_of(const Cudnn &cudnn, const Graph &graph, int64_t index, const char *text)
{
    Descriptor engine = make(cudnn, CUDNN_BACKEND_ENGINE_DESCRIPTOR), knobs[KNOBS];
    Descriptor config = make(cudnn, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    int count = 0, type, read;
    long long value;
    bool made = set(cudnn, engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph.graph) &&
                set(cudnn, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &index) &&
                finish(cudnn, engine) && set(cudnn, config, CUDNN_ATTR_ENGINECFG_ENGINE, engine);
    while (made && count < KNOBS && sscanf(text, "_k%d=%lld%n", &type, &value, &read) == 2) {
        const cudnnBackendKnobType_t knob = (cudnnBackendKnobType_t)type;
        const int64_t number = value;
        Descriptor d = knobs[count++] = make(cudnn, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
        made = set(cudnn, d, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &knob) &&
               set(cudnn, d, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &number) &&
               finish(cudnn, d);
        text += read;
    }
    made = made && !text[0] &&
           (count == 0 || set(cudnn, config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                              CUDNN_TYPE_BACKEND_DESCRIPTOR, count, knobs)) &&
           finish(cudnn, config);
    for (int i = 0; i < count; i++)
        destroy(cudnn, knobs[i]);
    destroy(cudnn, engine);
    if (made)
        return config;
    destroy(cudnn, config);
    return nullptr;
}

int add_heuristics(const Cudnn &cudnn, LibraryAlgorithm *list, int count, int most,
                   const Graph &graph, cudnnBackendHeurMode_t mode, const LibraryConv &c,
                   Clock::time_point until)
{
    Descriptor heuristics = make(cudnn, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR), configs[HEURISTICS];
    int64_t found = 0;
    for (Descriptor &d : configs)
        d = make(cudnn, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (set(cudnn, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.graph) &&
        set(cudnn, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode) &&
        finish(cudnn, heuristics) &&
        cudnn.get(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                  HEURISTICS, &found, configs) == CUDNN_STATUS_SUCCESS)
        for (int i = 0; i < found && i < HEURISTICS; i++)
            count = add(cudnn, list, count, most, configs[i], c, until);
    for (Descriptor d : configs)
        destroy(cudnn, d);
    destroy(cudnn, heuristics);
    return count;
}
} // namespace

Cudnn *cudnn_open(void *queue, int64_t *version)
{
    void *library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    Cudnn *c = library ? static_cast<Cudnn *>(calloc(1, sizeof *c)) : nullptr;
    if (c && find(c->create, library, "cudnnCreate") && find(c->end, library, "cudnnDestroy") &&
        find(c->set_stream, library, "cudnnSetStream") &&
        find(c->version, library, "cudnnGetVersion") &&
        find(c->make, library, "cudnnBackendCreateDescriptor") &&
        find(c->destroy, library, "cudnnBackendDestroyDescriptor") &&
        find(c->set, library, "cudnnBackendSetAttribute") &&
        find(c->get, library, "cudnnBackendGetAttribute") &&
        find(c->finalize, library, "cudnnBackendFinalize") &&
        find(c->execute, library, "cudnnBackendExecute") &&
        c->create(&c->handle) == CUDNN_STATUS_SUCCESS &&
        c->set_stream(c->handle, static_cast<cudaStream_t>(queue)) == CUDNN_STATUS_SUCCESS) {
        *version = (int64_t)c->version();
        return c;
    }
    cudnn_close(c);
    return nullptr;
}

void cudnn_close(Cudnn *cudnn)
{
    if (cudnn && cudnn->handle)
        cudnn->end(cudnn->handle);
    free(cudnn);
}

/* What the heuristics propose, then every engine with knobs of cuDNN's own choice. */
int cudnn_list(Cudnn *cudnn, LibraryAlgorithm *list, int most, const LibraryConv &c, double seconds)
{
    const Clock::time_point until =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(
                           std::chrono::duration<double>(seconds > 0 ? seconds : 0));
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B,
                                                   CUDNN_HEUR_MODE_FALLBACK};
    Graph graph;
    int64_t engines = 0, one;
    int count = 0;
    if (!graph_make(*cudnn, &graph, c))
        return 0;
    for (cudnnBackendHeurMode_t mode : modes)
        count = add_heuristics(*cudnn, list, count, most, graph, mode, c, until);
    cudnn->get(graph.graph, CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT, CUDNN_TYPE_INT64, 1,
               &one, &engines);
    for (int64_t i = 0; i < engines; i++)
        if (Descriptor config = config_of(*cudnn, graph, i, "")) {
            count = add(*cudnn, list, count, most, config, c, until);
            destroy(*cudnn, config);
        }
    graph_free(*cudnn, &graph);
    return count;
}

void *cudnn_prepare(Cudnn *cudnn, const LibraryConv &c, const char *name,
                    const LibraryOperands &operands)
{
    const int64_t ids[3] = {UID_X, UID_WEIGHT, UID_Y};
    void *const pointers[3] = {operands.x, operands.weight, operands.y};
    Graph graph;
    long long index;
    int read = 0;
    int64_t workspace = 0;
    if (sscanf(name, "cudnn:eng%lld%n", &index, &read) != 1 || !graph_make(*cudnn, &graph, c))
        return nullptr;
    Descriptor config = config_of(*cudnn, graph, index, name + read);
    Plan made = {config ? plan_of(*cudnn, config, &workspace) : nullptr, nullptr};
    destroy(*cudnn, config);
    graph_free(*cudnn, &graph);
    made.pack = made.plan ? make(*cudnn, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR) : nullptr;
    const cudnnBackendAttributeType_t address = CUDNN_TYPE_VOID_PTR;
    Plan *plan = static_cast<Plan *>(malloc(sizeof *plan));
    if (plan && workspace <= operands.workspace_bytes &&
        set(*cudnn, made.pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, ids) &&
        set(*cudnn, made.pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, address, 3, pointers) &&
        set(*cudnn, made.pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, address, 1,
            &operands.workspace) &&
        finish(*cudnn, made.pack)) {
        *plan = made;
        return plan;
    }
    destroy(*cudnn, made.pack);
    destroy(*cudnn, made.plan);
    free(plan);
    return nullptr;
}

bool cudnn_run(Cudnn *cudnn, void *prepared)
{
    const Plan *plan = static_cast<const Plan *>(prepared);
    return cudnn->execute(cudnn->handle, plan->plan, plan->pack) == CUDNN_STATUS_SUCCESS;
}

void cudnn_unprepare(Cudnn *cudnn, void *prepared)
{
    Plan *plan = static_cast<Plan *>(prepared);
    destroy(*cudnn, plan->pack);
    destroy(*cudnn, plan->plan);
    free(plan);
}
} // namespace rvx

#else

namespace rvx
{
Cudnn *cudnn_open(void *, int64_t *) { return nullptr; }
void cudnn_close(Cudnn *) {}
int cudnn_list(Cudnn *, LibraryAlgorithm *, int, const LibraryConv &, double) { return 0; }
void *cudnn_prepare(Cudnn *, const LibraryConv &, const char *, const LibraryOperands &)
{
    return nullptr;
}
bool cudnn_run(Cudnn *, void *) { return false; }
void cudnn_unprepare(Cudnn *, void *) {}
} // namespace rvx

#endif
