/* What this machine has. Owns nothing. */
#ifndef RVX_MACHINE_H
#define RVX_MACHINE_H

#include <stdint.h>

/* Bytes of memory that a process may use at most: what is installed, or the limit of its control
 * group where that is less. What other processes hold is not taken off: the answer is the same at
 * any time. */
int64_t rvx__machine_memory(void);

#endif
