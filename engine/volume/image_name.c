/* What images of a case are called: see image_name.h. */
#include "engine/volume/image_name.h"
#include "engine/volume/format.h"

#include <stdio.h>
#include <string.h>

#define DICOM_ENDING ".dcm"

enum { CHANNEL_BYTES = 5 }; /* _0000 */

int64_t rvx__image_stem_bytes(const char *folder, const char *name, const char *ending)
{
    char path[RVX_PATH_BYTES];
    const int64_t bytes = (int64_t)strlen(name);
    if (ending && rvx__text_ends_with(name, ending))
        return bytes - (int64_t)strlen(ending);
    if (!ending && rvx__volume_stem_bytes(name) >= 0)
        return rvx__volume_stem_bytes(name);
    if (rvx__path_join(path, folder, name, NULL) != RVX_OK)
        return -1;
    if (rvx__text_ends_with(name, DICOM_ENDING) && rvx__path_is_file(path))
        return bytes - (int64_t)strlen(DICOM_ENDING);
    return rvx__path_is_directory(path) && rvx__format_of_folder(path) ? bytes : -1;
}

int rvx__image_channel(const char *stem, int64_t bytes)
{
    int channel = 0;
    if (bytes <= CHANNEL_BYTES || stem[bytes - CHANNEL_BYTES] != '_')
        return -1;
    for (int64_t i = bytes - CHANNEL_BYTES + 1; i < bytes; i++) {
        if (stem[i] < '0' || stem[i] > '9')
            return -1;
        channel = channel * 10 + stem[i] - '0';
    }
    return channel;
}

rvx_status rvx__image_find(char out[RVX_PATH_BYTES], const char *stem, const char *ending,
                           rvx_error *error)
{
    const char *const endings[] = {ending ? ending : "", ending ? "" : DICOM_ENDING, DICOM_ENDING};
    const int count = ending ? 3 : 2;
    int found = -1;
    if (strlen(stem) + (ending ? strlen(ending) : 0) + sizeof DICOM_ENDING > RVX_PATH_BYTES)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "path too long: %.100s...", stem);
    for (int i = 0; i < count; i++) {
        snprintf(out, RVX_PATH_BYTES, "%s%s", stem, endings[i]);
        if (endings[i][0] ? !rvx__path_is_file(out) : !rvx__path_is_directory(out))
            continue;
        if (found >= 0)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s%s and %s: expected one image of a channel, found both", stem,
                             endings[found], out);
        found = i;
    }
    snprintf(out, RVX_PATH_BYTES, "%s%s", stem, endings[found >= 0 ? found : 0]);
    return RVX_OK;
}

rvx_status rvx__image_beside(char out[RVX_PATH_BYTES], const char *first, int channel,
                             rvx_error *error)
{
    char stem[RVX_PATH_BYTES];
    const char *suffix = rvx__volume_suffix(rvx__path_name(first));
    rvx_status status = rvx__path_join(stem, NULL, first, error);
    if (status != RVX_OK || channel == 0)
        return status == RVX_OK ? rvx__path_join(out, NULL, first, error) : status;
    size_t bytes = strlen(stem);
    if (suffix)
        bytes -= strlen(suffix);
    else if (rvx__text_ends_with(stem, DICOM_ENDING))
        bytes -= strlen(DICOM_ENDING);
    stem[bytes] = 0;
    for (size_t i = 0; i < CHANNEL_BYTES - 1; i++, channel /= 10)
        stem[bytes - 1 - i] = (char)('0' + channel % 10);
    status = rvx__image_find(out, stem, suffix, error);
    for (int i = 0; status == RVX_OK && !suffix && !rvx__path_exists(out); i++) {
        if (!rvx__volume_suffix_at(i))
            return rvx__image_find(out, stem, NULL, error);
        status = rvx__image_find(out, stem, rvx__volume_suffix_at(i), error);
    }
    return status;
}

bool rvx__images_in(const char *folder, int channel_count)
{
    rvx_names names = {0};
    char path[RVX_PATH_BYTES];
    bool cases = false, slices = false;
    if (rvx__directory_list(&names, folder, NULL, NULL) != RVX_OK)
        return false;
    for (int64_t i = 0; i < names.count && !slices; i++) {
        const char *name = names.names[i];
        const int64_t stem = rvx__image_stem_bytes(folder, name, NULL);
        const int channel = stem > 0 ? rvx__image_channel(name, stem) : -1;
        if (channel >= 0 && channel < channel_count)
            cases = true;
        else if (rvx__path_join(path, folder, name, NULL) == RVX_OK)
            slices = rvx__dicom_file(path);
    }
    rvx__names_free(&names);
    return cases && !slices;
}
