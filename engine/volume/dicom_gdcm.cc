/* DICOM files through GDCM: see dicom_gdcm.h. Owns: the attributes that are looked at, and the step
 * from GDCM's objects and exceptions to plain structs and a status. Source: DICOM PS3.3 (the
 * general and the functional-group macros) and PS3.5 (decimal strings). */
#include "engine/volume/dicom_gdcm.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <set>
#include <string>
#include <sys/stat.h>

#include <gdcmBoxRegion.h>
#include <gdcmImageRegionReader.h>
#include <gdcmReader.h>
#include <gdcmTrace.h>

namespace
{

using gdcm::DataSet;
using gdcm::Tag;

const Tag PIXEL_DATA(0x7fe0, 0x0010);
const char ENHANCED_US_VOLUME[] = "1.2.840.10008.5.1.4.1.1.6.2";

/* ---- Attributes -------------------------------------------------------------------------------
 * Each returns false where the attribute is not there or not of its kind. */

const gdcm::ByteValue *bytes_of(const DataSet &set, const Tag &tag)
{
    if (!set.FindDataElement(tag))
        return nullptr;
    const gdcm::DataElement &element = set.GetDataElement(tag);
    return element.IsEmpty() ? nullptr : element.GetByteValue();
}

std::string text_of(const DataSet &set, const Tag &tag)
{
    const gdcm::ByteValue *value = bytes_of(set, tag);
    if (!value)
        return "";
    std::string text(value->GetPointer(), value->GetLength());
    text.erase(std::find(text.begin(), text.end(), '\0'), text.end());
    const size_t first = text.find_first_not_of(' ');
    if (first == std::string::npos)
        return "";
    return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

/* Exactly `count` decimal strings, with backslashes between them. */
bool decimals_of(double *out, int count, const DataSet &set, const Tag &tag)
{
    const std::string text = text_of(set, tag);
    const char *p = text.data(), *end = p + text.size();
    for (int i = 0; i < count; i++) {
        while (p < end && (*p == ' ' || *p == '+'))
            p++;
        const auto result = std::from_chars(p, end, out[i]);
        if (result.ec != std::errc() || !std::isfinite(out[i]))
            return false;
        p = result.ptr;
        while (p < end && *p == ' ')
            p++;
        if (i + 1 < count && (p == end || *p++ != '\\'))
            return false;
    }
    return count > 0 && p == end;
}

/* Exactly `count` binary doubles. */
bool doubles_of(double *out, int count, const DataSet &set, const Tag &tag)
{
    const gdcm::ByteValue *value = bytes_of(set, tag);
    if (!value || value->GetLength() != count * sizeof *out)
        return false;
    std::memcpy(out, value->GetPointer(), count * sizeof *out);
    for (int i = 0; i < count; i++)
        if (!std::isfinite(out[i]))
            return false;
    return true;
}

int64_t short_of(const DataSet &set, const Tag &tag, int64_t otherwise)
{
    const gdcm::ByteValue *value = bytes_of(set, tag);
    uint16_t number;
    if (!value || value->GetLength() < sizeof number)
        return otherwise;
    std::memcpy(&number, value->GetPointer(), sizeof number);
    return number;
}

int64_t integer_of(const DataSet &set, const Tag &tag, int64_t otherwise)
{
    double number;
    return decimals_of(&number, 1, set, tag) && std::fabs(number) < 1e15 ? (int64_t)number
                                                                         : otherwise;
}

gdcm::SmartPointer<gdcm::SequenceOfItems> sequence_of(const DataSet &set, const Tag &tag)
{
    if (!set.FindDataElement(tag))
        return nullptr;
    return set.GetDataElement(tag).GetValueAsSQ();
}

/* The first item of a sequence, which the caller keeps alive; NULL: none. */
const DataSet *item_of(gdcm::SmartPointer<gdcm::SequenceOfItems> &keep, const DataSet &set,
                       const Tag &tag)
{
    keep = sequence_of(set, tag);
    return keep && keep->GetNumberOfItems() ? &keep->GetItem(1).GetNestedDataSet() : nullptr;
}

void word_put(char (&out)[RVX_DICOM_WORD_BYTES], const std::string &text)
{
    size_t count = 0;
    for (char c : text)
        if (count + 1 < sizeof out)
            out[count++] = (unsigned char)c < 32 || c == 127 ? '?' : c;
    out[count] = 0;
}

/* ---- Frames -----------------------------------------------------------------------------------
 */

void measures_read(rvx_dicom_frame *f, const DataSet &set)
{
    double pair[2], length;
    if (decimals_of(pair, 2, set, Tag(0x0028, 0x0030))) { /* of rows, then of columns */
        f->spacing[0] = pair[1];
        f->spacing[1] = pair[0];
        f->has_spacing = true;
    }
    const bool step = decimals_of(&length, 1, set, Tag(0x0018, 0x0088));
    if (step || decimals_of(&length, 1, set, Tag(0x0018, 0x0050))) {
        f->thickness = std::fabs(length);
        f->has_step = step;
    }
}

void place_read(rvx_dicom_frame *f, const DataSet &set)
{
    f->has_position |= decimals_of(f->position, 3, set, Tag(0x0020, 0x0032));
    f->has_direction |= decimals_of(f->direction[0], 6, set, Tag(0x0020, 0x0037));
}

void values_read(rvx_dicom_frame *f, const DataSet &set)
{
    double number;
    if (decimals_of(&number, 1, set, Tag(0x0028, 0x1053)))
        f->slope = number;
    if (decimals_of(&number, 1, set, Tag(0x0028, 0x1052)))
        f->intercept = number;
}

/* What one item of the functional groups says, shared or of a frame. */
void groups_read(rvx_dicom_frame *f, const DataSet &item)
{
    gdcm::SmartPointer<gdcm::SequenceOfItems> keep;
    if (const DataSet *measures = item_of(keep, item, Tag(0x0028, 0x9110)))
        measures_read(f, *measures);
    if (const DataSet *place = item_of(keep, item, Tag(0x0020, 0x9113)))
        place_read(f, *place);
    if (const DataSet *turn = item_of(keep, item, Tag(0x0020, 0x9116)))
        place_read(f, *turn);
    if (const DataSet *place = item_of(keep, item, Tag(0x0020, 0x930e)))
        f->has_position |= doubles_of(f->position, 3, *place, Tag(0x0020, 0x9301));
    if (const DataSet *turn = item_of(keep, item, Tag(0x0020, 0x930f)))
        f->has_direction |= doubles_of(f->direction[0], 6, *turn, Tag(0x0020, 0x9302));
    if (const DataSet *values = item_of(keep, item, Tag(0x0028, 0x9145)))
        values_read(f, *values);
    if (const DataSet *segment = item_of(keep, item, Tag(0x0062, 0x000a)))
        f->segment = short_of(*segment, Tag(0x0062, 0x000b), 0);
}

rvx_status frames_read(rvx_dicom_image *image, const DataSet &set, int64_t file_bytes,
                       const char *path, rvx_error *error)
{
    const int64_t count = integer_of(set, Tag(0x0028, 0x0008), 1);
    gdcm::SmartPointer<gdcm::SequenceOfItems> keep;
    auto each = sequence_of(set, Tag(0x5200, 0x9230));
    /* Every frame takes at least a byte. */
    const int64_t most = std::min(file_bytes, (int64_t)RVX_DICOM_FRAMES_MAX);
    if (count < 1 || count > most)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: NumberOfFrames: expected 1 to %lld, found %lld", path,
                         (long long)most, (long long)count);
    if (each && (int64_t)each->GetNumberOfItems() != count)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: PerFrameFunctionalGroupsSequence has %lld items, NumberOfFrames is "
                         "%lld",
                         path, (long long)each->GetNumberOfItems(), (long long)count);
    image->frames = (rvx_dicom_frame *)std::calloc((size_t)count, sizeof *image->frames);
    if (!image->frames)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for %lld frames", path,
                         (long long)count);
    image->frame_count = count;
    rvx_dicom_frame all = {};
    all.slope = 1;
    measures_read(&all, set);
    place_read(&all, set);
    values_read(&all, set);
    if (const DataSet *shared = item_of(keep, set, Tag(0x5200, 0x9229)))
        groups_read(&all, *shared);
    for (int64_t i = 0; i < count; i++) {
        image->frames[i] = all;
        image->frames[i].number =
            image->many_frames ? i + 1 : integer_of(set, Tag(0x0020, 0x0013), 0);
        if (each)
            groups_read(&image->frames[i], each->GetItem((size_t)i + 1).GetNestedDataSet());
    }
    return RVX_OK;
}

