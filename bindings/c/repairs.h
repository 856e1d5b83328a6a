/* What was repaired, to the caller and to a file beside the results. Owns: that every line of a
 * list is told once and kept. */
#ifndef RVX_FACADE_REPAIRS_H
#define RVX_FACADE_REPAIRS_H

#include "bindings/c/facade.h"

#include "engine/volume/repair.h"

/* Progress of phase "repair" for every line that was not told yet, the line as its item. False
 * where the callback asks to stop. */
bool rvx__facade_repairs_tell(rvx_repairs *repairs, rvx_progress_callback progress, void *context);
/* FOLDER/repairs.txt (RVX_REPAIRS_FILE), a line each; none where nothing was repaired. */
rvx_status rvx__facade_repairs_write(const rvx_repairs *repairs, const char *folder,
                                     rvx_error *error);

#endif
