/* A tool as NVTX loads it where NVTX_INJECTION64_PATH names it: tells the program what ranges are
 * pushed and popped. Owns: what NVTX asks of a tool, as nvtx3/nvtxDetail/nvtxTypes.h has it, which
 * comes with CUDA alone. */
#include <stddef.h>
#include <stdint.h>

#define EXPORTED __attribute__((visibility("default")))

enum { CALLBACKS = 1, CORE = 1, RANGE_PUSH = 9, RANGE_POP = 11 };

typedef void (*function)(void);
typedef struct callbacks {
    size_t struct_bytes;
    int (*functions)(int module, function ***table, unsigned *count);
} callbacks;

/* Set by the program. */
EXPORTED void (*nvtx_tool_push)(const char *name);
EXPORTED void (*nvtx_tool_pop)(void);

static int push(const char *name)
{
    if (nvtx_tool_push)
        nvtx_tool_push(name);
    return 0;
}

static int pop(void)
{
    if (nvtx_tool_pop)
        nvtx_tool_pop();
    return 0;
}

EXPORTED int InitializeInjectionNvtx2(const void *(*export_table)(uint32_t));
int InitializeInjectionNvtx2(const void *(*export_table)(uint32_t))
{
    const callbacks *found = export_table(CALLBACKS);
    function **table = NULL;
    unsigned count = 0;
    if (!found || !found->functions(CORE, &table, &count) || count <= RANGE_POP)
        return 0;
    *table[RANGE_PUSH] = (function)push;
    *table[RANGE_POP] = (function)pop;
    return 1;
}
