#!/usr/bin/python3
"""Bad input, line by line: without --repair it is refused, with file, field and what --repair would do; with
it the result is what is expected and every repair is said and listed. Then the same through plan, train,
report, predict and evaluate; and what predictions are called and written as."""
import json
import os
import sys

try:
    import nibabel
    import numpy as np
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scratch import REVOXEL, command, done, folder, ok, path, refused, revoxel
try:
    import dicom_files as dicom
except ImportError:
    dicom = None
if not os.path.exists(os.path.join(os.path.dirname(REVOXEL), "librevoxel_dicom.so")):
    dicom = None

rng = np.random.default_rng(4)


def load(name):
    image = nibabel.load(path(name))
    return image.get_fdata(), image.affine


def repaired(what, words, source, expected=None, *options, within=0, affine=None):
    """Refused without --repair; said, and as expected, with it."""
    refused(f"{what}: refused, with advice", 1, [os.path.basename(source), "--repair", *words[0]], "convert", source,
            "no.nii.gz", *options)
    run = revoxel("convert", source, "out.nii.gz", "--repair", *options)
    said = "revoxel: repaired: " in run.stderr and all(word in run.stderr for word in words[1])
    ok(run.returncode == 0 and said, f"{what}: repaired, and said", run.stderr)
    if run.returncode == 0 and expected is not None:
        voxels, grid = load("out.nii.gz")
        apart = np.abs(voxels - expected).max() if voxels.shape == expected.shape else voxels.shape
        ok(voxels.shape == expected.shape and apart <= within, f"{what}: the voxels", apart)
    if run.returncode == 0 and affine is not None:
        ok(np.abs(load("out.nii.gz")[1] - affine).max() < 1e-4, f"{what}: the grid", load("out.nii.gz")[1])
    ok(revoxel("inspect", "out.nii.gz").returncode == 0, f"{what}: what was written is sound")


def never(what, words, source, *options):
    for more in ([], ["--repair"]):
        refused(f"{what}: refused{' also with --repair' if more else ''}", 1, [os.path.basename(source), *words],
                "convert", source, "no.nii.gz", *options, *more)


