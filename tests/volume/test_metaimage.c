/* MetaImage in and out: round trips, a table of changed headers, data in other files, both byte
 * orders, sizes that lie. */
#include "text_files.h"

#include <zlib.h>

static const rvx_geometry oblique = {
    .size = {7, 5, 3},
    .spacing = {0.5, 0.7, 2.1},
    .origin = {-10.1, 20.2, 31.3},
    .direction = {{0.8, -0.6, 0}, {0.6, 0.8, 0}, {0, 0, -1}},
};

static const header_line lines[] = {
    {"ObjectType", " = Image"},
    {"NDims", " = 3"},
    {"BinaryData", " = True"},
    {"BinaryDataByteOrderMSB", " = False"},
    {"CompressedData", " = False"},
    {"TransformMatrix", " = 1 0 0 0 1 0 0 0 1"},
    {"Offset", " = 1.5 -2 3e1"},
    {"CenterOfRotation", " = 0 0 0"},
    {"AnatomicalOrientation", " = RAI"},
    {"ElementSpacing", " = 0.5 0.5 2"},
    {"DimSize", " = 4 3 2"},
    {"ElementType", " = MET_SHORT"},
    {"ElementDataFile", " = LOCAL"},
    {0},
};

#define FORMAT RVX_ERROR_FORMAT
#define UNSUPPORTED RVX_ERROR_UNSUPPORTED
static const damage damages[] = {
    {"Local", "ElementDataFile", " = Local", RVX_OK, ""},
    {"local", "ElementDataFile", " = local", RVX_OK, ""},
    {"sound", NULL, NULL, RVX_OK, ""},
    {"other separator", "NDims", ": 3", RVX_OK, ""},
    {"ends of line of another system", "DimSize", " = 4 3 2  \r", RVX_OK, ""},
    {"Rotation", "TransformMatrix", NULL, RVX_OK, ""},
    {"no offset", "Offset", NULL, RVX_OK, ""},
    {"no spacing", "ElementSpacing", NULL, RVX_OK, ""},
    {"unknown key", "Seq_Frame0000_Status", " = OK", RVX_OK, ""},
    {"intensity function", "ElementToIntensityFunctionSlope", " = 2", RVX_OK, ""},
    {"data at the end", "HeaderSize", " = -1", RVX_OK, ""},
    {"MET_LONG of four bytes", "ElementType", " = MET_LONG", FORMAT, "truncated"},
    {"no sizes", "DimSize", NULL, FORMAT, "no DimSize"},
    {"no type", "ElementType", NULL, FORMAT, "no ElementType"},
    {"no data file", "ElementDataFile", NULL, FORMAT, "zero"},
    {"NDims 1", "NDims", " = 1", FORMAT, "NDims: expected 2, 3 or 4"},
    {"NDims 9", "NDims", " = 9", FORMAT, "NDims"},
    {"NDims text", "NDims", " = three", FORMAT, "NDims"},
    {"too few sizes", "DimSize", " = 4 3", FORMAT, "DimSize"},
    {"too many sizes", "DimSize", " = 4 3 2 2", FORMAT, "DimSize"},
    {"size 0", "DimSize", " = 4 0 2", FORMAT, "positive"},
    {"size < 0", "DimSize", " = 4 -3 2", FORMAT, "positive"},
    {"lying size", "DimSize", " = 4 3 200", FORMAT, "truncated"},
    {"size past 64 bits", "DimSize", " = 4000000000 4000000000 4000000000", FORMAT, "64 bits"},
    {"size no number", "DimSize", " = 99999999999999999999 1 1", FORMAT, "DimSize"},
    {"colour", "ElementNumberOfChannels", " = 3", UNSUPPORTED, "ElementNumberOfChannels: 3 values"},
    {"vector type", "ElementType", " = MET_UCHAR_ARRAY", UNSUPPORTED, "MET_UCHAR_ARRAY"},
    {"no such type", "ElementType", " = MET_STRING", FORMAT, "ElementType"},
    {"text voxels", "BinaryData", " = False", UNSUPPORTED, "BinaryData"},
    {"spacing 0", "ElementSpacing", " = 0.5 0 2", FORMAT, "spacing along y"},
    {"spacing < 0", "ElementSpacing", " = 0.5 -1 2", FORMAT, "spacing along y"},
    {"spacing NaN", "ElementSpacing", " = 0.5 nan 2", FORMAT, "spacing along y"},
    {"spacing with a comma", "ElementSpacing", " = 0,5 0,5 2,0", FORMAT, "ElementSpacing"},
    {"offset infinite", "Offset", " = 0 inf 2", FORMAT, "not finite"},
    {"sheared", "TransformMatrix", " = 1 0 0 0.7071 0.7071 0 0 0 1", UNSUPPORTED, "right angle"},
    {"scaled", "TransformMatrix", " = 2 0 0 0 1 0 0 0 1", FORMAT, "orthonormal"},
    {"singular", "TransformMatrix", " = 0 0 0 0 1 0 0 0 1", FORMAT, "orthonormal"},
    {"short matrix", "TransformMatrix", " = 1 0 0 1", FORMAT, "TransformMatrix: expected 9"},
    {"centimetres", "DistanceUnits", " = cm", FORMAT, "DistanceUnits"},
    {"header size", "HeaderSize", " = -2", FORMAT, "HeaderSize"},
    {"header size too large", "HeaderSize", " = 100000", FORMAT, "truncated"},
    {"says compressed", "CompressedData", " = True", FORMAT, "compressed data"},
    {"missing file", "ElementDataFile", " = gone.raw", RVX_ERROR_IO, "gone.raw: cannot open"},
    {"short file", "ElementDataFile", " = short.raw", FORMAT, "short.raw: truncated"},
    {"pattern of too few", "ElementDataFile", " = s%d.raw 1 1 1", FORMAT, "2 files"},
    {"pattern step 0", "ElementDataFile", " = s%d.raw 1 2 0", FORMAT, "2 files"},
    {"pattern of strings", "ElementDataFile", " = s%s.raw 1 2 1", FORMAT, "no pattern"},
    {"pattern of two numbers", "ElementDataFile", " = s%d%n.raw 1 2 1", FORMAT, "no pattern"},
    {"a folder", "ElementDataFile", " = .", RVX_ERROR_IO, "a directory"},
};

