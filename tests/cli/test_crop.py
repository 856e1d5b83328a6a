#!/usr/bin/python3
"""Crop to the nonzero voxels: a volume with black margins is predicted as the same volume without them,
voxel for voxel, with background in the margins; on the file's spacing and resampled, in tiles and in one
piece, with probabilities. Training reads what is left. Without the option nothing is cut."""
import json
import os
import sys
import tempfile

import nibabel
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
from command import must, ok

LOW, HIGH = (5, 3, 4), (2, 7, 6)


def voxels(path):
    return np.asarray(nibabel.load(path).dataobj)


def padded(array):
    return np.pad(array, list(zip(LOW, HIGH)))


def margins_are_background(with_margins, without, name, *options):
    must("predict", model, "plain.nii.gz", "--out", "plain", *options)
    must("predict", model, "margins.nii.gz", "--out", "margins", *options)
    inside, around = voxels("plain/plain.nii.gz"), voxels("margins/margins.nii.gz")
    same = around.shape == with_margins.shape and np.array_equal(around, padded(inside))
    varied = len(np.unique(inside)) > 1
    return ok(same and varied, name, f"{np.unique(inside)} {(around != 0).sum()} {(inside != 0).sum()}")


with tempfile.TemporaryDirectory() as folder:
    command.REVOXEL = os.path.abspath(command.REVOXEL)
    os.chdir(folder)
    command.dataset("data", [(40, 36, 20), (33, 38, 24), (36, 34, 22)])
    image, _ = command.scene((31, 29, 23), seed=7)
    image = np.asarray(image, "f4") + 1
    command.save("./plain.nii.gz", image)
    command.save("./margins.nii.gz", padded(image))
    for spacing in (None, [1.3, 0.8, 1.7]):
        made = command.plan("data", "plan.json", "--widths", "4,8", "--patch", "16x16x16", spacing=spacing,
                            training={"steps": 30, "validation_every": 30, "checkpoint_every": 30},
                            fold={"index": 0, "count": 3})
        with open(made) as text:
            ok(json.load(text)["crop_to_nonzero"] is True, "a plan crops, as nnU-Net does")
        model = f"run{bool(spacing)}"
        must("train", "data", "--plan", "plan.json", "--out", model, "--quiet")
        what = "resampled" if spacing else "as it is"
        margins_are_background(padded(image), image, f"in tiles, {what}")
        margins_are_background(padded(image), image, f"in one piece, {what}", "--whole")
        for name in ("plain", "margins"):
            must("predict", model, f"{name}.nii.gz", "--out", f"{name}_p", "--probabilities")
        for label in ("one", "two"):
            inside, around = (voxels(f"{name}_p/{name}_prob_{label}.nii.gz") for name in ("plain", "margins"))
            ok(np.array_equal(around, padded(inside)) and inside.any(),
               f"probability of {label}, {what}: none in the margins")
    # The same data with margins trains the same network: what is cut away is never seen.
    command.describe("wide", 3, channels=["US0"])
    for name in "abc":
        for part, ending in (("imagesTr", "_0000"), ("labelsTr", "")):
            array = voxels(f"data/{part}/{name}{ending}.nii.gz")
            if part == "imagesTr":
                array = array + 1 - array.min()
                command.save(f"data/{part}/{name}{ending}.nii.gz", array)
            command.save(f"wide/{part}/{name}{ending}.nii.gz", padded(array))
    for data in ("data", "wide"):
        must("train", data, "--plan", "plan.json", "--out", data + "_run", "--quiet", "--no-validation-output")
        must("train", data, "--plan", "plan.json", "--out", data + "_cached", "--quiet", "--cache", "cache",
             "--no-validation-output")
    parameters = [command.read(f"{name}/best.safetensors") for name in
                  ("data_run", "wide_run", "data_cached", "wide_cached")]
    ok(parameters.count(parameters[0]) == 4, "margins change no bit of training, from memory or from a cache")
    with open("plan.json") as text:
        uncut = json.load(text)
    del uncut["crop_to_nonzero"]
    with open("uncut.json", "w") as out:
        json.dump(uncut, out)
    must("train", "wide", "--plan", "uncut.json", "--out", "uncut", "--quiet", "--no-validation-output")
    ok(command.read("uncut/best.safetensors") != parameters[0], "a plan that does not say so crops nothing")
    os.chdir(command.ROOT)
command.done()
