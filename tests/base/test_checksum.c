/* Checksums against published vectors, and streamed against whole. */
#include "engine/base/checksum.h"
#include "tap.h"

#include <string.h>

int main(void)
{
    unsigned char bytes[1000];
    /* RFC 3720, B.4. */
    memset(bytes, 0, 32);
    TAP_OK(rvx__crc32c(0, bytes, 32) == 0x8A9136AAu);
    memset(bytes, 0xFF, 32);
    TAP_OK(rvx__crc32c(0, bytes, 32) == 0x62A8AB43u);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    TAP_OK(rvx__crc32c(0, bytes, 32) == 0x46DD794Eu);
    TAP_OK(rvx__crc32c(0, "123456789", 9) == 0xE3069283u);
    TAP_OK(rvx__crc32c(rvx__crc32c(0, "1234", 4), "56789", 5) == 0xE3069283u);
    TAP_OK(rvx__crc32c(0, "", 0) == 0);
    /* xxHash's own vectors: empty, short, and longer than one stripe. */
    TAP_OK(rvx__hash64("", 0) == 0xEF46DB3751D8E999u);
    TAP_OK(rvx__hash64("a", 1) == 0xD24EC4F1A98C6E5Bu);
    TAP_OK(rvx__hash64("abc", 3) == 0x44BC2CF5AD770999u);
    TAP_OK(rvx__hash64("Nobody inspects the spammish repetition", 39) == 0xFBCEA83C8A378BF1u);
    for (int i = 0; i < 1000; i++)
        bytes[i] = (unsigned char)(i * 31 + i / 7);
    int same = 1;
    for (int length = 0; length <= 1000; length += 1 + length / 40)
        for (int piece = 1; piece < 100; piece += 7) {
            rvx_hash hash;
            rvx__hash_start(&hash);
            for (int first = 0; first < length; first += piece)
                rvx__hash_add(&hash, bytes + first,
                              first + piece < length ? piece : length - first);
            same &= rvx__hash_value(&hash) == rvx__hash64(bytes, length);
        }
    TAP_OK(same);
    int differ = 1;
    uint64_t whole = rvx__hash64(bytes, 1000);
    for (int i = 0; i < 1000; i++) {
        bytes[i] ^= 1;
        differ &= rvx__hash64(bytes, 1000) != whole;
        bytes[i] ^= 1;
    }
    TAP_OK(differ);
    return tap_done();
}
