/* rvx_mesh: see revoxel.h. */
#include "engine/segment/mesh.h"
#include "bindings/c/facade.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMOOTHING_DEFAULT = 2, NAME_BYTES = 512 };

/* Names from dataset.json, from the map, or none. */
static rvx_status classes_find(rvx_class_list *list, const rvx_volume_reader *reader,
                               const char *dataset, rvx_error *error)
{
    const rvx_segments *segments = rvx__volume_reader_segments(reader);
    uint8_t any[256];
    if (dataset)
        return rvx__class_list_load(list, dataset, error);
    memset(any, 1, sizeof any);
    rvx_status status = rvx__class_list_found(list, any, error);
    for (int64_t i = 0; status == RVX_OK && segments && i < segments->count; i++)
        for (int64_t k = 0; k < list->count; k++)
            if (list->classes[k].label == segments->list[i].value)
                snprintf(list->classes[k].name, sizeof list->classes[k].name, "%.*s",
                         (int)sizeof list->classes[k].name - 1, segments->list[i].name);
    return status;
}

/* OUT/NAME_class.stl, without what a file name cannot or should not have. */
static rvx_status mesh_path(char path[RVX_PATH_BYTES], const char *labels, const char *out,
                            const char *class_name, const char *format, rvx_error *error)
{
    char name[NAME_BYTES];
    const char *file = rvx__path_name(labels);
    int64_t stem = rvx__volume_stem_bytes(file);
    int bytes = snprintf(name, sizeof name, "%.*s_%s.%s", stem < 1 ? (int)strlen(file) : (int)stem,
                         file, class_name, format);
    if (bytes < 0 || bytes >= NAME_BYTES)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: the name is too long", labels);
    for (char *c = name; *c; c++)
        *c = *c == '/' || *c == ' ' ? '_' : *c;
    return rvx__path_join(path, out, name, error);
}

static rvx_status meshes_write(rvx_text *text, rvx_volume_reader *reader,
                               const rvx_class_list *list, const rvx_mesh_box *boxes,
                               const char *labels, const char *out, const rvx_mesh_options *options,
                               rvx_error *error)
{
    rvx_status status = RVX_OK;
    const char *format = options->format ? options->format : "stl";
    int smoothing = options->smoothing < 0    ? 0
                    : options->smoothing == 0 ? SMOOTHING_DEFAULT
                                              : options->smoothing;
    rvx__text_format(text, "%-20s  %12s  %12s  %12s  %s\n", "Class", "Triangles", "Area mm^2",
                     "Volume ml", "File");
    for (int64_t k = 0; k < list->count; k++) {
        char path[RVX_PATH_BYTES];
        const char *name = list->classes[k].name;
        rvx_mesh_figures figures;
        if (boxes[k].high[0] < 0)
            continue;
        if (rvx__facade_progress(options->progress, options->context,
                                 rvx__facade_phase("mesh", name, k, list->count)))
            RVX_TRY(rvx__fail(error, RVX_CANCELLED, "cancelled"));
        RVX_TRY(mesh_path(path, labels, out, name, format, error));
        RVX_TRY(rvx__mesh_write(&figures, path, name, reader, list->classes[k].member, &boxes[k],
                                smoothing, error));
        rvx__text_format(text, "%-20s  %12lld  %12.1f  %12.3f  %s\n", name,
                         (long long)figures.triangles, figures.area_mm2, figures.volume_mm3 / 1000,
                         rvx__path_name(path));
    }
cleanup:
    return status;
}

rvx_status rvx_mesh(char **table, const char *labels, const char *out,
                    const rvx_mesh_options *given, rvx_error *error)
{
    rvx_status status;
    rvx_mesh_options options;
    rvx_volume_reader *reader = NULL;
    rvx_class_list list = {0};
    rvx_mesh_box *boxes = NULL;
    rvx_text text = {0};
    bool any = false;
    if (table)
        *table = NULL;
    RVX_TRY(rvx__facade_required(labels, "labels", error));
    RVX_TRY(rvx__facade_required(out, "out", error));
    RVX_TRY(rvx__facade_options(&options, sizeof options, given, "rvx_mesh_options", error));
    if (options.format && strcmp(options.format, "stl") != 0 && strcmp(options.format, "obj") != 0)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT,
                          "format expected \"stl\" or \"obj\", found "
                          "\"%s\"",
                          options.format));
    if (options.smoothing > RVX_MESH_SMOOTHING_MAX)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT, "smoothing expected at most %d, found %d",
                          RVX_MESH_SMOOTHING_MAX, options.smoothing));
    RVX_TRY(rvx__volume_reader_open(&reader, labels, error));
    RVX_TRY(classes_find(&list, reader, options.dataset, error));
    boxes = calloc((size_t)list.count + 1, sizeof *boxes);
    if (!boxes)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its classes", labels));
    RVX_TRY(rvx__mesh_boxes(boxes, reader, &list, error));
    for (int64_t k = 0; k < list.count; k++)
        any = any || boxes[k].high[0] >= 0;
    if (!any)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: has no voxel of %s: nothing to mesh",
                          labels, options.dataset ? "a class of the dataset" : "a label"));
    RVX_TRY(rvx__directory_create(out, error));
    RVX_TRY(meshes_write(&text, reader, &list, boxes, labels, out, &options, error));
    if (table)
        status = rvx__facade_text(table, &text, status, error);
cleanup:
    rvx__text_free(&text);
    free(boxes);
    rvx__class_list_free(&list);
    rvx__volume_reader_close(reader);
    return status;
}
