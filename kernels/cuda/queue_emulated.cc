/* Queues of the emulation: see queue_emulated.h. */
#include "kernels/cuda/queue_emulated.h"
#include "kernels/cuda/emulate.h"

#include <cstdlib>
#include <utility>

namespace simt
{
static thread_local int used_device;

void use_device(int device) { used_device = device; }

Queues::Queues(int device) : main(), aside()
{
    main.other = &aside;
    aside.other = &main;
    main.device = aside.device = device;
}

static uint64_t random_number()
{
    static uint64_t state = [] {
        const char *seed = getenv("RVX_EMULATE_SEED");
        return 0x9E3779B97F4A7C15u + (seed ? strtoull(seed, nullptr, 10) : 0);
    }();
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 11;
}

static void add(Queue *queue, Work work, int64_t other_count)
{
    queue->items.push_back({std::move(work), other_count});
    queue->queued++;
}

void enqueue(Stream stream, Work work)
{
    Queue *queue = static_cast<Queue *>(stream);
    if (queue && queue->device != used_device)
        fail("work for one device is queued while the thread works with another");
    if (!queue)
        work();
    else if (queue->recording)
        queue->recording->push_back(std::move(work));
    else
        add(queue, std::move(work), 0);
}

void queue_wait(Queue *queue)
{
    if (queue->recording)
        fail("queues wait for one another within a recording");
    add(queue, Work(), queue->other->queued);
}

static bool ready(const Queue &queue)
{
    return !queue.items.empty() && queue.other->done >= queue.items.front().other_count;
}

static void run_first(Queue *queue)
{
    Item item = std::move(queue->items.front());
    queue->items.pop_front();
    if (item.work)
        item.work();
    queue->done++;
}

void queue_finish(Queue *queue)
{
    enum Manner { OTHER_EARLY, OTHER_LATE, AT_RANDOM, MANNERS };
    const uint64_t manner = random_number() % MANNERS;
    while (!queue->items.empty()) {
        const bool here = ready(*queue), there = ready(*queue->other);
        if (!here && !there)
            fail("queues wait for one another for ever");
        const bool wanted = manner == OTHER_EARLY || (manner == AT_RANDOM && random_number() % 2);
        run_first(there && (wanted || !here) ? queue->other : queue);
    }
}
} // namespace simt