static int16_t voxels[24], big[24];

static void test_damages(void)
{
    file_put("short.raw", voxels, 47);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        volume_put("a.mha", "", lines, &damages[i], "", voxels, sizeof voxels);
        damage_check("a.mha", &damages[i]);
    }
    static const damage twice = {"twice", NULL, NULL, FORMAT, "NDims stands in the header twice"};
    volume_put("a.mha", "NDims = 3\n", lines, NULL, "", voxels, sizeof voxels);
    damage_check("a.mha", &twice);
    static const damage inside = {"inside gzip", NULL, NULL, UNSUPPORTED, "inside gzip"};
    gzFile gz = gzopen(in_scratch("a.mha"), "wb");
    gzputs(gz, "ObjectType = Image\nNDims = 3\n");
    gzclose(gz);
    damage_check("a.mha", &inside);
}

/* Voxels in files of their own: one, a list, a pattern, with bytes before them. */
static void test_detached(void)
{
    static const damage one = {"one file", "ElementDataFile", " = my voxels.raw", RVX_OK, ""};
    static const damage list = {"list", "ElementDataFile", " = LIST", RVX_OK, ""};
    static const damage two_d = {"list 2", "ElementDataFile", " = LIST 2", RVX_OK, ""};
    static const damage rows = {"list 1", "ElementDataFile", " = LIST 1", FORMAT,
                                "6 files, found 2"};
    static const damage pattern = {"pattern", "ElementDataFile", " = s%02d.raw 7 9 2", RVX_OK, ""};
    static const damage down = {"backwards", "ElementDataFile", " = s%02d.raw 9 7 -2", RVX_OK, ""};
    static const damage gone = {"list with a hole", "ElementDataFile", " = LIST", RVX_ERROR_IO,
                                "s08.raw: cannot open"};
    static const damage third = {"list of three", "ElementDataFile", " = LIST", FORMAT,
                                 "2 files, found at least 3"};
    static const damage head = {"bytes before", "HeaderSize", " = 5", RVX_OK, ""};
    static const damage end = {"bytes before, from the end", "HeaderSize", " = -1", RVX_OK, ""};
    static const damage msb = {"big-endian", "BinaryDataByteOrderMSB", " = True", RVX_OK, ""};
    uint8_t padded[5 + sizeof voxels] = {0};
    memcpy(padded + 5, voxels, sizeof voxels);
    file_put("my voxels.raw", voxels, sizeof voxels);
    file_put("s07.raw", voxels, 24);
    file_put("s09.raw", voxels + 12, 24);
    file_put("padded.raw", padded, sizeof padded);
    volume_put("a.mhd", "", lines, &one, "", NULL, 0);
    damage_check("a.mhd", &one);
    volume_put("a.mhd", "", lines, &list, "s07.raw\r\n\ns09.raw\n", NULL, 0);
    damage_check("a.mhd", &list);
    volume_put("a.mhd", "", lines, &two_d, "s07.raw\ns09.raw", NULL, 0);
    damage_check("a.mhd", &two_d);
    volume_put("a.mhd", "", lines, &rows, "s07.raw\ns09.raw", NULL, 0);
    damage_check("a.mhd", &rows);
    volume_put("a.mhd", "", lines, &gone, "s07.raw\ns08.raw\n", NULL, 0);
    damage_check("a.mhd", &gone);
    volume_put("a.mhd", "", lines, &third, "s07.raw\ns07.raw\ns07.raw\n", NULL, 0);
    damage_check("a.mhd", &third);
    volume_put("a.mhd", "", lines, &pattern, "", NULL, 0);
    damage_check("a.mhd", &pattern);
    file_put("s07.raw", voxels + 12, 24);
    file_put("s09.raw", voxels, 24);
    volume_put("a.mhd", "", lines, &down, "", NULL, 0);
    damage_check("a.mhd", &down);
    header_line other[sizeof lines / sizeof *lines];
    memcpy(other, lines, sizeof lines);
    other[12].rest = " = padded.raw";
    volume_put("a.mhd", "", other, &head, "", NULL, 0);
    damage_check("a.mhd", &head);
    volume_put("a.mhd", "", other, &end, "", NULL, 0);
    damage_check("a.mhd", &end);
    volume_put("a.mha", "", lines, &msb, "", big, sizeof big);
    damage_check("a.mha", &msb);
}