def headers():
    voxels = np.arange(24, dtype="<i2").reshape(2, 3, 4)  # z, y, x

    def mha(name, matrix="1 0 0 0 1 0 0 0 1", size="4 3 2", channels=1):
        with open(path(name), "wb") as file:
            file.write((f"ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = {matrix}\n"
                        f"ElementSpacing = 1 1 2\nDimSize = {size}\nElementNumberOfChannels = {channels}\n"
                        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n").encode() + voxels.tobytes())

    def nhdr(name, directions="(1,0,0) (0,1,0) (0,0,2)", data="v.raw"):
        with open(path(name), "w") as file:
            file.write(f"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 3 2\n"
                       f"space directions: {directions}\nendian: little\nencoding: raw\ndata file: {data}\n\n")
    voxels.tofile(path("v.raw"))
    voxels[:1].tofile(path("short.raw"))
    expected = voxels.transpose(2, 1, 0)
    mha("turn.mha", "1 0.02 0 0 1 0 0 0 1")
    repaired("MHA, leaning axes", (["TransformMatrix", "right angle"], ["TransformMatrix", "orthonormal"]),
             "turn.mha", expected)
    mha("long.mha", "1.02 0 0 0 1 0 0 0 1")
    repaired("MHA, an axis too long", (["TransformMatrix", "length 1.02"], ["TransformMatrix"]), "long.mha", expected)
    nhdr("turn.nhdr", "(1,0.02,0) (0,1,0) (0,0,2)")
    repaired("NRRD, leaning axes", (["space directions", "right angle"], ["space directions"]), "turn.nhdr", expected)
    run = revoxel("convert", "turn.nhdr", "again.nrrd", "--repair")
    ok(run.returncode == 0 and revoxel("inspect", "again.nrrd").returncode == 0, "the repaired grid is what is written")
    mha("shear.mha", "1 0.3 0 0 1 0 0 0 1")
    never("axes too far off", ["TransformMatrix"], "shear.mha")
    mha("lying.mha", size="4 3 200")
    never("MHA with a lying size", ["truncated", "4 x 3 x 200"], "lying.mha")
    mha("color.mha", size="2 2 2", channels=3)
    never("MHA in colour", ["ElementNumberOfChannels"], "color.mha")
    nhdr("gone.nhdr", data="gone.raw")
    never("a detached file missing", ["data file", "gone.raw"], "gone.nhdr")
    nhdr("short.nhdr", data="short.raw")
    never("a detached file too short", ["data file", "short.raw", "truncated"], "short.nhdr")


def nifti():
    voxels = rng.integers(0, 200, (4, 3, 5)).astype("i2")
    image = nibabel.Nifti1Image(voxels, np.diag([1, 1, 2, 1]))
    nibabel.save(image, path("nan.nii"))
    with open(path("nan.nii"), "r+b") as file:
        file.seek(112)
        file.write(np.array([np.nan, 3], "<f4").tobytes())
    repaired("NIfTI, scl_slope NaN", (["scl_slope nan"], ["scl_slope nan", "as stored"]), "nan.nii", voxels)
    with open(path("nan.nii"), "rb") as file:
        whole = bytearray(file.read())
    whole[112:120] = np.array([0, 3], "<f4").tobytes()
    with open(path("zero.nii"), "wb") as file:
        file.write(whole)
    run = revoxel("convert", "zero.nii", "out.nii.gz")
    ok(run.returncode == 0 and np.array_equal(load("out.nii.gz")[0], voxels),
       "NIfTI, scl_slope 0: no scaling, as the format says", run.stderr)
    lean = np.diag([1.0, 1, 2, 1])
    lean[0, 1] = 0.02
    image = nibabel.Nifti1Image(voxels, lean)
    image.set_sform(lean, 1)
    nibabel.save(image, path("lean.nii"))
    repaired("NIfTI, a leaning sform", (["sform", "right angle"], ["sform", "orthonormal"]), "lean.nii", voxels)
    data = np.zeros((4, 3, 2), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path("color.nii"))
    never("NIfTI in colour", ["RGB24"], "color.nii")
    labels = rng.integers(0, 4, (4, 3, 5)).astype("f8")
    nibabel.save(nibabel.Nifti1Image(np.where(labels == 1, 0.99999997, labels), np.eye(4)), path("near.nii"))
    repaired("labels 0.99999997", (["holds 0.99999997", "a"], ["near.nii", "3e-08", "rounded to labels"]), "near.nii",
             labels, "--labels")
    nibabel.save(nibabel.Nifti1Image(np.where(labels == 1, 0.9, labels), np.eye(4)), path("far.nii"))
    never("labels 0.9", ["holds 0.9"], "far.nii", "--labels")


def series():
    z, y, x = np.indices((8, 24, 6))
    ramp = (100 + 7 * x + 5 * y + 11 * z).astype("i2")
    grid = {"direction": np.eye(3), "kind": dicom.MR, "spacing": (0.5, 0.5, 2), "origin": (10, 20, 30)}
    full = ramp.transpose(2, 1, 0).astype("f8")
    affine = np.array([[-0.5, 0, 0, -10], [0, -0.5, 0, -20], [0, 0, 2, 30], [0, 0, 0, 1]])
    places = np.arange(8) * 2.0
    dicom.series(path("double"), ramp, **grid)
    with open(path("double", "IM0002"), "rb") as one, open(path("double", "IM0077"), "wb") as two:
        two.write(one.read())
    repaired("DICOM, a duplicate", (["duplicate", "IM0077"], ["IM0077", "duplicate", "dropped"]), "double", full,
             affine=affine)
    dicom.series(path("gap"), np.delete(ramp, 3, 0), places=np.delete(places, 3), **grid)
    repaired("DICOM, a slice missing", (["1 slice is missing"], ["slices are missing", "8 slices made of 7"]), "gap",
             full, affine=affine, within=1e-4)
    dicom.series(path("hole"), np.delete(ramp, (3, 4), 0), places=np.delete(places, (3, 4)), **grid)
    for more in ([], ["--repair"]):
        refused(f"DICOM, two slices in a row missing {more}", 1, ["2 slices are missing", "cannot be repaired"], "convert",
                "hole", "no.nrrd", *more)
    uneven = places + [0, 0, 0.6, 0, 0, -0.5, 0, 0]
    values = (100 + 7 * x + 5 * y).astype("f8") + 5.5 * uneven[:, None, None]
    dicom.series(path("uneven"), np.rint(values * 10).astype("i2"), places=uneven, slopes=[(0.1, 0)] * 8, **grid)
    repaired("DICOM, uneven slices", (["unevenly spaced"], ["unevenly spaced", "linear interpolation"]), "uneven",
             full, affine=affine, within=0.051)
    tilt = np.tan(np.deg2rad(10))

    def say(ds, z):
        ds.GantryDetectorTilt = "10"
    rows = y + z * 2 * tilt / 0.5  # where the row of a slice really lies
    dicom.series(path("tilt"), np.rint((100 + 7 * x + 5 * rows + 11 * z) * 10).astype("i2"), shear=(0, tilt),
                 slopes=[(0.1, 0)] * 8, change=say, **grid)
    refused("DICOM, gantry tilt: refused, with advice", 1, ["leans by 10 degrees", "GantryDetectorTilt is 10", "--repair"],
            "convert", "tilt", "no.nii.gz")
    run = revoxel("convert", "tilt", "out.nii.gz", "--repair")
    voxels, found = load("out.nii.gz")
    inside = np.arange(24) >= 6  # a slice reaches no further than it was taken
    ok(run.returncode == 0 and "leans by 10 degrees" in run.stderr and np.abs(found - affine).max() < 1e-4
       and np.abs(voxels - full)[:, inside].max() <= 0.11, "DICOM, gantry tilt: slices moved to where they belong",
       (run.stderr, np.abs(voxels - full)[:, inside].max()))

    def nought(ds, z):
        ds.RescaleSlope = "0"
    dicom.series(path("nought"), ramp, slopes=[(1, 0)] * 8, change=nought, **grid)
    repaired("DICOM, RescaleSlope 0", (["RescaleSlope is 0"], ["RescaleSlope 0: taken as 1"]), "nought", full)


def through_the_verbs():
    data = path("data")
    command.dataset(data, [(16, 16, 16)] * 5)
    image = nibabel.load(os.path.join(data, "imagesTr", "b_0000.nii.gz"))
    lean = np.array(image.affine)
    lean[0, 1] = 0.02
    for kind, name in (("imagesTr", "b_0000"), ("labelsTr", "b")):
        where = os.path.join(data, kind, name + ".nii.gz")
        voxels = np.asarray(nibabel.load(where).dataobj)
        if kind == "labelsTr":
            voxels = np.where(voxels == 1, 0.99999997, voxels.astype("f8"))
        changed = nibabel.Nifti1Image(voxels, lean)
        changed.set_sform(lean, 1)
        nibabel.save(changed, where)
    refused("plan", 1, ["b_0000.nii.gz", "sform", "--repair"], "plan", "data", "--out", "plan.json")
    run = revoxel("plan", "data", "--out", "plan.json", "--repair", "--steps", "4", "--patch", "16x16x16", "--widths",
                  "4,8")
    lines = [line for line in run.stderr.splitlines() if "repaired: " in line]
    ok(run.returncode == 0 and len(lines) == 3 and "b_0000.nii.gz" in run.stderr and "rounded to labels" in run.stderr,
       "plan --repair says each once", run.stderr)
    refused("train", 1, ["--repair"], "train", "data", "--plan", "plan.json", "--out", "run0")
    with open(path("plan.json")) as file:
        made = json.load(file)
    made["fold"] = {**made.get("fold", {}), "index": 1}
    run = revoxel("train", "data", "--plan", "plan.json", "--out", "run", "--repair", "--quiet")
    lines = [line for line in run.stderr.splitlines() if "repaired: " in line]
    listed = open(path("run", "repairs.txt")).read() if os.path.exists(path("run", "repairs.txt")) else ""
    ok(run.returncode == 0 and len(lines) == 3 and sorted(listed.splitlines()) ==
       sorted(line.split("repaired: ", 1)[1] for line in lines), "train --repair says each once and lists it",
       (run.stderr, listed))
    run = revoxel("report", "run")
    page = open(path("run", "report.html")).read() if run.returncode == 0 else ""
    ok("Repaired files" in page and "rounded to labels" in page and page.count("<li>") >= 3, "the report lists them",
       run.stderr)
    bad = os.path.join("data", "imagesTr", "b_0000.nii.gz")
    refused("predict", 1, ["b_0000.nii.gz", "--repair"], "predict", "run", bad, "--out", "p0")
    run = revoxel("predict", "run", bad, "--out", "p1", "--repair", "--quiet")
    ok(run.returncode == 0 and "sform" in open(path("p1", "repairs.txt")).read()
       and revoxel("inspect", "p1/b.nii.gz").returncode == 0, "predict --repair lists it beside a sound label map", run.stderr)
    good = os.path.join("data", "imagesTr", "a_0000.nii.gz")
    run = revoxel("predict", "run", good, "--out", "p1", "--quiet")
    ok(run.returncode == 0 and not os.path.exists(path("p1", "repairs.txt")), "no list where nothing was repaired")
    reference = np.asarray(nibabel.load(path("p1", "a.nii.gz")).dataobj)
    for ending in (".nrrd", ".mha", ".seg.nrrd", ".nii"):
        run = revoxel("predict", "run", good, "--out", "f", "--format", ending, "--quiet")
        fine = run.returncode == 0 and revoxel("convert", "f/a" + ending, "f.nii.gz", "--labels").returncode == 0
        ok(fine and np.array_equal(load("f.nii.gz")[0], reference), f"predict --format {ending}", run.stderr)
    refused("no such format", 1, "format '.png'", "predict", "run", good, "--out", "f", "--format", ".png")
    os.makedirs(path("mixed"))
    for ending in (".nii.gz", ".mha"):
        revoxel("convert", good, "mixed/a_0000" + ending)
    refused("one name with two endings", 1, "two images are called 'a'", "predict", "run", "mixed", "--out", "f")
    refused("evaluate", 1, ["labelsTr/b.nii.gz", "--repair"], "evaluate", "--pred", "data/labelsTr", "--ref", "data/labelsTr")
    run = revoxel("evaluate", "--pred", "data/labelsTr", "--ref", "data/labelsTr", "--repair", "--quiet", "--out",
                  "judged.json")
    with open(path("judged.json")) as text:
        lines = json.load(text).get("repairs", [])
    ok(lines and any("labelsTr/b.nii.gz" in line for line in lines), "evaluate: its JSON lists the repairs", lines)
    ok(run.returncode == 0 and "rounded to labels" in run.stderr, "evaluate --repair says it", run.stderr)
    if dicom:
        voxels = np.asarray(nibabel.load(path(good)).dataobj).transpose(2, 1, 0)
        dicom.series(path("scan"), voxels.astype("i2"), kind=dicom.MR, spacing=(1.5, 1.5, 2), direction=np.eye(3))
        run = revoxel("predict", "run", "scan", "--out", "d", "--quiet")
        ok(run.returncode == 0 and load("d/scan.nii.gz")[0].shape == reference.shape
           and np.array_equal(load("d/scan.nii.gz")[0], reference), "predict on a DICOM series", run.stderr)


headers()
nifti()
if dicom:
    series()
through_the_verbs()
ok(not [name for name in os.listdir(folder) if name.startswith(("no.", "run0"))] and not os.listdir(path("p0")),
   "nothing is left of what was refused", os.listdir(folder))
done()
