#!/usr/bin/python3
"""DICOM Segmentations that highdicom wrote, read as label maps: the masks that went in, on the grid that highdicom
finds, put onto the grid of the images they were drawn on; names and colours; what is refused."""
import os
import shutil
import sys
import tempfile
import warnings

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
try:
    import highdicom
    import nrrd
    import numpy as np
    import pydicom
    from PIL import Image, ImageCms
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes
    import dicom_files as make
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)
from command import REVOXEL, done, ok, run

if not os.path.exists(os.path.join(os.path.dirname(REVOXEL), "librevoxel_dicom.so")):
    print("1..0 # SKIP no librevoxel_dicom.so")
    sys.exit(0)
warnings.simplefilter("ignore")
folder = tempfile.mkdtemp(prefix="rvx_seg_")
rng = np.random.default_rng(9)
SHAPE = (9, 7, 11)  # slices, rows, columns: frames of 77 bits begin within bytes
COLORS = {"gland": (200, 30, 40), "tumour": (90, 180, 120), "vessel": (0, 0, 255)}


def path(*names):
    return os.path.join(folder, *names)


TO_LAB = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")


def described(number, name):
    light, a, b = np.array(ImageCms.applyTransform(Image.new("RGB", (1, 1), COLORS[name]), TO_LAB))[0, 0].tolist()
    color = CIELabColor(light * 100 / 255, (a + 128) % 256 - 128, (b + 128) % 256 - 128)
    return SegmentDescription(number, name, codes.SCT.Tissue, codes.SCT.Tissue, SegmentAlgorithmTypeValues.MANUAL,
                              display_color=color)


def written(name, sources, mask, kind, numbers=(1, 2, 3), change=None, **more):
    segments = [described(n, word) for n, word in zip(numbers, COLORS)]
    seg = highdicom.seg.Segmentation(sources, mask, kind, segments, make.uid(70), 3, make.uid(71), 1, "maker", "model",
                                     "1", "serial", **more)
    seg.SeriesDescription = "drawn for tests"
    if change:
        change(seg)
    seg.save_as(path(name))


def converted(name, *options, out="out.nrrd"):
    result = run("convert", path(name), path(out), *options)
    if result.returncode:
        return None, None, result.stderr
    values, header = nrrd.read(path(out))
    place = np.eye(4)
    place[:3, :3], place[:3, 3] = np.array(header["space directions"])[-3:].T, header["space origin"]
    return values, place, result.stderr


def as_highdicom(name, what):
    """Our labels and places against highdicom's, voxel by voxel."""
    values, place, why = converted(name)
    if not ok(values is not None, f"{what}: it is read", why):
        return
    volume = highdicom.seg.segread(path(name)).get_volume(combine_segments=True)
    theirs = np.asarray(volume.array)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in values.shape], indexing="ij"), -1).reshape(-1, 3)
    world = grid @ place[:3, :3].T + place[:3, 3]
    inverse = np.linalg.inv(volume.affine)
    at = world @ inverse[:3, :3].T + inverse[:3, 3]
    near = np.rint(at).astype(int)
    fine = np.abs(at - near).max() < 1e-6 and near.min() == 0 and tuple(near.max(0) + 1) == theirs.shape
    ok(fine and np.array_equal(theirs[tuple(near.T)], values.reshape(-1)), f"{what}: as highdicom reads it",
       (values.shape, theirs.shape))


def refused(name, what, *words):
    result = run("convert", path(name), path("no.nrrd"))
    ok(result.returncode == 1 and all(w in result.stderr for w in words) and not os.path.exists(path("no.nrrd")),
       f"refused: {what}", f"{result.returncode}: {result.stderr}")


make.series(path("ct"), rng.integers(-900, 900, SHAPE).astype("i2"))
sources = [pydicom.dcmread(path("ct", n)) for n in sorted(os.listdir(path("ct")))]
sources.sort(key=lambda ds: ds.InstanceNumber)
labels = rng.integers(0, 4, SHAPE).astype("u1")
labels[[0, 5, 8]] = 0  # slices without any, at both ends and within
labels[3][labels[3] == 2] = 0  # and one without a segment that others have

