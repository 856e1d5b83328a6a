/* What a plan's augmentation does to a case, as one picture. Owns: which draws are shown, and their
 * layout: the patch as it is, every transform alone at its strongest, then draws as training gets
 * them. Invariant: pictures are those of rvx__sample_draw; same seed, same bytes. */
#ifndef RVX_SEGMENT_AUGMENT_PREVIEW_H
#define RVX_SEGMENT_AUGMENT_PREVIEW_H

#include "engine/run/sampler.h"
#include "engine/segment/png.h"

typedef struct rvx_augment_preview_params {
    const rvx_recipe *recipe;
    const rvx_case *one;  /* with labels */
    const int64_t *patch; /* d, h, w */
    int channel;          /* that is shown */
    int draws;            /* as training gets them; 0: 6 */
    int64_t tile_pixels;  /* longer side of a tile; 0: 240 */
    int threads;
} rvx_augment_preview_params;

/* The plane is that of the beams where the plan has ultrasound's transforms, else the one across z;
 * the slice has the most labelled voxels. Labels are outlined. Free with rvx__image_free. */
rvx_status rvx__augment_preview(rvx_image *sheet, const rvx_augment_preview_params *params,
                                rvx_error *error);

#endif
