#!/usr/bin/python3
"""Multi-frame DICOM beside readers that share no code with GDCM: highdicom and dcm2niix (SimpleITK is GDCM, and
takes frames in the order of the file). Every voxel's value and place in the patient are compared, on whatever
axes and in whatever order a reader has its slices. Files are pydicom's and, made from series, highdicom's."""
import os
import shutil
import subprocess
import sys
import tempfile
import warnings

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
try:
    import dcm2niix
    import highdicom
    import nibabel
    import nrrd
    import numpy as np
    import pydicom
    import dicom_files as make
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)
from command import REVOXEL, done, ok, run

if not os.path.exists(os.path.join(os.path.dirname(REVOXEL), "librevoxel_dicom.so")):
    print("1..0 # SKIP no librevoxel_dicom.so")
    sys.exit(0)
warnings.simplefilter("ignore")
folder = tempfile.mkdtemp(prefix="rvx_enhanced_")
rng = np.random.default_rng(3)
RAS_OF_LPS = np.diag([-1.0, -1, 1, 1])


def path(*names):
    return os.path.join(folder, *names)


# Each reader gives values [i, j, k] and the 4 x 4 from i, j, k to LPS, or says why not.

def by_us(name):
    result = run("convert", name, path("out.nrrd"))
    if result.returncode:
        raise ValueError(result.stderr)
    values, header = nrrd.read(path("out.nrrd"))
    place = np.eye(4)
    place[:3, :3], place[:3, 3] = np.array(header["space directions"]).T, header["space origin"]
    return values.astype("f8"), place


def by_highdicom(name):
    volume = highdicom.imread(name).get_volume()
    return np.asarray(volume.array, "f8"), volume.affine


def by_dcm2niix(name):
    shutil.rmtree(path("niix"), ignore_errors=True)
    os.makedirs(path("niix"))
    subprocess.run([dcm2niix.bin, "-b", "n", "-z", "n", "-s", "y", "-f", "out", "-o", path("niix"), name],
                   check=True, stdout=subprocess.DEVNULL)
    image, = [nibabel.load(path("niix", n)) for n in os.listdir(path("niix"))]
    return image.get_fdata(), RAS_OF_LPS @ image.affine


READERS = {"highdicom": (by_highdicom, 1e-6), "dcm2niix": (by_dcm2niix, 1e-3)}


def difference(ours, theirs, most_mm):
    """None where they are one volume. values agree to float32, as dcm2niix writes it."""
    ours_to_theirs = np.linalg.inv(theirs[1]) @ ours[1]
    turn = np.rint(ours_to_theirs[:3, :3])
    if not np.array_equal(np.abs(turn).sum(0), np.ones(3)) or not np.array_equal(np.abs(turn).sum(1), np.ones(3)):
        return f"axes are not ours in another order:\n{ours_to_theirs}"
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in ours[0].shape], indexing="ij"), -1).reshape(-1, 3)
    at = grid @ turn.T + np.rint(ours_to_theirs[:3, 3])
    far = np.abs((grid @ ours[1][:3, :3].T + ours[1][:3, 3]) - (at @ theirs[1][:3, :3].T + theirs[1][:3, 3])).max()
    if not far < most_mm:
        return f"a voxel is {far} mm away\n{ours[1]}\n{theirs[1]}"
    at = at.astype(int)
    if at.min() < 0 or (at.max(0) + 1 != theirs[0].shape).any():
        return f"sizes {ours[0].shape} and {theirs[0].shape}"
    a, b = ours[0].reshape(-1), theirs[0][tuple(at.T)]
    return None if np.allclose(a, b, rtol=2e-7, atol=1e-6) else f"values differ by {np.abs(a - b).max()}"


def compare(name, what, readers=READERS, values=None):
    try:
        ours = by_us(path(name))
    except ValueError as why:
        ok(False, what, why)
        return
    if values is not None:
        ok(np.array_equal(ours[0].T, values), f"{what}: the values that were written")
    for reader in readers:
        read, most_mm = READERS[reader]
        try:
            why = difference(ours, read(path(name)), most_mm)
        except Exception as problem:
            why = f"{type(problem).__name__}: {problem}"
        ok(why is None, f"{what}: as {reader} reads it", why)