/* ---- Segmentations ----------------------------------------------------------------------------
 */

rvx_status segments_read(rvx_dicom_image *image, const DataSet &set, const char *path,
                         rvx_error *error)
{
    auto items = sequence_of(set, Tag(0x0062, 0x0002));
    const int64_t count = items ? (int64_t)items->GetNumberOfItems() : 0;
    if (count < 1 || count > RVX_DICOM_SEGMENTS_MAX)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: SegmentSequence: expected 1 to %d segments, found %lld", path,
                         (int)RVX_DICOM_SEGMENTS_MAX, (long long)count);
    image->segments = (rvx_dicom_segment *)std::calloc((size_t)count, sizeof *image->segments);
    if (!image->segments)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for %lld segments", path,
                         (long long)count);
    image->segment_count = count;
    for (int64_t i = 0; i < count; i++) {
        const DataSet &item = items->GetItem((size_t)i + 1).GetNestedDataSet();
        rvx_dicom_segment *one = &image->segments[i];
        const gdcm::ByteValue *color = bytes_of(item, Tag(0x0062, 0x000d));
        uint16_t lab[3];
        one->number = short_of(item, Tag(0x0062, 0x0004), 0);
        word_put(one->name, text_of(item, Tag(0x0062, 0x0005)));
        one->has_color = color && color->GetLength() == sizeof lab;
        if (one->has_color)
            std::memcpy(lab, color->GetPointer(), sizeof lab);
        for (int k = 0; k < 3 && one->has_color; k++)
            one->color[k] = lab[k];
    }
    image->single_bits = image->bits_allocated == 1;
    if (image->single_bits) {
        image->bits_allocated = image->bits_stored = 8;
        image->high_bit = 7;
    }
    return RVX_OK;
}

