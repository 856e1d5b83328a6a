/* NIfTI in and out: round trips, a table of damaged files, forms. Called with arguments it is the
 * tool behind test_nifti_nibabel.py:
 *   test_nifti dump IN OUT.raw f32|labels|i32 SLICES   voxels to OUT.raw, the header as JSON
 *   test_nifti copy IN OUT                             float32 voxels under IN's header */
#include "engine/base/file.h"
#include "engine/volume/repair.h"
#include "engine/volume/volume.h"
#include "tap.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/rvx_nifti_XXXXXX";
static char path_a[256], path_b[256];

static const rvx_geometry oblique = {
    .size = {7, 5, 3},
    .spacing = {0.5, 0.75, 2},
    .origin = {-10.25, 20.5, 31},
    .direction = {{0.8, -0.6, 0}, {0.6, 0.8, 0}, {0, 0, 1}},
};

/* ---- Round trips ------------------------------------------------------------------------------
 */

static void round_trip(const char *name, rvx_voxel_type type, const void *voxels,
                       const float *expected, int64_t count)
{
    rvx_error error = {0};
    rvx_volume back = {0};
    char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int ok = rvx__volume_write(path, &oblique, type, voxels, NULL, &error) == RVX_OK &&
             rvx__volume_read_f32(&back, path, &error) == RVX_OK;
    tap_ok(ok, "%s type %d: %s", name, (int)type, error.message);
    tap_ok(ok && memcmp(back.voxels, expected, (size_t)count * sizeof(float)) == 0,
           "%s type %d: voxels return", name, (int)type);
    ok = ok && rvx__geometry_same(&oblique, "written", &back.info.geometry, "read", 1e-5, &error) ==
                   RVX_OK;
    tap_ok(ok && back.info.form_difference_mm < 1e-4 && back.info.type == type,
           "%s type %d: geometry returns, sform equals qform to %g mm: %s", name, (int)type,
           back.info.form_difference_mm, error.message);
    rvx__volume_free(&back);
    unlink(path);
}

/* Named by either file; the voxels gone, cut or packed. */
static void test_pair(const float *expected, int64_t count)
{
    rvx_error error = {0};
    rvx_volume v = {0};
    char header[300], image[300], command[700];
    snprintf(header, sizeof header, "%s/a.hdr", folder);
    snprintf(image, sizeof image, "%s/a.img", folder);
    rvx__volume_write(header, &oblique, RVX_VOXEL_F32, expected, NULL, &error);
    tap_ok(rvx__volume_read_f32(&v, image, &error) == RVX_OK &&
               memcmp(v.voxels, expected, (size_t)count * 4) == 0,
           "a pair by the name of its image: %s", error.message);
    rvx__volume_free(&v);
    snprintf(command, sizeof command, "gzip %s", image);
    tap_ok(system(command) == 0 && rvx__volume_read_f32(&v, header, &error) == RVX_OK &&
               memcmp(v.voxels, expected, (size_t)count * 4) == 0,
           "a packed image: %s", error.message);
    rvx__volume_free(&v);
    rvx__file_write(image, "short", 5, &error);
    tap_ok(rvx__volume_read_f32(&v, header, &error) == RVX_ERROR_FORMAT &&
               strstr(error.message, "a.img: truncated") && strstr(error.message, "a.hdr"),
           "a short image: %s", error.message);
    snprintf(command, sizeof command, "rm %s %s.gz", image, image);
    tap_ok(system(command) == 0 && rvx__volume_read_f32(&v, header, &error) == RVX_ERROR_IO &&
               strstr(error.message, "a.img: cannot open") && strstr(error.message, "a.hdr"),
           "no image: %s", error.message);
    unlink(header);
}

