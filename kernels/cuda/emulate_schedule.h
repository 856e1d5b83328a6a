/* What the parts of the emulation ask of each other. Owns nothing: emulate.cc schedules threads,
 * emulate_hopper.cc has gates and bulk copies, emulate_products.cc products. Kernels do not see it.
 */
#ifndef RVX_CUDA_EMULATE_SCHEDULE_H
#define RVX_CUDA_EMULATE_SCHEDULE_H

#include "kernels/cuda/simt_hopper.h"

namespace simt
{
enum { THREADS_MAX = 1024, WARPS_MAX = THREADS_MAX / 32, SHARED_MAX = 227 << 10, CHUNK = 16 };

inline int warp_index() { return self().index / 32; }

/* The running thread gives way until `wake` names it. */
void sleep();
void wake(int warp, uint32_t lanes);
/* By chance, another thread goes on. */
void step_aside();
uint64_t schedule_random();
bool in_shared(const void *p, size_t bytes);

void hopper_block_begin();
/* Lets one bulk copy land whose gate somebody waits at; false: there is none. */
bool hopper_land();
void hopper_thread_end();
void hopper_block_end();

/* This block uses words of simt_hopper.h. */
void use_hopper();
/* The hardware's patterns: 16-byte pieces change places by the number of the 128 bytes they lie in,
 * counted in shared memory. */
uint32_t swizzled(uint32_t at, Swizzle swizzle);
/* CHUNK bytes of shared memory as products see them. */
void read_visible(unsigned char *to, uint32_t at);
void products_block_begin();
void products_thread_end();
void products_block_end();
} // namespace simt

#endif