/* ---- The table --------------------------------------------------------------------------------
 */

int64_t file_size(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (int64_t)info.st_size : 0;
}

struct HeaderReader : gdcm::Reader {
    int64_t position() const { return (int64_t)GetStreamPtr()->tellg(); }
};

bool is_packed(const gdcm::Reader &reader)
{
    const gdcm::TransferSyntax &syntax = reader.GetFile().GetHeader().GetDataSetTransferSyntax();
    return syntax.IsEncapsulated() || syntax.GetString() == nullptr ||
           syntax == gdcm::TransferSyntax::DeflatedExplicitVRLittleEndian;
}

/* Voxels that are stored as they are must all be there. */
rvx_status length_check(const rvx_dicom_image *image, const HeaderReader &reader,
                        int64_t file_bytes, const char *path, rvx_error *error)
{
    const int64_t bits = image->single_bits ? 1 : image->bits_allocated / 8 * 8;
    const int64_t expected = (image->rows * image->columns * image->frame_count * bits + 7) / 8;
    const int64_t at = reader.position(), left = at < 0 ? 0 : file_bytes - at;
    if (is_packed(reader) || expected <= left)
        return RVX_OK;
    return rvx__fail(error, RVX_ERROR_FORMAT,
                     "%s: truncated: PixelData: %lld frames of %lld x %lld voxels take %lld bytes, "
                     "the file has %lld left",
                     path, (long long)image->frame_count, (long long)image->columns,
                     (long long)image->rows, (long long)expected, (long long)left);
}

