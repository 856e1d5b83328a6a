/* NRRD in and out: round trips, a table of changed headers, spaces, data in other files, and
 * segmentations with names, colours and layers. */
#include "text_files.h"

#include <stdlib.h>
#include <zlib.h>

static const rvx_geometry oblique = {
    .size = {7, 5, 3},
    .spacing = {0.5, 0.7, 2.1},
    .origin = {-10.1, 20.2, 31.3},
    .direction = {{0.8, -0.6, 0}, {0.6, 0.8, 0}, {0, 0, -1}},
};

static const header_line lines[] = {
    {"type", ": short"},
    {"dimension", ": 3"},
    {"space", ": left-posterior-superior"},
    {"sizes", ": 4 3 2"},
    {"space directions", ": (0.5,0,0) (0,0.5,0) (0,0,2)"},
    {"kinds", ": domain domain domain"},
    {"endian", ": little"},
    {"encoding", ": raw"},
    {"space origin", ": (1.5,-2,3e1)"},
    {"data file", NULL},
    {0},
};

#define FORMAT RVX_ERROR_FORMAT
#define UNSUPPORTED RVX_ERROR_UNSUPPORTED
static const damage damages[] = {
    {"sound", NULL, NULL, RVX_OK, ""},
    {"capitals", "Content", ": x", RVX_OK, ""},
    {"ends of line of another system", "sizes", ": 4 3 2 \r", RVX_OK, ""},
    {"type by another name", "type", ": int16_t", RVX_OK, ""},
    {"RAS in letters", "space", ": RAS", RVX_OK, ""},
    {"right-handed", "space", ": 3D-right-handed", RVX_OK, ""},
    {"no kinds", "kinds", NULL, RVX_OK, ""},
    {"no origin", "space origin", NULL, RVX_OK, ""},
    {"data at the end", "byte skip", ": -1", RVX_OK, ""},
    {"units", "space units", ": \"mm\" \"mm\" \"mm\"", RVX_OK, ""},
    {"centimetres", "space units", ": \"cm\" \"cm\" \"cm\"", FORMAT, "space units"},
    {"no type", "type", NULL, FORMAT, "no type"},
    {"no sizes", "sizes", NULL, FORMAT, "no sizes"},
    {"no encoding", "encoding", NULL, FORMAT, "no encoding"},
    {"no endian", "endian", NULL, FORMAT, "endian"},
    {"block", "type", ": block", FORMAT, "type: expected"},
    {"half a name", "type", ": uns", FORMAT, "type: expected"},
    {"dimension 17", "dimension", ": 17", FORMAT, "dimension"},
    {"too few sizes", "sizes", ": 4 3", FORMAT, "sizes"},
    {"size 0", "sizes", ": 4 0 2", FORMAT, "sizes"},
    {"lying size", "sizes", ": 4 3 200", FORMAT, "truncated"},
    {"size past 64 bits", "sizes", ": 4000000000 4000000000 4000000000", FORMAT, "64 bits"},
    {"RGB", "kinds", ": RGB-color domain domain", UNSUPPORTED, "rgb-color"},
    {"no directions", "space directions", NULL, RVX_OK, ""},
    {"vector", "space directions", ": none (0,0.5,0) (0,0,2)", UNSUPPORTED, "axis 0"},
    {"one axis", "space directions", ": none none (0,0,2)", UNSUPPORTED, "axis 0"},
    {"direction not closed", "space directions", ": (1,0,0 (0,1,0) (0,0,1)", FORMAT,
     "space directions"},
    {"direction of two", "space directions", ": (1,0) (0,1) (0,0)", FORMAT, "space directions"},
    {"four directions", "space directions", ": (1,0,0) (0,1,0) (0,0,1) (0,0,1)", FORMAT,
     "space directions"},
    {"sheared", "space directions", ": (1,0,0) (0.7,0.7,0) (0,0,1)", UNSUPPORTED, "right angle"},
    {"singular", "space directions", ": (0,0,0) (0,1,0) (0,0,1)", FORMAT, "spacing along x"},
    {"direction NaN", "space directions", ": (nan,0,0) (0,1,0) (0,0,1)", FORMAT, "spacing along x"},
    {"origin NaN", "space origin", ": (nan,0,0)", FORMAT, "not finite"},
    {"unknown space", "space", ": somewhere", FORMAT, "space: expected"},
    {"space with time", "space", ": left-posterior-superior-time", FORMAT, "space: expected"},
    {"no space", "space", NULL, FORMAT, "without space"},
    {"bzip2", "encoding", ": bzip2", UNSUPPORTED, "encoding: expected raw or gzip"},
    {"ascii", "encoding", ": ascii", UNSUPPORTED, "encoding: expected raw or gzip"},
    {"says gzip", "encoding", ": gzip", FORMAT, "compressed data"},
    {"byte skip past the end", "byte skip", ": 1", FORMAT, "truncated"},
    {"byte skip < -1", "byte skip", ": -2", FORMAT, "byte skip"},
    {"line skip past the end", "lineskip", ": 900", FORMAT, "lines to skip"},
    {"missing file", "data file", ": gone.raw", RVX_ERROR_IO, "gone.raw: cannot open"},
    {"short file", "datafile", ": short.raw", FORMAT, "short.raw: truncated"},
    {"pattern of too few", "data file", ": s%d.raw 1 1 1", FORMAT, "2 files"},
};

