/* Volumes past 4 GB and past 2^31 voxels, in sparse files: offsets of every format without packing,
 * the size of a MetaImage's compressed voxels above 4 GB, given, wrapped around and lied about, and
 * compressed streams that become more than 4 GB, where counters of 32 bits wrap around.
 * Skipped where files are not sparse or room is short. */
#include "engine/volume/volume.h"
#include "tap.h"

#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zlib.h>

enum { X = 2048, Y = 1024, Z = 1100 };
#define SLICE ((int64_t)X * Y)
#define VOXELS (SLICE * Z) /* 2.3e9: beyond 2^31, and 4.6e9 bytes as uint16 */

static char folder[] = "/tmp/rvx_large_XXXXXX";
static rvx_error error;

static void path_in(char out[256], const char *name) { snprintf(out, 256, "%s/%s", folder, name); }

/* Writes `text`, then makes the file as long as voxels at `offset` need, with a 7 in the last. */
static bool sparse_make(const char *name, const void *text, size_t bytes, int64_t offset)
{
    char path[256];
    const uint16_t mark = 7;
    path_in(path, name);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    bool fine = file >= 0 && write(file, text, bytes) == (ssize_t)bytes &&
                ftruncate(file, offset + 2 * VOXELS) == 0 &&
                pwrite(file, &mark, 2, offset + 2 * (VOXELS - 1)) == 2;
    struct stat info = {0};
    fine = fine && fstat(file, &info) == 0 && info.st_blocks < 100000;
    close(file);
    return fine;
}

/* The last slice, which holds the mark in its last voxel and 0 elsewhere. */
static void last_slice_check(const char *name)
{
    char path[256];
    rvx_volume_reader *reader = NULL;
    float *slice = malloc(SLICE * sizeof *slice);
    path_in(path, name);
    bool fine = slice && rvx__volume_reader_open(&reader, path, &error) == RVX_OK &&
                rvx__volume_reader_slab_f32(reader, slice, Z - 1, 1, &error) == RVX_OK;
    double sum = 0;
    for (int64_t i = 0; fine && i < SLICE; i++)
        sum += (double)slice[i];
    tap_ok(fine && sum == 7 && slice[SLICE - 1] == 7, "%s: %s", name,
           fine ? "the last voxel" : error.message);
    rvx__volume_reader_close(reader);
    free(slice);
}

static void nifti_header(uint8_t nifti[544])
{
    const int64_t dims[8] = {3, X, Y, Z, 1, 1, 1, 1}, offset = 544;
    const double steps[4] = {1, 1, 1, 1};
    const int32_t header_bytes = 540;
    const int16_t type = 512, bits = 16;
    memset(nifti, 0, 544);
    memcpy(nifti, &header_bytes, 4);
    memcpy(nifti + 4, "n+2\0\r\n\032\n", 8);
    memcpy(nifti + 12, &type, 2);
    memcpy(nifti + 14, &bits, 2);
    memcpy(nifti + 16, dims, sizeof dims);
    memcpy(nifti + 104, steps, sizeof steps);
    memcpy(nifti + 168, &offset, 8);
}

static void plain(void)
{
    char text[600];
    uint8_t nifti[544];
    nifti_header(nifti);
    TAP_OK(sparse_make("a.nii", nifti, sizeof nifti, 544));
    last_slice_check("a.nii");

    int bytes = snprintf(text, sizeof text,
                         "NRRD0004\ntype: ushort\ndimension: 3\nspace: left-posterior-superior\n"
                         "sizes: %d %d %d\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nendian: "
                         "little\nencoding: raw\n\n",
                         X, Y, Z);
    TAP_OK(sparse_make("a.nrrd", text, (size_t)bytes, bytes));
    last_slice_check("a.nrrd");

    bytes = snprintf(text, sizeof text,
                     "NDims = 3\nBinaryData = True\nDimSize = %d %d %d\nElementType = MET_USHORT\n"
                     "ElementDataFile = LOCAL\n",
                     X, Y, Z);
    TAP_OK(sparse_make("a.mha", text, (size_t)bytes, bytes));
    last_slice_check("a.mha");

    char path[256];
    path_in(path, "a.raw.json");
    FILE *json = fopen(path, "w");
    if (json) {
        fprintf(json,
                "{\"format\": \"revoxel raw volume\", \"version\": 1, \"data\": \"a.raw\", "
                "\"type\": \"uint16\", \"byte_order\": \"little\", \"size\": [%d, %d, %d], "
                "\"spacing\": [1, 1, 1], \"offset\": 4294967296}\n",
                X, Y, Z);
        fclose(json);
    }
    TAP_OK(json && sparse_make("a.raw", "", 0, (int64_t)1 << 32));
    last_slice_check("a.raw.json");
}

