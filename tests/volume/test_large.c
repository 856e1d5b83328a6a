/* Volumes past 4 GB and past 2^31 voxels, in sparse files: offsets of every format without packing,
 * and the size of a MetaImage's compressed voxels above 4 GB, given, wrapped around and lied about.
 * Skipped where files are not sparse or room is short. */
#include "engine/volume/volume.h"
#include "tap.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

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

static void plain(void)
{
    char text[600];
    uint8_t nifti[544] = {0};
    const int64_t dims[8] = {3, X, Y, Z, 1, 1, 1, 1}, offset = 544;
    const double steps[4] = {1, 1, 1, 1};
    const int32_t header_bytes = 540;
    const int16_t type = 512, bits = 16;
    memcpy(nifti, &header_bytes, 4);
    memcpy(nifti + 4, "n+2\0\r\n\032\n", 8);
    memcpy(nifti + 12, &type, 2);
    memcpy(nifti + 14, &bits, 2);
    memcpy(nifti + 16, dims, sizeof dims);
    memcpy(nifti + 104, steps, sizeof steps);
    memcpy(nifti + 168, &offset, 8);
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

int main(void)
{
    static const char *const names[] = {"a.nii", "a.nrrd", "a.mha", "a.raw", "a.raw.json", "p.mha"};
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
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        path_in(path, names[i]);
        unlink(path);
    }
    rmdir(folder);
    return tap_done();
}
