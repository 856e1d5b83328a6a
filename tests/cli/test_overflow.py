#!/usr/bin/python3
"""16-bit streams whose values do not fit: the forward pass is repeated on a coarser grid, which the log
and the model file keep, and nothing is lost. What fits no grid at all is never lost in silence: the
progress line and the last line of training and prediction say so, quiet or not, and what to do."""
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import nibabel

import command
from command import must, ok


def summary(result):
    """The number in the last line of standard error, if it is about overflow, and that line."""
    lines = result.error.splitlines() or [""]
    told = "did not fit the network's 16-bit streams" in lines[-1] and "memory.streams" in lines[-1]
    return int(lines[-1].split()[1]) if told else 0, result.error


def scale(data, factor):
    """Every image of the dataset, multiplied."""
    for name in os.listdir(f"{data}/imagesTr"):
        image = nibabel.load(f"{data}/imagesTr/{name}")
        command.save(f"{data}/imagesTr/{name}", image.get_fdata() * factor, image.affine)


def check(folder, data, grid, overflows, halvings, **more):
    # A mirror axis, so that tiles with and without mirroring (and labels with and without logits) differ.
    name = f"{os.path.basename(data)}, grid of 2^-{grid}"
    plan = command.plan(data, f"{folder}/plan.json", "--model", "revnet3d-full", "--widths", "8,16",
                        "--patch", "16x16x16", "--fold", "1", training={"steps": 2},
                        memory={"grid_log2": grid}, augmentation={"mirror_axes": ["x"]}, **more)
    run = f"{folder}/run_{os.path.basename(data)}_{grid}"
    count, text = summary(must("train", data, "--plan", plan, "--out", run, "--quiet"))
    ok((count > 0) == overflows, f"{name}: training, {count} overflows in the end", text)
    with open(f"{run}/metrics.jsonl") as lines:
        lines = [json.loads(line) for line in lines]
    steps = [line.get("overflow", 0) for line in lines]
    coarser = [line["grid_halvings"] for line in lines if "grid_halvings" in line]
    ok((len(coarser) > 0) == halvings, f"{name}: coarser grids in the log", coarser)
    ok((sum(steps) > 0) == overflows, f"{name}: the log of every step", steps)
    if overflows:
        ok(count > sum(steps), f"{name}: validation counts too", (count, steps))
    image, out = f"{data}/imagesTr/a_0000.nii.gz", f"{run}_out"
    for options in (["--whole"], ["--whole", "--mirror"], ["--step", "1", "--mirror"]):
        result = must("predict", run, image, "--out", out, *options)
        count, text = summary(result)
        ok((count > 0) == overflows, f"{name}: predict {' '.join(options)}: {count} in the end", text)
        line = [line for line in result.error.splitlines() if line.startswith("predict")][-1]
        ok((f"  {count} overflow" in line) == overflows, f"{name}: the progress line", line)
        ok(summary(must("predict", run, image, "--out", out, "--quiet", *options))[0] == count,
           f"{name}: quiet, the same count")


with tempfile.TemporaryDirectory() as top:
    command.dataset(f"{top}/usual", [(16, 16, 16), (20, 18, 16)])
    command.dataset(f"{top}/huge", [(16, 16, 16), (20, 18, 16)])
    scale(f"{top}/huge", 1e6)
    check(top, f"{top}/usual", 15, False, True)
    check(top, f"{top}/usual", 4, False, False)
    check(top, f"{top}/huge", 2, True, True, normalisation=[{"scheme": "none"}])
command.done()
