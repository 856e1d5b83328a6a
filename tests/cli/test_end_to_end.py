#!/usr/bin/env python3
"""The main job in small: synth, inspect, plan, train, predict, evaluate, report; stopped and killed runs that
go on bit for bit; the same bits for any number of threads."""
import glob
import json
import os
import signal
import sys
import time

import nibabel
import numpy

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scratch import done, ok, path, refused, revoxel, start, tree

CLASSES = ["parenchyma", "vessel", "gallbladder", "tumour"]


def works(what, *arguments):
    run = revoxel(*arguments)
    ok(run.returncode == 0, what, f"{' '.join(map(str, arguments))}: {run.returncode}: {run.stderr}")
    return run


def content(name):
    with open(path(name), "rb") as file:
        return file.read()


# ---- Data ---------------------------------------------------------------------------------------
works("synth", "synth", "data", "--cases", 5, "--test-cases", 2, "--size", "20x24x16", "--seed", 3)
works("synth again", "synth", "again", "--cases", 5, "--test-cases", 2, "--size", "20x24x16", "--seed", 3, "--quiet",
      "--threads", 1)
ok(tree(path("data")) == tree(path("again")), "same seed, same bytes, on one thread too")
text = works("inspect", "inspect", "data").stdout
ok("5 training cases" in text and all(name in text for name in CLASSES), "inspect names cases and classes", text)
text = works("inspect a label map", "inspect", "data/labelsTr/phantom_000.nii.gz").stdout
ok("20" in text and "24" in text and "16" in text, "inspect gives the shape", text)

# ---- Plan and training --------------------------------------------------------------------------
works("plan", "plan", "data", "--patch", "16x16x16", "--widths", "6,12", "--steps", 12, "--out", "plan.json")
plan = json.loads(content("plan.json"))
ok(plan["network"]["widths"] == [6, 12] and plan["training"]["steps"] == 12 and plan["patch"]["size"] == [16] * 3,
   "the plan has what was asked for")
works("train", "train", "data", "--plan", "plan.json", "--out", "run")
for name in ("plan.json", "metrics.jsonl", "timing.json", "latest.safetensors", "best.safetensors", "validation.json"):
    ok(os.path.getsize(path("run", name)) > 0, f"the run has {name}")
ok(glob.glob(path("run", "events.out.tfevents.*")), "the run has TensorBoard events")
ok(not [name for name in tree(path("run")) if os.path.basename(name).startswith(".")], "no hidden file is left")
ok(json.loads(content("run/plan.json")) == plan, "the run's plan is the one given")
timing = json.loads(content("run/timing.json"))
ok(timing["steps"] > 0 and timing["seconds_per_step"] > 0 and 0 <= timing["loader_wait_share"] <= 1, "timing.json")
lines = [json.loads(line) for line in content("run/metrics.jsonl").splitlines()]
ok(lines and lines[-1]["step"] == 12, "the log reaches the last step", lines[-1:])
validated = json.loads(content("run/validation.json"))["cases"]
ok(len(validated) == 1, "one of five cases validates", validated)

bits = content("run/latest.safetensors")
works("train on one thread", "train", "data", "--plan", "plan.json", "--out", "one", "--threads", 1, "--quiet",
      "--no-validation-output")
ok(content("one/latest.safetensors") == bits, "same bits on one thread")
ok(not os.path.exists(path("one", "validation.json")), "no validation output where none is wanted")
works("train by options", "train", "data", "--model", "unet3d", "--patch", "16x16x16", "--widths", "6,12", "--steps", 12,
      "--out", "options", "--quiet", "--no-validation-output")
ok(content("options/latest.safetensors") == bits, "options make the same plan and the same bits")

# ---- Stopped and killed -------------------------------------------------------------------------


def ended(folder, how, status, more=()):
    """Starts a run, ends it once it has a checkpoint, and lets it go on."""
    process = start("train", "data", "--plan", "long.json", "--out", folder, "--no-validation-output", "--quiet")
    while process.poll() is None and not os.path.exists(path(folder, "latest.safetensors")):
        time.sleep(0.01)
    process.send_signal(how)
    _, messages = process.communicate(timeout=300)
    ok(process.returncode == status, f"{folder}: status {status}", f"{process.returncode} {messages}")
    run = works(f"{folder}: goes on", "train", "data", "--plan", "long.json", "--out", folder, "--resume",
                "--no-validation-output", "--quiet", *more)
    ok(content(f"{folder}/latest.safetensors") == content("whole/latest.safetensors"),
       f"{folder}: the same bits as without a break", run.stderr)
    ok(content(f"{folder}/best.safetensors") == content("whole/best.safetensors"), f"{folder}: the same best")


