#!/usr/bin/env python3
"""A dataset whose images are DICOM, series in folders and multi-frame files, labels NIfTI, beside the same in
NIfTI: the same plan, the same weights to the bit, the same predictions; and what is refused."""
import os
import shutil
import sys

import nibabel
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scratch import REVOXEL, command, done, ok, path, refused, revoxel
try:
    import dicom_files as dicom
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)
if not os.path.exists(os.path.join(os.path.dirname(REVOXEL), "librevoxel_dicom.so")):
    print("1..0 # SKIP no librevoxel_dicom.so")
    sys.exit(0)

SPACING, CASES = (1.5, 1.5, 2.0), 5
# The axes of command.save's affine, x to the right and y to the front, in LPS.
GRID = {"spacing": SPACING, "origin": (0, 0, 0), "direction": np.diag([-1.0, -1, 1])}


def works(what, *arguments):
    run = revoxel(*arguments)
    ok(run.returncode == 0, what, f"{' '.join(map(str, arguments))}: {run.returncode}: {run.stderr}")
    return run


def content(*names):
    return command.read(path(*names))


def as_dicom(source, target, how):
    """One image: a folder with a series, one multi-frame file, or the volume as it is."""
    stem = target[:-len(".nii.gz")]
    os.makedirs(os.path.dirname(target), exist_ok=True)
    voxels = np.asarray(nibabel.load(source).dataobj).T
    if how == "series":
        dicom.series(stem, np.ascontiguousarray(voxels), kind=dicom.MR, **GRID)
        with open(os.path.join(stem, "notes.txt"), "w") as notes:
            notes.write("not DICOM")
    elif how == "frames":
        dicom.enhanced(stem + ".dcm", np.ascontiguousarray(voxels), slopes=[(1, 0)] * len(voxels), **GRID)
    else:
        shutil.copy(source, target)


