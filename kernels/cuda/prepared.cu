/* Who does a convolution, by name: see prepared.h. Kernels of ours stand in conv_kernels.def,
 * algorithms of libraries are listed by library_call.h. Asked for are the calls of conv,
 * conv_transpose (which has one kernel of ours) and the convolutions within norm_conv: one, whose
 * normalisation runs before it in forward passes, or in the gradient of the data one for each kind
 * of slab, all of which have the same name. */
#include "kernels/cuda/conv.h"
#include "kernels/cuda/library_call.h"
#include "kernels/cuda/norm_conv.h"
#include "kernels/cuda/prepared.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

extern "C" void rvx__cuda_norm_act_forward(const rvx_call *call);

namespace
{
using namespace rvx;

enum { ALGORITHMS = 256 };

/* A call as its convolutions: `op` is conv or conv_transpose, null where there is none to be asked
 * for. */
struct Asked {
    const char *op;
    rvx_phase phase;
    bool slabs; /* of a gradient of norm_conv's data */
    int count;
    SlabKind kinds[SLAB_KINDS]; /* of others but `conv` of the first is set */
};

struct Prepared {
    char name[RVX_CUDA_CHOICE_BYTES];
    rvx_phase phase;
    bool within_norm_conv, slabs;
    Kernel own; /* CHOSEN: a library does it */
    int count;
    LibraryCall library[SLAB_KINDS]; /* where that is so */
};

bool is(const char *op, const char *name) { return strcmp(op, name) == 0; }

/* False: nobody can be asked. */
bool ask(Asked *a, const char *op, rvx_phase phase, const rvx_call *call)
{
    *a = {};
    a->op = is(op, "conv_transpose") ? "conv_transpose" : "conv";
    a->phase = phase;
    a->slabs = is(op, "norm_conv") && phase == RVX_BACKWARD_DATA;
    if (a->slabs) {
        a->count = norm_conv_slabs(a->kinds, call);
    } else {
        a->kinds[0].conv = is(op, "norm_conv") ? rvx__norm_conv_conv(call) : *call;
        a->count = 1;
    }
    return is(op, "norm_conv") || is(op, a->op);
}

int own_kernels(Kernel (&list)[KERNELS], const Asked &a, int kind)
{
    return is(a.op, "conv") ? conv_kernels(list, a.phase, &a.kinds[kind].conv) : 0;
}

/* Whether a kernel of ours of that name takes all kinds. */
Kernel find_own(const Asked &a, const char *name)
{
    Kernel own[KERNELS], found = CHOSEN;
    for (int kind = 0; kind < a.count; kind++) {
        const int count = own_kernels(own, a, kind);
        found = CHOSEN;
        for (int i = 0; i < count; i++)
            if (is(name, conv_kernel_name(own[i])))
                found = own[i];
        if (found == CHOSEN)
            break;
    }
    return found;
}

int list_own(char (*names)[RVX_CUDA_CHOICE_BYTES], int most, const Asked &a)
{
    Kernel own[KERNELS];
    const int found = own_kernels(own, a, 0);
    int count = 0;
    if (found == 0 && most > 0)
        snprintf(names[count++], sizeof *names, "%s", RVX_CUDA_OWN);
    for (int i = 0; i < found && count < most; i++)
        if (find_own(a, conv_kernel_name(own[i])) != CHOSEN)
            snprintf(names[count++], sizeof *names, "%s", conv_kernel_name(own[i]));
    return count;
}

bool make_library(LibraryCall *l, const Asked &a, int kind)
{
    const bool made = library_call_make(l, a.op, a.phase, &a.kinds[kind].conv);
    l->anywhere = a.slabs;
    return made;
}

/* Those of `kept` algorithms that a kind can be done by, too; of the first kind all that can. */
int keep_listed(LibraryAlgorithm *kept, int kept_count, LibraryAlgorithm *room,
                rvx_cuda_device *device, const Asked &a, int kind)
{
    LibraryCall l;
    LibraryAlgorithm *const list = kind == 0 ? kept : room;
    int count = 0, both = 0;
    if (make_library(&l, a, kind))
        count = library_call_list(list, ALGORITHMS, device, l, a.kinds[kind].conv.scratch_bytes);
    if (kind == 0)
        return count;
    for (int i = 0; i < kept_count; i++) {
        int same = 0;
        while (same < count && !is(kept[i].name, list[same].name))
            same++;
        if (same < count)
            kept[both++] = kept[i];
    }
    return both;
}

int list_libraries(char (*names)[RVX_CUDA_CHOICE_BYTES], int most, rvx_cuda_device *device,
                   const Asked &a)
{
    LibraryAlgorithm *kept = static_cast<LibraryAlgorithm *>(calloc(2 * ALGORITHMS, sizeof *kept));
    int count = 0;
    for (int kind = 0; kept && most > 0 && kind < a.count && (kind == 0 || count > 0); kind++)
        count = keep_listed(kept, count, kept + ALGORITHMS, device, a, kind);
    count = count < most ? count : most;
    for (int i = 0; i < count; i++)
        memcpy(names[i], kept[i].name, sizeof *names);
    free(kept);
    return count;
}

void close_libraries(Prepared *p)
{
    for (LibraryCall &l : p->library)
        if (l.opened)
            library_close(l.opened);
}

bool open_libraries(Prepared *p, rvx_cuda_device *device, const Asked &a)
{
    bool opened = true;
    for (int kind = 0; kind < a.count && opened; kind++)
        opened = make_library(&p->library[kind], a, kind) &&
                 library_call_open(&p->library[kind], device, p->name, &a.kinds[kind].conv);
    if (!opened)
        close_libraries(p);
    return opened;
}

/* One slab, by the library's call for its kind. */
void run_slab(const rvx_call *conv, const void *context)
{
    const Prepared &p = *static_cast<const Prepared *>(context);
    if (p.own != CHOSEN)
        return conv_run(conv, RVX_BACKWARD_DATA, p.own);
    for (int kind = 0; kind < p.count; kind++) {
        const LibraryConv &c = p.library[kind].conv;
        if (c.x.d == conv->grad_in[0].shape.d && c.y.d == conv->grad_out[0].shape.d)
            return library_call_run(p.library[kind], conv);
    }
    assert(!"a slab of a kind that was not prepared");
}
} // namespace

