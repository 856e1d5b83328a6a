#!/usr/bin/env python3
"""What the world can do wrong: files that are missing, cut short or contradict each other, a full disk,
Ctrl-C. Status 1 (130 when stopped), one message that names the file, and nothing half-written."""
import gzip
import json
import os
import resource
import shutil
import signal
import struct
import sys
import time

import numpy

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scratch import done, ok, path, refused, revoxel, start, tree


def nifti(name, voxels, spacing=(1.0, 1.0, 1.0), **changes):
    """A NIfTI-1 file of an array indexed [z, y, x], with header fields overwritten at will."""
    codes = {"uint8": (2, 8), "float32": (16, 32)}
    code, bits = codes[voxels.dtype.name]
    header = bytearray(348)
    struct.pack_into("<i", header, 0, changes.get("sizeof_hdr", 348))
    size = changes.get("size", voxels.shape[::-1])
    struct.pack_into("<8h", header, 40, len(size), *size, *[1] * (7 - len(size)))
    struct.pack_into("<2h", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, 1, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    struct.pack_into("<2h", header, 252, 0, 1)
    for row in range(3):
        values = [0.0] * 4
        values[row] = spacing[row]
        struct.pack_into("<4f", header, 280 + 16 * row, *values)
    header[344:348] = changes.get("magic", b"n+1\0")
    data = bytes(header) + bytes(4) + voxels.tobytes()
    data = data[:changes.get("bytes", len(data))]
    with open(name, "wb") as file:
        file.write(gzip.compress(data) if name.endswith(".gz") else data)


random = numpy.random.default_rng(1)
image = random.random((12, 14, 16), dtype=numpy.float32)
broken = image.copy()
broken[3, 4, 5] = numpy.nan

# ---- Single files -------------------------------------------------------------------------------
nifti(path("good.nii.gz"), image)
nifti(path("short.nii"), image, bytes=3000)
nifti(path("stump.nii"), image, bytes=100)
nifti(path("empty.nii"), image, bytes=0)
nifti(path("magic.nii"), image, magic=b"n+9\0")
nifti(path("huge.nii"), image, size=(32767, 32767, 32767))
nifti(path("nan.nii.gz"), broken)
with open(path("cut.nii.gz"), "wb") as out, open(path("good.nii.gz"), "rb") as whole:
    out.write(whole.read()[:4000])
with open(path("text.nii.gz"), "w") as out:
    out.write("this is no volume\n")
ok(revoxel("inspect", "good.nii.gz").returncode == 0, "a good file is fine")
for name in ("missing.nii.gz", "short.nii", "stump.nii", "empty.nii", "magic.nii", "huge.nii", "nan.nii.gz",
             "cut.nii.gz", "text.nii.gz"):
    refused(f"inspect {name}", 1, name, "inspect", name)
refused("inspect an empty folder", 1, "hollow", "inspect", (os.mkdir(path("hollow")), "hollow")[1])

# ---- Datasets -----------------------------------------------------------------------------------
ok(revoxel("synth", "data", "--cases", 3, "--size", "16x16x16", "--quiet").returncode == 0, "a small dataset")
before = tree(path("data"))
refused("synth over a dataset", 1, "data", "synth", "data", "--cases", 3)
ok(tree(path("data")) == before, "which stays as it is")


def spoiled(name):
    shutil.copytree(path("data"), path(name))
    return path(name)


def rewrite(where, change):
    file = os.path.join(where, "dataset.json")
    with open(file) as source:
        content = json.load(source)
    change(content)
    with open(file, "w") as out:
        json.dump(content, out)


top = spoiled("without_labels")
os.remove(os.path.join(top, "labelsTr", "phantom_001.nii.gz"))
top = spoiled("unnamed_labels")
rewrite(top, lambda content: content["labels"].pop("tumour"))
top = spoiled("other_grid")
nifti(os.path.join(top, "labelsTr", "phantom_001.nii.gz"), numpy.zeros((16, 16, 15), "uint8"))
top = spoiled("broken_json")
with open(os.path.join(top, "dataset.json"), "w") as out:
    out.write('{"labels": ')
top = spoiled("short_image")
with open(os.path.join(top, "imagesTr", "phantom_002_0000.nii.gz"), "r+b") as out:
    out.truncate(1000)
DATASETS = {"nowhere": "nowhere", "without_labels": "phantom_001", "unnamed_labels": "phantom_000",
            "other_grid": "phantom_001", "broken_json": "dataset.json", "short_image": "phantom_002"}
for name, names in DATASETS.items():
    refused(f"plan {name}", 1, names, "plan", name, "--out", f"{name}.plan.json")
    refused(f"train {name}", 1, names, "train", name, "--out", f"{name}.run", "--steps", 1)
    ok(not os.path.exists(path(f"{name}.plan.json")), "no plan is left")
    ok(not tree(path(f"{name}.run")), "no file of a run is left")
    refused(f"inspect {name}", 1, names, "inspect", name)

# ---- Plans --------------------------------------------------------------------------------------
ok(revoxel("plan", "data", "--out", "plan.json").returncode == 0, "a plan")
with open(path("plan.json")) as source:
    plan = json.load(source)
ok(plan["format_version"] == 1 and plan["network"]["name"] == "unet3d", "is JSON")
ok(json.loads(revoxel("plan", "data").stdout) == plan, "and the one that is printed without --out")
refused("too many stages", 1, "widths", "plan", "data", "--widths", "4,8,16,32,64,128")
refused("a fold that is not there", 1, "fold", "plan", "data", "--fold", 9)
refused("a network that is not there", 1, "unet3d, revunet3d", "plan", "data", "--model", "resnet")
refused("a network that classifies", 1, ("irevnet", "one label an image"), "plan", "data", "--model", "irevnet")
refused("training one", 1, ("revnet38", "one label an image"), "train", "data", "--model", "revnet38", "--out", "run38")
refused("a folder that is not there", 1, "no/folder", "plan", "data", "--out", "no/folder/plan.json")
for change, words in ((lambda p: p["network"].update(wdiths=[1]), "wdiths"),
                      (lambda p: p["optimizer"].update(learning_rate="fast"), "optimizer.learning_rate"),
                      (lambda p: p["patch"].update(size=[15, 16, 16]), "patch.size"),
                      (lambda p: p["network"].update(name="resnet"), "resnet"),
                      (lambda p: p["network"].update(in_channels=2), "array of 2")):
    edited = json.loads(json.dumps(plan))
    change(edited)
    with open(path("edited.json"), "w") as out:
        json.dump(edited, out)
    refused(f"a plan with a wrong {words}", 1, words, "train", "data", "--plan", "edited.json", "--out", "edited")
refused("options against a plan", 1, ("plan.json", "training.steps"), "train", "data", "--plan", "plan.json",
        "--steps", plan["training"]["steps"] + 1, "--out", "edited")
ok(not tree(path("edited")), "none of them leaves a file")

# ---- Later verbs --------------------------------------------------------------------------------
os.mkdir(path("no_run"))
with open(path("junk.safetensors"), "wb") as out:
    out.write(b"\xff" * 64)
for run in ("nowhere", "no_run", "junk.safetensors"):
    refused(f"predict with {run}", 1, run, "predict", run, "good.nii.gz", "--out", "segmented")
ok(not tree(path("segmented")), "nothing is segmented")
refused("report of nothing", 1, "nowhere", "report", "nowhere")
refused("evaluate nothing", 1, "nowhere", "evaluate", "--pred", "nowhere", "--ref", "data/labelsTr")
shutil.copytree(path("data", "labelsTr"), path("two_of_three"))
os.remove(path("two_of_three", "phantom_002.nii.gz"))
refused("evaluate with a case missing", 1, "phantom_002", "evaluate", "--pred", "two_of_three", "--ref",
        "data/labelsTr", "--out", "metrics.json")
ok(not os.path.exists(path("metrics.json")), "no metrics are left")

# ---- A full disk, Ctrl-C ------------------------------------------------------------------------


def small_files():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))


refused("synth where files cannot grow", 1, "too_large", "synth", "too_large", "--size", "64x64x64",
        preexec_fn=small_files, restore_signals=False)
ok(not tree(path("too_large")), "leaves no file")
process = start("synth", "stopped", "--cases", 200, "--size", "64x64x64")
while process.poll() is None and not os.path.isdir(path("stopped", "imagesTr")):
    time.sleep(0.02)
time.sleep(0.3)
process.send_signal(signal.SIGINT)
_, messages = process.communicate(timeout=120)
ok(process.returncode == 130 and messages.splitlines()[-1].startswith("revoxel: "), "Ctrl-C ends synth", messages)
ok(not tree(path("stopped")), "and leaves no file")
done()