for kind, name in ((SegmentationTypeValues.BINARY, "BINARY"), (SegmentationTypeValues.LABELMAP, "LABELMAP")):
    for sparse in (True, False):
        what = f"{name}{', empty frames left out' if sparse else ''}"
        written("seg.dcm", sources, labels, kind, omit_empty_frames=sparse)
        as_highdicom("seg.dcm", what)
        values, _, why = converted("seg.dcm", "--like", path("ct"), "--labels")
        ok(values is not None and np.array_equal(values.T, labels), f"{what}: on the grid of its images", why)
        text = run("inspect", path("seg.dcm")).stdout
        ok(f"SEG drawn for tests, {name}, 3 segments" in text and all(word in text for word in COLORS),
           f"{what}: inspect names its segments", text)
        _, header = nrrd.read(path("out.nrrd")) if run("convert", path("seg.dcm"), path("out.seg.nrrd")).returncode else \
            nrrd.read(path("out.seg.nrrd"))
        found = {header.get(f"Segment{k}_Name"): (int(header.get(f"Segment{k}_LabelValue", -1)), np.array(
            [float(x) for x in header.get(f"Segment{k}_Color", "9 9 9").split()])) for k in range(3)}
        ok(all(word in found and found[word][0] == k + 1 and np.abs(found[word][1] * 255 - COLORS[word]).max() < 6
               for k, word in enumerate(COLORS)), f"{what}: names, values and colours in a .seg.nrrd", found)

turned = path("oblique")
make.series(turned, np.zeros(SHAPE, "i2"), direction=make.turned(70, 110), spacing=(0.5, 0.8, 3.0))
tilted = sorted((pydicom.dcmread(os.path.join(turned, n)) for n in os.listdir(turned)), key=lambda ds: ds.InstanceNumber)
written("oblique.dcm", tilted, labels, SegmentationTypeValues.BINARY)
as_highdicom("oblique.dcm", "other axes")
one = np.where(np.arange(9)[:, None, None] == 4, labels, 0)
written("one.dcm", sources, one, SegmentationTypeValues.BINARY)
values, _, why = converted("one.dcm", "--like", path("ct"), "--labels")
ok(values is not None and np.array_equal(values.T, one), "a single slice", why)
even = np.where(np.arange(9)[:, None, None] % 2 == 0, np.maximum(labels, 1), 0)
written("even.dcm", sources, even, SegmentationTypeValues.BINARY)
values, _, why = converted("even.dcm")
ok(values is not None and values.shape[2] == 9 and np.array_equal(values.T, even), "every other slice", why)
make.enhanced(path("frames.dcm"), rng.integers(0, 900, SHAPE).astype("u2"))
written("multi.dcm", [pydicom.dcmread(path("frames.dcm"))], labels, SegmentationTypeValues.BINARY)
values, _, why = converted("multi.dcm", "--like", path("frames.dcm"), "--labels")
ok(values is not None and np.array_equal(values.T, labels), "drawn on a multi-frame file", why)
written("high.dcm", sources, np.where(labels == 3, 300, labels).astype("u2"), SegmentationTypeValues.LABELMAP,
        numbers=(1, 2, 300))
values, _, why = converted("high.dcm")
ok(values is not None and sorted(np.unique(values)) == [0, 1, 2, 300] and values.dtype == np.uint16, "a label above 255", why)

os.makedirs(path("disk", "SE1"))
shutil.copy(path("seg.dcm"), path("disk", "SE1", "IM0"))
shutil.copytree(path("ct"), path("disk", "SE0"))
result = run("convert", path("disk"), path("no.nrrd"))
ok(result.returncode == 1 and "2 series" in result.stderr and 'SEG "drawn for tests"' in result.stderr,
   "beside its images it is a series of its own", result.stderr)

both = np.stack([labels == 1, (labels == 2) | (labels == 1), labels == 3], -1).astype("u1")
written("both.dcm", sources, both, SegmentationTypeValues.BINARY)
refused("both.dcm", "a voxel in two segments", "both.dcm: voxel (", "gland", "tumour", "holds one")
written("soft.dcm", sources, (both / 2).astype("f4"), SegmentationTypeValues.FRACTIONAL)
refused("soft.dcm", "fractions", "SegmentationType", "FRACTIONAL")


def unknown(seg):
    seg.PerFrameFunctionalGroupsSequence[2].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9


def twice(seg):
    seg.SegmentSequence[1].SegmentNumber = 1


def uneven(seg):
    at = seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    at[2] += 0.7


def cut(seg):
    seg.PixelData = seg.PixelData[:len(seg.PixelData) // 2 // 2 * 2]


def nameless(seg):
    del seg.SegmentSequence


for change, words in ((unknown, "ReferencedSegmentNumber is 9"), (twice, "SegmentNumber"), (uneven, "ImagePositionPatient"),
                      (cut, "truncated: PixelData"), (nameless, "SegmentSequence")):
    written("bad.dcm", sources, labels, SegmentationTypeValues.BINARY, change=change)
    refused("bad.dcm", change.__name__, "bad.dcm", words)


def stranger(seg):
    next(one for one in seg.SegmentSequence if one.SegmentNumber == 3).SegmentNumber = 7


written("bad.dcm", sources, labels, SegmentationTypeValues.LABELMAP, change=stranger)
refused("bad.dcm", "a label that is not named", "a voxel holds 3")
shutil.rmtree(folder, ignore_errors=True)
done()
