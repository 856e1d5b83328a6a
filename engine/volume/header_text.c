/* Headers made of lines: see header_text.h. */
#include "engine/volume/header_text.h"

#include "engine/base/file.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 4096, WIDTH_MAX = 18, FILES_MAX = 1 << 20 };

rvx_status rvx__header_lines(char **text, int64_t *bytes, rvx__source *source,
                             bool (*last)(const char *line, int64_t bytes), const char *path,
                             rvx_error *error)
{
    char *data = NULL;
    int64_t count = 0, capacity = 0, line = 0, scanned = 0, got = BLOCK_BYTES;
    bool found = false;
    rvx_status status = RVX_OK;
    *text = NULL;
    RVX_TRY(rvx__source_seek(source, 0, error));
    while (!found && got == BLOCK_BYTES) {
        if (count + BLOCK_BYTES > RVX__HEADER_TEXT_MAX) {
            status = rvx__fail(error, RVX_ERROR_FORMAT,
                               "%s: the header has no end within its first %d bytes", path,
                               RVX__HEADER_TEXT_MAX);
            goto cleanup;
        }
        if (count + BLOCK_BYTES + 1 > capacity) {
            capacity = 2 * capacity + BLOCK_BYTES + 1;
            char *larger = realloc(data, (size_t)capacity);
            if (!larger) {
                status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its header", path);
                goto cleanup;
            }
            data = larger;
        }
        RVX_TRY(rvx__source_read(source, data + count, BLOCK_BYTES, &got, error));
        count += got;
        for (; scanned < count && !found; scanned++)
            if (data[scanned] == '\n') {
                found = last(data + line, scanned - line);
                line = scanned + 1;
            }
    }
    *bytes = found ? line : count;
    data[*bytes] = 0;
    if ((int64_t)strlen(data) < *bytes) {
        status =
            rvx__fail(error, RVX_ERROR_FORMAT, "%s: byte %lld of the header is zero, expected text",
                      path, (long long)strlen(data));
        goto cleanup;
    }
    *text = data;
    data = NULL;
cleanup:
    free(data);
    return status;
}

char *rvx__header_trim(char *text)
{
    while (*text && strchr(" \t\r", *text))
        text++;
    size_t length = strlen(text);
    while (length && strchr(" \t\r", text[length - 1]))
        text[--length] = 0;
    return text;
}

char *rvx__header_line(char **rest)
{
    char *line = *rest;
    if (!*line)
        return NULL;
    size_t length = strcspn(line, "\n");
    *rest = line + length + (line[length] == '\n');
    line[length] = 0;
    return rvx__header_trim(line);
}

static const char *blanks_skip(const char *text) { return text + strspn(text, " \t\r,()"); }

/* True where a number has ended as one. */
static bool ended(const char *stop) { return !*stop || strchr(" \t\r,()", *stop); }

int rvx__header_reals(double *out, int most, const char *text)
{
    /* In glibc the C locale is a constant; nothing is allocated. */
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    int count = 0;
    for (text = blanks_skip(text); plain && *text && count <= most; text = blanks_skip(text)) {
        char *stop;
        double number = strtod_l(text, &stop, plain);
        if (stop == text || !ended(stop)) {
            count = -1;
            break;
        }
        if (count < most)
            out[count] = number;
        count++;
        text = stop;
    }
    if (!plain)
        return -1;
    freelocale(plain);
    return count;
}

int rvx__header_integers(int64_t *out, int most, const char *text)
{
    int count = 0;
    for (text = blanks_skip(text); *text && count <= most; text = blanks_skip(text)) {
        char *stop;
        errno = 0;
        long long number = strtoll(text, &stop, 10);
        if (stop == text || !ended(stop) || errno)
            return -1;
        if (count < most)
            out[count] = number;
        count++;
        text = stop;
    }
    return count;
}