static void compressed_check(const char *what, const char *size, uLong packed_bytes,
                             const uint8_t *packed, rvx_status status, const char *expected)
{
    header_line other[sizeof lines / sizeof *lines];
    const damage d = {what, "CompressedDataSize", size, status, expected};
    memcpy(other, lines, sizeof lines);
    other[4].rest = " = True";
    volume_put("a.mha", "", other, &d, "", packed, (int64_t)packed_bytes);
    damage_check("a.mha", &d);
}

static void test_compressed(void)
{
    uint8_t packed[256] = {0};
    uLong bytes = sizeof packed;
    char size[32];
    compress(packed, &bytes, (const Bytef *)voxels, sizeof voxels);
    snprintf(size, sizeof size, " = %lu      ", bytes);
    compressed_check("compressed", size, bytes, packed, RVX_OK, "");
    compressed_check("bytes behind the compressed ones", size, bytes + 9, packed, RVX_OK, "");
    compressed_check("no compressed size", NULL, bytes, packed, RVX_OK, "");
    compressed_check("compressed size of an overflow", " = -12", bytes, packed, RVX_OK, "");
    compressed_check("compressed size lies", " = 100000", bytes, packed, FORMAT,
                     "CompressedDataSize promises 100000");
    compressed_check("compressed size too small", " = 9", bytes, packed, FORMAT, "truncated");
    compressed_check("cut", NULL, bytes - 5, packed, FORMAT, "truncated");
    packed[bytes - 1] ^= 1;
    compressed_check("checksum", NULL, bytes, packed, FORMAT, "damaged");
}

