/* Options about who does convolutions on a GPU: the same for plan, train and check. */
#ifndef RVX_CLI_IMPLEMENTATION_H
#define RVX_CLI_IMPLEMENTATION_H

#include "bindings/cli/cli.h"

typedef struct rvx_cli_implementation {
    const char *choose;
    int64_t workspace_bytes;
    bool list;
    char cache_folder[4096];
} rvx_cli_implementation;

/* Rows of an option table; `field`: the rvx_cli_implementation of the verb's options. */
#define RVX_CLI_IMPLEMENTATION(type, field)                                                        \
    {"--implementation", "own|auto|cudnn|FILE",                                                    \
     "convolutions on a GPU: our kernels (default), the fastest of these, cuDNN\n"                 \
     "and cuBLAS, measured once; these where they can; or as FILE has it",                         \
     RVX_CLI_TEXT, .offset = offsetof(type, field.choose)},                                        \
        {"--workspace", "BYTES",                                                                   \
         "that a convolution may take for it, part of the plan (default 256MiB)", RVX_CLI_BYTES,   \
         .offset = offsetof(type, field.workspace_bytes)},                                         \
    {                                                                                              \
        "--list-implementations", NULL, "print what does each convolution, and the times",         \
            RVX_CLI_FLAG, .offset = offsetof(type, field.list)                                     \
    }

/* In the library's words; `given` gets the folder of the cache: XDG_CACHE_HOME/revoxel or
 * ~/.cache/revoxel. Lines go to standard error. */
void rvx__cli_implementation(rvx_implementation_options *options, rvx_cli_implementation *given);

#endif
