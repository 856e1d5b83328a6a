/* Event files: framing and contents, byte by byte. test_tensorboard_decode.py reads one with a
 * decoder of its own. */
#include "engine/base/checksum.h"
#include "engine/base/file.h"
#include "engine/run/tensorboard.h"
#include "tap.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static rvx_error error;

/* `write FOLDER FIRST`: a run of three steps from FIRST, for the python test. */
static int tool(const char *folder, int64_t first)
{
    rvx_tensorboard *board;
    rvx_status status = rvx__tensorboard_open(&board, folder, first, &error);
    for (int64_t step = first; status == RVX_OK && step < first + 3; step++) {
        const rvx_scalar scalars[] = {{"loss/train", 1.0 / (double)(step + 1)},
                                      {"dice/l\xc3\xa9sion", step == 1 ? NAN : -0.25}};
        status = rvx__tensorboard_write(board, step, scalars, 2, &error);
    }
    if (status == RVX_OK) /* step numbers of more than one varint byte, and no scalar at all */
        status = rvx__tensorboard_write(board, 123456789012, NULL, 0, &error);
    rvx__tensorboard_close(board);
    return status != RVX_OK;
}

int main(int argc, char **argv)
{
    if (argc == 4)
        return tool(argv[2], atoll(argv[3]));
    char folder[] = "/tmp/rvx-board-XXXXXX", path[RVX_PATH_BYTES];
    if (!mkdtemp(folder))
        return 1;
    rvx_tensorboard *board, *other;
    TAP_OK(rvx__tensorboard_open(&board, folder, 0, &error) == RVX_OK);
    TAP_OK(rvx__tensorboard_open(&other, folder, 5, &error) == RVX_OK);
    TAP_OK(strcmp(rvx__tensorboard_path(board), rvx__tensorboard_path(other)) != 0);
    snprintf(path, sizeof path, "%s", rvx__tensorboard_path(board));
    const rvx_scalar scalar = {"a", 1};
    TAP_OK(rvx__tensorboard_write(board, 300, &scalar, 1, &error) == RVX_OK);
    unlink(rvx__tensorboard_path(other));
    rvx__tensorboard_close(other);
    rvx__tensorboard_close(board);
    rvx__tensorboard_close(NULL);

    unsigned char *data;
    int64_t bytes;
    TAP_OK(rvx__file_read_all((char **)&data, &bytes, path, 4096, &error) == RVX_OK);
    /* First record: wall time (9), step 0 (2), "brain.Event:2" (15): 26 bytes, and 16 of framing.
     */
    TAP_OK(bytes == 16 + 26 + 16 + 24 && data[0] == 26 && memcmp(data + 25, "brain", 5) == 0);
    /* Second: wall time, step 300 = ac 02, summary { value { tag "a" simple_value 1.0f } }. */
    const unsigned char *event = data + 42 + 12;
    const unsigned char expected[] = {0x10, 0xAC, 0x02, 0x2A, 0x0A, 0x0A, 0x08, 0x0A,
                                      0x01, 'a',  0x15, 0,    0,    0x80, 0x3F};
    TAP_OK(event[0] == 0x09 && memcmp(event + 9, expected, sizeof expected) == 0);
    uint32_t stored, crc = rvx__crc32c(0, event, 24);
    memcpy(&stored, event + 24, 4);
    TAP_OK(stored == (uint32_t)((crc >> 15 | crc << 17) + 0xA282EAD8u));
    free(data);
    TAP_OK(rvx__tensorboard_open(&board, path, 0, &error) == RVX_ERROR_IO && !board);
    unlink(path);
    TAP_OK(rmdir(folder) == 0);
    return tap_done();
}
