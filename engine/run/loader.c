/* The loader: see loader.h. */
#include "engine/run/loader.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCHES = 2, WHOLE_BYTES_MAX = 64 << 20 };

typedef struct batch {
    void *image;
    uint8_t *labels;
} batch;

struct rvx_loader {
    rvx_sampler sampler;
    int64_t step, count;       /* of the first batch; samples of a batch */
    int64_t voxels;            /* of a batch */
    int64_t image_bytes, held; /* of a batch; of the loader */
    batch batches[BATCHES];
    float *temporary;     /* NULL: the caller's idle memory serves */
    int64_t drawn, taken; /* batches finished by the thread, handed to the caller */
    bool threaded, stopping, started;
    double wait_seconds;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void draw_batch(const rvx_loader *loader, int64_t number, void *image, uint8_t *labels)
{
    for (int64_t i = 0; i < loader->count; i++)
        rvx__sample_draw(&loader->sampler,
                         (char *)image + i * (loader->image_bytes / loader->count),
                         labels + i * (loader->voxels / loader->count), loader->step + number, i);
}

static void *work(void *argument)
{
    rvx_loader *loader = argument;
    pthread_mutex_lock(&loader->mutex);
    while (!loader->stopping) {
        if (loader->drawn - loader->taken >= BATCHES) {
            pthread_cond_wait(&loader->changed, &loader->mutex);
            continue;
        }
        int64_t number = loader->drawn;
        const batch *b = &loader->batches[number % BATCHES];
        pthread_mutex_unlock(&loader->mutex);
        draw_batch(loader, number, b->image, b->labels);
        pthread_mutex_lock(&loader->mutex);
        loader->drawn++;
        pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->mutex);
    return NULL;
}

static bool allocate(rvx_loader *loader, int64_t temporary_bytes, void *idle)
{
    loader->sampler.temporary = idle;
    if (!idle) {
        loader->held = temporary_bytes;
        loader->sampler.temporary = loader->temporary = malloc((size_t)temporary_bytes);
    }
    bool complete = loader->sampler.temporary != NULL;
    for (int b = 0; b < BATCHES && loader->threaded; b++) {
        loader->batches[b].image = malloc((size_t)loader->image_bytes);
        loader->batches[b].labels = malloc((size_t)loader->voxels);
        loader->held += loader->image_bytes + loader->voxels;
        complete &= loader->batches[b].image && loader->batches[b].labels;
    }
    return complete;
}

/* Bytes of the images of a batch, of its labels, and of what drawing takes beside them. */
static int64_t batch_bytes(const rvx_recipe *recipe, const int64_t patch[3], rvx_dtype dtype,
                           int64_t *voxels, int64_t *temporary)
{
    *voxels = recipe->patch.batch * patch[0] * patch[1] * patch[2];
    *temporary = rvx__sample_temporary_floats(recipe, patch) * (int64_t)sizeof(float);
    return *voxels * recipe->network.in_channels * rvx__dtype_bytes(dtype);
}

int64_t rvx__loader_bytes_ahead(const rvx_recipe *recipe, const int64_t patch[3], rvx_dtype dtype)
{
    int64_t voxels, temporary, image = batch_bytes(recipe, patch, dtype, &voxels, &temporary);
    int64_t threaded = temporary + BATCHES * (image + voxels);
    return recipe->patch.whole && threaded > WHOLE_BYTES_MAX ? 0 : threaded;
}

rvx_status rvx__loader_create(rvx_loader **loader, const rvx_loader_options *o, rvx_error *error)
{
    *loader = NULL;
    rvx_loader *made = calloc(1, sizeof *made);
    if (!made)
        return rvx__fail(error, RVX_ERROR_MEMORY, "loader: out of memory");
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->changed, NULL);
    made->sampler = (rvx_sampler){.recipe = o->recipe,
                                  .patch = {o->patch[0], o->patch[1], o->patch[2]},
                                  .cases = o->cases,
                                  .case_count = o->case_count,
                                  .dtype = o->dtype,
                                  .threads = 1};
    made->step = o->first_step;
    made->count = o->recipe->patch.batch;
    int64_t temporary;
    made->image_bytes = batch_bytes(o->recipe, o->patch, o->dtype, &made->voxels, &temporary);
    int64_t threaded = temporary + BATCHES * (made->image_bytes + made->voxels);
    made->threaded =
        o->elsewhere || rvx__loader_bytes_ahead(o->recipe, o->patch, o->dtype) == threaded;
    bool idle = !made->threaded && o->idle && o->idle_bytes >= temporary;
    if (!made->threaded || o->elsewhere)
        made->sampler.threads = o->threads;
    if (!allocate(made, temporary, idle ? o->idle : NULL) ||
        (made->threaded && pthread_create(&made->thread, NULL, work, made) != 0)) {
        double wanted = (double)(made->threaded ? threaded : temporary) / 0x1p30;
        rvx__loader_free(made);
        return rvx__fail(error, RVX_ERROR_MEMORY, "loader: no thread, or no %.2f GiB, for batches",
                         wanted);
    }
    made->started = made->threaded;
    *loader = made;
    return RVX_OK;
}

void rvx__loader_next(rvx_loader *loader, void *image, uint8_t *labels)
{
    double start = now_seconds();
    if (!loader->threaded) {
        draw_batch(loader, loader->taken++, image, labels);
        loader->wait_seconds += now_seconds() - start;
        return;
    }
    pthread_mutex_lock(&loader->mutex);
    while (loader->drawn == loader->taken)
        pthread_cond_wait(&loader->changed, &loader->mutex);
    const batch *b = &loader->batches[loader->taken % BATCHES];
    pthread_mutex_unlock(&loader->mutex); /* the thread leaves it alone until it is taken */
    loader->wait_seconds += now_seconds() - start;
    memcpy(image, b->image, (size_t)loader->image_bytes);
    memcpy(labels, b->labels, (size_t)loader->voxels);
    pthread_mutex_lock(&loader->mutex);
    loader->taken++;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->mutex);
}

void rvx__labels_shrink(rvx_tensor out, const rvx_tensor *fine)
{
    uint8_t *target = out.data;
    const uint8_t *labels = fine->data;
    rvx_shape s = out.shape, f = fine->shape;
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t z = 0; z < s.d; z++)
            for (int64_t y = 0; y < s.h; y++)
                for (int64_t x = 0; x < s.w; x++) {
                    int64_t fz = (2 * z + 1) * f.d / (2 * s.d);
                    int64_t fy = (2 * y + 1) * f.h / (2 * s.h);
                    int64_t fx = (2 * x + 1) * f.w / (2 * s.w);
                    *target++ = labels[((n * f.d + fz) * f.h + fy) * f.w + fx];
                }
}

int64_t rvx__loader_bytes(const rvx_loader *loader) { return loader->held; }

double rvx__loader_wait_seconds(const rvx_loader *loader) { return loader->wait_seconds; }

void rvx__loader_free(rvx_loader *loader)
{
    if (!loader)
        return;
    if (loader->started) {
        pthread_mutex_lock(&loader->mutex);
        loader->stopping = true;
        pthread_cond_broadcast(&loader->changed);
        pthread_mutex_unlock(&loader->mutex);
        pthread_join(loader->thread, NULL);
    }
    for (int b = 0; b < BATCHES; b++) {
        free(loader->batches[b].image);
        free(loader->batches[b].labels);
    }
    free(loader->temporary);
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->mutex);
    free(loader);
}