namespace rvx
{
int choices(char (*names)[RVX_CUDA_CHOICE_BYTES], int most, rvx_cuda_device *device, const char *op,
            rvx_phase phase, const rvx_call *call)
{
    Asked a;
    if (!ask(&a, op, phase, call))
        return 0;
    const int own = list_own(names, most, a);
    return own + list_libraries(names + own, most - own, device, a);
}

rvx_status prepare(void **implementation, rvx_cuda_device *device, const char *op, rvx_phase phase,
                   const rvx_call *call, const char *name, rvx_error *error)
{
    Asked a;
    *implementation = nullptr;
    if (!ask(&a, op, phase, call))
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "cuda: %s: such a call of %s has no choice",
                         name, op);
    Prepared *p = static_cast<Prepared *>(calloc(1, sizeof *p));
    if (!p)
        return rvx__fail(error, RVX_ERROR_MEMORY, "cuda: out of memory");
    snprintf(p->name, sizeof p->name, "%s", name);
    p->phase = phase;
    p->within_norm_conv = is(op, "norm_conv");
    p->slabs = a.slabs;
    p->count = a.count;
    p->own = find_own(a, name);
    if (p->own == CHOSEN && !open_libraries(p, device, a)) {
        free(p);
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "cuda: %s is not there for such a call with %.1f MiB of workspace", name,
                         (double)call->scratch_bytes / 0x1p20);
    }
    *implementation = p;
    return RVX_OK;
}

void unprepare(rvx_cuda_device *, void *implementation)
{
    Prepared *p = static_cast<Prepared *>(implementation);
    if (p)
        close_libraries(p);
    free(p);
}

void run_prepared(const rvx_call *call)
{
    const Prepared &p = *static_cast<const Prepared *>(call->implementation);
    if (p.slabs)
        return norm_conv_backward_data(call, run_slab, &p);
    const rvx_call conv = p.within_norm_conv ? rvx__norm_conv_conv(call) : *call;
    if (p.within_norm_conv && p.phase == RVX_FORWARD) {
        const rvx_call norm = rvx__norm_conv_norm(call);
        rvx__cuda_norm_act_forward(&norm);
    }
    if (p.own == CHOSEN)
        library_call_run(p.library[0], &conv);
    else
        conv_run(&conv, p.phase, p.own);
}

const char *prepared_name(const rvx_call *call)
{
    return call->implementation ? static_cast<const Prepared *>(call->implementation)->name
                                : RVX_CUDA_OWN;
}
} // namespace rvx
