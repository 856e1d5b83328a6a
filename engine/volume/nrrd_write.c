/* The names of NRRD's types, and its header as it is written: version 4, LPS, gzip, as ITK writes
 * it; a name in .seg.nrrd gets the keys by which 3D Slicer knows a segmentation. */
#include "engine/base/file.h"
#include "engine/volume/nrrd.h"
#include "engine/volume/segments.h"

#include <stdio.h>
#include <string.h>

/* Every name of a type, between commas; the first is written. */
static const char *const type_names[RVX_VOXEL_TYPE_COUNT] = {
    [RVX_VOXEL_U8] = "unsigned char,uchar,uint8,uint8_t",
    [RVX_VOXEL_I8] = "signed char,int8,int8_t",
    [RVX_VOXEL_U16] = "unsigned short,ushort,unsigned short int,uint16,uint16_t",
    [RVX_VOXEL_I16] = "short,short int,signed short,signed short int,int16,int16_t",
    [RVX_VOXEL_U32] = "unsigned int,uint,uint32,uint32_t",
    [RVX_VOXEL_I32] = "int,signed int,int32,int32_t",
    [RVX_VOXEL_U64] = "unsigned long long,ulonglong,unsigned long long int,uint64,uint64_t",
    [RVX_VOXEL_I64] =
        "long long,longlong,long long int,signed long long,signed long long int,int64,int64_t",
    [RVX_VOXEL_F32] = "float",
    [RVX_VOXEL_F64] = "double",
};

bool rvx__nrrd_type_find(rvx_voxel_type *type, const char *name)
{
    const size_t bytes = strlen(name);
    for (int t = 0; t < RVX_VOXEL_TYPE_COUNT; t++)
        for (const char *p = type_names[t]; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
            if (bytes && strncmp(p, name, bytes) == 0 && (p[bytes] == ',' || !p[bytes])) {
                *type = (rvx_voxel_type)t;
                return true;
            }
    return false;
}

static void vector_put(rvx_text *text, const double v[3])
{
    for (int i = 0; i < 3; i++) {
        rvx__text_add(text, i ? "," : "(");
        rvx__text_number(text, v[i]);
    }
    rvx__text_add(text, ")");
}

/* Steps of the axes; those of an NRRD that is repeated stand there as they stood. */
static void geometry_put(rvx_text *text, const rvx__request *request)
{
    const rvx_geometry *g = request->geometry;
    const bool repeat = request->like && strcmp(request->like->format, "nrrd") == 0;
    rvx__text_format(text,
                     "dimension: 3\nspace: left-posterior-superior\nsizes: %lld %lld %lld\n"
                     "space directions:",
                     (long long)g->size[0], (long long)g->size[1], (long long)g->size[2]);
    for (int axis = 0; axis < 3; axis++) {
        double step[3];
        for (int row = 0; row < 3; row++)
            step[row] = 0.0 + (repeat ? request->like->sform[row][axis]
                                      : g->direction[row][axis] * g->spacing[axis]);
        rvx__text_add(text, " ");
        vector_put(text, step);
    }
    rvx__text_add(text, "\nkinds: domain domain domain\nendian: little\nencoding: gzip\n"
                        "space units: \"mm\" \"mm\" \"mm\"\nspace origin: ");
    vector_put(text, g->origin);
    rvx__text_add(text, "\n");
}

rvx_status rvx__nrrd_compose(rvx__header *header, const rvx__request *request, rvx_error *error)
{
    rvx_text *text = &header->text;
    const char *name = rvx__path_name(request->path);
    header->packing = RVX__PACKING_GZIP;
    rvx__text_format(text,
                     "NRRD0004\n# Complete NRRD file format specification at:\n"
                     "# http://teem.sourceforge.net/nrrd/format.html\ntype: %.*s\n",
                     (int)strcspn(type_names[request->type], ","), type_names[request->type]);
    geometry_put(text, request);
    if (rvx__text_ends_with(name, ".nhdr")) {
        if (asprintf(&header->data_name, "%.*s.raw.gz", (int)strlen(name) - 5, name) < 0) {
            header->data_name = NULL;
            return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", request->path);
        }
        rvx__text_format(text, "data file: %s\n", header->data_name);
    } else {
        if (rvx__text_ends_with(name, ".seg.nrrd"))
            rvx__segments_compose(text, request->segments, request->geometry->size);
        rvx__text_add(text, "\n");
    }
    return rvx__text_check(text, error);
}
