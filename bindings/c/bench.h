/* What the benches of the facade share: bench.c, bench_context.c. */
#ifndef RVX_BENCH_H
#define RVX_BENCH_H

#include "bindings/c/facade.h"
#include "engine/segment/svg.h"

/* FOLDER/name := text, which is freed in every case. */
rvx_status rvx__bench_write(rvx_text *text, const char *folder, const char *name, rvx_error *error);

#endif