static int16_t voxels[24], big[24];

static void put(const char *name, const damage *d, const void *data, int64_t bytes)
{
    volume_put(name, "NRRD0004\n# comment\n", lines, d, "\n", data, bytes);
}

static void test_damages(void)
{
    static const damage magic = {"version", NULL, NULL, FORMAT, "NRRD0001 to NRRD0005"};
    static const damage twice = {"twice", NULL, NULL, FORMAT, "dimension stands in the header"};
    file_put("short.raw", voxels, 47);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        put("a.nrrd", &damages[i], voxels, sizeof voxels);
        damage_check("a.nrrd", &damages[i]);
    }
    volume_put("a.nrrd", "NRRD0009\n", lines, NULL, "\n", voxels, sizeof voxels);
    damage_check("a.nrrd", &magic);
    volume_put("a.nrrd", "NRRD0004\nDimension: 3\n", lines, NULL, "\n", voxels, sizeof voxels);
    damage_check("a.nrrd", &twice);
}

static void test_detached(void)
{
    static const damage one = {"one file", "data file", ": my voxels.raw", RVX_OK, ""};
    static const damage list = {"list", "data file", ": LIST", RVX_OK, ""};
    static const damage slabs = {"list of slabs", "data file", ": LIST 3", RVX_OK, ""};
    static const damage pattern = {"pattern", "data file", ": s%02d.raw 7 9 2", RVX_OK, ""};
    static const damage whole = {"pattern of slabs", "data file", ": s%02d.raw 7 9 2 3", RVX_OK,
                                 ""};
    static const damage hole = {"list with a hole", "data file", ": LIST", RVX_ERROR_IO,
                                "s08.raw: cannot open"};
    static const damage msb = {"big-endian", "endian", ": big", RVX_OK, ""};
    static const damage skips = {"lines, then bytes", "data file",
                                 ": padded.raw\nline skip: 2\nbyte skip: 3", RVX_OK, ""};
    static const damage packed = {"detached gzip", "encoding",
                                  ": gzip\nbyte skip: 4\ndata file: a.raw.gz", RVX_OK, ""};
    uint8_t padded[7 + sizeof voxels] = "a\nb\nxyz";
    memcpy(padded + 7, voxels, sizeof voxels);
    file_put("my voxels.raw", voxels, sizeof voxels);
    file_put("padded.raw", padded, sizeof padded);
    file_put("s07.raw", voxels, 24);
    file_put("s09.raw", voxels + 12, 24);
    gzFile gz = gzopen(in_scratch("a.raw.gz"), "wb");
    gzwrite(gz, "skip", 4);
    gzwrite(gz, voxels, sizeof voxels);
    gzclose(gz);
    const damage *const plain[] = {&one, &pattern, &whole, &skips, &packed};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        put("a.nhdr", plain[i], NULL, 0);
        damage_check("a.nhdr", plain[i]);
    }
    const damage *const lists[] = {&list, &slabs, &hole};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        volume_put("a.nhdr", "NRRD0004\n", lines, lists[i],
                   lists[i] == &hole ? "s07.raw\ns08.raw\n" : "s07.raw\ns09.raw\n", NULL, 0);
        damage_check("a.nhdr", lists[i]);
    }
    put("a.nrrd", &msb, big, sizeof big);
    damage_check("a.nrrd", &msb);
}

/* The same place in three spaces. */
static void test_spaces(void)
{
    static const char *const names[] = {"left-posterior-superior", "right-anterior-superior",
                                        "left-anterior-superior"};
    static const double signs[3][2] = {{1, 1}, {-1, -1}, {1, -1}};
    for (int i = 0; i < 3; i++) {
        rvx_error error = {0};
        rvx_volume v = {0};
        char rest[64];
        snprintf(rest, sizeof rest, ": %s", names[i]);
        const damage d = {"", "space", rest, RVX_OK, ""};
        put("a.nrrd", &d, voxels, sizeof voxels);
        int ok = rvx__volume_read_f32(&v, in_scratch("a.nrrd"), &error) == RVX_OK;
        const rvx_geometry *g = &v.info.geometry;
        tap_ok(ok && g->origin[0] == 1.5 * signs[i][0] && g->origin[1] == -2 * signs[i][1] &&
                   g->origin[2] == 30 && g->direction[0][0] == signs[i][0] &&
                   g->direction[1][1] == signs[i][1] && g->spacing[2] == 2,
               "%s", names[i]);
        rvx__volume_free(&v);
    }
}

