/* Preprocessed cases on disk: see cache.h. Owns: the header, what makes a file stale, and the
 * mapping; cache_write.c makes the files. */
#include "engine/volume/cache_file.h"

#include "engine/base/checksum.h"
#include "engine/volume/repair.h"
#include "engine/volume/volume_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = "rvxcase";

/* ---- What a file was made from ----------------------------------------------------------------
 */

static void hash_integer(rvx_hash *hash, int64_t value)
{
    rvx__hash_add(hash, &value, sizeof value);
}
static void hash_number(rvx_hash *hash, double value) { rvx__hash_add(hash, &value, sizeof value); }

static uint64_t recipe_hash(const rvx_case_recipe *r)
{
    rvx_hash hash;
    rvx__hash_start(&hash);
    hash_integer(&hash, RVX_CACHE_FORMAT);
    hash_integer(&hash, r->channel_count);
    for (int c = 0; c < r->channel_count; c++) {
        const rvx_channel_recipe *channel = &r->channels[c];
        hash_integer(&hash, channel->normalization);
        hash_integer(&hash, channel->nonzero_only);
        hash_integer(&hash, channel->sector_only);
        hash_number(&hash, channel->mean);
        hash_number(&hash, channel->std);
        hash_number(&hash, channel->low);
        hash_number(&hash, channel->high);
        hash_number(&hash, channel->to[0]);
        hash_number(&hash, channel->to[1]);
        hash_integer(&hash, channel->clip);
    }
    for (int a = 0; a < 3; a++)
        hash_number(&hash, r->spacing[a]);
    hash_integer(&hash, r->crop_to_nonzero);
    hash_integer(&hash, r->image_rule);
    hash_integer(&hash, r->label_rule);
    hash_integer(&hash, r->repairs != NULL);
    hash_integer(&hash, r->class_count);
    hash_integer(&hash, r->ignore_label);
    return rvx__hash_value(&hash);
}

static void hash_file(rvx_hash *hash, const char *path)
{
    struct stat info = {0};
    const char *name = rvx__path_name(path);
    if (stat(path, &info) != 0)
        memset(&info, 0, sizeof info); /* opening it will say what is wrong */
    rvx__hash_add(hash, name, (int64_t)strlen(name) + 1);
    hash_integer(hash, info.st_size);
    hash_integer(hash, info.st_mtim.tv_sec);
    hash_integer(hash, info.st_mtim.tv_nsec);
}

/* Every file of a volume. */
static rvx_status hash_source(rvx_hash *hash, const char *path, rvx_error *error)
{
    rvx_names files;
    rvx_status status = rvx__volume_files(&files, path, error);
    for (int64_t i = 0; i < files.count; i++)
        hash_file(hash, files.names[i]);
    rvx__names_free(&files);
    return status;
}

rvx_status rvx__cache_place_find(rvx_cache_place *place, const char *folder, const char *identifier,
                                 const char *const *image_paths, const char *label_path,
                                 const rvx_case_recipe *recipe, rvx_error *error)
{
    char name[512];
    rvx_hash hash;
    rvx_status status = RVX_OK;
    place->recipe = recipe_hash(recipe);
    rvx__hash_start(&hash);
    for (int c = 0; c < recipe->channel_count && status == RVX_OK; c++)
        status = hash_source(&hash, image_paths[c], error);
    if (label_path && status == RVX_OK)
        status = hash_source(&hash, label_path, error);
    if (status != RVX_OK)
        return rvx__fail_context(error, "case %s", identifier);
    place->sources = rvx__hash_value(&hash);
    int written = snprintf(name, sizeof name, "%s-%016llx.rvxcase", identifier,
                           (unsigned long long)place->recipe);
    if (written < 0 || written >= (int)sizeof name)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "case %s: the name is too long", identifier);
    return rvx__path_join(place->path, folder, name, error);
}

/* ---- Header -----------------------------------------------------------------------------------
 */

uint64_t rvx__cache_checksum(const rvx_cache_header *header)
{
    rvx_cache_header copy = *header;
    copy.checksum = 0;
    return rvx__hash64(&copy, sizeof copy);
}