/* A header of compressed voxels that take more than 4 GB, and the room for them. `claim`: what
 * CompressedDataSize says beyond the truth. */
static bool packed_make(int64_t claim)
{
    char text[400];
    const int64_t stored = 2 * VOXELS;
    const int bytes = snprintf(text, sizeof text,
                               "NDims = 3\nBinaryData = True\nCompressedData = True\n"
                               "CompressedDataSize = %lld\nDimSize = %d %d %d\n"
                               "ElementType = MET_USHORT\nElementDataFile = LOCAL\n",
                               (long long)(stored + claim), X, Y, Z);
    return sparse_make("p.mha", text, (size_t)bytes, bytes);
}

static void packed(void)
{
    char path[256];
    const int64_t claims[3] = {0, -((int64_t)1 << 32), 1};
    path_in(path, "p.mha");
    for (int i = 0; i < 3; i++) { /* right; wrapped around, as in ITK; a lie */
        rvx_volume_reader *reader = NULL;
        TAP_OK(packed_make(claims[i]));
        rvx_status status = rvx__volume_reader_open(&reader, path, &error);
        TAP_OK(i < 2 ? status == RVX_OK
                     : status == RVX_ERROR_FORMAT && strstr(error.message, "CompressedDataSize"));
        rvx__volume_reader_close(reader);
    }
}

/* ---- Streams ----------------------------------------------------------------------------------
 * 275 pieces of 16 MiB, compressed one by one and flushed so that they can follow each other. All
 * are zeros but for a voxel in the first, in the one from byte 2^32 on, and in the last. */
enum { PIECE = 1 << 24, PIECES = 275, BEYOND = 256 };
_Static_assert((int64_t)PIECE *PIECES == 2 * VOXELS, "pieces fill the volume");

typedef struct packed_piece {
    uint8_t *bytes;
    size_t count;
    uLong crc, adler;
} packed_piece;

