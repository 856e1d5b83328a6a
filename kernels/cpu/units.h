/* Transposes in place, along the cycles of the permutation: what space_to_depth and deinterleave do
 * with lines and slices that share one memory. Owns: no memory. */
#ifndef RVX_CPU_UNITS_H
#define RVX_CPU_UNITS_H

#include <stdint.h>
#include <string.h>

/* A matrix [rows][columns] of units, `pitch` bytes apart, of each of which the first `bytes` are
 * moved. */
typedef struct rvx_units {
    int64_t rows, columns, bytes, pitch;
} rvx_units;

/* Turns it to [columns][rows]. spare: room for `bytes`; marks: for a byte a unit. */
static inline void rvx__units_turn(char *data, rvx_units u, char *spare, char *marks)
{
    int64_t count = u.rows * u.columns;
    if (u.rows == 1 || u.columns == 1)
        return;
    memset(marks, 0, (size_t)count);
    for (int64_t first = 0; first < count; first++) {
        if (marks[first])
            continue;
        int64_t to = first, from = to % u.rows * u.columns + to / u.rows;
        marks[first] = 1;
        if (from == first)
            continue;
        memcpy(spare, data + first * u.pitch, (size_t)u.bytes);
        for (; from != first; to = from, from = to % u.rows * u.columns + to / u.rows) {
            memcpy(data + to * u.pitch, data + from * u.pitch, (size_t)u.bytes);
            marks[from] = 1;
        }
        memcpy(data + to * u.pitch, spare, (size_t)u.bytes);
    }
}

#endif
