/* Simulated 3D B-mode ultrasound as an nnU-Net raw dataset. Owns: the folder that one call writes.
 *
 * Without `anatomy`: liver scenes, case k named phantom_00k, labels 0 background, 1 parenchyma,
 * 2 vessel, 3 gallbladder, 4 tumour. The field of view is 160 mm along the longer in-plane edge and
 * along z (there at most 5 mm a voxel, or the in-plane spacing where that is larger), LPS axes, the
 * probe at the anterior edge.
 * With `anatomy`: every label map of a folder becomes one case.
 *
 * Invariant: the bytes of case k depend on (seed, k, size, map) alone: not on the number of cases
 * or of threads. The folder gets its dataset.json last; after an error or a cancelled run, every
 * file that the call made is gone. Memory: rvx__ultrasound_bytes (a few slices), about 4 MB of
 * anatomy or the label map, and two gzip writers of fixed size; that times the number of threads
 * where slices are small (up to 160x160) or maps are the anatomy, as threads then take whole cases.
 */
#ifndef RVX_PHANTOM_H
#define RVX_PHANTOM_H

#include "kernels/status.h"

#include <stdint.h>

/* Called in the calling thread, after every slice that it made; a non-zero answer stops the run
 * with RVX_CANCELLED. */
typedef int (*rvx_phantom_progress)(void *context, const char *identifier, int64_t slices_done,
                                    int64_t slices_total);

typedef struct rvx_phantom_options {
    int64_t cases;      /* training cases; 0: 10, or with anatomy all maps that are not tests */
    int64_t test_cases; /* further cases, in imagesTs and labelsTs */
    int64_t size[3];    /* x, y, z voxels; 0: 64; not used with anatomy */
    uint64_t seed;
    const char *anatomy; /* folder of label maps; NULL: liver phantom */
    const char *merge;   /* "2,41;3,42": values of label 1, of label 2; also "2=3,42;1=2,41"; NULL:
                            one label per value, the most frequent first */
    double spacing_mm;   /* with anatomy: isotropic voxels of this edge; 0: the map's own grid */
    int threads;         /* 0: all processors */
    rvx_phantom_progress progress; /* may be NULL */
    void *context;
} rvx_phantom_options;

/* Refuses a folder that already holds a dataset. */
rvx_status rvx__phantom_generate(const char *out, const rvx_phantom_options *options,
                                 rvx_error *error);

#endif
