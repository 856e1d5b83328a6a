/* Growing text: see text.h. */
#include "engine/base/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool text_reserve(rvx_text *text, int64_t more_bytes)
{
    if (text->failed)
        return false;
    int64_t needed = text->bytes + more_bytes + 1;
    if (needed <= text->capacity_bytes)
        return true;
    int64_t larger = needed > 2 * text->capacity_bytes ? needed + 256 : 2 * text->capacity_bytes;
    char *data = realloc(text->data, (size_t)larger);
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity_bytes = larger;
    return true;
}

void rvx__text_append(rvx_text *text, const char *data, int64_t bytes)
{
    if (!text_reserve(text, bytes))
        return;
    memcpy(text->data + text->bytes, data, (size_t)bytes);
    text->bytes += bytes;
    text->data[text->bytes] = 0;
}

void rvx__text_add(rvx_text *text, const char *string)
{
    rvx__text_append(text, string, (int64_t)strlen(string));
}

void rvx__text_format(rvx_text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int bytes = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (bytes < 0)
        text->failed = true;
    else if (text_reserve(text, bytes)) {
        vsnprintf(text->data + text->bytes, (size_t)bytes + 1, format, again);
        text->bytes += bytes;
    }
    va_end(again);
}

void rvx__text_number(rvx_text *text, double number)
{
    char digits[40];
    if (!isfinite(number)) {
        rvx__text_add(text, "null");
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, number);
        if (strtod(digits, NULL) == number)
            break;
    }
    for (char *p = digits; *p; p++) /* the locale's decimal sign */
        if (!strchr("+-0123456789e", *p))
            *p = '.';
    rvx__text_add(text, digits);
    if (!strpbrk(digits, ".e")) /* stays a real number when it is read back */
        rvx__text_add(text, ".0");
}

/* Bytes of the UTF-8 sequence at p; 0 where it is not a legal one (Unicode 15, table 3-7). */
static int utf8_length(const unsigned char *p)
{
    if (p[0] < 0x80)
        return 1;
    int length = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 0;
    for (int i = 1; i < length; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
        (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return length;
}

void rvx__text_quote(rvx_text *text, const char *string)
{
    rvx__text_add(text, "\"");
    for (const unsigned char *p = (const unsigned char *)string; *p;) {
        int length = utf8_length(p);
        if (length == 0)
            rvx__text_add(text, "\xEF\xBF\xBD");
        else if (*p == '"' || *p == '\\')
            rvx__text_format(text, "\\%c", *p);
        else if (*p < 0x20 || *p == 0x7F)
            rvx__text_format(text, "\\u%04x", *p);
        else
            rvx__text_append(text, (const char *)p, length);
        p += length ? length : 1;
    }
    rvx__text_add(text, "\"");
}

rvx_status rvx__text_check(const rvx_text *text, rvx_error *error)
{
    if (text->failed)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %lld bytes of text",
                         (long long)text->capacity_bytes);
    return RVX_OK;
}

void rvx__text_free(rvx_text *text)
{
    free(text->data);
    *text = (rvx_text){0};
}

/* Levenshtein distance, names up to 63 bytes. */
static int edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    int row[LONGEST + 1];
    int a_bytes = (int)strnlen(a, LONGEST), b_bytes = (int)strnlen(b, LONGEST);
    for (int j = 0; j <= b_bytes; j++)
        row[j] = j;
    for (int i = 1; i <= a_bytes; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= b_bytes; j++) {
            int above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            best = above + 1 < best ? above + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[b_bytes];
}

const char *rvx__text_nearest(const char *name, const char *const *candidates)
{
    const char *nearest = NULL;
    int length = (int)strnlen(name, 63), nearest_distance = length / 2 + 1;
    for (; *candidates; candidates++) {
        int distance = edit_distance(name, *candidates);
        bool inside = length >= 4 && strstr(*candidates, name);
        if (inside && distance >= nearest_distance)
            distance = nearest_distance - 1;
        if (distance < nearest_distance) {
            nearest_distance = distance;
            nearest = *candidates;
        }
    }
    return nearest;
}