rvx_status rvx__layout_file_add(rvx__layout *layout, const char *header_path, const char *name,
                                rvx_error *error)
{
    rvx_status status = RVX_OK;
    char folder[RVX_PATH_BYTES], path[RVX_PATH_BYTES];
    if (!*name || layout->file_count == FILES_MAX)
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: %s: %s", header_path, layout->field,
                         *name ? "more than 2^20 files" : "expected the name of a file");
    RVX_TRY(rvx__path_parent(folder, header_path, error));
    RVX_TRY(rvx__path_join(path, folder, name, error));
    if ((layout->file_count & (layout->file_count - 1)) == 0) { /* grows at powers of two */
        size_t room = layout->file_count ? (size_t)layout->file_count * 2 : 1;
        char **larger = realloc(layout->files, room * sizeof *larger);
        if (larger)
            layout->files = larger;
        else
            status = RVX_ERROR_MEMORY;
    }
    if (status != RVX_OK || !(layout->files[layout->file_count] = strdup(path)))
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for file names", header_path);
    layout->file_count++;
cleanup:
    return status;
}

/* Finds the one conversion %[0][width]d of a pattern: its bytes before and behind. */
static bool conversion_find(const char *pattern, int *before, const char **behind, bool *zeros,
                            int *width)
{
    const char *percent = strchr(pattern, '%');
    if (!percent)
        return false;
    *before = (int)(percent - pattern);
    const char *p = percent + 1;
    *zeros = *p == '0';
    *width = 0;
    for (; *p >= '0' && *p <= '9'; p++)
        *width = *width * 10 + *p - '0' > WIDTH_MAX ? WIDTH_MAX + 1 : *width * 10 + *p - '0';
    *behind = p + 1;
    return *p && strchr("diu", *p) && *width <= WIDTH_MAX && !strchr(p, '%');
}

bool rvx__header_pattern(int64_t numbers[4], char *text)
{
    char *conversion = strchr(text, '%');
    char *space = conversion ? conversion + strcspn(conversion, " \t") : NULL;
    if (!space || !*space)
        return false;
    int count = rvx__header_integers(numbers, 4, space);
    if (count != 3 && count != 4)
        return false;
    if (count == 3)
        numbers[3] = 0;
    *space = 0;
    return true;
}

rvx_status rvx__layout_pattern_add(rvx__layout *layout, const char *header_path,
                                   const char *pattern, const int64_t numbers[4], int64_t count,
                                   rvx_error *error)
{
    char name[RVX_PATH_BYTES];
    const char *behind;
    bool zeros;
    int before, width;
    if (!conversion_find(pattern, &before, &behind, &zeros, &width))
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: %s: \"%s\" is no pattern such as image%%03d.raw", header_path,
                         layout->field, pattern);
    /* Within 2^31 nothing below overflows. */
    for (int i = 0; i < 3; i++)
        if (numbers[i] < INT32_MIN || numbers[i] > INT32_MAX)
            return rvx__fail(error, RVX_ERROR_FORMAT, "%s: %s: the number %lld is out of range",
                             header_path, layout->field, (long long)numbers[i]);
    const int64_t span = numbers[1] - numbers[0], step = numbers[2];
    if (step == 0 || span / step + 1 != count || span % step != 0)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: %s: %s from %lld to %lld by %lld does not name the %lld files that "
                         "the sizes ask for",
                         header_path, layout->field, pattern, (long long)numbers[0],
                         (long long)numbers[1], (long long)step, (long long)count);
    for (int64_t i = 0; i < count; i++) {
        long long number = numbers[0] + i * step;
        int length = snprintf(name, sizeof name, zeros ? "%.*s%0*lld%s" : "%.*s%*lld%s", before,
                              pattern, width, number, behind);
        if (length < 0 || length >= (int)sizeof name)
            return rvx__fail(error, RVX_ERROR_FORMAT, "%s: %s: a name is too long", header_path,
                             layout->field);
        rvx_status status = rvx__layout_file_add(layout, header_path, name, error);
        if (status != RVX_OK)
            return status;
    }
    return RVX_OK;
}
