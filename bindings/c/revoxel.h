/* Revoxel: trains and runs 3D medical segmentation networks on whole volumes.
 * The only header to include; its parts stand in revoxel/ beside it.
 *
 * Status: every function that can fail returns rvx_status and fills the caller's rvx_error (may
 * be NULL) with one sentence: which file, which field, what was expected. The library never
 * prints, exits, aborts or reads the environment.
 *
 * Options: option structs begin with struct_bytes; start from RVX_OPTIONS(type), which sets it
 * and zeroes the rest. Zero always means the default. Newer libraries accept older structs.
 *
 * Geometry: as in ITK. LPS millimetres, origin = centre of the first voxel, direction columns =
 * unit vectors of the index axes x, y, z. Voxel (x, y, z) is element (z * Y + y) * X + x.
 *
 * Ownership: strings returned through char ** are freed with rvx_string_free; handles with their
 * close.
 *
 * Threads: a handle is used by one thread at a time; different handles are independent. Results
 * do not depend on the number of threads.
 *
 * Progress: callbacks come from the calling thread; a nonzero return stops the work with
 * RVX_CANCELLED and leaves handles usable and files whole.
 *
 * Devices: "cpu" (NULL means that), "cuda" or "cuda:I". A GPU needs the library librevoxel_cuda.so
 * in the folder of this library (or of the program that has it built in), or where the option
 * device_library says. What is missing is refused before any work starts. A budget is then about
 * the memory of the GPU; without one, all that is free there may be taken.
 *
 * Repairs: a file that is wrong (docs/formats.md, "Bad input") is refused, with its field and what
 * the option `repair` would do. With it, what has a sane repair is repaired, and every repair is
 * told by a progress call of phase "repair" with one sentence as its item, and listed in
 * repairs.txt in the folder that a training or a prediction writes.
 *
 * Files: a target holds its old content or the complete new one, never half of it. */
#ifndef REVOXEL_H
#define REVOXEL_H

#include "revoxel/base.h"
#include "revoxel/bench.h"
#include "revoxel/data.h"
#include "revoxel/judge.h"
#include "revoxel/plan.h"
#include "revoxel/predict.h"
#include "revoxel/segmenter.h"
#include "revoxel/train.h"

#endif
