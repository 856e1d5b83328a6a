/* Volumes as streams: slabs in any order, gzip that is cut, damaged, joined or a bomb, and writers
 * that fail half way. */
#include "engine/base/file.h"
#include "engine/volume/stream.h"
#include "engine/volume/volume.h"
#include "tap.h"

#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

static char folder[] = "/tmp/rvx_stream_XXXXXX";
static char path_a[256], path_b[256];

static const rvx_geometry oblique = {
    .size = {7, 5, 3},
    .spacing = {0.5, 0.75, 2},
    .origin = {-10.25, 20.5, 31},
    .direction = {{0.8, -0.6, 0}, {0.6, 0.8, 0}, {0, 0, 1}},
};

static int64_t entries(void)
{
    rvx_names names;
    rvx_error error;
    int64_t count = -1;
    char command[300];
    if (rvx__directory_list(&names, folder, NULL, &error) == RVX_OK) {
        count = names.count;
        rvx__names_free(&names);
    }
    snprintf(command, sizeof command, "ls -A %s | wc -l", folder);
    FILE *pipe = popen(command, "r");
    long all = -1;
    if (pipe && fscanf(pipe, "%ld", &all) == 1 && all > count)
        count = all; /* hidden ones too */
    if (pipe)
        pclose(pipe);
    return count;
}

static void refuse(const char *what, rvx_status status, rvx_status expected, const char *text,
                   const rvx_error *error)
{
    tap_ok(status == expected && strstr(error->message, text), "%s: %s", what, error->message);
}

