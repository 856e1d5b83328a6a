/* Repairs: what was wrong with a file, and what was done about it. Owns: the list of them.
 * Invariant: nothing is repaired without a line in a list that somebody asked for; where a function
 * takes a list, NULL means that what is wrong is refused. */
#ifndef RVX_REPAIR_H
#define RVX_REPAIR_H

#include "engine/volume/volume.h"

#include <stdbool.h>

/* One sentence each: the file, the field, what was wrong, what was done. */
typedef struct rvx_repairs {
    char **lines;
    int64_t count, told; /* the first `told` lines are out: see rvx__repairs_next */
    bool failed;         /* no memory for a line: see rvx__repairs_check */
} rvx_repairs;           /* start from {0} */

/* A line that is there already is not added again: a case may be read more than once. Any thread
 * may add. */
void rvx__repairs_add(rvx_repairs *repairs, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The next line that was not told yet, NULL behind the last; those that came together are in the
 * same order for any number of threads. No thread may add meanwhile. */
const char *rvx__repairs_next(rvx_repairs *repairs);
rvx_status rvx__repairs_check(const rvx_repairs *repairs, rvx_error *error);
void rvx__repairs_free(rvx_repairs *repairs); /* zeroed is legal */

#define RVX_REPAIRS_FILE "repairs.txt" /* in a run and beside predictions: a line each */

/* As rvx__volume_reader_open, but what can be repaired is. `repairs` outlives the reader: reading
 * voxels adds to it too. */
rvx_status rvx__volume_reader_open_repair(rvx_volume_reader **reader, const char *path,
                                          rvx_repairs *repairs, rvx_error *error);

rvx_status rvx__volume_read_labels_repair(rvx_volume *volume, const char *path,
                                          rvx_repairs *repairs, rvx_error *error);

/* As rvx__geometry_from_axes; axes that are nearly of length one and nearly at right angles become
 * so. *repaired: whether that was needed. */
rvx_status rvx__geometry_from_axes_repair(rvx_geometry *geometry, const double origin[3],
                                          const double spacing[3], const double direction[3][3],
                                          const char *name, rvx_repairs *repairs, bool *repaired,
                                          rvx_error *error);

/* Ends a message about what can be repaired: "...; --repair DOES". */
void rvx__repair_advise(rvx_error *error, const char *does);

#endif
