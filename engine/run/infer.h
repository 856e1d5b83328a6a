/* Inference over a volume of any size: whole, or in overlapping tiles. Owns: tile positions,
 * Gaussian weights, mirroring, and two windows of slices: those of the image that tiles read, and
 * those under construction. Invariant: neither the image nor the logits of the whole volume ever
 * exist; slices are asked for when the first tile needs them and handed on, in order, as soon as no
 * later tile touches them, so memory is one tile's plan plus patch depth x height x width x
 * (channels + classes) floats, whatever the length of the volume; for a volume of one tile whose
 * labels are all that is wanted, the plan and a few slices.
 *
 * Tiles as nnU-Net places them: step = fraction of the patch, evenly spread from edge to edge;
 * weights exp(-((i - centre) / (patch / 8))^2 / 2) per axis; logits averaged over tiles and
 * mirrorings. */
#ifndef RVX_INFER_H
#define RVX_INFER_H

#include "engine/graph/network.h"
#include "engine/run/session.h"
#include "engine/volume/slices.h"

typedef struct rvx_inference rvx_inference;

typedef struct rvx_inference_options {
    int64_t patch[3]; /* d, h, w: a multiple of the network's strides */
    double tile_step; /* fraction of the patch between tiles: 0.5; 1 = no overlap */
    bool gaussian;
    bool mirror[3]; /* average over flips along these axes: d, h, w */
    int threads;
    rvx_isa isa;
    const rvx_device *device; /* NULL: the CPU, or plan_only */
    int64_t workspace_bytes;  /* of convolutions on a GPU, see plan.h */
    bool tf32;                /* on a GPU, see plan.h */
    rvx_dtype storage;        /* of activations: RVX_F32 or RVX_BF16 */
    rvx_dtype streams;        /* of couplings: RVX_I16, RVX_F32 or RVX_BF16 */
    int grid_log2;            /* RVX_I16 */
    int64_t budget_bytes;     /* 0: none */
    bool labels;    /* in one piece: labels come straight from the network, without logits */
    bool plan_only; /* no memory: only the plan and bytes may be asked */
} rvx_inference_options;

/* Slices z_first .. z_first + z_count - 1 of the averaged logits, [z][h][w][classes]. */
typedef rvx_status (*rvx_slab_sink)(void *context, const float *logits, int64_t z_first,
                                    int64_t z_count, rvx_error *error);

rvx_status rvx__inference_create(rvx_inference **inference, const rvx_model *model,
                                 const rvx_model_config *config,
                                 const rvx_inference_options *options, rvx_error *error);
void rvx__inference_free(rvx_inference *inference);

/* Its session, for the parameters. */
rvx_session *rvx__inference_session(rvx_inference *inference);
const rvx_plan *rvx__inference_plan(const rvx_inference *inference);
/* Copies the parameters of another session of the same network, by name. */
rvx_status rvx__inference_copy_parameters(rvx_inference *inference, const rvx_session *from,
                                          rvx_error *error);

/* With `labels`, in two parts, so that the caller may let go of the image between them. Volumes are
 * not larger than the patch; options.mirror is not heeded. */
rvx_status rvx__inference_fill(rvx_inference *inference, const rvx_slices *image,
                               const int64_t size[3], rvx_error *error);
/* One slice after the other, [h][w]. */
typedef rvx_status (*rvx_piece_sink)(void *context, const uint8_t *labels, int64_t z,
                                     rvx_error *error);
rvx_status rvx__inference_labels(rvx_inference *inference, const int64_t size[3],
                                 rvx_piece_sink sink, void *sink_context, rvx_poll poll,
                                 void *poll_context, rvx_error *error);
bool rvx__inference_gives_labels(const rvx_inference *inference); /* options.labels */

/* Bytes of the network itself, and those that a run over a volume of that size holds. */
int64_t rvx__inference_arena_bytes(const rvx_inference *inference);
int64_t rvx__inference_bytes(const rvx_inference *inference, const int64_t size[3]);

/* image: slices of the volume, whose size is d, h, w; asked for once each, in order. Smaller than
 * the patch: padded with zeros around. */
rvx_status rvx__inference_run(rvx_inference *inference, const rvx_slices *image,
                              const int64_t size[3], rvx_slab_sink sink, void *sink_context,
                              rvx_poll poll, void *poll_context, rvx_error *error);

#endif
