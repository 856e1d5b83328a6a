/* Small volumes in a temporary folder, for the tests of this folder. Owns: the folder; fixture_end
 * removes it. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "engine/base/file.h"
#include "engine/volume/volume.h"
#include "tap.h"

#include <ftw.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char fixture_root[64];

__attribute__((unused)) static const char *fixture_path(const char *name)
{
    static char paths[128][256]; /* so many may be in use at once */
    static int next;
    char *out = paths[next++ % 128];
    snprintf(out, 256, "%s/%s", fixture_root, name);
    return out;
}

__attribute__((unused)) static void fixture_begin(void)
{
    snprintf(fixture_root, sizeof fixture_root, "/tmp/rvx_segment_XXXXXX");
    if (!mkdtemp(fixture_root)) {
        printf("Bail out! no temporary folder\n");
        exit(1);
    }
}

static int fixture_remove(const char *path, const struct stat *s, int type, struct FTW *walk)
{
    (void)s, (void)type, (void)walk;
    return remove(path);
}

__attribute__((unused)) static void fixture_end(void)
{
    nftw(fixture_root, fixture_remove, 8, FTW_DEPTH | FTW_PHYS);
}

__attribute__((unused)) static void fixture_write(const char *name, const char *content)
{
    rvx_error error = {0};
    if (rvx__file_write(fixture_path(name), content, (int64_t)strlen(content), &error) != RVX_OK)
        tap_ok(0, "fixture: %s", error.message);
}

__attribute__((unused)) static char *fixture_read(const char *path)
{
    char *data = NULL;
    int64_t bytes = 0;
    rvx_error error = {0};
    if (rvx__file_read_all(&data, &bytes, path, 1 << 28, &error) != RVX_OK)
        tap_ok(0, "fixture: %s", error.message);
    return data;
}

/* 12 x 10 x 8 voxels of 1 x 2 x 3 mm, identity direction, origin at `shift_mm` along L. */
static const int64_t fixture_size[3] = {12, 10, 8};
enum { FIXTURE_VOXELS = 12 * 10 * 8 };

__attribute__((unused)) static rvx_geometry fixture_grid(double shift_mm)
{
    return (rvx_geometry){.size = {12, 10, 8},
                          .spacing = {1, 2, 3},
                          .origin = {shift_mm, 0, 0},
                          .direction = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
}

/* A box of `value` from (x, 2, 2) with 4 x 4 x 4 voxels. */
__attribute__((unused)) static void fixture_box(uint8_t *labels, int64_t x0, uint8_t value)
{
    for (int64_t z = 2; z < 6; z++)
        for (int64_t y = 2; y < 6; y++)
            for (int64_t x = x0; x < x0 + 4; x++)
                labels[(z * 10 + y) * 12 + x] = value;
}

__attribute__((unused)) static void fixture_volume(const char *name, const uint8_t *labels,
                                                   double shift_mm)
{
    rvx_error error = {0};
    rvx_geometry grid = fixture_grid(shift_mm);
    if (rvx__volume_write(fixture_path(name), &grid, RVX_VOXEL_U8, labels, NULL, &error) != RVX_OK)
        tap_ok(0, "fixture: %s", error.message);
}

#endif
