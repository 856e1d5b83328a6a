/* Repairs: see repair.h. */
#include "engine/volume/repair.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How far axes may be off a right angle (cosine) and off length one to be taken for rounded or
 * badly measured ones; beyond, a grid is sheared or scaled on purpose. */
#define REPAIR_COSINE_MAX 0.05

static void line_keep(rvx_repairs *repairs, char *line)
{
    for (int64_t i = 0; line && i < repairs->count; i++)
        if (strcmp(repairs->lines[i], line) == 0) {
            free(line);
            return;
        }
    char **larger =
        line ? realloc(repairs->lines, (size_t)(repairs->count + 1) * sizeof *larger) : NULL;
    if (!larger) {
        repairs->failed = true;
        free(line);
        return;
    }
    repairs->lines = larger;
    larger[repairs->count++] = line;
}

/* Cases are read by several threads into one list. */
static void line_add(rvx_repairs *repairs, char *line)
{
#pragma omp critical(rvx_repairs)
    line_keep(repairs, line);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

const char *rvx__repairs_next(rvx_repairs *repairs)
{
    if (repairs->told == repairs->count)
        return NULL;
    qsort(repairs->lines + repairs->told, (size_t)(repairs->count - repairs->told),
          sizeof *repairs->lines, by_text);
    return repairs->lines[repairs->told++];
}

void rvx__repairs_add(rvx_repairs *repairs, const char *format, ...)
{
    char *line = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&line, format, arguments) < 0)
        line = NULL;
    va_end(arguments);
    line_add(repairs, line);
}

rvx_status rvx__repairs_check(const rvx_repairs *repairs, rvx_error *error)
{
    return repairs->failed
               ? rvx__fail(error, RVX_ERROR_MEMORY, "out of memory for the list of repairs")
               : RVX_OK;
}

void rvx__repairs_free(rvx_repairs *repairs)
{
    for (int64_t i = 0; i < repairs->count; i++)
        free(repairs->lines[i]);
    free(repairs->lines);
    *repairs = (rvx_repairs){0};
}

void rvx__repair_advise(rvx_error *error, const char *does)
{
    if (!error)
        return;
    const size_t used = strlen(error->message);
    snprintf(error->message + used, sizeof error->message - used, "; --repair %s", does);
}

/* ---- Directions -------------------------------------------------------------------------------
 */

/* Columns made one long, then the symmetric share of every cosine taken off both axes, until none
 * is left: no axis is preferred, as Gram and Schmidt would prefer the first. False where the axes
 * are further off than can be rounding. */
static bool axes_settle(double out[3][3], const double in[3][3])
{
    memcpy(out, in, 9 * sizeof out[0][0]);
    for (int round = 0; round < 60; round++) {
        double next[3][3];
        for (int a = 0; a < 3; a++) {
            double length =
                sqrt(out[0][a] * out[0][a] + out[1][a] * out[1][a] + out[2][a] * out[2][a]);
            if (round == 0 && !(fabs(length - 1) <= REPAIR_COSINE_MAX))
                return false;
            for (int row = 0; row < 3; row++)
                out[row][a] /= length;
        }
        memcpy(next, out, sizeof next);
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++) {
                double cosine = 0;
                for (int row = 0; row < 3; row++)
                    cosine += out[row][a] * out[row][b];
                if (a != b && round == 0 && !(fabs(cosine) <= REPAIR_COSINE_MAX))
                    return false;
                for (int row = 0; row < 3 && a != b; row++)
                    next[row][a] -= 0.5 * cosine * out[row][b];
            }
        memcpy(out, next, sizeof next);
    }
    return true;
}

/* `error` is left alone where all is well in the end: callers may look at it alone. */
rvx_status rvx__geometry_from_axes_repair(rvx_geometry *geometry, const double origin[3],
                                          const double spacing[3], const double direction[3][3],
                                          const char *name, rvx_repairs *repairs, bool *repaired,
                                          rvx_error *error)
{
    double settled[3][3], largest = 0;
    rvx_geometry better = *geometry;
    *repaired = false;
    if (rvx__geometry_from_axes(geometry, origin, spacing, direction, name, NULL) == RVX_OK)
        return RVX_OK;
    /* Bad origins and spacings fail in either way, without advice. */
    if (!axes_settle(settled, direction) ||
        rvx__geometry_from_axes(&better, origin, spacing, (const double(*)[3])settled, name,
                                NULL) != RVX_OK)
        return rvx__geometry_from_axes(geometry, origin, spacing, direction, name, error);
    if (!repairs) {
        rvx_status status =
            rvx__geometry_from_axes(geometry, origin, spacing, direction, name, error);
        rvx__repair_advise(error, "makes them orthonormal");
        return status;
    }
    for (int i = 0; i < 9; i++)
        largest = fmax(largest, fabs(settled[i / 3][i % 3] - direction[i / 3][i % 3]));
    *geometry = better;
    *repaired = true;
    rvx__repairs_add(repairs,
                     "%s: the directions of the axes were not orthonormal; made so (entries "
                     "changed by up to %.2g)",
                     name, largest);
    return RVX_OK;
}
