/* The loader: see loader.h. */
#include "engine/run/loader.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { BATCHES = 3 }; /* one in use, one ready, one being drawn */

struct rvx_loader {
    const rvx_recipe *recipe;
    const rvx_case *cases;
    int64_t case_count, patch[3], step;
    rvx_batch batches[BATCHES];
    float *temporary;
    int64_t drawn, taken; /* batches finished by the thread, handed to the caller */
    bool stopping, started;
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

static void draw_batch(rvx_loader *loader, int64_t number)
{
    rvx_batch *batch = &loader->batches[number % BATCHES];
    int64_t voxels = loader->patch[0] * loader->patch[1] * loader->patch[2];
    for (int64_t i = 0; i < loader->recipe->patch.batch; i++)
        rvx__sample_draw(batch->image + i * voxels * loader->recipe->network.in_channels,
                         batch->labels + i * voxels, loader->temporary, loader->recipe,
                         loader->patch, loader->cases, loader->case_count, loader->step + number,
                         i);
}

static void *work(void *argument)
{
    rvx_loader *loader = argument;
    pthread_mutex_lock(&loader->mutex);
    while (!loader->stopping) {
        /* The batch that was taken last is still in use. */
        if (loader->drawn - loader->taken >= BATCHES - 1) {
            pthread_cond_wait(&loader->changed, &loader->mutex);
            continue;
        }
        int64_t number = loader->drawn;
        pthread_mutex_unlock(&loader->mutex);
        draw_batch(loader, number);
        pthread_mutex_lock(&loader->mutex);
        loader->drawn++;
        pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->mutex);
    return NULL;
}

rvx_status rvx__loader_create(rvx_loader **loader, const rvx_recipe *recipe, const int64_t patch[3],
                              const rvx_case *cases, int64_t case_count, int64_t first_step,
                              rvx_error *error)
{
    *loader = NULL;
    rvx_loader *made = calloc(1, sizeof *made);
    if (!made)
        return rvx__fail(error, RVX_ERROR_MEMORY, "loader: out of memory");
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->changed, NULL);
    made->recipe = recipe;
    made->cases = cases;
    made->case_count = case_count;
    made->step = first_step;
    int64_t voxels = recipe->patch.batch;
    for (int a = 0; a < 3; a++)
        voxels *= made->patch[a] = patch[a];
    made->temporary =
        malloc((size_t)rvx__sample_temporary_floats(recipe, patch) * sizeof *made->temporary);
    bool complete = made->temporary != NULL;
    for (int b = 0; b < BATCHES; b++) {
        made->batches[b].image =
            malloc((size_t)(voxels * recipe->network.in_channels) * sizeof(float));
        made->batches[b].labels = malloc((size_t)voxels);
        complete &= made->batches[b].image && made->batches[b].labels;
    }
    if (!complete || pthread_create(&made->thread, NULL, work, made) != 0) {
        rvx__loader_free(made);
        return rvx__fail(error, RVX_ERROR_MEMORY, "loader: no memory or thread for batches");
    }
    made->started = true;
    *loader = made;
    return RVX_OK;
}

const rvx_batch *rvx__loader_next(rvx_loader *loader)
{
    double start = now_seconds();
    pthread_mutex_lock(&loader->mutex);
    while (loader->drawn == loader->taken)
        pthread_cond_wait(&loader->changed, &loader->mutex);
    const rvx_batch *batch = &loader->batches[loader->taken % BATCHES];
    loader->taken++;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->mutex);
    loader->wait_seconds += now_seconds() - start;
    return batch;
}

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
