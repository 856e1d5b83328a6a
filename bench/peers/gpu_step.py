"""One way to run a training step in PyTorch, on the largest volume that it can hold: a process of its own
for gpu_torch.py, because a fault on a GPU (a kernel that counts elements in 32 bits, say) spoils all that
the process does later.

The network is "reference" of bench/step_job.c: RevUNet3d, 1 -> 3 channels, widths 32 .. 320, two couplings
an encoder stage, one a decoder stage. The step: forward, soft Dice + CE, backward, gradient norm clip 12,
SGD-Nesterov. Volumes are 80k x 80k x 16k voxels, in the proportions of 1000 x 1000 x 200: k doubles from
--first on, then lies between what runs and what does not. Then the largest is timed.

Prints one JSON object a line: {"k", "size", "seconds"} or {"k", "size", "failed"} of each try; last
{"largest": k, "size", "seconds" (the median), "rounds", "peak_bytes"}.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time

import torch
from torch.nn import functional

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import coupling
import networks

CLASSES, WIDTHS = 3, (32, 64, 128, 256, 320)
NETWORKS = {"stored": networks.RevUNet3d, "checkpoint": coupling.CheckpointedRevUNet3d,
            "reversible": coupling.ReversibleRevUNet3d}
UNIT = (16, 80, 80)  # d, h, w: what four halvings divide


def loss_of(logits, labels, smooth=1e-5):
    """losses.training_loss of one output, without numbers of 64 bits for each class and voxel."""
    logits = logits.float()
    p = functional.softmax(logits, 1)
    dice = 0
    for k in range(1, CLASSES):
        g = labels == k
        sums = p[:, k].sum((1, 2, 3)) + g.sum((1, 2, 3))
        dice = dice + ((2 * (p[:, k] * g).sum((1, 2, 3)) + smooth) / (sums + smooth)).mean()
    return functional.cross_entropy(logits, labels) - dice / (CLASSES - 1)


def size_of(k, unit):
    return tuple(k * u for u in unit)


class Step:
    """The network and its optimiser; runs one step on a volume of size k."""

    def __init__(self, options):
        self.o = options
        torch.manual_seed(1)
        network = NETWORKS[options.memory](1, CLASSES, options.widths, encoder_depth=2, decoder_depth=1)
        network.autocast = options.precision == "autocast"
        self.dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
        self.network = self.laid(network.to(options.device, self.dtype))
        self.optimiser = torch.optim.SGD(self.network.parameters(), lr=1e-2, momentum=0.99, nesterov=True)
        self.call, self.k = self.network, 0

    def laid(self, tensor):
        return tensor.to(memory_format=torch.channels_last_3d) if self.o.layout == "channels_last_3d" else tensor

    def prepare(self, k):
        """Inputs, and with --mode compile what was compiled for another size thrown away."""
        if k == self.k:
            return
        self.k, self.image, self.labels = k, None, None
        self.optimiser.zero_grad(set_to_none=True)
        if self.o.device == "cuda":
            torch.cuda.empty_cache()
        if self.o.mode == "compile":
            from torch import _dynamo  # from 2.0 on
            _dynamo.reset()
            self.call = torch.compile(self.network, dynamic=False)
        shape = (1, 1) + size_of(k, self.o.unit)
        self.image = self.laid(torch.randn(shape, device=self.o.device, dtype=self.dtype))
        self.labels = torch.randint(0, CLASSES, shape[:1] + shape[2:], device=self.o.device)

    def wait(self):
        if self.o.device == "cuda":
            torch.cuda.synchronize()

    def run(self, k):
        """Seconds of a step."""
        voxels = size_of(k, self.o.unit)
        if self.o.limit and voxels[0] * voxels[1] * voxels[2] > self.o.limit:
            raise MemoryError("out of memory: more voxels than --limit")
        self.prepare(k)
        self.wait()
        begin = time.perf_counter()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.o.device, torch.bfloat16, enabled=self.o.precision == "autocast"):
            logits = self.call(self.image)
        loss_of(logits, self.labels).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        self.optimiser.step()
        self.wait()
        return time.perf_counter() - begin


def largest(runs, first, most):
    """The largest k up to `most` that runs(k) is true for, 0: none; all below are taken to run too."""
    good, bad, k = 0, most + 1, min(first, most)
    while bad - good > 1:
        if runs(k):
            good = k
        else:
            bad = k
        k = min(2 * good, most) if bad > most and good else (good + bad) // 2
    return good


def say(**row):
    print(json.dumps(row), flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--mode", choices=("eager", "compile"), default="eager")
    parser.add_argument("--layout", choices=("contiguous", "channels_last_3d"), default="contiguous")
    parser.add_argument("--precision", choices=("bf16", "autocast", "f32"), default="bf16")
    parser.add_argument("--memory", choices=tuple(NETWORKS), default="stored")
    parser.add_argument("--first", type=int, default=4)
    parser.add_argument("--most", type=int, default=13)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60, help="no further round begins after so many")
    parser.add_argument("--limit", type=int, default=0, help="for tests: more voxels do not fit")
    parser.add_argument("--unit", type=lambda t: tuple(map(int, t.split("x"))), default=UNIT, help="DxHxW of k = 1")
    parser.add_argument("--widths", type=lambda t: tuple(map(int, t.split(","))), default=WIDTHS)
    return parser.parse_args()


def main():
    options = parse()
    until = time.monotonic() + options.seconds
    torch.backends.cudnn.benchmark = True
    step = Step(options)

    def runs(k):
        size = "x".join(map(str, reversed(size_of(k, options.unit))))
        try:
            say(k=k, size=size, seconds=step.run(k))
            return True
        except Exception as error:  # out of memory, more elements than 32 bits count, a format refused
            say(k=k, size=size, failed=(str(error) or type(error).__name__).split("\n")[0][:200])
        step.k = 0  # beyond the handler, which holds what lay in memory
        return False

    k = largest(runs, options.first, options.most)
    if not k:
        return 1
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times = [step.run(k)]  # the first one makes plans again
    while len(times) <= options.rounds and (len(times) < 3 or time.monotonic() < until):
        times.append(step.run(k))
    times = times[1:]
    peak = torch.cuda.max_memory_allocated() if options.device == "cuda" else \
        1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    say(largest=k, size="x".join(map(str, reversed(size_of(k, options.unit)))), seconds=statistics.median(times),
        rounds=len(times), peak_bytes=peak)
    return 0


if __name__ == "__main__":
    sys.exit(main())
