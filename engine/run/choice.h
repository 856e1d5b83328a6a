/* Which implementation does a convolution on a GPU: one of our own kernels, or a library's. Owns:
 * the table of measured times, its file, and the rule that picks from it. Invariant: what is picked
 * follows from the table and the rule alone; a file that is not of this device and these versions
 * is never used. Names are those of the plug-in (plugin.h): with a colon, a library's.
 *
 * A call is known by its key, a line of text: phase, type, shapes, parameters and the workspace
 * that it may take. Files: JSON, see docs/implementations.md. */
#ifndef RVX_CHOICE_H
#define RVX_CHOICE_H

#include "engine/base/text.h"
#include "engine/run/device.h"

enum { RVX_CHOICE_KEY_BYTES = 256, RVX_CHOICE_NAMES_MAX = 256 };
enum { RVX_WORKSPACE_BYTES = 256 << 20 }; /* unless something else is asked for */
#define RVX_CHOICE_OWN RVX_CUDA_OWN

typedef void (*rvx_notice)(void *context, const char *text);

typedef struct rvx_choice_rule {
    const char *how;          /* "own", "auto", "cudnn" (libraries where they can), or a file */
    const char *cache_folder; /* for auto and cudnn; NULL: times are forgotten in the end */
    bool list;                /* notice of every choice, when it is first made */
    rvx_notice notice;        /* NULL: nobody listens */
    void *context;
} rvx_choice_rule;

/* *choices is NULL where the rule says own (or nothing). A file that is named must be there, whole
 * and of this device; the cache may be missing, and where it is broken or of another device or
 * version, that is noticed and it is written anew. */
rvx_status rvx__choices_open(rvx_choices **choices, const rvx_device *device,
                             const rvx_choice_rule *rule, rvx_error *error);
void rvx__choices_close(rvx_choices *choices); /* NULL is legal */

/* The implementation of a call; NULL: not measured yet. */
const char *rvx__choices_find(rvx_choices *choices, const char *key);
/* Whether calls that are not in the table may be measured; else the table's file is a pin. */
bool rvx__choices_measures(const rvx_choices *choices);
const char *rvx__choices_path(const rvx_choices *choices); /* of the file; "" without one */
/* Seconds of all implementations of a call, the one that runs where nobody chooses first. */
rvx_status rvx__choices_add(rvx_choices *choices, const char *key, const char *const *names,
                            const double *seconds, int count, rvx_error *error);
/* Notice of an implementation that could not be measured: it is none. */
void rvx__choices_failed(const rvx_choices *choices, const char *key, const char *name,
                         const char *why);
/* Writes the cache if anything was added since it was read. One that cannot be written is noticed:
 * it costs time, not a run. */
void rvx__choices_save(rvx_choices *choices);
/* Notice of the choices made since the last time, where the rule says so. */
void rvx__choices_report(rvx_choices *choices);
/* A line for each call of the table: what does it, and the times. */
void rvx__choices_print(rvx_text *text, const rvx_choices *choices);

#endif
