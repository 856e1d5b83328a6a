#!/usr/bin/python3
"""--repair over a cross-validation, its resumption, a shared cache and an ensemble: every fold and every member gets
it, and lists the same repairs whether its cases were read or came from the cache."""
import json
import os
import shutil
import sys

try:
    import nibabel
    import numpy
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scratch import command, done, ok, path, refused, revoxel, tree


def damage(name):
    """Axes that lean a little, and labels that are nearly whole numbers."""
    for kind, file in (("imagesTr", f"{name}_0000.nii.gz"), ("labelsTr", f"{name}.nii.gz")):
        where = path("data", kind, file)
        image = nibabel.load(where)
        voxels, lean = numpy.asarray(image.dataobj), numpy.array(image.affine)
        lean[0, 1] = 0.02
        if kind == "labelsTr":
            voxels = numpy.where(voxels == 1, 0.99999997, voxels.astype("f8"))
        changed = nibabel.Nifti1Image(voxels, lean)
        changed.set_sform(lean, 1)
        nibabel.save(changed, where)


def listed(*names):
    try:
        with open(path(*names, "repairs.txt")) as text:
            return text.read().splitlines()
    except FileNotFoundError:
        return []


def said(run):
    return [line.split("repaired: ", 1)[1] for line in run.stderr.splitlines() if "repaired: " in line]


def works(what, *arguments):
    run = revoxel(*arguments)
    ok(run.returncode == 0, what, f"{' '.join(map(str, arguments))}: {run.returncode}: {run.stderr}")
    return run


def stop_behind_first(name):
    shutil.copytree(path("cv"), path(name))
    shutil.rmtree(path(name, "fold_2"))
    with open(path(name, "cross_validation.json"), "w") as out:
        json.dump({"format_version": 1, "folds": 2, "finished": 1}, out)


command.dataset(path("data"), [(16, 16, 16)] * 4)
for name in "bd":
    damage(name)
command.plan(path("data"), path("plan.json"), "--patch", "16x16x16", "--widths", "4,8", "--steps", 2, "--repair",
             fold={"count": 2})
TRAIN = ["train", "data", "--plan", "plan.json", "--quiet", "--threads", 1]
FOLDS = [*TRAIN, "--fold", "all"]
refused("a cross-validation of damaged cases", 1, ["--repair"], *FOLDS, "--out", "no")
run = works("with --repair", *FOLDS, "--out", "cv", "--repair")
first = listed("cv/fold_1")
files = ["b_0000.nii.gz", "d_0000.nii.gz", "labelsTr/b.nii.gz", "labelsTr/d.nii.gz"]
ok(len(first) >= 6 and all(any(file in line for line in first) for file in files) and
   sum("rounded to labels" in line for line in first) == 2, "fold 1 lists what it repaired", first)
ok(sorted(said(run)) == sorted(set(first)), "each is said once", run.stderr)
ok(sorted(listed("cv/fold_2")) == sorted(first), "fold 2 lists the same", listed("cv/fold_2"))

stop_behind_first("half")
before = {name: os.stat(path("half/preprocessed", name)).st_mtime_ns for name in os.listdir(path("half/preprocessed"))}
refused("going on without --repair", 1, ["--repair"], *FOLDS, "--out", "half", "--resume")
shutil.rmtree(path("half"))
stop_behind_first("half")
run = works("going on with it", *FOLDS, "--out", "half", "--resume", "--repair")
after = {name: os.stat(path("half/preprocessed", name)).st_mtime_ns for name in os.listdir(path("half/preprocessed"))}
ok(set(after) == set(before) and len(after) == 4, "takes the cases from the cache", (before, after))
ok(sorted(listed("half/fold_2")) == sorted(first), "and lists what was repaired in them", listed("half/fold_2"))
ok(sorted(said(run)) == sorted(first), "and says it", run.stderr)
ok(command.read(path("half/fold_2/latest.safetensors")) == command.read(path("cv/fold_2/latest.safetensors")),
   "to the same bits")

for out in ("one", "two"):
    run = works(f"a run of its own with a cache: {out}", *TRAIN, "--out", out, "--cache", "cache", "--repair",
                "--no-validation-output")
    ok(sorted(listed(out)) == sorted(said(run)) == sorted(first), "lists the same", listed(out))

BAD = "data/imagesTr/b_0000.nii.gz"
RAW = ["--quiet", "--no-postprocessing", "--probabilities"]
refused("an ensemble on a damaged image", 1, ["b_0000.nii.gz", "--repair"], "predict", "cv", BAD, "--out", "no", *RAW)
works("with --repair every fold reads it", "predict", "cv", BAD, "--out", "voted", "--repair", *RAW)
works("and every run that is named", "predict", "cv/fold_1", BAD, "--with", "cv/fold_2", "--out", "named", "--repair", *RAW)
ok(tree(path("voted")) == tree(path("named")), "to the same maps and the same list")
ok(len(listed("voted")) == len(set(listed("voted"))) > 0 and all("b_0000.nii.gz" in line for line in listed("voted")),
   "in which each repair stands once", listed("voted"))
done()