void rvx__cache_header_start(rvx_cache_header *h, const rvx_cache_place *place)
{
    memset(h, 0, sizeof *h);
    memcpy(h->magic, magic, sizeof magic);
    h->format = RVX_CACHE_FORMAT;
    h->recipe = place->recipe;
    h->sources = place->sources;
}

/* Of a file of `bytes` bytes: whole, and what is asked for. Sizes come from the header, which the
 * checksum covers. */
static bool header_fits(const rvx_cache_header *h, const rvx_cache_place *place, int64_t bytes)
{
    return memcmp(h->magic, magic, sizeof magic) == 0 && h->format == RVX_CACHE_FORMAT &&
           h->checksum == rvx__cache_checksum(h) && h->recipe == place->recipe &&
           h->sources == place->sources && h->file_bytes == bytes;
}

/* The descriptor of a file that fits; -1: there is none. */
static int cache_open(rvx_cache_header *header, const rvx_cache_place *place)
{
    struct stat info;
    int file = open(place->path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    if (fstat(file, &info) == 0 && S_ISREG(info.st_mode) &&
        pread(file, header, sizeof *header, 0) == (ssize_t)sizeof *header &&
        header_fits(header, place, info.st_size))
        return file;
    close(file);
    return -1;
}

bool rvx__cache_has(const char *folder, const char *identifier, const char *const *image_paths,
                    const char *label_path, const rvx_case_recipe *recipe)
{
    rvx_cache_place place;
    rvx_cache_header header;
    int file = -1;
    if (rvx__cache_place_find(&place, folder, identifier, image_paths, label_path, recipe, NULL) ==
        RVX_OK)
        file = cache_open(&header, &place);
    if (file >= 0)
        close(file);
    return file >= 0;
}

/* ---- Mapping ----------------------------------------------------------------------------------
 */

/* Where each index of an axis begins, in elements: chunk by chunk, row-major within a chunk and
 * among chunks. */
static bool chunks_lay(rvx_case *one)
{
    const int64_t size[3] = {one->shape.d, one->shape.h, one->shape.w};
    int64_t within = 1, between = RVX_CACHE_CHUNK * RVX_CACHE_CHUNK * RVX_CACHE_CHUNK;
    for (int a = 2; a >= 0; a--) {
        one->along[a] = malloc((size_t)size[a] * sizeof *one->along[a]);
        if (!one->along[a])
            return false;
        for (int64_t i = 0; i < size[a]; i++)
            one->along[a][i] = i / RVX_CACHE_CHUNK * between + i % RVX_CACHE_CHUNK * within;
        within *= RVX_CACHE_CHUNK;
        between *= rvx__cache_chunks(size[a]);
    }
    return true;
}

static bool locations_lay(rvx_case *one, const rvx_cache_header *h)
{
    char *base = one->mapped;
    const int64_t *table = (const int64_t *)(const void *)(base + h->locations_offset);
    one->class_count = (int)h->class_count;
    one->locations = calloc((size_t)h->class_count, sizeof *one->locations);
    if (!one->locations)
        return false;
    int64_t at = h->locations_offset + 2 * 8 * h->class_count;
    for (int64_t k = 0; k < h->class_count; k++) {
        one->locations[k] = (rvx_class_locations){.voxel_count = table[2 * k],
                                                  .count = table[2 * k + 1],
                                                  .voxels = (int64_t *)(void *)(base + at)};
        at += 8 * table[2 * k + 1];
    }
    return at == h->repairs_offset;
}

/* At the end of the file, and the last line ends. */
static bool repairs_lie(const rvx_case *one, const rvx_cache_header *h)
{
    const char *base = one->mapped;
    return h->repairs_bytes >= 0 && h->repairs_offset > 0 &&
           h->repairs_offset == h->file_bytes - h->repairs_bytes &&
           (h->repairs_bytes == 0 || base[h->file_bytes - 1] == 0);
}

static rvx_status case_map(rvx_case *out, const char *identifier, int file,
                           const rvx_cache_header *h, const char *path, rvx_error *error)
{
    void *mapped = mmap(NULL, (size_t)h->file_bytes, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: cannot map %lld bytes: %s", path,
                         (long long)h->file_bytes, strerror(errno));
    madvise(mapped, (size_t)h->file_bytes, MADV_RANDOM);
    out->mapped = mapped;
    out->mapped_bytes = h->file_bytes;
    out->identifier = strdup(identifier);
    out->shape = (rvx_shape){1, h->size[0], h->size[1], h->size[2], h->channels};
    out->map = h->map;
    out->info.geometry = h->geometry;
    out->image = (float *)(void *)((char *)mapped + h->image_offset);
    bool laid = out->identifier && chunks_lay(out) && repairs_lie(out, h);
    if (h->labels_offset) {
        out->labels = (uint8_t *)mapped + h->labels_offset;
        laid = laid && locations_lay(out, h);
    }
    return laid ? RVX_OK : rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
}

/* A case from the cache was repaired as much as one that was just read. */
static rvx_status repairs_tell(rvx_repairs *repairs, const rvx_case *one, const rvx_cache_header *h,
                               rvx_error *error)
{
    const char *line = (const char *)one->mapped + h->repairs_offset;
    const char *end = (const char *)one->mapped + h->file_bytes;
    while (line < end) {
        rvx__repairs_add(repairs, "%s", line);
        line += strlen(line) + 1;
    }
    return rvx__repairs_check(repairs, error);
}

rvx_status rvx__cache_load(rvx_case *out, const char *folder, const char *identifier,
                           const char *const *image_paths, const char *label_path,
                           const rvx_case_recipe *recipe, rvx_error *error)
{
    rvx_status status;
    rvx_cache_place place;
    rvx_cache_header header;
    int file = -1;
    memset(out, 0, sizeof *out);
    RVX_TRY(
        rvx__cache_place_find(&place, folder, identifier, image_paths, label_path, recipe, error));
    file = cache_open(&header, &place);
    if (file < 0) {
        RVX_TRY(rvx__directory_create(folder, error));
        RVX_TRY(rvx__cache_write(&place, identifier, image_paths, label_path, recipe, error));
        file = cache_open(&header, &place);
    }
    if (file < 0)
        status = rvx__fail(error, RVX_ERROR_IO,
                           "%s: was written and is not what was written: a source of case %s "
                           "changes, or the disk is at fault",
                           place.path, identifier);
    else
        status = case_map(out, identifier, file, &header, place.path, error);
    if (status == RVX_OK && recipe->repairs)
        status = repairs_tell(recipe->repairs, out, &header, error);
cleanup:
    if (file >= 0)
        close(file);
    if (status != RVX_OK)
        rvx__case_free(out);
    return status;
}

/* ---- Reading ahead ----------------------------------------------------------------------------
 */

static void fetch_bytes(const rvx_case *one, const void *first, int64_t bytes)
{
    static const int64_t page = 4096;
    int64_t offset = (const char *)first - (const char *)one->mapped, start = offset / page * page;
    madvise((char *)one->mapped + start, (size_t)(offset + bytes - start), MADV_WILLNEED);
}

void rvx__case_fetch(const rvx_case *one, const int64_t low[3], const int64_t high[3])
{
    const int64_t size[3] = {one->shape.d, one->shape.h, one->shape.w};
    int64_t from[3], to[3];
    if (!one->mapped)
        return;
    for (int a = 0; a < 3; a++) {
        from[a] = low[a] < 0 ? 0 : low[a] / RVX_CACHE_CHUNK * RVX_CACHE_CHUNK;
        to[a] = high[a] > size[a] ? size[a] : high[a];
        if (from[a] >= to[a])
            return;
    }
    /* Chunks stand in rows along w. */
    const int64_t chunk = RVX_CACHE_CHUNK * RVX_CACHE_CHUNK * RVX_CACHE_CHUNK;
    const int64_t run = rvx__cache_chunks(to[2]) - from[2] / RVX_CACHE_CHUNK;
    for (int64_t z = from[0]; z < to[0]; z += RVX_CACHE_CHUNK)
        for (int64_t y = from[1]; y < to[1]; y += RVX_CACHE_CHUNK) {
            int64_t at = rvx__case_voxel(one, z, y, from[2]);
            fetch_bytes(one, one->image + at * one->shape.c, run * chunk * one->shape.c * 4);
            if (one->labels)
                fetch_bytes(one, one->labels + at, run * chunk);
        }
}