plan["training"].update(steps=60, checkpoint_every=4, validation_every=20)
with open(path("long.json"), "w") as out:
    json.dump(plan, out)
works("a longer run", "train", "data", "--plan", "long.json", "--out", "whole", "--no-validation-output", "--quiet")
ended("stopped", signal.SIGINT, 130)
ended("killed", signal.SIGKILL, -9, ("--steps", "60"))
refused("a run does not go on with other settings", 1, "training.steps", "train", "data", "--out", "killed", "--resume",
        "--steps", 61)

# ---- Segmenting ---------------------------------------------------------------------------------
works("predict a folder", "predict", "run", "data/imagesTs", "--out", "segmented")
for case in ("phantom_005", "phantom_006"):
    given = nibabel.load(path("data", "imagesTs", f"{case}_0000.nii.gz"))
    made = nibabel.load(path("segmented", f"{case}.nii.gz"))
    ok(made.shape == given.shape and numpy.array_equal(made.affine, given.affine), f"{case}: the image's grid")
    voxels = numpy.asarray(made.dataobj)
    ok(voxels.dtype == numpy.uint8 and voxels.max() <= len(CLASSES), f"{case}: labels")
one = "data/imagesTs/phantom_005_0000.nii.gz"
works("predict a file", "predict", "run/best.safetensors", one, "--out", "file", "--threads", 1, "--quiet")
ok(content("file/phantom_005.nii.gz") == content("segmented/phantom_005.nii.gz"), "the same bytes from a model file")
works("predict in other ways", "predict", "run", one, "--out", "ways", "--mirror", "--step", 0.25, "--probabilities")
parts = [numpy.asarray(nibabel.load(name).dataobj).astype(int) for name in glob.glob(path("ways", "*_prob_*"))]
ok(len(parts) >= len(CLASSES), "a map of probabilities for every class", os.listdir(path("ways")))
works("predict whole", "predict", "run", one, "--out", "in_one", "--whole", "--latest")
refused("predict within too little memory", 1, "budget", "predict", "run", one, "--out", "little", "--budget", "100kB")
ok(not tree(path("little")), "which leaves no file")

# ---- Judging ------------------------------------------------------------------------------------
run = works("evaluate", "evaluate", "--pred", "segmented", "--ref", "data/labelsTs", "--out", "metrics.json",
            "--tolerance", 2)
metrics = json.loads(content("metrics.json"))
ok([c["case"] for c in metrics["cases"]] == ["phantom_005", "phantom_006"], "both cases are judged")
ok("parenchyma" in run.stdout and "phantom_006" in run.stdout, "and stand in the table", run.stdout)
for case in metrics["cases"]:
    made = numpy.asarray(nibabel.load(path("segmented", case["case"] + ".nii.gz")).dataobj)
    true = numpy.asarray(nibabel.load(path("data", "labelsTs", case["case"] + ".nii.gz")).dataobj)
    for entry in case["classes"]:
        a, b = made == entry["label"], true == entry["label"]
        total = a.sum() + b.sum()
        dice = 2 * (a & b).sum() / total if total else None
        ok(entry["dice"] == dice or abs(entry["dice"] - dice) < 1e-9, f"{case['case']} {entry['name']}: Dice", entry)
works("evaluate references", "evaluate", "--pred", "data/labelsTs", "--ref", "data/labelsTs", "--out", "same.json",
      "--quiet")
ok(json.loads(content("same.json"))["mean"]["dice"] == 1, "a reference equals itself")

# ---- The report ---------------------------------------------------------------------------------
run = works("report", "report", "run")
ok(run.stdout == "run/report.html\n", "says where it is", run.stdout)
page = content("run/report.html").decode()
ok("of training spent waiting for samples" in page, "the report says how long training waited")
ok("<svg" in page and "data:image/png;base64," in page and validated[0]["case"] in page, "has curves and pictures")
ok("<script" not in page and 'src="http' not in page and "@import" not in page, "needs nothing from elsewhere")
works("report elsewhere", "report", "run", "--out", "elsewhere.html", "--cases", 1)
ok(content("elsewhere.html").startswith(b"<!"), "is there")
done()