static void test_round_trips(void)
{
    enum { COUNT = 7 * 5 * 3 };
    uint8_t u8[COUNT];
    int16_t i16[COUNT];
    int64_t i64[COUNT];
    float f32[COUNT];
    double f64[COUNT];
    float e8[COUNT], e16[COUNT], e64[COUNT];
    for (int i = 0; i < COUNT; i++) {
        u8[i] = (uint8_t)(i * 37);
        i16[i] = (int16_t)(i * 613 - 30000);
        i64[i] = (int64_t)i * 1000003 - 7;
        f32[i] = sinf((float)i) * 1e-3f;
        f64[i] = (double)f32[i];
        e8[i] = u8[i];
        e16[i] = i16[i];
        e64[i] = (float)i64[i];
    }
    round_trip("a.nii", RVX_VOXEL_U8, u8, e8, COUNT);
    round_trip("a.nii.gz", RVX_VOXEL_U8, u8, e8, COUNT);
    round_trip("a.nii.gz", RVX_VOXEL_I16, i16, e16, COUNT);
    round_trip("a.nii", RVX_VOXEL_I64, i64, e64, COUNT);
    round_trip("a.nii.gz", RVX_VOXEL_F32, f32, f32, COUNT);
    round_trip("a.nii", RVX_VOXEL_F64, f64, f32, COUNT);
    round_trip("a.hdr", RVX_VOXEL_I16, i16, e16, COUNT);
    round_trip("a.hdr", RVX_VOXEL_F64, f64, f32, COUNT);
    test_pair(f32, COUNT);
}

