/* TensorBoard event files: see tensorboard.h. */
#include "engine/run/tensorboard.h"
#include "engine/base/checksum.h"
#include "engine/base/file.h"
#include "engine/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct rvx_tensorboard {
    int fd;
    int64_t bytes; /* of whole records */
    char path[RVX_PATH_BYTES];
};

/* ---- Protobuf: key = field number * 8 + wire type; 0 varint, 1 64 bits, 2 length, 5 32 bits ----
 */

static void put_varint(rvx_text *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        rvx__text_append(out, &(char){(char)(value | 0x80)}, 1);
    rvx__text_append(out, &(char){(char)value}, 1);
}

static void put_bytes(rvx_text *out, int field, const void *data, int64_t bytes)
{
    put_varint(out, (uint64_t)field << 3 | 2);
    put_varint(out, (uint64_t)bytes);
    rvx__text_append(out, data, bytes);
}

/* Event: 1 double wall_time, 2 int64 step. Little-endian, as every machine this runs on. */
static void put_event_head(rvx_text *out, int64_t step)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    put_varint(out, 1 << 3 | 1);
    rvx__text_append(out, (const char *)&seconds, 8);
    put_varint(out, 2 << 3 | 0);
    put_varint(out, (uint64_t)step);
}

/* Event.summary (5) holds Summary.value (1), each with tag (1) and float simple_value (2). */
static void put_summary(rvx_text *out, const rvx_scalar *scalars, int64_t count)
{
    rvx_text summary = {0}, value = {0};
    for (int64_t i = 0; i < count; i++) {
        float number = (float)scalars[i].value;
        value.bytes = 0;
        put_bytes(&value, 1, scalars[i].name, (int64_t)strlen(scalars[i].name));
        put_varint(&value, 2 << 3 | 5);
        rvx__text_append(&value, (const char *)&number, 4);
        if (!value.failed)
            put_bytes(&summary, 1, value.data, value.bytes);
    }
    out->failed |= value.failed || summary.failed;
    if (!out->failed && summary.bytes)
        put_bytes(out, 5, summary.data, summary.bytes);
    rvx__text_free(&summary);
    rvx__text_free(&value);
}

/* ---- Records ----------------------------------------------------------------------------------
 */

static uint32_t masked_checksum(const void *data, int64_t bytes)
{
    uint32_t crc = rvx__crc32c(0, data, bytes);
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

static rvx_status record_write(rvx_tensorboard *board, const rvx_text *event, rvx_error *error)
{
    rvx_text record = {0};
    uint64_t length = (uint64_t)event->bytes;
    uint32_t length_check = masked_checksum(&length, 8);
    rvx_status status;
    RVX_TRY(rvx__text_check(event, error));
    uint32_t data_check = masked_checksum(event->data, event->bytes);
    rvx__text_append(&record, (const char *)&length, 8);
    rvx__text_append(&record, (const char *)&length_check, 4);
    rvx__text_append(&record, event->data, event->bytes);
    rvx__text_append(&record, (const char *)&data_check, 4);
    RVX_TRY(rvx__text_check(&record, error));
    status =
        rvx__file_append(board->fd, board->path, &board->bytes, record.data, record.bytes, error);
cleanup:
    rvx__text_free(&record);
    return status;
}

/* A name that is not taken yet; two runs of one process in one second get a further number. */
static rvx_status file_create(rvx_tensorboard *board, const char *folder, rvx_error *error)
{
    char host[256] = "", name[400];
    gethostname(host, sizeof host - 1);
    for (char *p = host; *p; p++)
        if (*p == '/')
            *p = '-';
    for (int number = 0; number < 1000; number++) {
        snprintf(name, sizeof name, "events.out.tfevents.%010lld.%s.%ld.%d", (long long)time(NULL),
                 *host ? host : "localhost", (long)getpid(), number);
        rvx_status status = rvx__path_join(board->path, folder, name, error);
        if (status != RVX_OK)
            return status;
        board->fd = open(board->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (board->fd >= 0 || errno != EEXIST)
            break;
    }
    if (board->fd < 0)
        return rvx__fail(error, RVX_ERROR_IO, "%s: cannot create: %s", board->path,
                         strerror(errno));
    return RVX_OK;
}

rvx_status rvx__tensorboard_open(rvx_tensorboard **out, const char *folder, int64_t first_step,
                                 rvx_error *error)
{
    /* Event: 3 string file_version; 7 SessionLog with 1 status = START (1). */
    static const char version[] = "brain.Event:2", start[] = {1 << 3, 1};
    rvx_text event = {0};
    rvx_status status;
    *out = NULL;
    rvx_tensorboard *board = calloc(1, sizeof *board);
    if (!board)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for the event file", folder);
    board->fd = -1;
    RVX_TRY(rvx__directory_create(folder, error));
    RVX_TRY(file_create(board, folder, error));
    put_event_head(&event, 0);
    put_bytes(&event, 3, version, sizeof version - 1);
    RVX_TRY(record_write(board, &event, error));
    if (first_step > 0) {
        event.bytes = 0;
        put_event_head(&event, first_step);
        put_bytes(&event, 7, start, sizeof start);
        RVX_TRY(record_write(board, &event, error));
    }
    *out = board;
cleanup:
    rvx__text_free(&event);
    if (status != RVX_OK) {
        if (board->fd >= 0)
            unlink(board->path);
        rvx__tensorboard_close(board);
    }
    return status;
}

rvx_status rvx__tensorboard_write(rvx_tensorboard *board, int64_t step, const rvx_scalar *scalars,
                                  int64_t count, rvx_error *error)
{
    rvx_text event = {0};
    put_event_head(&event, step);
    put_summary(&event, scalars, count);
    rvx_status status = record_write(board, &event, error);
    rvx__text_free(&event);
    return status;
}

void rvx__tensorboard_close(rvx_tensorboard *board)
{
    if (!board)
        return;
    if (board->fd >= 0)
        close(board->fd);
    free(board);
}

const char *rvx__tensorboard_path(const rvx_tensorboard *board) { return board->path; }