def pair(name, channels):
    """NAME/nifti/d and NAME/dicom/d: one dataset in two forms, with two cases to predict."""
    hows = ["series", "frames", "series", "volume", "frames", "series", "frames"]
    nifti, other = path(name, "nifti", "d"), path(name, "dicom", "d")
    command.dataset(nifti, [(18, 20, 12)] * CASES, channels=channels)
    for i in range(2):
        image, _ = command.scene((17, 19, 11), seed=50 + i)
        for channel in range(channels):
            command.save(f"{nifti}/imagesTs/t{i}_{channel:04d}.nii.gz", image + channel)
    shutil.copytree(os.path.join(nifti, "labelsTr"), os.path.join(other, "labelsTr"))
    shutil.copy(os.path.join(nifti, "dataset.json"), other)
    for part, first in (("imagesTr", 0), ("imagesTs", CASES)):
        for i, file in enumerate(sorted(os.listdir(os.path.join(nifti, part)))):
            how = hows[(first + i // channels) % len(hows)]
            how = "volume" if channels > 1 and i % channels and how == "series" else how
            as_dicom(os.path.join(nifti, part, file), os.path.join(other, part, file), how)
    return os.path.join(name, "nifti", "d"), os.path.join(name, "dicom", "d")


def same_predictions(what, one, two):
    names = sorted(n for n in os.listdir(path(one)) if n.endswith(".nii.gz"))
    fine = bool(names) and names == sorted(n for n in os.listdir(path(two)) if n.endswith(".nii.gz"))
    for name in names if fine else []:
        a, b = nibabel.load(path(one, name)), nibabel.load(path(two, name))
        fine &= np.array_equal(a.dataobj, b.dataobj) and bool(np.abs(a.affine - b.affine).max() < 1e-6)
    ok(fine, what, (names, os.listdir(path(two))))


def trained(name, channels):
    nifti, other = pair(name, channels)
    forms = sorted(os.listdir(path(other, "imagesTr")))
    ok(any(os.path.isdir(path(other, "imagesTr", f)) for f in forms) and any(f.endswith(".dcm") for f in forms)
       and any(f.endswith(".nii.gz") for f in forms), f"{name}: images in three forms", forms)
    text = works(f"{name}: inspect", "inspect", other).stdout
    ok(f"{CASES} training cases" in text, f"{name}: it lists the cases", text)
    options = ["--patch", "16x16x8", "--widths", "4,8", "--steps", 6]
    for which in (nifti, other):
        works(f"{name}: plan", "plan", which, *options, "--out", which + ".json")
    ok(content(nifti + ".json") == content(other + ".json"), f"{name}: the same plan, fingerprint and all")
    for which, more in ((nifti, []), (other, []), (other, ["--cache", f"{name}_cache"])):
        run = which + ("_cached" if more else "_run")
        works(f"{name}: train", "train", which, "--plan", which + ".json", "--out", run, "--quiet", *more)
        ok(content(run, "latest.safetensors") == content(nifti + "_run", "latest.safetensors")
           and content(run, "validation.json").replace(b"dicom/d", b"nifti/d").replace(b"_cached", b"_run")
           == content(nifti + "_run", "validation.json"), f"{name}: {run}: the same weights and the same validation")
    for which in (nifti, other):
        works(f"{name}: predict", "predict", other + "_run", os.path.join(which, "imagesTs"), "--out", which + "_out")
    same_predictions(f"{name}: the same predictions on the same grids", nifti + "_out", other + "_out")
    for which in (nifti, other):
        works(f"{name}: report", "report", which + "_run", "--out", which + ".html")
    pictures = [content(which + ".html").count(b"data:image/png") for which in (nifti, other)]
    ok(pictures[0] > 0 and pictures[0] == pictures[1], f"{name}: the report finds its images", pictures)
    return nifti, other


nifti, other = trained("one", 1)
works("predict a folder by its name", "predict", "one/dicom/d_run", "one/dicom/d/imagesTs/t0_0000/", "--out", "by_name")
ok(os.listdir(path("by_name")) == ["t0.nii.gz"] and
   np.array_equal(nibabel.load(path("by_name", "t0.nii.gz")).dataobj,
                  nibabel.load(path(nifti + "_out", "t0.nii.gz")).dataobj), "it is called as its case",
   os.listdir(path("by_name")))
works("predict a multi-frame file by its name", "predict", "one/dicom/d_run", "one/dicom/d/imagesTs/t1_0000.dcm", "--out",
      "by_file")
ok(os.listdir(path("by_file")) in (["t1_0000.nii.gz"], ["t1.nii.gz"]), "a multi-frame file", os.listdir(path("by_file")))
os.makedirs(path("disk", "PA0", "ST0"))
shutil.copytree(path("one/dicom/d/imagesTs/t0_0000"), path("disk", "PA0", "ST0", "SE0"))
works("predict the root of a disk", "predict", "one/dicom/d_run", "disk", "--out", "from_disk")
ok(os.listdir(path("from_disk")) == ["disk.nii.gz"], "it is called as its root", os.listdir(path("from_disk")))
shutil.copytree(path("disk", "PA0", "ST0", "SE0"), path("slices"))
for i, name in enumerate(sorted(n for n in os.listdir(path("slices")) if n.startswith("IM"))):
    os.rename(path("slices", name), path("slices", f"IM_{i:04d}.dcm"))
works("a series whose slices are called IM_0000.dcm, ...", "predict", "one/dicom/d_run", "slices", "--out", "from_slices")
ok(os.listdir(path("from_slices")) == ["slices.nii.gz"], "is one volume", os.listdir(path("from_slices")))
works("one of these slices", "predict", "one/dicom/d_run", "slices/IM_0000.dcm", "--out", "from_slice")
ok(os.listdir(path("from_slice")) == ["IM_0000.nii.gz"], "stands for its series", os.listdir(path("from_slice")))

for target in ("imagesTr/a_0000/", "imagesTr/b_0000.dcm", ""):
    for which in (nifti, other):
        name = target.rstrip("/").replace(".dcm", "") + ".nii.gz" if which == nifti and target else target
        works(f"augment {target or 'the dataset'}", "augment", os.path.join(which, name), "--out", which + ".png", "--seed", 4)
    ok(content(nifti + ".png") == content(other + ".png"), f"augment {target or 'the dataset'}: the same pictures")
works("augment a series outside a dataset", "augment", "slices", "--out", "slices.png")
works("check with a series", "check", other + ".json", "--data", "slices")

trained("two", 2)
works("check with two channels", "check", "two/dicom/d.json", "--data", "two/dicom/d/imagesTs/t0_0000")
refused("a series alone for a model of two channels", 1, ["slices", "2 channels", "CASE_0000"], "predict", "two/dicom/d_run",
        "slices", "--out", "no")

# ---- What is refused ----------------------------------------------------------------------------


def spoiled(what, words, spoil):
    shutil.rmtree(path("bad"), ignore_errors=True)
    shutil.copytree(path(other), path("bad"))
    spoil(lambda *names: path("bad", *names))
    refused(what, 1, words, "plan", "bad", "--out", "no.json")
    ok(not os.path.exists(path("no.json")), f"{what}: nothing is left")


def ending(at):
    with open(at("dataset.json")) as text:
        changed = text.read().replace(".nii.gz", ".dcm")
    with open(at("dataset.json"), "w") as text:
        text.write(changed)


def two_series(at):
    for file in os.listdir(at("imagesTr", "a_0000")):
        if file.startswith("IM"):
            ds = dicom.pydicom.dcmread(at("imagesTr", "a_0000", file))
            ds.SeriesInstanceUID = dicom.uid(55)
            ds.save_as(at("imagesTr", "a_0000", "other" + file))


def moved_label(at):
    image = nibabel.load(at("labelsTr", "a.nii.gz"))
    command.save(at("labelsTr", "a.nii.gz"), np.asarray(image.dataobj), np.diag([1.5, -1.5, 2, 1]))


spoiled("file_ending .dcm", ["file_ending", '".dcm"', "labels and predictions"], ending)
spoiled("one image in two forms", ["a_0000.nii.gz", "a_0000", "found both"],
        lambda at: shutil.copy(path(nifti, "imagesTr", "a_0000.nii.gz"), at("imagesTr")))
spoiled("a folder that is called like no image", ["a", "expected a name such as CASE_0000"],
        lambda at: os.rename(at("imagesTr", "a_0000"), at("imagesTr", "a")))
spoiled("a channel too many", ["a_0003", "is channel 3"],
        lambda at: shutil.copytree(at("imagesTr", "a_0000"), at("imagesTr", "a_0003")))
spoiled("a label without its image", ["1 file missing", "a_0000.nii.gz"],
        lambda at: shutil.rmtree(at("imagesTr", "a_0000")))
spoiled("two series in one case", ["case a", "SeriesInstanceUID: 2 series"], two_series)
spoiled("a slice missing in a case", ["case a", "is missing"],
        lambda at: os.remove(at("imagesTr", "a_0000", sorted(os.listdir(at("imagesTr", "a_0000")))[3])))
spoiled("a label on another grid", ["case a", "grids differ", "--like", "--labels"], moved_label)
shutil.rmtree(path("bad"))
shutil.copytree(path(other), path("bad"))
os.makedirs(path("bad", "imagesTr", "notes_2024", "more"))
works("a folder without DICOM is passed by", "plan", "bad", "--out", "yes.json")
done()
