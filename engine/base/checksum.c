/* Checksums: see checksum.h. */
#include "engine/base/checksum.h"

#include <string.h>

/* Four bits at a time: the records that carry this checksum are a few hundred bytes long. The table
 * is crc(i) for the reflected polynomial 0x82F63B78. */
uint32_t rvx__crc32c(uint32_t crc, const void *data, int64_t bytes)
{
    static const uint32_t table[16] = {0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1,
                                       0x417B1DBC, 0x5125DAD3, 0x61C69362, 0x7198540D,
                                       0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9,
                                       0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75};
    const unsigned char *next = data;
    crc = ~crc;
    for (int64_t i = 0; i < bytes; i++) {
        crc ^= next[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static const uint64_t prime1 = 0x9E3779B185EBCA87u, prime2 = 0xC2B2AE3D27D4EB4Fu,
                      prime3 = 0x165667B19E3779F9u, prime4 = 0x85EBCA77C2B2AE63u,
                      prime5 = 0x27D4EB2F165667C5u;

static uint64_t rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static uint64_t read64(const unsigned char *p)
{
    uint64_t x = 0;
    for (int i = 0; i < 8; i++)
        x |= (uint64_t)p[i] << (8 * i);
    return x;
}

static uint64_t lane_round(uint64_t lane, uint64_t input)
{
    return rotate(lane + input * prime2, 31) * prime1;
}

static void stripe_add(uint64_t lane[4], const unsigned char *stripe)
{
    for (int i = 0; i < 4; i++)
        lane[i] = lane_round(lane[i], read64(stripe + 8 * i));
}

void rvx__hash_start(rvx_hash *hash)
{
    *hash = (rvx_hash){.lane = {prime1 + prime2, prime2, 0, 0 - prime1}};
}

void rvx__hash_add(rvx_hash *hash, const void *data, int64_t bytes)
{
    if (bytes == 0)
        return; /* data may be NULL */
    const unsigned char *next = data;
    int64_t held = (int64_t)(hash->total_bytes % 32);
    hash->total_bytes += (uint64_t)bytes;
    if (held) {
        int64_t taken = bytes < 32 - held ? bytes : 32 - held;
        memcpy(hash->tail + held, next, (size_t)taken);
        if (held + taken < 32)
            return;
        stripe_add(hash->lane, hash->tail);
        next += taken;
        bytes -= taken;
    }
    for (; bytes >= 32; bytes -= 32, next += 32)
        stripe_add(hash->lane, next);
    if (bytes)
        memcpy(hash->tail, next, (size_t)bytes);
}

uint64_t rvx__hash_value(const rvx_hash *hash)
{
    const uint64_t *lane = hash->lane;
    uint64_t h = prime5;
    if (hash->total_bytes >= 32) {
        h = rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) + rotate(lane[3], 18);
        for (int i = 0; i < 4; i++)
            h = (h ^ lane_round(0, lane[i])) * prime1 + prime4;
    }
    h += hash->total_bytes;
    const unsigned char *next = hash->tail, *end = next + hash->total_bytes % 32;
    for (; end - next >= 8; next += 8)
        h = rotate(h ^ lane_round(0, read64(next)), 27) * prime1 + prime4;
    if (end - next >= 4) {
        h = rotate(h ^ (read64(next) & 0xFFFFFFFFu) * prime1, 23) * prime2 + prime3;
        next += 4;
    }
    for (; next < end; next++)
        h = rotate(h ^ *next * prime5, 11) * prime1;
    h = (h ^ h >> 33) * prime2;
    h = (h ^ h >> 29) * prime3;
    return h ^ h >> 32;
}

uint64_t rvx__hash64(const void *data, int64_t bytes)
{
    rvx_hash hash;
    rvx__hash_start(&hash);
    rvx__hash_add(&hash, data, bytes);
    return rvx__hash_value(&hash);
}