def made():
    for name, kind in (("Enhanced CT", make.ENHANCED_CT), ("Enhanced MR", make.ENHANCED_MR)):
        v = rng.integers(0, 4000, (7, 6, 5)).astype("u2")
        make.enhanced(path("a.dcm"), v, kind=kind)
        compare("a.dcm", name, values=v * 2.0 - 1000)
        order = list(rng.permutation(7))
        make.enhanced(path("b.dcm"), v, kind=kind, order=order)
        compare("b.dcm", f"{name}, frames in disorder")
        slopes = [(1 + z / 4, 10 * z - 3) for z in range(7)]
        make.enhanced(path("c.dcm"), v, kind=kind, order=order, slopes=slopes)
        compare("c.dcm", f"{name}, a slope a frame")
        for label, direction in (("sagittal", np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]])),
                                 ("coronal", np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])),
                                 ("head first, turned about two axes", make.turned(160, 70))):
            direction = direction * (1, 1, np.linalg.det(direction))
            make.enhanced(path("d.dcm"), v, kind=kind, direction=direction)
            compare("d.dcm", f"{name}, {label}")




def frames_of(ds):
    return ds.PerFrameFunctionalGroupsSequence


def variants():
    """The same in other words: where a frame lies is what its position says, whatever stands beside it."""
    v = rng.integers(-2000, 2000, (5, 6, 4)).astype("i2")

    def numbers_backwards(ds):
        for z, frame in enumerate(frames_of(ds)):
            frame.FrameContentSequence[0].InStackPositionNumber = 5 - z
            frame.FrameContentSequence[0].DimensionIndexValues = [1, 5 - z]

    def measures_by_frame(ds):
        for frame in frames_of(ds):
            frame.PixelMeasuresSequence = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
            frame.PlaneOrientationSequence = ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
        del ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
        del ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence

    def thin(ds):  # slices with gaps between them, and without SpacingBetweenSlices
        ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness = "1"

    def without_slope(ds):
        del ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence

    for change, what in ((numbers_backwards, "dimension indices that count backwards"),
                         (measures_by_frame, "spacing and orientation by frame"), (thin, "slices thinner than their steps"),
                         (without_slope, "no rescaling")):
        make.enhanced(path("v.dcm"), v, change=change)
        compare("v.dcm", what, values=v if change is without_slope else v * 2.0 - 1000)
    make.enhanced(path("down.dcm"), v, order=[4, 3, 2, 1, 0])
    compare("down.dcm", "frames from the last slice to the first", values=v * 2.0 - 1000)
    for dtype in ("u1", "i2", "u2"):
        w = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (4, 5, 6), endpoint=True).astype(dtype)
        make.enhanced(path("t.dcm"), w, kind=make.ENHANCED_MR)
        compare("t.dcm", f"all values of {dtype}", values=w * 2.0 - 1000)

    def between(ds):
        ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = "3.5"
    make.enhanced(path("one.dcm"), v[:1], change=between)
    compare("one.dcm", "one frame, SpacingBetweenSlices beside SliceThickness", ["highdicom"])


def converted_by_highdicom():
    many = [(0.5 + z, z - 3) for z in range(6)]
    for kind, maker, slopes in ((make.CT, highdicom.legacy.LegacyConvertedEnhancedCTImage, None),
                                (make.CT, highdicom.legacy.LegacyConvertedEnhancedCTImage, many),
                                (make.MR, highdicom.legacy.LegacyConvertedEnhancedMRImage, None)):
        v = rng.integers(-900, 900, (6, 7, 5)).astype("i2")
        shutil.rmtree(path("series"), ignore_errors=True)
        make.series(path("series"), v, kind=kind, slopes=slopes)
        files = [pydicom.dcmread(path("series", n)) for n in sorted(os.listdir(path("series")))]
        maker(files, make.uid(5), 1, make.uid(6), 1).save_as(path("h.dcm"))
        what = f"{files[0].Modality} series made multi-frame by highdicom{', a slope a slice' if slopes else ''}"
        values = [plane.astype("f8") * s + b for plane, (s, b) in
                  zip(v, slopes or [(1, -1024 if kind == make.CT else 0)] * 6)]
        # Without dimension indices, which these files lack, dcm2niix takes one frame's slope for all.
        compare("h.dcm", what, ["highdicom"] if slopes else READERS, values=np.array(values))
        why = difference(by_us(path("series")), by_us(path("h.dcm")), 1e-9)
        ok(why is None, f"{what}: as the series itself", why)


