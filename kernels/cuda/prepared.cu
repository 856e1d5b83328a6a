/* Who does a convolution, by name: see prepared.h. Kernels of ours stand in conv_kernels.def,
 * algorithms of libraries are listed by library_call.h. Asked for are the calls of conv,
 * conv_transpose (which has one kernel of ours) and the convolution within norm_conv, whose
 * normalisation runs before it in forward passes; not the gradient of norm_conv's data, which is
 * many convolutions, one a slab. */
#include "kernels/cuda/conv.h"
#include "kernels/cuda/library_call.h"
#include "kernels/cuda/prepared.h"
#include "kernels/norm_conv.h"

#include <stdio.h>
#include <stdlib.h>

extern "C" void rvx__cuda_norm_act_forward(const rvx_call *call);

namespace
{
using namespace rvx;

enum { ALGORITHMS = 256 };

/* A call as its convolution: `op` is conv or conv_transpose, null where there is none to be asked
 * for. */
struct Asked {
    const char *op;
    rvx_phase phase;
    rvx_call conv;
};

struct Prepared {
    char name[RVX_CUDA_CHOICE_BYTES];
    rvx_phase phase;
    bool within_norm_conv;
    Kernel own;          /* CHOSEN: a library does it */
    LibraryCall library; /* where that is so */
};

bool is(const char *op, const char *name) { return strcmp(op, name) == 0; }

Asked asked_of(const char *op, rvx_phase phase, const rvx_call *call)
{
    if (is(op, "conv"))
        return {"conv", phase, *call};
    if (is(op, "conv_transpose"))
        return {"conv_transpose", phase, *call};
    if (is(op, "norm_conv") && phase != RVX_BACKWARD_DATA)
        return {"conv", phase, rvx__norm_conv_conv(call)};
    return {};
}

int own_kernels(Kernel (&list)[KERNELS], const Asked &a)
{
    return is(a.op, "conv") ? conv_kernels(list, a.phase, &a.conv) : 0;
}

int list_own(char (*names)[RVX_CUDA_CHOICE_BYTES], int most, const Asked &a)
{
    Kernel own[KERNELS];
    const int found = own_kernels(own, a);
    int count = 0;
    if (found == 0 && most > 0)
        snprintf(names[count++], sizeof *names, "%s", RVX_CUDA_OWN);
    for (int i = 0; i < found && count < most; i++)
        snprintf(names[count++], sizeof *names, "%s", conv_kernel_name(own[i]));
    return count;
}

int list_libraries(char (*names)[RVX_CUDA_CHOICE_BYTES], int most, rvx_cuda_device *device,
                   const Asked &a)
{
    LibraryCall l;
    LibraryAlgorithm *list = static_cast<LibraryAlgorithm *>(calloc(ALGORITHMS, sizeof *list));
    int count = 0;
    if (list && library_call_make(&l, a.op, a.phase, &a.conv))
        count = library_call_list(list, ALGORITHMS, device, l, a.conv.scratch_bytes);
    count = count < most ? count : most;
    for (int i = 0; i < count; i++)
        memcpy(names[i], list[i].name, sizeof *names);
    free(list);
    return count;
}

Kernel find_own(const Asked &a, const char *name)
{
    Kernel own[KERNELS], found = CHOSEN;
    const int count = own_kernels(own, a);
    for (int i = 0; i < count; i++)
        if (is(name, conv_kernel_name(own[i])))
            found = own[i];
    return found;
}
} // namespace

namespace rvx
{
int choices(char (*names)[RVX_CUDA_CHOICE_BYTES], int most, rvx_cuda_device *device, const char *op,
            rvx_phase phase, const rvx_call *call)
{
    const Asked a = asked_of(op, phase, call);
    const int own = a.op ? list_own(names, most, a) : 0;
    return a.op ? own + list_libraries(names + own, most - own, device, a) : 0;
}

rvx_status prepare(void **implementation, rvx_cuda_device *device, const char *op, rvx_phase phase,
                   const rvx_call *call, const char *name, rvx_error *error)
{
    const Asked a = asked_of(op, phase, call);
    *implementation = nullptr;
    if (!a.op)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "cuda: %s: such a call of %s has no choice",
                         name, op);
    Prepared *p = static_cast<Prepared *>(calloc(1, sizeof *p));
    if (!p)
        return rvx__fail(error, RVX_ERROR_MEMORY, "cuda: out of memory");
    snprintf(p->name, sizeof p->name, "%s", name);
    p->phase = phase;
    p->within_norm_conv = is(op, "norm_conv");
    p->own = find_own(a, name);
    if (p->own == CHOSEN && !(library_call_make(&p->library, a.op, phase, &a.conv) &&
                              library_call_open(&p->library, device, name, &a.conv))) {
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
    if (p && p->library.opened)
        library_close(p->library.opened);
    free(p);
}

void run_prepared(const rvx_call *call)
{
    const Prepared &p = *static_cast<const Prepared *>(call->implementation);
    const rvx_call conv = p.within_norm_conv ? rvx__norm_conv_conv(call) : *call;
    if (p.within_norm_conv && p.phase == RVX_FORWARD) {
        const rvx_call norm = rvx__norm_conv_norm(call);
        rvx__cuda_norm_act_forward(&norm);
    }
    if (p.own == CHOSEN)
        library_call_run(p.library, &conv);
    else
        conv_run(&conv, p.phase, p.own);
}

const char *prepared_name(const rvx_call *call)
{
    return call->implementation ? static_cast<const Prepared *>(call->implementation)->name
                                : RVX_CUDA_OWN;
}
} // namespace rvx
