/* Checksums. Owns: CRC32C for TensorBoard's record framing and XXH64 for checkpoints and caches.
 * Both are pure functions of the bytes, the same on every machine. */
#ifndef RVX_CHECKSUM_H
#define RVX_CHECKSUM_H

#include <stdint.h>

/* CRC-32C (Castagnoli; RFC 3720, appendix B.4). Start with 0, feed the result back to continue. */
uint32_t rvx__crc32c(uint32_t crc, const void *data, int64_t bytes);

/* XXH64 with seed 0 (xxHash specification 0.1.1), of one block and streamed. */
uint64_t rvx__hash64(const void *data, int64_t bytes);

typedef struct rvx_hash {
    uint64_t lane[4];
    uint64_t total_bytes;
    unsigned char tail[32];
} rvx_hash;

void rvx__hash_start(rvx_hash *hash);
void rvx__hash_add(rvx_hash *hash, const void *data, int64_t bytes);
uint64_t rvx__hash_value(const rvx_hash *hash); /* of all bytes so far; more may be added */

#endif