def in_parts():
    """One multi-frame file cut into several (a concatenation), whose parts are no volumes."""
    v = rng.integers(0, 4000, (9, 6, 5)).astype("u2")
    order = list(rng.permutation(9))
    make.enhanced(path("whole.dcm"), v, order=order)
    whole = pydicom.dcmread(path("whole.dcm"))
    frames, stored = list(frames_of(whole)), whole.pixel_array
    os.makedirs(path("parts"))
    for k, (first, last) in enumerate(((0, 4), (4, 5), (5, 9))):
        part = pydicom.dcmread(path("whole.dcm"))
        part.PerFrameFunctionalGroupsSequence = frames[first:last]
        part.NumberOfFrames, part.PixelData = last - first, stored[first:last].tobytes()
        part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = make.uid(1, 100 + k)
        part.ConcatenationUID, part.InConcatenationNumber, part.InConcatenationTotalNumber = make.uid(50), k + 1, 3
        part.SOPInstanceUIDOfConcatenationSource, part.ConcatenationFrameOffsetNumber = make.uid(1, 1), first
        part.save_as(path("parts", f"p{k}.dcm"))
    for name in ("parts", os.path.join("parts", "p1.dcm")):
        why = difference(by_us(path(name)), by_highdicom(path("whole.dcm")), 1e-6)
        ok(why is None, f"{name}: as highdicom reads the whole", why)
    os.remove(path("parts", "p2.dcm"))
    for name in ("parts", os.path.join("parts", "p1.dcm")):
        result = run("convert", path(name), path("no.nrrd"))
        ok(result.returncode == 1 and "InConcatenationTotalNumber: 3 parts, found 2" in result.stderr,
           f"{name}: refused, a part is missing", result.stderr)


def ultrasound():
    """Neither reader knows Enhanced US Volume. Its geometry is that of the same numbers in a patient's frame."""
    v = rng.integers(0, 255, (7, 6, 5), endpoint=True).astype("u1")
    order = list(rng.permutation(7))
    make.enhanced(path("us.dcm"), v, kind=make.ENHANCED_US, order=order)

    def plain(ds):
        del ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    make.enhanced(path("twin.dcm"), v, kind=make.ENHANCED_MR, order=order, change=plain)
    compare("twin.dcm", "the twin of an Enhanced US Volume", values=v)
    why = difference(by_us(path("us.dcm")), by_highdicom(path("twin.dcm")), 1e-6)
    ok(why is None, "Enhanced US Volume: as highdicom reads its twin", why)
    stored = highdicom.imread(path("us.dcm")).get_frames(apply_real_world_transform=False)
    ok(np.array_equal(by_us(path("us.dcm"))[0].T, stored[order]), "Enhanced US Volume: its frames as highdicom reads them")


def several_volumes():
    """What is more than one volume is refused, by us and by highdicom."""
    v = rng.integers(0, 900, (6, 5, 4)).astype("u2")

    def times(ds):
        for z, frame in enumerate(frames_of(ds)):
            frame.FrameContentSequence[0].TemporalPositionIndex = z // 3 + 1
            frame.PlanePositionSequence = frames_of(ds)[z % 3].PlanePositionSequence

    def stacks(ds):
        for z, frame in enumerate(frames_of(ds)):
            frame.FrameContentSequence[0].StackID = str(z // 3 + 1)
            turn = make.turned(20, -35 if z < 3 else 55)
            frame.PlaneOrientationSequence = [make.item(ImageOrientationPatient=make.orientation(turn))]
        del ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence

    def gap(ds):
        frames_of(ds)[5].PlanePositionSequence[0].ImagePositionPatient[2] += 40
    for change, words in ((times, "a series over time"), (stacks, "differs in ImageOrientationPatient"),
                          (gap, "ImagePositionPatient")):
        make.enhanced(path("two.dcm"), v, change=change)
        result = run("convert", path("two.dcm"), path("no.nrrd"))
        ok(result.returncode == 1 and words in result.stderr and "two.dcm" in result.stderr,
           f"refused: {change.__name__}", result.stderr)
        try:
            by_highdicom(path("two.dcm"))
            ok(False, f"highdicom reads {change.__name__} as one volume")
        except (RuntimeError, ValueError):
            ok(True, f"highdicom refuses {change.__name__} too")


def labels_of_a_converter():
    """A label map drawn on dcm2niix's file of a series, put onto the series' own grid: docs/formats.md."""
    v = rng.integers(0, 3, (6, 7, 5)).astype("i2")
    shutil.rmtree(path("series"), ignore_errors=True)
    make.series(path("series"), v, kind=make.MR)
    subprocess.run([dcm2niix.bin, "-b", "n", "-z", "n", "-f", "drawn", "-o", path(), path("series")], check=True,
                   stdout=subprocess.DEVNULL)
    drawn = nibabel.load(path("drawn.nii"))
    ok(not np.array_equal(np.asarray(drawn.dataobj).T, v), "dcm2niix stores rows the other way round")
    result = run("convert", path("drawn.nii"), path("on_grid.nrrd"), "--like", path("series"), "--labels")
    ok(result.returncode == 0 and np.array_equal(nrrd.read(path("on_grid.nrrd"))[0].T, v),
       "its labels are put onto the series' grid", result.stderr)


for test in (labels_of_a_converter, made, variants, converted_by_highdicom, in_parts, ultrasound, several_volumes):
    test()
shutil.rmtree(folder, ignore_errors=True)
done()