static const header_line layered[] = {
    {"type", ": unsigned char"},
    {"dimension", ": 4"},
    {"space", ": left-posterior-superior"},
    {"sizes", ": 2 4 3 2"},
    {"space directions", ": none (0.5,0,0) (0,0.5,0) (0,0,2)"},
    {"kinds", ": list domain domain domain"},
    {"encoding", ": raw"},
    {"Segment0_Name", ":=left lobe"},
    {"Segment0_Color", ":=0.5 0.25 1"},
    {"Segment0_LabelValue", ":=1"},
    {"Segment0_Layer", ":=0"},
    {"Segment2_Name", ":=a\\\\b"},
    {"Segment2_LabelValue", ":=1"},
    {"Segment2_Layer", ":=1"},
    {0},
};

static void layers_check(const char *what, const damage *d, const uint8_t *data)
{
    rvx_error error = {0};
    rvx_volume v = {0};
    volume_put("a.seg.nrrd", "NRRD0004\n", layered, d, "\n", data, 48);
    rvx_status status = rvx__volume_read_labels(&v, in_scratch("a.seg.nrrd"), &error);
    tap_ok(status == d->status && (status == RVX_OK || strstr(error.message, d->expected)),
           "%s: %s", what, error.message);
    if (status == RVX_OK)
        tap_ok(((uint8_t *)v.voxels)[0] == 1 && ((uint8_t *)v.voxels)[1] == 2 &&
                   ((uint8_t *)v.voxels)[2] == 0,
               "%s: layers become labels", what);
    rvx__volume_free(&v);
}

static void test_layers(void)
{
    static const damage fine = {"", NULL, NULL, RVX_OK, ""};
    static const damage overlap = {"", NULL, NULL, UNSUPPORTED,
                                   "voxel (2, 0, 0) is in segment 'left lobe' and in 'a\\b'"};
    static const damage stranger = {"", NULL, NULL, UNSUPPORTED, "holds 7 in layer 0"};
    static const damage beyond = {"", "Segment2_Layer", ":=2", FORMAT, "Segment2_Layer"};
    static const damage color = {"", "Segment0_Color", ":=red", FORMAT, "Segment0_Color"};
    static const damage many = {"", "Segment99999_Name", ":=x", UNSUPPORTED, "1024 segments"};
    uint8_t data[48] = {1, 0, 0, 1};
    layers_check("layers", &fine, data);
    layers_check("layer that is not there", &beyond, data);
    layers_check("colour in words", &color, data);
    layers_check("too many segments", &many, data);
    data[4] = data[5] = 1;
    layers_check("overlap", &overlap, data);
    data[4] = 7, data[5] = 0;
    layers_check("no segment's value", &stranger, data);
}

/* What is written for 3D Slicer is read back: names, values, colours. */
static void test_segments(void)
{
    rvx_error error = {0};
    rvx_segments segments = {0};
    rvx_volume_writer *writer = NULL;
    rvx_volume_reader *reader = NULL;
    uint8_t labels[7 * 5 * 3] = {0, 1, 3};
    rvx__segments_add(&segments, "liver", 1, &error);
    rvx__segments_add(&segments, "back\\slash", 3, &error);
    const char *path = in_scratch("s.seg.nrrd");
    TAP_OK(rvx__volume_writer_create_segments(&writer, path, &oblique, RVX_VOXEL_U8, NULL,
                                              &segments, &error) == RVX_OK);
    TAP_OK(rvx__volume_writer_slab(writer, labels, 3, &error) == RVX_OK &&
           rvx__volume_writer_commit(writer, &error) == RVX_OK);
    TAP_OK(rvx__volume_reader_open(&reader, path, &error) == RVX_OK);
    const rvx_segments *back = rvx__volume_reader_segments(reader);
    TAP_OK(back->count == 2 && strcmp(back->list[0].name, "liver") == 0 &&
           strcmp(back->list[1].name, "back\\slash") == 0 && back->list[1].value == 3);
    int same = 1;
    for (int i = 0; i < 2; i++)
        for (int c = 0; c < 3; c++)
            same &= back->list[i].color[c] == segments.list[i].color[c];
    TAP_OK(same && memcmp(segments.list[0].color, segments.list[1].color, 24) != 0);
    rvx__volume_reader_close(reader);
    rvx__segments_free(&segments);
    TAP_OK(strcmp(rvx__volume_suffix("case.seg.nrrd"), ".seg.nrrd") == 0 &&
           rvx__volume_stem_bytes("case.seg.nrrd") == 4);
}

int main(void)
{
    static const char *const names[] = {"t.nrrd", "t.nhdr", "t.seg.nrrd", NULL};
    if (!mkdtemp(scratch))
        return 1;
    for (int i = 0; i < 24; i++) {
        voxels[i] = (int16_t)i;
        big[i] = (int16_t)(i << 8);
    }
    round_trips(names, &oblique, 1e-15);
    test_damages();
    test_detached();
    test_spaces();
    test_layers();
    test_segments();
    scratch_remove();
    return tap_done();
}
