/* The queues of an emulated device: work is kept until someone waits for it, and two queues run in
 * any order that their events allow. Owns: that order. Adversarial: in turns the second queue runs
 * as early as it may, as late as it may, or at random, so that a missing event shows. */
#ifndef RVX_CUDA_QUEUE_EMULATED_H
#define RVX_CUDA_QUEUE_EMULATED_H

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

namespace simt
{
typedef std::function<void()> Work;

struct Item {
    Work work;           /* empty: only waits */
    int64_t other_count; /* may run when the other queue has done so many; 0: at once */
};

struct Queue {
    std::deque<Item> items;
    std::vector<Work> *recording; /* not null: what is queued is recorded instead */
    int64_t queued, done;
    Queue *other;
    int device;
};

struct Queues {
    Queue main, aside;
    explicit Queues(int device);
};

/* The device that this thread works with, the first one where it has not said otherwise. As CUDA
 * does, a launch on another device's queue is refused: here with a message and abort(). */
void use_device(int device);

/* What is queued on `queue` from now on waits for what is queued on the other by now. */
void queue_wait(Queue *queue);
/* Runs until a queue is empty; of the other what must, and perhaps more. */
void queue_finish(Queue *queue);
} // namespace simt

#endif