static packed_piece pack(const uint8_t *bytes, size_t count, bool last)
{
    packed_piece p = {.count = deflateBound(NULL, count) + 64};
    z_stream z = {.next_in = (Bytef *)bytes, .avail_in = (uInt)count};
    p.bytes = malloc(p.count);
    p.crc = crc32(crc32(0, NULL, 0), bytes, (uInt)count);
    p.adler = adler32(adler32(0, NULL, 0), bytes, (uInt)count);
    z.next_out = p.bytes;
    z.avail_out = (uInt)p.count;
    deflateInit2(&z, 1, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    deflate(&z, last ? Z_FINISH : Z_FULL_FLUSH);
    p.count -= z.avail_out;
    deflateEnd(&z);
    return p;
}

typedef struct stream {
    const char *plain_header; /* before the stream */
    const uint8_t *header;    /* within it, before the voxels */
    size_t header_bytes;
    bool gzip;            /* else zlib */
    int missing;          /* pieces left out at the end, and what stands behind them */
    uint32_t sum, length; /* bits turned in the checksum and in gzip's ISIZE */
} stream;

static bool stream_make(const char *name, const stream *s)
{
    uint8_t *voxels = calloc(PIECE, 1), ends[8];
    char path[256];
    path_in(path, name);
    FILE *file = fopen(path, "wb");
    if (!voxels || !file) {
        if (file)
            fclose(file);
        free(voxels);
        return false;
    }
    const bool gzip = s->gzip;
    const size_t header_bytes = s->header_bytes;
    packed_piece pieces[4], header = pack(s->header, header_bytes, false);
    pieces[0] = pack(voxels, PIECE, false);
    const int marks[3] = {3, 5, 7};
    for (int i = 0; i < 3; i++) {
        const size_t at = i == 2 ? PIECE - 2 : 0;
        voxels[at] = (uint8_t)marks[i];
        pieces[1 + i] = pack(voxels, PIECE, i == 2);
        voxels[at] = 0;
    }
    static const uint8_t gzip_start[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255},
                         zlib_start[2] = {0x78, 1};
    fputs(s->plain_header, file);
    fwrite(gzip ? gzip_start : zlib_start, 1, gzip ? 10 : 2, file);
    fwrite(header.bytes, 1, header_bytes ? header.count : 0, file);
    uLong crc = header.crc, adler = header.adler;
    for (int i = 0; i < PIECES - s->missing; i++) {
        const packed_piece *p = &pieces[i == 0 ? 1 : i == BEYOND ? 2 : i == PIECES - 1 ? 3 : 0];
        fwrite(p->bytes, 1, p->count, file);
        crc = crc32_combine(crc, p->crc, PIECE);
        adler = adler32_combine(adler, p->adler, PIECE);
    }
    const uint32_t sum = (uint32_t)(gzip ? crc : adler) ^ s->sum,
                   length = (uint32_t)(header_bytes + 2 * VOXELS) ^ s->length;
    for (int i = 0; i < 4; i++) {
        ends[i] = (uint8_t)(sum >> (gzip ? 8 * i : 24 - 8 * i));
        ends[4 + i] = (uint8_t)(length >> (8 * i));
    }
    fwrite(ends, 1, s->missing ? 0 : gzip ? 8 : 4, file);
    for (int i = 0; i < 4; i++)
        free(pieces[i].bytes);
    free(header.bytes);
    free(voxels);
    return fclose(file) == 0;
}

/* The first voxel of slice `z`, or of the last the last; NAN and `error` where it cannot be read.
 */
static float voxel_of(rvx_volume_reader *reader, int64_t z)
{
    static float slice[SLICE];
    if (rvx__volume_reader_slab_f32(reader, slice, z, 1, &error) != RVX_OK)
        return NAN;
    return slice[z == Z - 1 ? SLICE - 1 : 0];
}

static void stream_check(const char *name)
{
    char path[256];
    rvx_volume_reader *reader = NULL;
    path_in(path, name);
    error.message[0] = 0;
    bool fine = rvx__volume_reader_open(&reader, path, &error) == RVX_OK;
    const float first = fine ? voxel_of(reader, 0) : 0, far = fine ? voxel_of(reader, 1024) : 0,
                last = fine ? voxel_of(reader, Z - 1) : 0;
    tap_ok(first == 3 && far == 5 && last == 7, "%s: a stream of 4.6 GB: %g, %g, %g %s", name,
           (double)first, (double)far, (double)last, error.message);
    rvx__volume_reader_close(reader);
}

static void stream_refused(const char *name, const char *words)
{
    char path[256];
    rvx_volume_reader *reader = NULL;
    path_in(path, name);
    error.message[0] = 0;
    const bool read =
        rvx__volume_reader_open(&reader, path, &error) == RVX_OK && voxel_of(reader, Z - 1) == 7;
    tap_ok(!read && strstr(error.message, words), "%s: refused: %s", name, error.message);
    rvx__volume_reader_close(reader);
}

/* Made with one thing wrong, and refused with `words`. */
static void stream_wrong(const char *name, const stream *wrong, const char *words)
{
    TAP_OK(stream_make(name, wrong));
    stream_refused(name, words);
}

static void streams(void)
{
    enum { MISSING = PIECES - BEYOND - 2 }; /* the cut lies past 2^32 */
    uint8_t nifti[544];
    char text[400];
    nifti_header(nifti);
    const stream gzip = {
        .plain_header = "", .header = nifti, .header_bytes = sizeof nifti, .gzip = true};
    stream wrong = gzip;
    TAP_OK(stream_make("s.nii.gz", &gzip));
    stream_check("s.nii.gz");
    wrong.sum = 1;
    stream_wrong("s.nii.gz", &wrong, "checksum");
    wrong = gzip;
    wrong.length = 1;
    stream_wrong("s.nii.gz", &wrong, "checksum");
    wrong = gzip;
    wrong.missing = MISSING;
    stream_wrong("s.nii.gz", &wrong, "truncated");

    snprintf(text, sizeof text,
             "NDims = 3\nBinaryData = True\nCompressedData = True\nDimSize = %d %d %d\n"
             "ElementType = MET_USHORT\nElementDataFile = LOCAL\n",
             X, Y, Z);
    const stream zlib = {.plain_header = text};
    TAP_OK(stream_make("s.mha", &zlib));
    stream_check("s.mha");
    wrong = zlib;
    wrong.sum = 1;
    stream_wrong("s.mha", &wrong, "checksum");
    wrong = zlib;
    wrong.missing = MISSING;
    stream_wrong("s.mha", &wrong, "truncated");
}

int main(void)
{
    static const char *const names[] = {"a.nii",      "a.nrrd", "a.mha",    "a.raw",
                                        "a.raw.json", "p.mha",  "s.nii.gz", "s.mha"};
    struct statvfs disk;
    if (!mkdtemp(folder))
        return 1;
    if (statvfs(folder, &disk) != 0 || (double)disk.f_bavail * (double)disk.f_frsize < 2e9 ||
        !sparse_make("a.raw", "", 0, 0)) {
        rmdir(folder);
        printf("1..0 # SKIP no room, or no sparse files, in /tmp\n");
        return 0;
    }
    plain();
    packed();
    streams();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        path_in(path, names[i]);
        unlink(path);
    }
    rmdir(folder);
    return tap_done();
}
