/* The format table. Owns: which formats there are, in the order in which a file is offered to them,
 * what file names say, and how a volume's format is found. */
#include "engine/volume/format.h"
#include "engine/base/file.h"

#include <stdlib.h>
#include <string.h>

const rvx__format *const rvx__formats[] = {&rvx__format_nifti, &rvx__format_metaimage,
                                           &rvx__format_nrrd,  &rvx__format_raw,
                                           &rvx__format_dicom, NULL};

/* The longest suffix that `name` ends with, so that a.seg.nrrd is "a"; NULL where there is none. */
static const char *suffix_find(const rvx__format **format, const char *name)
{
    const char *best = NULL;
    *format = NULL;
    for (int i = 0; rvx__formats[i]; i++)
        for (int j = 0; rvx__formats[i]->suffixes[j]; j++) {
            const char *suffix = rvx__formats[i]->suffixes[j];
            if (rvx__text_ends_with(name, suffix) && (!best || strlen(suffix) > strlen(best))) {
                best = suffix;
                *format = rvx__formats[i];
            }
        }
    return best;
}

const rvx__format *rvx__format_find(const char *path)
{
    const rvx__format *format;
    suffix_find(&format, path);
    return format;
}

const rvx__format *rvx__format_of_folder(const char *path)
{
    for (int i = 0; rvx__formats[i]; i++)
        if (rvx__formats[i]->folder && rvx__formats[i]->folder(path))
            return rvx__formats[i];
    return NULL;
}

const char *rvx__volume_suffix(const char *name)
{
    const rvx__format *format;
    const char *suffix = suffix_find(&format, name);
    return suffix && strlen(name) > strlen(suffix) ? suffix : NULL;
}

int64_t rvx__volume_stem_bytes(const char *name)
{
    const char *suffix = rvx__volume_suffix(name);
    return suffix ? (int64_t)(strlen(name) - strlen(suffix)) : -1;
}

const char *rvx__volume_suffix_at(int64_t index)
{
    for (int i = 0; rvx__formats[i]; i++)
        for (int j = 0; rvx__formats[i]->suffixes[j]; j++)
            if (index-- == 0)
                return rvx__formats[i]->suffixes[j];
    return NULL;
}

void rvx__segments_free(rvx_segments *segments)
{
    free(segments->list);
    *segments = (rvx_segments){0};
}

void rvx__layout_free(rvx__layout *layout)
{
    for (int64_t i = 0; layout->files && i < layout->file_count; i++)
        free(layout->files[i]);
    free(layout->files);
    rvx__segments_free(&layout->segments);
    if (layout->decoder)
        layout->decoder->free(layout->decoder);
    *layout = (rvx__layout){0};
}

void rvx__header_free(rvx__header *header)
{
    rvx__text_free(&header->text);
    free(header->data_name);
    *header = (rvx__header){0};
}

/* NIfTI pairs are known by their headers: IMAGE.img stands for IMAGE.hdr. */
static char *header_path(const char *path)
{
    static const char *const endings[2][2] = {{".img", ".hdr"}, {".img.gz", ".hdr.gz"}};
    char *copy = strdup(path);
    for (int i = 0; copy && i < 2; i++)
        if (rvx__text_ends_with(copy, endings[i][0]))
            memcpy(copy + strlen(copy) - strlen(endings[i][0]), endings[i][1],
                   strlen(endings[i][1]));
    return copy;
}

rvx_status rvx__format_open(rvx__opened *o, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    *o = (rvx__opened){.path = header_path(path)};
    if (!o->path)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
    o->format = rvx__format_of_folder(o->path);
    if (o->format)
        return RVX_OK;
    if (rvx__path_is_directory(o->path))
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: a folder without DICOM files in it, or not too deep below it; "
                         "expected those, or the name of a file",
                         o->path);
    RVX_TRY(rvx__source_open(&o->source, o->path, error));
    RVX_TRY(rvx__source_read(o->source, o->head, sizeof o->head, &o->count, error));
    for (int i = 0; rvx__formats[i] && !o->format; i++)
        if (rvx__formats[i]->recognise(o->head, o->count))
            o->format = rvx__formats[i];
    if (!o->format)
        status =
            rvx__fail(error, RVX_ERROR_FORMAT,
                      "%s: not a volume: no header of a known format in its %s%lld bytes", o->path,
                      o->count < RVX__HEAD_BYTES ? "" : "first ", (long long)o->count);
cleanup:
    return status;
}

void rvx__format_close(rvx__opened *opened)
{
    rvx__source_close(opened->source);
    free(opened->path);
    *opened = (rvx__opened){0};
}
