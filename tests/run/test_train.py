#!/usr/bin/python3
"""Training through the command, on tiny volumes. Promises: the same seed gives the same bits on any
number of threads; a run that was killed or stopped at any moment and resumed ends in the bits of one
that was left alone; datasets of every shape that is allowed train and are segmented on their grid."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
import nibabel
import numpy
from command import must, ok

FILES = ("latest.safetensors", "best.safetensors", "metrics.jsonl")


def bits(run):
    return [command.read(f"{run}/{name}") for name in FILES]


def log(run):
    with open(f"{run}/metrics.jsonl") as lines:
        return [json.loads(line) for line in lines]


def stopped(arguments, run, line_count, signal_number, timeout=60):
    """Starts the run, sends the signal when its log has that many lines. Returns the exit status."""
    process = subprocess.Popen([command.REVOXEL, *arguments], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    path, end = f"{run}/metrics.jsonl", time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < end:
        if os.path.exists(path) and command.read(path).count(b"\n") >= line_count:
            process.send_signal(signal_number)
            break
        time.sleep(0.001)
    return process.wait(timeout)


def check_resume(folder, data, plan, name, points):
    """An undisturbed run against runs that end early at several points and go on."""
    whole = f"{folder}/{name}"
    must("train", data, "--plan", plan, "--out", whole, "--threads", "1", "--no-validation-output")
    expected, steps = bits(whole), log(whole)[-1]["step"]
    two = f"{folder}/{name}_two"
    must("train", data, "--plan", plan, "--out", two, "--threads", "2", "--no-validation-output")
    ok(bits(two) == expected, f"{name}: one thread and two, the same bits")
    interrupted = 0
    for how, number, status in (("killed", signal.SIGKILL, -9), ("stopped", signal.SIGINT, 130)):
        for at in points:
            run = f"{folder}/{name}_{how}_{at}"
            found = stopped(["train", data, "--plan", plan, "--out", run, "--threads", "1"], run, at,
                            number)
            early = found == status and (not os.path.exists(f"{run}/latest.safetensors") or
                                         log(run)[-1]["step"] <= steps)
            interrupted += early
            must("train", data, "--out", run, "--resume", "--threads", "2", "--no-validation-output")
            ok(bits(run) == expected, f"{name}: {how} at line {at} and resumed, the same bits")
            left = [file for file in os.listdir(run) if file.startswith(".")]
            ok(not left, f"{name}: {how} at line {at}: nothing hidden is left", left)
    ok(interrupted >= len(points), f"{name}: {interrupted} of {2 * len(points)} runs ended early")
    must("train", data, "--out", whole, "--resume", "--no-validation-output")
    ok(bits(whole) == expected, f"{name}: resuming what is finished changes nothing")


def check_seed(folder, data, plan):
    with open(plan) as text:
        other = json.load(text)
    other["training"].update(seed=1, steps=3, validation_every=3, checkpoint_every=3)
    with open(f"{folder}/other.json", "w") as out:
        json.dump(other, out)
    losses = []
    for name, file in (("seed_0", plan), ("seed_1", f"{folder}/other.json")):
        run = f"{folder}/{name}"
        must("train", data, "--plan", file, "--out", run, "--no-validation-output")
        losses.append([line["loss"] for line in log(run)[:3] if "loss" in line])
    ok(losses[0] != losses[1], "another seed, another run")


# ---- datasets of every shape -----------------------------------------------------------------------


def same_grid(image_path, label_path):
    image, labels = nibabel.load(image_path), nibabel.load(label_path)
    return image.shape == labels.shape and numpy.array_equal(image.affine, labels.affine) and \
        labels.get_data_dtype() == numpy.uint8


def trains(folder, name, data, *options):
    """Two steps and a prediction of case a; its grid must come back."""
    run = f"{folder}/run_{name}"
    result = command.run("train", data, "--out", run, "--widths", "4,8", "--steps", "2", *options)
    if not ok(result.returncode == 0, f"{name}: trains", result.error):
        return
    numbers = [line["loss"] for line in log(run) if "loss" in line]
    ok(len(numbers) == 2 and numpy.isfinite(numbers).all(), f"{name}: two finite losses", numbers)
    image, out = f"{data}/imagesTr/a_0000.nii.gz", f"{folder}/out_{name}"
    result = command.run("predict", run, image, "--out", out)
    ok(result.returncode == 0 and same_grid(image, f"{out}/a.nii.gz"),
       f"{name}: predicts on the input's grid", result.error)


def check_shapes(folder):
    def made(name, shapes, **more):
        command.dataset(f"{folder}/{name}", shapes, **more)
        return f"{folder}/{name}"
    patch = ("--patch", "16x16x16")
    odd = made("odd", [(17, 31, 9), (9, 17, 31)])
    trains(folder, "odd", odd, *patch)
    trains(folder, "odd_whole", odd, "--patch", "whole")
    trains(folder, "larger_patch", odd, "--patch", "32x32x32", "--fold", "none")
    spacings = [numpy.diag([1, 1, 3, 1]), numpy.diag([2, 1, 1, 1]), numpy.diag([-0.7, 0.9, 1.1, 1])]
    mixed = made("mixed", [(24, 20, 8), (12, 28, 20), (31, 17, 13)], affines=spacings)
    trains(folder, "mixed", mixed, *patch)
    trains(folder, "mixed_whole", mixed, "--patch", "whole")
    trains(folder, "channels", made("channels", [(20, 18, 16)] * 2, channels=3), *patch)
    trains(folder, "reversible", odd, *patch, "--model", "revunet3d")
    trains(folder, "one_case", made("one_case", [(20, 18, 16)]), *patch, "--fold", "none")
    one_slice = made("one_slice", [(32, 24, 1), (32, 24, 1)])
    trains(folder, "one_slice", one_slice, "--fold", "none")
    constant = made("constant", [(20, 18, 16)] * 2)
    command.save(f"{constant}/imagesTr/a_0000.nii.gz", numpy.full((20, 18, 16), 7, numpy.int16))
    trains(folder, "constant", constant, *patch)
    never = made("never", [(20, 18, 16)] * 2)
    command.describe(never, 2, ["background", "one", "two", "never"])
    trains(folder, "never", never, *patch)
    empty = made("empty", [(20, 18, 16)] * 2)
    command.save(f"{empty}/labelsTr/b.nii.gz", numpy.zeros((20, 18, 16), numpy.uint8))
    trains(folder, "empty", empty, *patch)
    ignore = made("ignore", [(20, 18, 16)] * 3)
    command.describe(ignore, 3, ["background", "one", "two", "ignore"])
    labels = command.scene((20, 18, 16), 0)[1]
    labels[:, :, 8:] = 3
    command.save(f"{ignore}/labelsTr/a.nii.gz", labels)
    trains(folder, "ignore", ignore, *patch)
    found = nibabel.load(f"{folder}/out_ignore/a.nii.gz").get_fdata()
    ok(found.max() <= 2, "ignore: never predicted")
    check_listed(folder, odd)


def check_listed(folder, data):
    """Cases named one by one in dataset.json, with files of any name; the validation case too."""
    listed = f"{folder}/listed"
    os.makedirs(f"{listed}/scans")
    cases = {}
    for name in "ab":
        shutil.copy(f"{data}/imagesTr/{name}_0000.nii.gz", f"{listed}/scans/{name}_image.nii.gz")
        shutil.copy(f"{data}/labelsTr/{name}.nii.gz", f"{listed}/scans/{name}_truth.nii.gz")
        cases[f"patient_{name}"] = {"images": [f"scans/{name}_image.nii.gz"],
                                    "label": f"scans/{name}_truth.nii.gz"}
    command.describe(listed, 2, dataset=cases)
    run = f"{folder}/run_listed"
    result = command.run("train", listed, "--out", run, "--widths", "4,8", "--steps", "2", "--patch",
                         "16x16x16")
    made = os.listdir(f"{run}/validation") if os.path.isdir(f"{run}/validation") else []
    ok(result.returncode == 0 and len(made) == 1 and made[0].startswith("patient_"),
       "listed: trains, and segments its validation case", f"{result.error}{made}")
    if result.returncode == 0:
        with open(f"{run}/validation.json") as text:
            cases = json.load(text)["cases"]
        ok([case["case"] for case in cases] == [made[0][:-len(".nii.gz")]], "listed: and judges it")


with tempfile.TemporaryDirectory() as top:
    data = f"{top}/data"
    command.dataset(data, [(20, 18, 16)] * 4)
    fold = {"train": ["a", "b", "c"], "validation": ["d"]}
    plan = command.plan(data, f"{top}/plan.json", "--widths", "4,8", "--patch", "16x16x16",
                        training={"steps": 30, "steps_per_epoch": 5, "validation_every": 10,
                                  "checkpoint_every": 4}, fold=fold)
    check_resume(top, data, plan, "patches", (1, 6, 17, 25))
    rev = command.plan(data, f"{top}/rev.json", "--widths", "8,16", "--patch", "whole", "--model",
                       "revunet3d", training={"steps": 8, "steps_per_epoch": 4,
                                              "validation_every": 4, "checkpoint_every": 3},
                       optimizer={"name": "adamw", "learning_rate": 0.002, "schedule": "cosine",
                                  "warmup_steps": 2}, fold=fold)
    check_resume(top, data, rev, "reversible, whole", (5,))
    check_seed(top, data, plan)
    check_shapes(top)
command.done()
