/* What a network is to the engine: a name, a configuration and a builder. Owns: the configuration
 * that every network shares and the losses that train it. Builders stand in models/, one file each;
 * the engine gets them as pointers and never names one. */
#ifndef RVX_NETWORK_H
#define RVX_NETWORK_H

#include "engine/graph/graph.h"

enum { RVX_STAGES_MAX = 8 };

typedef struct rvx_model_config {
    int in_channels, classes;
    int stage_count;
    int widths[RVX_STAGES_MAX];     /* channels per stage, finest first */
    int strides[RVX_STAGES_MAX][3]; /* d, h, w on entering the stage; stage 0 is {1, 1, 1} */
    int kernels[RVX_STAGES_MAX][3]; /* d, h, w of the stage's convolutions: 1 or 3; 0 means 3 */
    int depth;         /* convolutions (unet3d) or couplings (revunet3d) per encoder stage */
    int decoder_depth; /* the same per decoder stage; 0: as depth */
    int blocks[RVX_STAGES_MAX]; /* irevnet: blocks per stage; all 0: depth in each but the first */
    int groups;                 /* revunet3d: largest number of normalisation groups */
    bool deep_supervision;      /* unet3d: logits of coarser stages too */
    bool classifies;            /* one label an image: logits [n][1][1][1][classes] */
} rvx_model_config;

typedef struct rvx_model {
    const char *name, *summary;
    rvx_model_config defaults; /* the published network */
    /* Networks whose widths follow from the first one and the strides: sets the others. NULL: any
     * widths will do. */
    void (*set_widths)(rvx_model_config *config);
    /* image: [n][d][h][w][in_channels]. Writes logits finest first ([n][d][h][w][classes] and
     * coarser); returns how many. Errors are the graph's sticky one. */
    int (*build)(rvx_graph *graph, rvx_value image, const rvx_model_config *config,
                 rvx_value logits[RVX_STAGES_MAX]);
} rvx_model;

/* Checks a configuration against an input size: message names the field. */
rvx_status rvx__model_config_check(const rvx_model_config *config, rvx_error *error);

/* Labels as graph inputs "labels0", "labels1", ... and one loss for each, with deep-supervision
 * weights 1, 1/2, 1/4, ... normalised to sum 1. As in nnU-Net the coarsest logits get no loss when
 * there are several. statistics are those of the finest. */
typedef struct rvx_supervision {
    rvx_value losses[RVX_STAGES_MAX], labels[RVX_STAGES_MAX];
    rvx_value statistics;
    float weights[RVX_STAGES_MAX];
    int count;
} rvx_supervision;
rvx_supervision rvx__supervise(rvx_graph *graph, const rvx_value *logits, int count, rvx_loss loss);

#endif
