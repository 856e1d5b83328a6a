#!/usr/bin/python3
"""Values that do not fit a network's 16-bit streams are never lost in silence: the progress line and the
last line of training and prediction say so, quiet or not, and what to do. Without any, nothing is said."""
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
from command import must, ok


def summary(result):
    """The number in the last line of standard error, if it is about overflow, and that line."""
    lines = result.error.splitlines() or [""]
    told = "did not fit the network's 16-bit streams" in lines[-1] and "memory.grid_log2" in lines[-1]
    return int(lines[-1].split()[1]) if told else 0, result.error


def check(folder, data, grid, overflows):
    # A mirror axis, so that tiles with and without mirroring (and labels with and without logits) differ.
    plan = command.plan(data, f"{folder}/plan_{grid}.json", "--model", "revnet3d-full", "--widths", "8,16",
                        "--patch", "16x16x16", "--fold", "1", training={"steps": 2},
                        memory={"grid_log2": grid}, augmentation={"mirror_axes": ["x"]})
    run, name = f"{folder}/run_{grid}", f"grid of 2^-{grid}"
    count, text = summary(must("train", data, "--plan", plan, "--out", run, "--quiet"))
    ok((count > 0) == overflows, f"{name}: training, {count} overflows in the end", text)
    with open(f"{run}/metrics.jsonl") as lines:
        steps = [json.loads(line).get("overflow", 0) for line in lines]
    ok((sum(steps) > 0) == overflows, f"{name}: the log of every step", steps)
    if overflows:
        ok(count > sum(steps), f"{name}: validation counts too", (count, steps))
    image, out = f"{data}/imagesTr/a_0000.nii.gz", f"{folder}/out_{grid}"
    for options in (["--whole"], ["--whole", "--mirror"], ["--step", "1", "--mirror"]):
        result = must("predict", run, image, "--out", out, *options)
        count, text = summary(result)
        ok((count > 0) == overflows, f"{name}: predict {' '.join(options)}: {count} in the end", text)
        line = [line for line in result.error.splitlines() if line.startswith("predict")][-1]
        ok((f"  {count} overflow" in line) == overflows, f"{name}: the progress line", line)
        ok(summary(must("predict", run, image, "--out", out, "--quiet", *options))[0] == count,
           f"{name}: quiet, the same count")


with tempfile.TemporaryDirectory() as top:
    command.dataset(f"{top}/data", [(16, 16, 16), (20, 18, 16)])
    check(top, f"{top}/data", 15, True)
    check(top, f"{top}/data", 4, False)
command.done()