rvx_status header_read(rvx_dicom_image *image, const char *path, rvx_error *error)
{
    const int64_t file_bytes = file_size(path);
    HeaderReader reader;
    reader.SetFileName(path);
    if (!reader.ReadUpToTag(PIXEL_DATA, std::set<Tag>{PIXEL_DATA}))
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: GDCM cannot read it as DICOM", path);
    const DataSet &set = reader.GetFile().GetDataSet();
    word_put(image->series, text_of(set, Tag(0x0020, 0x000e)));
    word_put(image->instance, text_of(set, Tag(0x0008, 0x0018)));
    word_put(image->kind, text_of(set, Tag(0x0008, 0x0016)));
    word_put(image->modality, text_of(set, Tag(0x0008, 0x0060)));
    word_put(image->description, text_of(set, Tag(0x0008, 0x103e)));
    word_put(image->photometric, text_of(set, Tag(0x0028, 0x0004)));
    word_put(image->concatenation, text_of(set, Tag(0x0020, 0x9161)));
    image->part_count = short_of(set, Tag(0x0020, 0x9163), 0);
    image->rows = short_of(set, Tag(0x0028, 0x0010), 0);
    image->columns = short_of(set, Tag(0x0028, 0x0011), 0);
    if (!image->rows || !image->columns)
        return RVX_OK;
    image->samples = (int)short_of(set, Tag(0x0028, 0x0002), 1);
    image->bits_allocated = (int)short_of(set, Tag(0x0028, 0x0100), 0);
    image->bits_stored = (int)short_of(set, Tag(0x0028, 0x0101), image->bits_allocated);
    image->high_bit = (int)short_of(set, Tag(0x0028, 0x0102), image->bits_stored - 1);
    image->is_signed = short_of(set, Tag(0x0028, 0x0103), 0) == 1;
    image->is_real =
        set.FindDataElement(Tag(0x7fe0, 0x0008)) || set.FindDataElement(Tag(0x7fe0, 0x0009));
    image->has_table = set.FindDataElement(Tag(0x0028, 0x3000));
    image->many_frames =
        set.FindDataElement(Tag(0x5200, 0x9230)) || integer_of(set, Tag(0x0028, 0x0008), 1) != 1;
    image->volume_frame = std::strcmp(image->kind, ENHANCED_US_VOLUME) == 0;
    decimals_of(&image->tilt, 1, set, Tag(0x0018, 0x1120));
    word_put(image->segmentation, text_of(set, Tag(0x0062, 0x0001)));
    rvx_status status = frames_read(image, set, file_bytes, path, error);
    if (status == RVX_OK && image->segmentation[0])
        status = segments_read(image, set, path, error);
    if (status == RVX_OK)
        status = length_check(image, reader, file_bytes, path, error);
    return status;
}

} // namespace

void rvx__gdcm_image_free(rvx_dicom_image *image)
{
    std::free(image->frames);
    std::free(image->segments);
    image->frames = nullptr;
    image->segments = nullptr;
}

rvx_status rvx__gdcm_image_read(rvx_dicom_image *image, const char *path, rvx_error *error)
{
    rvx_status status;
    std::memset(image, 0, sizeof *image);
    try {
        status = header_read(image, path, error);
    } catch (const std::bad_alloc &) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its header", path);
    } catch (const std::exception &e) {
        status = rvx__fail(error, RVX_ERROR_FORMAT, "%s: GDCM: %.200s", path, e.what());
    }
    if (status != RVX_OK) {
        rvx__gdcm_image_free(image);
        std::memset(image, 0, sizeof *image); /* no list follows the answer */
    }
    return status;
}

struct rvx_dicom_pixels {
    std::string path;
    gdcm::ImageRegionReader reader;
    gdcm::Reader whole;    /* of segmentations */
    rvx_dicom_image image; /* without its frames and segments */
    size_t frame_bytes;
};

namespace
{

/* Segmentations, which GDCM's image reader does not know all of: their voxels as they are stored.
 * Frames follow each other without a gap; of single bits the first is the lowest of its byte. */
rvx_status stored_start(rvx_dicom_pixels *p, rvx_error *error)
{
    const char *path = p->path.c_str();
    p->whole.SetFileName(path);
    if (!p->whole.Read())
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: GDCM cannot read it as DICOM", path);
    const gdcm::ByteValue *stored = bytes_of(p->whole.GetFile().GetDataSet(), PIXEL_DATA);
    const uint64_t count = (uint64_t)p->frame_bytes * (uint64_t)p->image.frame_count;
    const uint64_t bytes = p->image.single_bits ? (count + 7) / 8 : count;
    const gdcm::TransferSyntax &syntax = p->whole.GetFile().GetHeader().GetDataSetTransferSyntax();
    if (!stored || syntax.GetSwapCode() == gdcm::SwapCode::BigEndian)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: PixelData: a segmentation that is packed, or big endian, is not read",
                         path);
    if ((uint64_t)stored->GetLength() < bytes)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: truncated: PixelData: expected %lld bytes, found %lld", path,
                         (long long)bytes, (long long)stored->GetLength());
    return RVX_OK;
}

