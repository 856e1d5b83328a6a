/* What a figure is held against: a line that begins with "goal" (check_gpu.sh gathers those) and an
 * object in the row's JSON. Owns: how both are written. A figure that was not measured is NaN; it
 * meets nothing. */
#ifndef BENCH_GOAL_H
#define BENCH_GOAL_H

#include <math.h>
#include <stdio.h>

typedef struct bench_goal {
    const char *figure;   /* "seconds", "times cuDNN" */
    double must, stretch; /* stretch 0: none */
    int at_least;         /* else at most */
} bench_goal;

static inline int goal_reached(const bench_goal *goal, double limit, double measured)
{
    return goal->at_least ? measured >= limit : measured <= limit; /* NaN: neither */
}

static inline const char *goal_verdict(const bench_goal *goal, double measured)
{
    return isnan(measured)                               ? "not measured"
           : !goal_reached(goal, goal->must, measured)   ? "NOT MET"
           : goal->stretch == 0                          ? "met"
           : goal_reached(goal, goal->stretch, measured) ? "met, stretch too"
                                                         : "met, stretch not";
}

static inline void goal_print(const bench_goal *goal, const char *row, double measured)
{
    printf("goal  %-44s %s at %s %.4g", row, goal->figure, goal->at_least ? "least" : "most",
           goal->must);
    if (goal->stretch != 0)
        printf(" (stretch %.4g)", goal->stretch);
    if (isnan(measured))
        printf(": %s\n", goal_verdict(goal, measured));
    else
        printf(", measured %.4g: %s\n", measured, goal_verdict(goal, measured));
}

/* One object of a list; `first`: of its objects. */
static inline void goal_json(FILE *json, const bench_goal *goal, double measured, int first)
{
    fprintf(json, "%s{\"figure\": \"%s\", \"%s\": %.6g, \"stretch\": %.6g, ", first ? "" : ", ",
            goal->figure, goal->at_least ? "at_least" : "at_most", goal->must, goal->stretch);
    if (isnan(measured))
        fprintf(json, "\"measured\": null, \"met\": null}");
    else
        fprintf(json, "\"measured\": %.6g, \"met\": %s}", measured,
                goal_reached(goal, goal->must, measured) ? "true" : "false");
}

#endif
