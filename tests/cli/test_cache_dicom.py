#!/usr/bin/env python3
"""A cache of cases whose images are DICOM: a slice that is another now, is gone or has come makes the case
anew, whatever else lies in its folder does not."""
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

GRID = {"spacing": (1.5, 1.5, 2.0), "origin": (0, 0, 0), "direction": np.diag([-1.0, -1, 1])}
command.dataset(path("d"), [(18, 20, 12)] * 3)
for name in "ab":
    source = path("d", "imagesTr", f"{name}_0000.nii.gz")
    voxels = np.ascontiguousarray(np.asarray(nibabel.load(source).dataobj).T)
    os.remove(source)
    if name == "a":
        dicom.series(path("d", "imagesTr", "a_0000"), voxels, kind=dicom.MR, **GRID)
    else:
        dicom.enhanced(path("d", "imagesTr", "b_0000.dcm"), voxels, slopes=[(1, 0)] * len(voxels), **GRID)
SERIES = path("d", "imagesTr", "a_0000")
SLICES = sorted(os.listdir(SERIES))
TRAIN = ["train", "d", "--plan", "plan.json", "--quiet"]
run = revoxel("plan", "d", "--patch", "16x16x8", "--widths", "4,8", "--steps", 2, "--out", "plan.json")
ok(run.returncode == 0, "a plan", run.stderr)


def weights(folder):
    return command.read(path(folder, "latest.safetensors"))


def times():
    """When each case's file of the cache was made."""
    return {name[0]: os.stat(path("cache", name)).st_mtime_ns for name in os.listdir(path("cache"))}


def remade(what, expected):
    """Trains from the cache and without; `expected`: the cases that were made anew."""
    before = times() if os.path.exists(path("cache")) else {}
    for out, more in (("cached", ["--cache", "cache"]), ("plain", [])):
        shutil.rmtree(path(out), ignore_errors=True)
        run = revoxel(*TRAIN, "--out", out, *more)
        ok(run.returncode == 0, f"{what}: trains", run.stderr)
    ok(weights("cached") == weights("plain"), f"{what}: the weights are those of cases in memory")
    found = "".join(sorted(name for name, time in times().items() if before.get(name) != time))
    ok(found == expected, f"{what}: made anew: '{expected}'", found)


def voxel_changed(file):
    """Another value in the middle, a second later."""
    time = os.stat(file).st_mtime_ns + 10**9
    ds = dicom.pydicom.dcmread(file)
    voxels = ds.pixel_array.copy()
    voxels[tuple(n // 2 for n in voxels.shape)] += 400
    ds.PixelData = voxels.tobytes()
    ds.save_as(file)
    os.utime(file, ns=(time, time))


remade("at first", "abc")
remade("nothing changed", "")
voxel_changed(os.path.join(SERIES, SLICES[5]))
remade("a slice of a series is another", "a")
voxel_changed(path("d", "imagesTr", "b_0000.dcm"))
remade("a multi-frame file is another", "b")
with open(os.path.join(SERIES, "notes.txt"), "w") as notes:
    notes.write("not DICOM")
remade("a text beside the slices", "")
os.rename(os.path.join(SERIES, SLICES[0]), os.path.join(SERIES, "renamed.dcm"))
remade("a slice has another name", "a")

ds = dicom.pydicom.dcmread(os.path.join(SERIES, SLICES[1]))
ds.SeriesInstanceUID = dicom.uid(55)
ds.save_as(os.path.join(SERIES, "other"))
refused("a slice of another series has come", 1, ["case a", "2 series"], *TRAIN, "--out", "none", "--cache", "cache")
os.remove(os.path.join(SERIES, "other"))
remade("it is gone again", "")
os.remove(os.path.join(SERIES, SLICES[3]))
refused("a slice is gone", 1, ["case a", "is missing"], *TRAIN, "--out", "none", "--cache", "cache")
done()
