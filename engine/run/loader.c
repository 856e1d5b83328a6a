/* The loader: see loader.h. */
#include "engine/run/loader.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCHES = 2, BATCHES_ELSEWHERE = 4, WORKERS_MAX = 16, WHOLE_BYTES_MAX = 64 << 20 };

typedef struct batch {
    void *image;
    uint8_t *labels;
    int64_t finished; /* samples of it that are drawn */
} batch;

typedef struct worker {
    rvx_loader *loader;
    float *temporary;
    pthread_t thread;
} worker;

struct rvx_loader {
    rvx_sampler sampler;
    int64_t step, count;       /* of the first batch; samples of a batch */
    int64_t voxels;            /* of a batch */
    int64_t image_bytes, held; /* of a batch; of the loader */
    batch batches[BATCHES_ELSEWHERE];
    int64_t batch_count;
    worker workers[WORKERS_MAX];
    int worker_count, started;
    float *greys; /* of the sampler */
    /* Of what is drawn between the steps; NULL: the caller's idle memory serves. */
    float *temporary;
    int64_t next_sample; /* of all batches: the next that a worker takes */
    int64_t taken;       /* batches handed to the caller */
    bool stopping;
    double wait_seconds;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void draw_sample(const rvx_loader *loader, const rvx_sampler *sampler, int64_t number,
                        int64_t index, void *image, uint8_t *labels)
{
    rvx__sample_draw(sampler, (char *)image + index * (loader->image_bytes / loader->count),
                     labels + index * (loader->voxels / loader->count), loader->step + number,
                     index);
}

/* Takes one sample after the other, in their order, as long as there is room for its batch. */
static void *work(void *argument)
{
    worker *self = argument;
    rvx_loader *loader = self->loader;
    rvx_sampler sampler = loader->sampler;
    sampler.temporary = self->temporary;
    pthread_mutex_lock(&loader->mutex);
    while (!loader->stopping) {
        int64_t number = loader->next_sample / loader->count;
        if (number - loader->taken >= loader->batch_count) {
            pthread_cond_wait(&loader->changed, &loader->mutex);
            continue;
        }
        int64_t index = loader->next_sample++ % loader->count;
        batch *b = &loader->batches[number % loader->batch_count];
        pthread_mutex_unlock(&loader->mutex);
        draw_sample(loader, &sampler, number, index, b->image, b->labels);
        pthread_mutex_lock(&loader->mutex);
        if (++b->finished == loader->count)
            pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->mutex);
    return NULL;
}

static bool allocate(rvx_loader *loader, int64_t temporary_bytes, void *idle)
{
    bool complete = true;
    if (loader->worker_count == 0) {
        loader->sampler.temporary = idle;
        if (!idle) {
            loader->held = temporary_bytes;
            loader->sampler.temporary = loader->temporary = malloc((size_t)temporary_bytes);
        }
        return loader->sampler.temporary != NULL;
    }
    for (int w = 0; w < loader->worker_count; w++) {
        loader->workers[w].temporary = malloc((size_t)temporary_bytes);
        loader->held += temporary_bytes;
        complete &= loader->workers[w].temporary != NULL;
    }
    for (int64_t b = 0; b < loader->batch_count; b++) {
        loader->batches[b].image = malloc((size_t)loader->image_bytes);
        loader->batches[b].labels = malloc((size_t)loader->voxels);
        loader->held += loader->image_bytes + loader->voxels;
        complete &= loader->batches[b].image && loader->batches[b].labels;
    }
    return complete;
}

/* Black and white of every case, where a transform asks for them: looked up once, as cases may lie
 * in a file. */
static bool find_greys(rvx_loader *loader, const rvx_loader_options *o)
{
    const rvx_ultrasound_recipe *u = &o->recipe->augmentation.ultrasound;
    double odds = u->pose.probability + u->sound.probability + u->speckle.probability +
                  u->reverberation.probability + u->shadow.probability +
                  u->attenuation.probability + u->time_gain.probability + u->gain.probability +
                  u->sector.probability;
    int64_t channels = o->recipe->network.in_channels;
    if (!(odds > 0))
        return true;
    loader->greys = malloc((size_t)(2 * o->case_count * channels) * sizeof *loader->greys);
    if (loader->greys)
        rvx__sample_greys(loader->greys, o->cases, o->case_count, channels);
    loader->sampler.greys = loader->greys;
    return loader->greys != NULL;
}

static bool start(rvx_loader *loader)
{
    for (; loader->started < loader->worker_count; loader->started++) {
        worker *w = &loader->workers[loader->started];
        w->loader = loader;
        if (pthread_create(&w->thread, NULL, work, w) != 0)
            return false;
    }
    return true;
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
    /* Beside a step that keeps every core busy one thread is enough, and more would only push in
     * front of it. Small samples go to many workers, whole volumes to one with many threads. */
    assert(o->threads >= 1);
    if (o->elsewhere) {
        made->batch_count = BATCHES_ELSEWHERE;
        made->worker_count = o->recipe->patch.whole     ? 1
                             : o->threads > WORKERS_MAX ? WORKERS_MAX
                                                        : o->threads;
    } else if (rvx__loader_bytes_ahead(o->recipe, o->patch, o->dtype) == threaded) {
        made->batch_count = BATCHES;
        made->worker_count = 1;
    }
    bool idle = made->worker_count == 0 && o->idle && o->idle_bytes >= temporary;
    if (made->worker_count == 0 || (o->elsewhere && o->recipe->patch.whole))
        made->sampler.threads = o->threads;
    if (!allocate(made, temporary, idle ? o->idle : NULL) || !find_greys(made, o) || !start(made)) {
        double wanted = (double)made->held / 0x1p30;
        rvx__loader_free(made);
        return rvx__fail(error, RVX_ERROR_MEMORY, "loader: no thread, or no %.2f GiB, for batches",
                         wanted);
    }
    *loader = made;
    return RVX_OK;
}

void rvx__loader_next(rvx_loader *loader, void *image, uint8_t *labels)
{
    double start_seconds = now_seconds();
    if (loader->worker_count == 0) {
        for (int64_t i = 0; i < loader->count; i++)
            draw_sample(loader, &loader->sampler, loader->taken, i, image, labels);
        loader->taken++;
        loader->wait_seconds += now_seconds() - start_seconds;
        return;
    }
    batch *b = &loader->batches[loader->taken % loader->batch_count];
    pthread_mutex_lock(&loader->mutex);
    while (b->finished < loader->count)
        pthread_cond_wait(&loader->changed, &loader->mutex);
    pthread_mutex_unlock(&loader->mutex); /* workers leave it alone until it is taken */
    loader->wait_seconds += now_seconds() - start_seconds;
    memcpy(image, b->image, (size_t)loader->image_bytes);
    memcpy(labels, b->labels, (size_t)loader->voxels);
    pthread_mutex_lock(&loader->mutex);
    b->finished = 0;
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
    pthread_mutex_lock(&loader->mutex);
    loader->stopping = true;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->mutex);
    for (int w = 0; w < loader->started; w++)
        pthread_join(loader->workers[w].thread, NULL);
    for (int w = 0; w < loader->worker_count; w++)
        free(loader->workers[w].temporary);
    for (int64_t b = 0; b < loader->batch_count; b++) {
        free(loader->batches[b].image);
        free(loader->batches[b].labels);
    }
    free(loader->temporary);
    free(loader->greys);
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->mutex);
    free(loader);
}
