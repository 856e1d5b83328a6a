/* Which values of a graph lie on one grid. Owns: the partition of integer streams into groups:
 * values that a sum, a slice or an inverse ties together, which for a U-Net are its levels. A
 * session may coarsen the grid of a group as a whole. */
#ifndef RVX_STREAMS_H
#define RVX_STREAMS_H

#include "engine/graph/graph.h"

/* group: per value, that of RVX_I16 values counted from 0 in the order of the values, -1 for the
 * others. The same for every plan of a graph. Returns the number of groups; -1: out of memory. */
int32_t rvx__stream_groups(const rvx_graph *graph, int32_t *group);

#endif
