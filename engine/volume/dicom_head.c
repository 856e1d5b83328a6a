/* The beginning of DICOM files: see dicom_head.h.
 *
 * A file without preamble says nowhere that it is DICOM, and two bytes of a group's number are
 * found at the start of many a file. So its first elements are walked in each of the encodings that
 * there are, and three in a row must make sense: tags of one group that grow, lengths that are
 * even, known types of values, or, where types are not written, values that are text. */
#include "engine/volume/dicom_head.h"

#include <stdbool.h>
#include <string.h>

enum { PREAMBLE_BYTES = 128, MAGIC_BYTES = 4, ELEMENTS_MIN = 3, META = 0x0002, IDENTITY = 0x0008 };

#define UNDEFINED_LENGTH 0xffffffffu

typedef struct encoding {
    bool typed; /* "explicit": every element says its type of values */
    bool big;   /* most significant bytes first */
} encoding;

typedef struct element {
    uint32_t group, number, length;
    char type[3]; /* "" where it is not written */
    int64_t value_at;
} element;

static uint32_t number_of(const uint8_t *p, int bytes, bool big)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | p[big ? i : bytes - 1 - i];
    return value;
}

static bool is_listed(const char *list, const char *type)
{
    for (; *list; list += 3)
        if (memcmp(list, type, 2) == 0)
            return true;
    return false;
}

/* False where the bytes are none, or too few for what stands before a value. */
static bool element_read(element *e, const uint8_t *p, int64_t left, encoding how)
{
    if (left < 8)
        return false;
    *e = (element){.group = number_of(p, 2, how.big),
                   .number = number_of(p + 2, 2, how.big),
                   .length = number_of(p + 4, 4, how.big),
                   .value_at = 8};
    if (!how.typed)
        return true;
    memcpy(e->type, p + 4, 2);
    if (is_listed("AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US ", e->type)) {
        e->length = number_of(p + 6, 2, how.big);
        return true;
    }
    if (!is_listed("OB OD OF OL OV OW SQ SV UC UN UR UT UV ", e->type) || left < 12 || p[6] || p[7])
        return false;
    e->length = number_of(p + 8, 4, how.big);
    e->value_at = 12;
    return true;
}

/* Values of group 0008 where types are not written: numbers in the first two elements, else
 * sequences, which begin with an item, and text. */
static bool value_plausible(const element *e, const uint8_t *value, int64_t left)
{
    static const uint8_t item[2][4] = {{0xfe, 0xff, 0x00, 0xe0}, {0xfe, 0xff, 0xdd, 0xe0}};
    const int64_t shown = e->length < left ? (int64_t)e->length : left;
    if (e->number < 2)
        return e->length == 4;
    if (shown >= 4 && (memcmp(value, item[0], 4) == 0 || memcmp(value, item[1], 4) == 0))
        return true;
    for (int64_t i = 0; i < shown; i++)
        if (value[i] < ' ' && !strchr("\t\n\f\r\033", value[i] ? value[i] : 'x') &&
            !(value[i] == 0 && i + 1 == e->length))
            return false;
    return e->length != UNDEFINED_LENGTH;
}

/* Elements of one group from the first byte on, as long as they make sense. */
static int elements_count(const uint8_t *head, int64_t count, uint32_t group, encoding how)
{
    int found = 0;
    int64_t before = -1;
    element e;
    while (element_read(&e, head, count, how) && e.group == group && e.number > before) {
        const bool open = e.length == UNDEFINED_LENGTH;
        const int64_t left = count - e.value_at;
        if (open ? how.typed && strcmp(e.type, "SQ") != 0 && strcmp(e.type, "UN") != 0
                 : e.length % 2)
            break;
        if (!how.typed && !value_plausible(&e, head + e.value_at, left))
            break;
        found++;
        if (open || e.length > left)
            break;
        before = e.number;
        head += e.value_at + e.length;
        count = left - e.length;
    }
    return found;
}

/* True where MediaStorageSOPClassUID, (0002,0002), is Media Storage Directory Storage. */
static bool is_directory(const uint8_t *head, int64_t count)
{
    static const uint8_t field[] = "\2\0\2\0UI\24\0001.2.840.10008.1.3.10";
    return memmem(head, (size_t)count, field, sizeof field - 1) != NULL;
}

rvx__dicom_head rvx__dicom_head_of(const uint8_t *head, int64_t count)
{
    static const encoding little = {.typed = true}, untyped = {0}, big = {true, true};
    if (count >= PREAMBLE_BYTES + MAGIC_BYTES &&
        memcmp(head + PREAMBLE_BYTES, "DICM", MAGIC_BYTES) == 0)
        return is_directory(head, count) ? RVX__DICOM_DIRECTORY : RVX__DICOM_WHOLE;
    if (count > MAGIC_BYTES && memcmp(head, "DICM", MAGIC_BYTES) == 0 &&
        elements_count(head + MAGIC_BYTES, count - MAGIC_BYTES, META, little) >= ELEMENTS_MIN)
        return RVX__DICOM_CUT;
    if (elements_count(head, count, META, little) >= ELEMENTS_MIN ||
        elements_count(head, count, IDENTITY, little) >= ELEMENTS_MIN ||
        elements_count(head, count, IDENTITY, untyped) >= ELEMENTS_MIN ||
        elements_count(head, count, IDENTITY, big) >= ELEMENTS_MIN)
        return RVX__DICOM_BARE;
    return RVX__DICOM_NOT;
}
