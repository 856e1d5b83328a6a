/* A network with the training step that one asks about: by name, or as a plan, a run or a model
 * file has it. Shared by what plans steps without training (plan_memory.c) and what runs one
 * (check.c). */
#ifndef RVX_SUBJECT_H
#define RVX_SUBJECT_H

#include "bindings/c/facade.h"
#include "engine/run/train_plan.h"

typedef struct rvx_subject_options {
    const char *network; /* a name; or */
    const char *plan;    /* plan.json, run folder, model file or JSON */
    int in_channels, classes, depth, batch;
    const int64_t *widths;
    int width_count;
    int64_t size[3]; /* x, y, z; 0: the plan's */
    rvx_memory_words memory;
    int threads;
    const char *device; /* in the words of engine/run/device.h */
} rvx_subject_options;

typedef struct rvx_subject {
    rvx_recipe recipe;
    rvx_train_job job;            /* points into this struct */
    char weights[RVX_PATH_BYTES]; /* the file with trained parameters; "" */
    bool by_name;                 /* the recipe says nothing but network, batch and memory */
    int64_t size[3];              /* x, y, z; 0: not known */
} rvx_subject;

/* Checks everything that is given. Freed with rvx__subject_close, also after a failure. */
rvx_status rvx__subject_open(rvx_subject *subject, const rvx_subject_options *options,
                             rvx_error *error);
void rvx__subject_close(rvx_subject *subject);

/* The product of the strides along x, y and z. */
void rvx__subject_divisors(int64_t out[3], const rvx_subject *subject);
/* A step on samples of x, y, z voxels. */
rvx_status rvx__subject_plan(rvx_train_plan *out, const rvx_subject *subject, rvx_policy policy,
                             const int64_t size[3], int64_t budget_bytes, rvx_error *error);

#endif