static void test_meaning(void)
{
    static const damage turned = {"", "TransformMatrix", " = 0 1 0 -1 0 0 0 0 1", RVX_OK, ""};
    rvx_error error = {0};
    rvx_volume v = {0};
    volume_put("a.mha", "", lines, &turned, "", voxels, sizeof voxels);
    TAP_OK(rvx__volume_read_f32(&v, in_scratch("a.mha"), &error) == RVX_OK);
    const rvx_geometry *g = &v.info.geometry;
    TAP_OK(g->direction[1][0] == 1 && g->direction[0][1] == -1 && g->direction[2][2] == 1);
    TAP_OK(g->origin[0] == 1.5 && g->origin[1] == -2 && g->origin[2] == 30 && g->spacing[2] == 2);
    TAP_OK(strcmp(v.info.remark, "AnatomicalOrientation RAI") == 0 &&
           strcmp(v.info.geometry_source, "TransformMatrix") == 0);
    rvx__volume_free(&v);

    static const header_line flat[] = {{"NDims", " = 2"},
                                       {"DimSize", " = 8 3"},
                                       {"Orientation", " = 0 1 1 0"},
                                       {"Position", " = 4 5"},
                                       {"ElementSize", " = 0.25 0.5"},
                                       {"ElementType", " = MET_SHORT"},
                                       {"ElementDataFile", " = LOCAL"},
                                       {0}};
    volume_put("a.mha", "Comment = a slice\n", flat, NULL, "", voxels, sizeof voxels);
    TAP_OK(rvx__volume_read_f32(&v, in_scratch("a.mha"), &error) == RVX_OK);
    TAP_OK(g->size[0] == 8 && g->size[2] == 1 && g->spacing[0] == 0.25 && g->spacing[2] == 1);
    TAP_OK(g->direction[1][0] == 1 && g->direction[0][1] == 1 && g->origin[1] == 5);
    rvx__volume_free(&v);
}

/* A pair is written whole or not at all, and replaces an older one. */
static void test_pair(void)
{
    rvx_error error = {0};
    rvx_volume_writer *writer = NULL;
    uint8_t content[7 * 5 * 3] = {1};
    TAP_OK(rvx__volume_writer_create(&writer, in_scratch("p.mhd"), &oblique, RVX_VOXEL_U8, NULL,
                                     &error) == RVX_OK);
    TAP_OK(rvx__volume_writer_slab(writer, content, 2, &error) == RVX_OK);
    TAP_OK(rvx__volume_writer_commit(writer, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(!rvx__path_exists(in_scratch("p.mhd")) && !rvx__path_exists(in_scratch("p.zraw")));
    TAP_OK(rvx__volume_write(in_scratch("p.mhd"), &oblique, RVX_VOXEL_U8, content, NULL, &error) ==
           RVX_OK);
    TAP_OK(rvx__path_exists(in_scratch("p.zraw")));
}

int main(void)
{
    static const char *const names[] = {"t.mha", "t.mhd", NULL};
    if (!mkdtemp(scratch))
        return 1;
    for (int i = 0; i < 24; i++) {
        voxels[i] = (int16_t)i;
        big[i] = (int16_t)(i << 8);
    }
    round_trips(names, &oblique, 1e-15);
    test_damages();
    test_detached();
    test_compressed();
    test_meaning();
    test_pair();
    scratch_remove();
    return tap_done();
}