void stored_read(const rvx_dicom_pixels *p, uint8_t *out, int64_t frame)
{
    const gdcm::ByteValue *value = bytes_of(p->whole.GetFile().GetDataSet(), PIXEL_DATA);
    const uint8_t *stored = (const uint8_t *)value->GetPointer();
    const uint64_t first = (uint64_t)p->frame_bytes * (uint64_t)frame;
    if (!p->image.single_bits)
        std::memcpy(out, stored + first, p->frame_bytes);
    for (uint64_t i = 0; i < p->frame_bytes && p->image.single_bits; i++)
        out[i] = stored[(first + i) / 8] >> (first + i) % 8 & 1;
}

rvx_status pixels_start(rvx_dicom_pixels *p, rvx_error *error)
{
    const rvx_dicom_image &image = p->image;
    const char *path = p->path.c_str();
    if (image.segmentation[0])
        return stored_start(p, error);
    p->reader.SetFileName(path);
    if (!p->reader.ReadInformation())
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "%s: GDCM cannot read its voxels", path);
    const gdcm::PixelFormat &format = p->reader.GetImage().GetPixelFormat();
    const unsigned int *size = p->reader.GetImage().GetDimensions();
    const int64_t frames = p->reader.GetImage().GetNumberOfDimensions() > 2 ? size[2] : 1;
    if (format.GetBitsAllocated() != image.bits_allocated || size[0] != image.columns ||
        size[1] != image.rows || frames != image.frame_count)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: GDCM finds %lld frames of %u x %u voxels of %d bits, its header says "
                         "%lld of %lld x %lld of %d",
                         path, (long long)frames, size[0], size[1], (int)format.GetBitsAllocated(),
                         (long long)image.frame_count, (long long)image.columns,
                         (long long)image.rows, image.bits_allocated);
    return RVX_OK;
}

} // namespace

void rvx__gdcm_pixels_close(rvx_dicom_pixels *pixels) { delete pixels; }

rvx_status rvx__gdcm_pixels_open(rvx_dicom_pixels **pixels, const char *path,
                                 const rvx_dicom_image *image, rvx_error *error)
{
    rvx_status status;
    *pixels = nullptr;
    try {
        *pixels = new rvx_dicom_pixels;
        (*pixels)->path = path;
        (*pixels)->image = *image;
        (*pixels)->image.frames = nullptr;
        (*pixels)->image.segments = nullptr;
        (*pixels)->frame_bytes =
            (size_t)(image->rows * image->columns * (image->bits_allocated / 8));
        status = pixels_start(*pixels, error);
    } catch (const std::bad_alloc &) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its voxels", path);
    } catch (const std::exception &e) {
        status = rvx__fail(error, RVX_ERROR_FORMAT, "%s: GDCM: %.200s", path, e.what());
    }
    if (status != RVX_OK) {
        rvx__gdcm_pixels_close(*pixels);
        *pixels = nullptr;
    }
    return status;
}

rvx_status rvx__gdcm_pixels_read(rvx_dicom_pixels *p, void *out, int64_t frame, rvx_error *error)
{
    const char *path = p->path.c_str();
    if (p->image.segmentation[0]) {
        stored_read(p, (uint8_t *)out, frame);
        return RVX_OK;
    }
    try {
        gdcm::BoxRegion box;
        box.SetDomain(0, (unsigned)p->image.columns - 1, 0, (unsigned)p->image.rows - 1,
                      (unsigned)frame, (unsigned)frame);
        p->reader.SetRegion(box);
        if (p->reader.ComputeBufferLength() != p->frame_bytes)
            return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                             "%s: GDCM makes %lld bytes of a frame, expected %lld", path,
                             (long long)p->reader.ComputeBufferLength(), (long long)p->frame_bytes);
        if (!p->reader.ReadIntoBuffer((char *)out, p->frame_bytes))
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: PixelData: GDCM cannot decode frame %lld: the file is damaged, "
                             "truncated or compressed in a way it does not know",
                             path, (long long)frame + 1);
        return RVX_OK;
    } catch (const std::bad_alloc &) {
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for a frame", path);
    } catch (const std::exception &e) {
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: PixelData: GDCM: %.200s", path, e.what());
    }
}
