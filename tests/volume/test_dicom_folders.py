#!/usr/bin/python3
"""Folders of DICOM as they are on disks that hospitals give away: a DICOMDIR, folders in folders, viewers and
hidden files beside; one series is read, several are listed with the names by which each is read. DICOMDIR and
folders are pydicom's; its own test disk is read too."""
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
try:
    import numpy as np
    import pydicom
    import dicom_files as make
    from pydicom.fileset import FileSet
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)
from command import REVOXEL, done, listing, ok, read, run

if not os.path.exists(os.path.join(os.path.dirname(REVOXEL), "librevoxel_dicom.so")):
    print("1..0 # SKIP no librevoxel_dicom.so")
    sys.exit(0)
folder = tempfile.mkdtemp(prefix="rvx_disk_")
rng = np.random.default_rng(7)


def path(*names):
    return os.path.join(folder, *names)


def converted(name):
    """The bytes of the volume as an NRRD, or why there are none."""
    result = run("convert", name, path("out.nrrd"))
    return read(path("out.nrrd")) if result.returncode == 0 else result.stderr


def refused(name, what, *words):
    result = run("convert", name, path("no.nrrd"))
    ok(result.returncode == 1 and all(w in result.stderr for w in words) and not os.path.exists(path("no.nrrd")),
       f"refused: {what}", f"{result.returncode}: {result.stderr}")


def disk(root, *series):
    """A disk with a DICOMDIR over files of these folders, and what is on one besides."""
    files = FileSet()
    for one in series:
        for name in sorted(os.listdir(path(one))):
            files.add(path(one, name))
    files.write(path(root))
    for name, content in (("AUTORUN.INF", "[autorun]\nopen=viewer.exe\n"), ("README.TXT", "DICM is what is here"),
                          ("viewer.exe", "MZ" + "\0" * 600), (".DS_Store", "x" * 700), ("INDEX.HTM", "<html>")):
        with open(path(root, name), "w") as out:
            out.write(content)
    inner = next(where for where, _, names in os.walk(path(root)) if "IM000000" in names)
    shutil.copy(os.path.join(inner, "IM000000"), os.path.join(inner, ".hidden"))
    with open(os.path.join(inner, "._IM000000"), "wb") as out:
        out.write(b"\0\5\x16\7" + bytes(4096))
    with open(os.path.join(inner, "preview.jpg.gz"), "wb") as out:
        out.write(b"\x1f\x8b\x08\0 no gzip")
    os.makedirs(path(root, "EMPTY", "EMPTY"))
    os.symlink("..", path(root, "EMPTY", "loop"))
    os.symlink(inner, path(root, "twice"))


def relabel(name, modality, description):
    for file in os.listdir(path(name)):
        ds = pydicom.dcmread(path(name, file))
        ds.Modality, ds.SeriesDescription = modality, description
        ds.save_as(path(name, file))


shape = (6, 5, 4)
make.series(path("a"), rng.integers(-900, 900, shape, dtype="i2"), uid_number=11)
make.series(path("b"), rng.integers(0, 900, (4, 5, 4), dtype="i2"), uid_number=12, kind=make.MR)
relabel("b", "MR", "T2 axial")
alone, other = converted(path("a")), converted(path("b"))

disk("one", "a")
before = listing(path("one"))
ok(isinstance(alone, bytes) and converted(path("one")) == alone, "the root of a disk with one series", converted(path("one")))
ok(converted(path("one", "DICOMDIR")) == alone, "its DICOMDIR by name")
ok(converted(path("one") + "/") == alone, "with a slash behind")
text = run("inspect", path("one")).stdout
ok("CT made for tests, 6 files" in text and "4 x 5 x 6" in text, "inspect describes it", text)
os.symlink(path("one"), path("link"))
ok(converted(path("link")) == alone, "a link to the root is followed")
os.remove(path("one", "DICOMDIR"))
ok(converted(path("one")) == alone, "without its DICOMDIR")
with open(path("one", "DICOMDIR"), "wb") as out:
    out.write(before["DICOMDIR"][:400])
ok(converted(path("one")) == alone, "with a DICOMDIR that is cut off")
ok(all(listing(path("one"))[name] == content for name, content in before.items() if name != "DICOMDIR"),
   "nothing on it is changed")

report = pydicom.dcmread(path("a", "IM0000"))
for field in ("Rows", "Columns", "PixelData", "BitsAllocated"):
    delattr(report, field)
report.SeriesInstanceUID, report.Modality = make.uid(77), "SR"
report.save_as(path("one", "REPORT"))
ok(converted(path("one")) == alone, "a report beside the images is no series")