/* 4 x 3 x 2 int16, 0 .. 23, at path_a. */
static void small_make(void)
{
    static const rvx_geometry plain = {
        .size = {4, 3, 2}, .spacing = {1, 1, 1}, .direction = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
    int16_t voxels[24];
    rvx_error error;
    for (int i = 0; i < 24; i++)
        voxels[i] = (int16_t)i;
    rvx__volume_write(path_a, &plain, RVX_VOXEL_I16, voxels, NULL, &error);
}

/* ---- Streams ----------------------------------------------------------------------------------
 */

/* Speckle that no compressor likes, long enough for several blocks and batches. */
static void test_long_stream(void)
{
    enum { X = 257, Y = 311, Z = 131 };
    rvx_geometry g = oblique;
    rvx_error error = {0};
    rvx_volume_writer *writer = NULL;
    rvx_volume_reader *reader = NULL;
    uint8_t *all = malloc((size_t)X * Y * Z), *back = malloc((size_t)X * Y * Z);
    g.size[0] = X, g.size[1] = Y, g.size[2] = Z;
    uint64_t state = 1;
    for (int64_t i = 0; i < (int64_t)X * Y * Z; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        all[i] = (uint8_t)(i < (int64_t)X * Y * Z / 2 ? state >> 56 : (uint64_t)i / 1000 % 3);
    }
    int ok = rvx__volume_writer_create(&writer, path_b, &g, RVX_VOXEL_U8, NULL, &error) == RVX_OK;
    for (int64_t z = 0, step = 1; ok && z < Z; z += step, step = step % 7 + 2) {
        if (step > Z - z)
            step = Z - z;
        ok = rvx__volume_writer_slab(writer, all + z * X * Y, step, &error) == RVX_OK;
    }
    ok = ok && rvx__volume_writer_commit(writer, &error) == RVX_OK;
    tap_ok(ok, "writes in uneven slabs: %s", error.message);
    char *once = NULL, *slabs = NULL;
    int64_t once_bytes = 0, slabs_bytes = -1;
    rvx__file_read_all(&slabs, &slabs_bytes, path_b, 1 << 30, &error);
    rvx__volume_write(path_b, &g, RVX_VOXEL_U8, all, NULL, &error);
    rvx__file_read_all(&once, &once_bytes, path_b, 1 << 30, &error);
    tap_ok(once_bytes == slabs_bytes && memcmp(once, slabs, (size_t)once_bytes) == 0,
           "slabs or at once: the same %lld bytes", (long long)once_bytes);
    free(once);
    free(slabs);
    TAP_OK(rvx__volume_reader_open(&reader, path_b, &error) == RVX_OK);
    /* Forward, skipping, backward, and the end last. */
    static const int64_t reads[][2] = {{0, 5}, {5, 20}, {90, 3}, {2, 4}, {130, 1}, {0, 131}};
    for (size_t i = 0; reader && i < sizeof reads / sizeof reads[0]; i++) {
        int64_t first = reads[i][0], count = reads[i][1];
        memset(back, 7, (size_t)(count * X * Y));
        ok = rvx__volume_reader_slab_labels(reader, back, first, count, &error) == RVX_OK;
        tap_ok(ok && memcmp(back, all + first * X * Y, (size_t)(count * X * Y)) == 0,
               "slices %lld..%lld: %s", (long long)first, (long long)(first + count - 1),
               error.message);
    }
    TAP_OK(reader && rvx__volume_reader_slab_labels(reader, back, 130, 2, &error) != RVX_OK);
    rvx__volume_reader_close(reader);
    free(all);
    free(back);
}

static void write_gzip(const char *path, const char *bytes, int64_t count, rvx_error *error)
{
    rvx__sink *sink = NULL;
    rvx__sink_create(&sink, path, RVX__PACKING_GZIP, error);
    rvx__sink_write(sink, bytes, count, error);
    rvx__sink_commit(sink, error);
}

static void test_gzip(void)
{
    rvx_error error = {0};
    rvx_volume v = {0};
    char *plain = NULL, *packed = NULL;
    int64_t plain_bytes = 0, packed_bytes = 0;
    small_make();
    rvx__file_read_all(&plain, &plain_bytes, path_a, 1 << 20, &error);
    write_gzip(path_b, plain, plain_bytes, &error);
    TAP_OK(rvx__volume_read_f32(&v, path_b, &error) == RVX_OK && ((float *)v.voxels)[23] == 23);
    rvx__volume_free(&v);
    rvx__file_read_all(&packed, &packed_bytes, path_b, 1 << 20, &error);

    int wrong = 0;
    for (int64_t cut = 0; cut < packed_bytes; cut++) {
        rvx__file_write(path_b, packed, cut, &error);
        wrong += rvx__volume_read_f32(&v, path_b, &error) != RVX_ERROR_FORMAT;
    }
    tap_ok(wrong == 0, "cut anywhere in %lld gzip bytes: refused", (long long)packed_bytes);
    packed[packed_bytes - 6] ^= 1;
    rvx__file_write(path_b, packed, packed_bytes, &error);
    refuse("CRC", rvx__volume_read_f32(&v, path_b, &error), RVX_ERROR_FORMAT, "damaged", &error);
    packed[packed_bytes - 6] ^= 1;

    /* Two members, as bgzip writes; then zero padding, as tape writes. */
    char *joined = calloc(1, (size_t)packed_bytes * 2 + 200);
    write_gzip(path_b, plain, 371, &error);
    char *part = NULL;
    int64_t part_bytes = 0, joined_bytes = 0;
    rvx__file_read_all(&part, &part_bytes, path_b, 1 << 20, &error);
    memcpy(joined, part, (size_t)part_bytes);
    joined_bytes = part_bytes;
    free(part);
    write_gzip(path_b, plain + 371, plain_bytes - 371, &error);
    rvx__file_read_all(&part, &part_bytes, path_b, 1 << 20, &error);
    memcpy(joined + joined_bytes, part, (size_t)part_bytes);
    joined_bytes += part_bytes;
    free(part);
    rvx__file_write(path_b, joined, joined_bytes, &error);
    TAP_OK(rvx__volume_read_f32(&v, path_b, &error) == RVX_OK && ((float *)v.voxels)[23] == 23);
    rvx__volume_free(&v);
    rvx__file_write(path_b, joined, joined_bytes + 64, &error);
    TAP_OK(rvx__volume_read_f32(&v, path_b, &error) == RVX_OK);
    rvx__volume_free(&v);
    free(joined);

    /* A bomb: 256 MiB of zeros behind a sound little volume. Only the promised part is unpacked. */
    char *zeros = calloc(1, 1 << 20);
    rvx__sink *sink = NULL;
    rvx__sink_create(&sink, path_b, RVX__PACKING_GZIP, &error);
    rvx__sink_write(sink, plain, plain_bytes, &error);
    for (int i = 0; i < 256; i++)
        rvx__sink_write(sink, zeros, 1 << 20, &error);
    rvx__sink_commit(sink, &error);
    refuse("bomb", rvx__volume_read_f32(&v, path_b, &error), RVX_ERROR_FORMAT,
           "decompresses to more than", &error);
    /* The other way round: a header that promises what so few bytes cannot hold. */
    int16_t large = 32000;
    memcpy(plain + 42, &large, 2);
    memcpy(plain + 44, &large, 2);
    memcpy(plain + 46, &large, 2);
    write_gzip(path_b, plain, plain_bytes, &error);
    refuse("promise", rvx__volume_read_f32(&v, path_b, &error), RVX_ERROR_FORMAT,
           "cannot decompress", &error);
    free(zeros);
    free(plain);
    free(packed);
}

/* One gzip member of zlib's, with everything that a header can have; stored, so that its length is
 * known. */
static int64_t member_put(uint8_t *out, int64_t room, const uint8_t *plain, int64_t count,
                          int64_t name_bytes)
{
    z_stream z = {0};
    char name[128] = "";
    Bytef extra[9] = "AB\5\0abcde", comment[] = "of the scanner";
    memset(name, 'n', (size_t)name_bytes);
    gz_header header = {.extra = extra,
                        .extra_len = sizeof extra,
                        .name = (Bytef *)name,
                        .comment = comment,
                        .hcrc = 1};
    if (deflateInit2(&z, 0, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
        deflateSetHeader(&z, &header) != Z_OK)
        return 0;
    z.next_in = (Bytef *)(uintptr_t)plain;
    z.avail_in = (uInt)count;
    z.next_out = out;
    z.avail_out = (uInt)room;
    const int code = deflate(&z, Z_FINISH);
    deflateEnd(&z);
    return code == Z_STREAM_END ? room - z.avail_out : 0;
}

/* The header of a second member at every place around the end of the source's input buffer. */
static void test_members(void)
{
    enum { FIRST = 262144 - 180, SECOND = 3000, SPAN = 120, ROOM = FIRST + SECOND + 1000 };
    rvx_error error = {0};
    int wrong = 0;
    uint8_t *plain = malloc(FIRST + SECOND), *back = malloc(FIRST + SECOND + 1),
            *packed = malloc(ROOM);
    uint64_t state = 3;
    for (int i = 0; i < FIRST + SECOND; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        plain[i] = (uint8_t)(state >> 56);
    }
    for (int64_t name = 0, first = 0; name < SPAN; name++) {
        rvx__source *source = NULL;
        int64_t got = 0;
        first = member_put(packed, ROOM, plain, FIRST, name);
        int64_t bytes = first + member_put(packed + first, ROOM - first, plain + FIRST, SECOND, 5);
        rvx__file_write(path_b, packed, bytes, &error);
        wrong += rvx__source_open(&source, path_b, &error) != RVX_OK ||
                 rvx__source_read(source, back, FIRST + SECOND + 1, &got, &error) != RVX_OK ||
                 got != FIRST + SECOND || memcmp(plain, back, FIRST + SECOND) != 0;
        rvx__source_close(source);
        if (name == 0 || name == SPAN - 1)
            wrong += (first < 262144) != (name == 0);
    }
    tap_ok(wrong == 0, "a member's header wherever the input ends: %d wrong: %s", wrong,
           error.message);
    free(plain);
    free(back);
    free(packed);
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

static void test_writer(void)
{
    rvx_error error = {0};
    rvx_volume_writer *writer = NULL;
    uint8_t voxels[7 * 5 * 3] = {0};
    unlink(path_a);
    unlink(path_b);
    refuse("name", rvx__volume_write("x.png", &oblique, RVX_VOXEL_U8, voxels, NULL, &error),
           RVX_ERROR_UNSUPPORTED, ".nii", &error);
    refuse("folder",
           rvx__volume_write("/nonexistent/x.nii", &oblique, RVX_VOXEL_U8, voxels, NULL, &error),
           RVX_ERROR_IO, "/nonexistent/x.nii", &error);
    rvx_geometry bad = oblique;
    bad.spacing[1] = 0;
    refuse("spacing", rvx__volume_write(path_a, &bad, RVX_VOXEL_U8, voxels, NULL, &error),
           RVX_ERROR_ARGUMENT, "spacing along y", &error);
    bad = oblique;
    bad.size[0] = bad.size[1] = bad.size[2] = (int64_t)1 << 31;
    refuse("size", rvx__volume_write(path_a, &bad, RVX_VOXEL_U8, voxels, NULL, &error),
           RVX_ERROR_ARGUMENT, "64-bit", &error);
    rvx__volume_writer_create(&writer, path_a, &oblique, RVX_VOXEL_U8, NULL, &error);
    rvx__volume_writer_slab(writer, voxels, 2, &error);
    TAP_OK(rvx__volume_writer_slab(writer, voxels, 2, &error) == RVX_ERROR_ARGUMENT);
    refuse("too few slices", rvx__volume_writer_commit(writer, &error), RVX_ERROR_ARGUMENT,
           "1 slices", &error);
    rvx__volume_writer_create(&writer, path_a, &oblique, RVX_VOXEL_U8, NULL, &error);
    rvx__volume_writer_abandon(writer);
    tap_ok(entries() == 0, "nothing is left behind");

    /* A disk that fills up: the old file stays, no new one appears. */
    struct rlimit old, small = {4096, 4096};
    rvx_geometry larger = oblique;
    larger.size[0] = 100, larger.size[1] = 100, larger.size[2] = 10;
    float *noise = malloc(400000);
    for (int i = 0; i < 100000; i++)
        noise[i] = sinf((float)i * 1.7f);
    rvx__volume_write(path_b, &oblique, RVX_VOXEL_U8, voxels, NULL, &error);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    rvx_status plain = rvx__volume_write(path_a, &larger, RVX_VOXEL_F32, noise, NULL, &error);
    rvx_status packed = rvx__volume_write(path_b, &larger, RVX_VOXEL_F32, noise, NULL, &error);
    rvx__volume_writer_create(&writer, path_a, &larger, RVX_VOXEL_F32, NULL, &error);
    rvx_status slab = rvx__volume_writer_slab(writer, noise, 5, &error);
    int64_t beside = entries();
    rvx_status later = rvx__volume_writer_slab(writer, noise, 5, &error);
    rvx_status last = rvx__volume_writer_commit(writer, &error);
    setrlimit(RLIMIT_FSIZE, &old);
    tap_ok(slab == RVX_ERROR_IO && later == RVX_ERROR_IO && last == RVX_ERROR_IO && beside == 1,
           "full disk in a slab: the temporary file goes at once, later calls fail: %s",
           error.message);
    tap_ok(plain == RVX_ERROR_IO && packed == RVX_ERROR_IO, "full disk: refused");
    tap_ok(entries() == 1 && !rvx__path_exists(path_a), "full disk: nothing is left behind");
    rvx_volume kept = {0};
    TAP_OK(rvx__volume_read_labels(&kept, path_b, &error) == RVX_OK &&
           kept.info.geometry.size[0] == 7);
    rvx__volume_free(&kept);
    free(noise);
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    snprintf(path_a, sizeof path_a, "%s/a.nii", folder);
    snprintf(path_b, sizeof path_b, "%s/b.nii.gz", folder);
    test_long_stream();
    test_gzip();
    test_members();
    test_writer();
    unlink(path_a);
    unlink(path_b);
    TAP_OK(rmdir(folder) == 0);
    return tap_done();
}
