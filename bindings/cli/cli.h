/* What the verbs of the command line share. Owns: the row of a verb, the table-driven reading of
 * options, the progress line. Uses nothing of the library but its public header.
 *
 * Exit status: 0 done, 1 the work failed, 2 the command line was wrong, 130 stopped by Ctrl-C. */
#ifndef RVX_CLI_H
#define RVX_CLI_H

#include "bindings/c/revoxel.h"

#include <stdbool.h>

enum { RVX_EXIT_FAILED = 1, RVX_EXIT_USAGE = 2, RVX_EXIT_CANCELLED = 130 };
enum { RVX_CLI_LIST_MAX = 16, RVX_CLI_ARGUMENTS_MAX = 1 << 20, RVX_CLI_THREADS_MAX = 1024 };

typedef enum rvx_cli_kind {
    RVX_CLI_FLAG = 0, /* bool */
    RVX_CLI_TEXT,     /* const char *: not empty */
    RVX_CLI_INTEGER,  /* int64_t in [min, max] */
    RVX_CLI_NUMBER,   /* double in [min, max] */
    RVX_CLI_BYTES,    /* int64_t: 512MiB, 12GiB, 1.5GB or plain bytes */
    RVX_CLI_SIZE,     /* int64_t[3]: 64x64x48, each in [min, max] */
    RVX_CLI_LIST      /* rvx_cli_list: 16,32,64, each in [min, max] */
} rvx_cli_kind;

typedef struct rvx_cli_list {
    int64_t values[RVX_CLI_LIST_MAX];
    int count;
} rvx_cli_list;

/* One option; a table ends with a NULL name. `word` may stand instead of a number: it gives
 * word_value (all three components of a size). Of several words, "none|all", the next gives one
 * less. */
typedef struct rvx_cli_option {
    const char *name;  /* "--size" */
    const char *value; /* "XxYxZ" for the help; NULL for flags */
    const char *help;  /* may hold line breaks */
    rvx_cli_kind kind;
    size_t offset; /* of the field in the verb's options */
    double min, max;
    const char *word;
    int64_t word_value;
    bool required;
} rvx_cli_option;

typedef struct rvx_cli_verb {
    const char *name, *summary;
    const char *usage;   /* what follows "revoxel NAME" */
    const char *details; /* a few lines on what it reads and writes */
    const char *example;
    const rvx_cli_option *options;
    int64_t arguments_min, arguments_max;
    int (*run)(int argument_count, char **arguments); /* what follows the verb */
    const struct rvx_cli_verb *const *parts; /* verbs of two words; NULL-terminated, or NULL */
} rvx_cli_verb;

#define RVX_VERB(name) extern const rvx_cli_verb rvx__cli_##name;
#include "bindings/cli/verbs.def"
#undef RVX_VERB

extern const rvx_cli_verb *const rvx__cli_verbs[]; /* NULL-terminated, in the order of the help */

/* ---- options.c ------------------------------------------------------------------------------ */

/* Fills the struct that the offsets of the table point into. The arguments that are no options are
 * moved to the front: arguments[0 .. *positional_count - 1]. Returns 0, or RVX_EXIT_USAGE after a
 * message. */
int rvx__cli_parse(const rvx_cli_verb *verb, void *options, int64_t *positional_count, int count,
                   char **arguments);
/* "revoxel: message" and where help is; returns RVX_EXIT_USAGE. `verb` may be NULL. */
int rvx__cli_usage_error(const char *verb, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The library for GPUs that REVOXEL_CUDA_LIBRARY names; NULL: the one beside the program. */
const char *rvx__cli_device_library(void);

/* ---- nearest.c ------------------------------------------------------------------------------ */

/* The nearest of NULL-terminated names, or NULL where none is near. */
const char *rvx__cli_nearest(const char *name, const char *const *names);

/* ---- help.c --------------------------------------------------------------------------------- */

int rvx__cli_help(void);
int rvx__cli_help_verb(const rvx_cli_verb *verb);

/* ---- output.c ------------------------------------------------------------------------------- */

/* Prints and frees a text of the library (NULL: nothing), and whatever went wrong; returns the exit
 * status. Standard output that cannot take the text is a failure too. */
int rvx__cli_finish(rvx_status status, const rvx_error *error, char *text);

/* The progress line. One a process: it also takes SIGINT and SIGTERM, which end the work at the
 * next call of the callback; a second one ends the process. */
typedef struct rvx_cli_progress {
    bool quiet, terminal;
    bool shown;         /* a line stands on the terminal without its line break */
    double shown_after; /* seconds: no new line before */
    int64_t overflow;   /* the last that was reported */
    double loader_wait; /* the last of the training */
    char phase[32];
} rvx_cli_progress;

void rvx__cli_progress_start(rvx_cli_progress *progress, bool quiet);
int rvx__cli_progress(void *context, const rvx_progress *now); /* an rvx_progress_callback */
/* Ends the line. What did not fit the network's streams is said even where `quiet`. */
void rvx__cli_progress_end(rvx_cli_progress *progress);

#endif