disk("two", "a", "b")
listed = run("convert", path("two"), path("no.nrrd"))
ok(listed.returncode == 1 and "SeriesInstanceUID: 2 series, expected one" in listed.stderr
   and not os.path.exists(path("no.nrrd")), "two series are refused", listed.stderr)
found = re.findall(r'(\S+) \((\S+) "([^"]*)", (\d+) slices, ([\d.]+)\)', listed.stderr)
ok(sorted(f[1:] for f in found) == [("CT", "made for tests", "6", make.uid(11)), ("MR", "T2 axial", "4", make.uid(12))],
   "with modality, description, slices and UID", listed.stderr)
names = {f[1]: f[0] for f in found}
ok(converted(path("two", names["CT"])) == alone and converted(path("two", names["MR"])) == other,
   "each is read by the name in the list", names)
inside = sorted(os.listdir(path("two", names["MR"])))
ok(converted(path("two", names["MR"], next(n for n in inside if n.startswith("IM")))) == other, "or by a file of it")
result = run("inspect", path("two"))
ok(result.returncode == 0 and all(path("two", names[m]) + "\n" in result.stdout for m in names)
   and '"T2 axial", 4 slices' in result.stdout, "inspect lists them", result.stdout)

os.makedirs(path("flat", "images"))
for name in ("a", "b"):
    for file in os.listdir(path(name)):
        shutil.copy(path(name, file), path("flat", "images", name + file))
listed = run("convert", path("flat"), path("no.nrrd")).stderr
found = re.findall(r'(\S+) \((\S+) "', listed)
ok(sorted(f[1] for f in found) == ["CT", "MR"] and all(os.path.isfile(path("flat", f[0])) for f in found),
   "two series in one folder are named by a file", listed)
ok([converted(path("flat", f[0])) for f in sorted(found, key=lambda f: f[1])] == [alone, other], "and read by it")

many = [f"s{k}" for k in range(20)]
for k, name in enumerate(many):
    make.series(path("many", name), np.full((1, 3, 3), k, "i2"), uid_number=100 + k)
listed = run("convert", path("many"), path("no.nrrd"))
ok("20 series" in listed.stderr and listed.stderr.rstrip().endswith("lists them all)") and "s0" in listed.stderr,
   "more than a message holds", listed.stderr)
text = run("inspect", path("many")).stdout
ok(all(path("many", name) + "\n" in text for name in many), "inspect holds all", text)

deep = path("deep", *["x"] * 15)
shutil.copytree(path("a"), deep)
ok(converted(path("deep")) == alone, "fifteen folders deep")
shutil.move(deep, path("deeper"))
os.makedirs(path("deeper", *["x"] * 20))
shutil.move(path("deeper", "IM0000"), path("deeper", *["x"] * 20))
shutil.rmtree(path("deep"))
os.makedirs(path("deep"))
os.rename(path("deeper", "x"), path("deep", "x"))
refused(path("deep"), "twenty folders deep", "a folder without DICOM files", "deep")
shutil.copytree(path("a"), path("deep", "a"))
refused(path("deep"), "images, and more folders than are walked", "folders deep", "name the folder of a series")

shutil.copytree(path("one"), path("broken"), symlinks=True)
damaged = next(os.path.join(where, "IM000003") for where, _, n in os.walk(path("broken")) if "IM000003" in n)
with open(damaged, "r+b") as out:
    out.truncate(200)
refused(path("broken"), "a damaged file below the root", "IM000003")
os.makedirs(path("volumes", "dicom"))
shutil.copytree(path("a"), path("volumes", "dicom", "a"))
shutil.copy(path("out.nrrd"), path("volumes", "v.nrrd"))
text = run("inspect", path("volumes")).stdout
ok("v.nrrd" in text and "1 volume" in text, "a folder of volumes stays one, whatever is below it", text)

try:
    real = os.path.join(os.path.dirname(pydicom.__file__), "data", "test_files", "dicomdirtests")
    expected = {str(pydicom.dcmread(os.path.join(where, name), stop_before_pixels=True).SeriesInstanceUID)
                for sub in ("77654033", "98892001", "98892003")
                for where, _, names in os.walk(os.path.join(real, sub)) for name in names}
except OSError:
    expected = set()
if expected:
    result = run("inspect", real)
    ok(result.returncode == 0 and set(re.findall(r"slices?, (\S+)", result.stdout)) == expected,
       f"pydicom's disk: {len(expected)} series", result.stderr + result.stdout)
shutil.rmtree(folder, ignore_errors=True)
done()