/* Left-handed and axis-swapped grids keep their direction through the quaternion too. */
static void test_orientations(void)
{
    static const int permutations[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                           {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const char names[3][3] = {"RL", "AP", "IS"};
    uint8_t voxels[7 * 5 * 3] = {0};
    int wrong = 0;
    for (int which = 0; which < 48; which++) {
        rvx_geometry g = oblique;
        rvx_error error = {0};
        rvx_volume back = {0};
        char axes[4], expected[4] = {0};
        memset(g.direction, 0, sizeof g.direction);
        for (int axis = 0; axis < 3; axis++) {
            int row = permutations[which / 8][axis], up = which >> axis & 1;
            g.direction[row][axis] = up ? 1 : -1;
            expected[axis] = names[row][up];
        }
        rvx__geometry_orientation(axes, &g);
        int ok = strcmp(axes, expected) == 0 &&
                 rvx__volume_write(path_a, &g, RVX_VOXEL_U8, voxels, NULL, &error) == RVX_OK &&
                 rvx__volume_read_labels(&back, path_a, &error) == RVX_OK &&
                 rvx__geometry_same(&g, "written", &back.info.geometry, "read", 1e-6, &error) ==
                     RVX_OK &&
                 back.info.form_difference_mm < 1e-5;
        wrong += !ok;
        rvx__volume_free(&back);
    }
    tap_ok(wrong == 0, "48 axis orders and signs: %d wrong", wrong);
}

/* ---- Damaged files ----------------------------------------------------------------------------
 * Each row changes one field of a sound NIfTI-1 file of 4 x 3 x 2 int16 and names what the message
 * must say. */
typedef enum edit_kind { EDIT_I16, EDIT_I32, EDIT_F32, EDIT_BYTE, EDIT_SIZE } edit_kind;

typedef struct damage {
    const char *name;
    edit_kind kind;
    int offset;
    double value;
    rvx_status status;
    const char *expected;
} damage;

static const damage damages[] = {
    {"sound", EDIT_BYTE, 300, 0, RVX_OK, ""},
    {"empty file", EDIT_SIZE, 0, 0, RVX_ERROR_FORMAT, "0 bytes"},
    {"cut in the header", EDIT_SIZE, 0, 200, RVX_ERROR_FORMAT, "header of 348 bytes, found 200"},
    {"cut in the voxels", EDIT_SIZE, 0, 399, RVX_ERROR_FORMAT, "truncated"},
    {"trailing bytes", EDIT_SIZE, 0, 1000, RVX_OK, ""},
    {"sizeof_hdr", EDIT_I32, 0, 349, RVX_ERROR_FORMAT, "sizeof_hdr"},
    {"magic", EDIT_BYTE, 345, 'x', RVX_ERROR_FORMAT, "magic"},
    {"header of a pair", EDIT_BYTE, 345, 'i', RVX_ERROR_UNSUPPORTED, "another file"},
    {"dim[0] = 0", EDIT_I16, 40, 0, RVX_ERROR_FORMAT, "dim[0]"},
    {"dim[0] = 9", EDIT_I16, 40, 9, RVX_ERROR_FORMAT, "dim[0]"},
    {"dim[1] = 0", EDIT_I16, 42, 0, RVX_ERROR_FORMAT, "dim[1]"},
    {"dim[2] < 0", EDIT_I16, 44, -3, RVX_ERROR_FORMAT, "dim[2]"},
    {"dim[3] too large", EDIT_I16, 46, 3, RVX_ERROR_FORMAT, "truncated"},
    {"dim[3] far too large", EDIT_I16, 46, 32767, RVX_ERROR_FORMAT, "truncated"},
    {"dim[4] = 5 unused", EDIT_I16, 48, 5, RVX_OK, ""},
    {"4-D, singleton", EDIT_I16, 40, 4, RVX_OK, ""},
    {"RGB", EDIT_I16, 70, 128, RVX_ERROR_UNSUPPORTED, "RGB24"},
    {"RGBA", EDIT_I16, 70, 2304, RVX_ERROR_UNSUPPORTED, "RGBA32"},
    {"complex", EDIT_I16, 70, 32, RVX_ERROR_UNSUPPORTED, "complex64"},
    {"float128", EDIT_I16, 70, 1536, RVX_ERROR_UNSUPPORTED, "float128"},
    {"no type", EDIT_I16, 70, 77, RVX_ERROR_FORMAT, "datatype"},
    {"vox_offset 0", EDIT_F32, 108, 0, RVX_OK, ""},
    {"vox_offset in the header", EDIT_F32, 108, 100, RVX_ERROR_FORMAT, "vox_offset"},
    {"vox_offset < 0", EDIT_F32, 108, -352, RVX_ERROR_FORMAT, "vox_offset"},
    {"vox_offset not whole", EDIT_F32, 108, 352.5, RVX_ERROR_FORMAT, "vox_offset"},
    {"vox_offset NaN", EDIT_F32, 108, NAN, RVX_ERROR_FORMAT, "vox_offset"},
    {"vox_offset huge", EDIT_F32, 108, 1e30, RVX_ERROR_FORMAT, "vox_offset"},
    {"vox_offset past the end", EDIT_F32, 108, 4096, RVX_ERROR_FORMAT, "truncated"},
    {"slope 0", EDIT_F32, 112, 0, RVX_OK, ""},
    {"slope NaN", EDIT_F32, 112, NAN, RVX_ERROR_FORMAT, "scl_slope"},
    {"slope infinite", EDIT_F32, 112, INFINITY, RVX_ERROR_FORMAT, "scl_slope"},
    {"intercept NaN", EDIT_F32, 116, NAN, RVX_ERROR_FORMAT, "scl_inter"},
    {"slope overflows", EDIT_F32, 112, 3e38, RVX_ERROR_NUMERIC, "voxel (2, 0, 0) holds"},
    {"sform NaN", EDIT_F32, 280, NAN, RVX_ERROR_FORMAT, "sform: row 0"},
    {"sform sheared", EDIT_F32, 284, 0.7, RVX_ERROR_UNSUPPORTED, "right angle"},
    {"sform singular", EDIT_F32, 280, 0, RVX_ERROR_FORMAT, "spacing along x"},
};

static void file_make(const char *path, const damage *d)
{
    static const rvx_geometry plain = {
        .size = {4, 3, 2}, .spacing = {1, 1, 1}, .direction = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
    int16_t voxels[24];
    char content[1000] = {0};
    rvx_error error;
    for (int i = 0; i < 24; i++)
        voxels[i] = (int16_t)i;
    rvx__volume_write(path, &plain, RVX_VOXEL_I16, voxels, NULL, &error);
    FILE *file = fopen(path, "r+b");
    size_t bytes = fread(content, 1, sizeof content, file);
    int16_t i16 = d->kind == EDIT_I16 ? (int16_t)d->value : 0;
    int32_t i32 = d->kind == EDIT_I32 ? (int32_t)d->value : 0;
    float f32 = d->kind == EDIT_F32 ? (float)d->value : 0;
    if (d->kind == EDIT_I16)
        memcpy(content + d->offset, &i16, 2);
    else if (d->kind == EDIT_I32)
        memcpy(content + d->offset, &i32, 4);
    else if (d->kind == EDIT_F32)
        memcpy(content + d->offset, &f32, 4);
    else if (d->kind == EDIT_BYTE)
        content[d->offset] = (char)d->value;
    else
        bytes = (size_t)d->value;
    rewind(file);
    fwrite(content, 1, bytes, file);
    fclose(file);
    if (truncate(path, (off_t)bytes) != 0)
        TAP_OK(!"truncate");
}

static void test_damages(void)
{
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        const damage *d = &damages[i];
        rvx_error error = {0};
        rvx_volume volume = {0};
        file_make(path_a, d);
        rvx_status status = rvx__volume_read_f32(&volume, path_a, &error);
        int ok = status == d->status;
        if (d->status == RVX_OK)
            ok = ok && ((float *)volume.voxels)[23] == 23;
        else
            ok = ok && error.status == d->status && strstr(error.message, d->expected) &&
                 strstr(error.message, path_a) && !volume.voxels;
        tap_ok(ok, "%s: %s", d->name, status == RVX_OK ? "reads" : error.message);
        rvx__volume_free(&volume);
    }
}

static void refuse(const char *what, rvx_status status, rvx_status expected, const char *text,
                   const rvx_error *error)
{
    tap_ok(status == expected && strstr(error->message, text), "%s: %s", what, error->message);
}

static void test_other_files(void)
{
    rvx_error error = {0};
    rvx_volume v = {0};
    refuse("no file", rvx__volume_read_f32(&v, "/nonexistent/a.nii", &error), RVX_ERROR_IO,
           "No such file", &error);
    refuse("a folder", rvx__volume_read_f32(&v, folder, &error), RVX_ERROR_FORMAT, "without DICOM",
           &error);
    refuse("a device", rvx__volume_read_f32(&v, "/dev/zero", &error), RVX_ERROR_IO, "regular file",
           &error);
    rvx__file_write(path_a, folder, 16, &error);
    refuse("text", rvx__volume_read_f32(&v, path_a, &error), RVX_ERROR_FORMAT, "not a volume",
           &error);
}

static void test_values(void)
{
    rvx_error error = {0};
    rvx_volume v = {0};
    float voxels[7 * 5 * 3] = {0};
    voxels[7 * 5 * 2 + 7 * 3 + 4] = NAN;
    rvx__volume_write(path_a, &oblique, RVX_VOXEL_F32, voxels, NULL, &error);
    refuse("NaN", rvx__volume_read_f32(&v, path_a, &error), RVX_ERROR_NUMERIC,
           "voxel (4, 3, 2) holds nan", &error);
    refuse("NaN label", rvx__volume_read_labels(&v, path_a, &error), RVX_ERROR_NUMERIC,
           "voxel (4, 3, 2) holds nan", &error);
    voxels[7 * 5 * 2 + 7 * 3 + 4] = -INFINITY;
    rvx__volume_write(path_a, &oblique, RVX_VOXEL_F32, voxels, NULL, &error);
    refuse("infinity", rvx__volume_read_f32(&v, path_a, &error), RVX_ERROR_NUMERIC, "holds -inf",
           &error);
    voxels[7 * 5 * 2 + 7 * 3 + 4] = 2.5f;
    rvx__volume_write(path_a, &oblique, RVX_VOXEL_F32, voxels, NULL, &error);
    refuse("a label of 2.5", rvx__volume_read_labels(&v, path_a, &error), RVX_ERROR_FORMAT,
           "voxel (4, 3, 2) holds 2.5", &error);
    voxels[7 * 5 * 2 + 7 * 3 + 4] = 256;
    rvx__volume_write(path_a, &oblique, RVX_VOXEL_F32, voxels, NULL, &error);
    refuse("a label of 256", rvx__volume_read_labels(&v, path_a, &error), RVX_ERROR_FORMAT,
           "0..255", &error);
    TAP_OK(rvx__volume_read_i32(&v, path_a, &error) == RVX_OK &&
           ((int32_t *)v.voxels)[7 * 5 * 2 + 7 * 3 + 4] == 256);
    rvx__volume_free(&v);
    voxels[7 * 5 * 2 + 7 * 3 + 4] = 2.99995f;
    rvx__volume_write(path_a, &oblique, RVX_VOXEL_F32, voxels, NULL, &error);
    refuse("a label of 2.99995", rvx__volume_read_labels(&v, path_a, &error), RVX_ERROR_FORMAT,
           "--repair rounds", &error);
    rvx_repairs repairs = {0};
    TAP_OK(rvx__volume_read_labels_repair(&v, path_a, &repairs, &error) == RVX_OK &&
           ((uint8_t *)v.voxels)[7 * 5 * 2 + 7 * 3 + 4] == 3 && repairs.count == 1 &&
           strstr(repairs.lines[0], "rounded to labels"));
    rvx__repairs_free(&repairs);
    rvx__volume_free(&v);
}

/* ---- Forms ------------------------------------------------------------------------------------
 */

/* A NIfTI-1 whose sizes pass int16 becomes a NIfTI-2; `like` repeats bits that no arithmetic gives.
 */
static void test_like_and_wide(void)
{
    rvx_error error = {0};
    rvx_geometry wide = oblique;
    rvx_volume v = {0};
    wide.size[0] = 40000, wide.size[1] = 2, wide.size[2] = 1;
    uint8_t *voxels = calloc(1, 80000);
    voxels[79999] = 9;
    TAP_OK(rvx__volume_write(path_b, &wide, RVX_VOXEL_U8, voxels, NULL, &error) == RVX_OK &&
           rvx__volume_read_labels(&v, path_b, &error) == RVX_OK &&
           strcmp(v.info.format, "nifti2") == 0 && ((uint8_t *)v.voxels)[79999] == 9);
    TAP_OK(rvx__geometry_same(&wide, "a", &v.info.geometry, "b", 1e-9, &error) == RVX_OK);
    rvx__volume_free(&v);
    free(voxels);

    static const damage odd = {"qoffset", EDIT_F32, 268, 0.1, RVX_OK, ""};
    uint8_t labels[24] = {1};
    file_make(path_a, &odd);
    char *a = NULL, *b = NULL;
    int64_t a_bytes, b_bytes;
    TAP_OK(rvx__volume_read_f32(&v, path_a, &error) == RVX_OK &&
           fabs(v.info.form_difference_mm - 0.1) < 1e-6 &&
           strcmp(v.info.geometry_source, "sform") == 0);
    rvx__volume_free(&v);
    char copy[300];
    snprintf(copy, sizeof copy, "%s/copy.nii", folder);
    TAP_OK(rvx__volume_write(copy, &v.info.geometry, RVX_VOXEL_U8, labels, &v.info, &error) ==
           RVX_OK);
    rvx__file_read_all(&a, &a_bytes, path_a, 1 << 20, &error);
    rvx__file_read_all(&b, &b_bytes, copy, 1 << 20, &error);
    TAP_OK(a && b && memcmp(a + 76, b + 76, 32) == 0 && memcmp(a + 252, b + 252, 76) == 0);
    free(a);
    free(b);
    unlink(copy);
    refuse("like of another grid",
           rvx__volume_write(path_a, &oblique, RVX_VOXEL_U8, labels, &v.info, &error),
           RVX_ERROR_ARGUMENT, "grids differ in size", &error);
}

static void test_geometry_same(void)
{
    rvx_error error = {0};
    rvx_geometry g = oblique;
    TAP_OK(rvx__geometry_same(&oblique, "a", &g, "b", 0, &error) == RVX_OK);
    g.spacing[2] = 2.5;
    refuse("spacing", rvx__geometry_same(&oblique, "a", &g, "b", 0.1, &error), RVX_ERROR_ARGUMENT,
           "differ in spacing: a has 0.5 x 0.75 x 2 mm, b has 0.5 x 0.75 x 2.5", &error);
    g = oblique;
    g.origin[1] += 0.5;
    refuse("origin", rvx__geometry_same(&oblique, "a", &g, "b", 0.1, &error), RVX_ERROR_ARGUMENT,
           "differ in origin", &error);
    TAP_OK(rvx__geometry_same(&oblique, "a", &g, "b", 0.51, &error) == RVX_OK);
    g = oblique;
    for (int row = 0; row < 3; row++)
        g.direction[row][0] = -g.direction[row][0];
    refuse("direction", rvx__geometry_same(&oblique, "a", &g, "b", 0.1, &error), RVX_ERROR_ARGUMENT,
           "differ in direction: a is LPS, b is RPS", &error);
    g.origin[0] = NAN;
    TAP_OK(rvx__geometry_same(&oblique, "a", &g, "b", 1e9, &error) != RVX_OK);
}

/* ---- Tool -------------------------------------------------------------------------------------
 */

static int tool_dump(const char *in, const char *out, const char *kind, int64_t slices)
{
    rvx_error error = {0};
    rvx_volume_reader *reader = NULL;
    rvx_status status = rvx__volume_reader_open(&reader, in, &error);
    if (status != RVX_OK)
        goto cleanup;
    const rvx_volume_info *info = rvx__volume_reader_info(reader);
    const rvx_geometry *g = &info->geometry;
    int64_t bytes = strcmp(kind, "labels") == 0 ? 1 : 4;
    void *slab = malloc((size_t)(g->size[0] * g->size[1] * slices * bytes));
    FILE *file = fopen(out, "wb");
    for (int64_t z = 0; status == RVX_OK && z < g->size[2]; z += slices) {
        int64_t part = g->size[2] - z < slices ? g->size[2] - z : slices;
        if (strcmp(kind, "labels") == 0)
            status = rvx__volume_reader_slab_labels(reader, slab, z, part, &error);
        else if (strcmp(kind, "i32") == 0)
            status = rvx__volume_reader_slab_i32(reader, slab, z, part, &error);
        else
            status = rvx__volume_reader_slab_f32(reader, slab, z, part, &error);
        if (status == RVX_OK)
            fwrite(slab, (size_t)bytes, (size_t)(g->size[0] * g->size[1] * part), file);
    }
    fclose(file);
    free(slab);
    double affine[3][4];
    rvx__geometry_to_ras(affine, g);
    char axes[4];
    rvx__geometry_orientation(axes, g);
    printf("{\"size\": [%lld, %lld, %lld], \"spacing\": [%.17g, %.17g, %.17g], ",
           (long long)g->size[0], (long long)g->size[1], (long long)g->size[2], g->spacing[0],
           g->spacing[1], g->spacing[2]);
    printf("\"format\": \"%s\", \"source\": \"%s\", \"axes\": \"%s\", \"difference\": %.17g, ",
           info->format, info->geometry_source, axes, info->form_difference_mm);
    printf("\"codes\": [%d, %d], \"type\": %d, \"affine\": [", info->qform_code, info->sform_code,
           (int)info->type);
    for (int i = 0; i < 12; i++)
        printf("%s%.17g", i ? ", " : "", affine[i / 4][i % 4]);
    printf("], \"qform\": [");
    for (int i = 0; i < 12; i++)
        printf("%s%.17g", i ? ", " : "", info->qform[i / 4][i % 4]);
    printf("]}\n");
cleanup:
    rvx__volume_reader_close(reader);
    if (status != RVX_OK)
        fprintf(stderr, "%s\n", error.message);
    return status != RVX_OK;
}

static int tool_copy(const char *in, const char *out)
{
    rvx_error error = {0};
    rvx_volume v = {0};
    rvx_status status = rvx__volume_read_f32(&v, in, &error);
    if (status == RVX_OK)
        status = rvx__volume_write(out, &v.info.geometry, RVX_VOXEL_F32, v.voxels, &v.info, &error);
    rvx__volume_free(&v);
    if (status != RVX_OK)
        fprintf(stderr, "%s\n", error.message);
    return status != RVX_OK;
}

int main(int count, char **arguments)
{
    if (count == 6 && strcmp(arguments[1], "dump") == 0)
        return tool_dump(arguments[2], arguments[3], arguments[4], atoll(arguments[5]));
    if (count == 4 && strcmp(arguments[1], "copy") == 0)
        return tool_copy(arguments[2], arguments[3]);
    if (!mkdtemp(folder))
        return 1;
    snprintf(path_a, sizeof path_a, "%s/a.nii", folder);
    snprintf(path_b, sizeof path_b, "%s/b.nii.gz", folder);
    test_round_trips();
    test_orientations();
    test_damages();
    test_other_files();
    test_values();
    test_like_and_wide();
    test_geometry_same();
    unlink(path_a);
    unlink(path_b);
    TAP_OK(rmdir(folder) == 0);
    return tap_done();
}
