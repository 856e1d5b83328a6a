#!/usr/bin/python3
"""DICOM through the command: series, Enhanced multi-frame and Enhanced US Volume that pydicom wrote, with
voxels and places that are known; SimpleITK's reading of the same, where it is installed; what is refused, by
file and field; a command without the plug-in."""
import glob
import gzip
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
try:
    import numpy as np
    import dicom_files as make
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)
from command import REVOXEL, done, ok, run
try:
    import SimpleITK as sitk
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
except ImportError:
    sitk = None

PLUGIN = os.path.join(os.path.dirname(REVOXEL), "librevoxel_dicom.so")
if not os.path.exists(PLUGIN):
    print(f"1..0 # SKIP no {PLUGIN}")
    sys.exit(0)
folder = tempfile.mkdtemp(prefix="rvx_dicom_")
rng = np.random.default_rng(2)
SPACING, ORIGIN = (0.7, 0.9, 2.5), (-30.1, 12.5, 100.7)
NUMPY = {"unsigned char": "u1", "signed char": "i1", "short": "i2", "unsigned short": "u2", "int": "i4",
         "unsigned int": "u4", "float": "f4", "double": "f8"}


def path(*names):
    return os.path.join(folder, *names)


def read(name, *options):
    """Voxels, spacing, origin and direction of a volume, by way of an NRRD; None and why."""
    result = run("convert", path(name), path("out.nrrd"), *options)
    if result.returncode:
        return None, result.stderr
    with open(path("out.nrrd"), "rb") as file:
        text, packed = file.read().split(b"\n\n", 1)
    fields = dict(line.split(": ", 1) for line in text.decode().splitlines() if ": " in line)
    sizes = [int(n) for n in fields["sizes"].split()]
    voxels = np.frombuffer(gzip.decompress(packed), "<" + NUMPY[fields["type"]]).reshape(sizes[::-1])
    steps = np.array([[float(x) for x in v.strip("()").split(",")] for v in fields["space directions"].split()]).T
    spacing = np.linalg.norm(steps, axis=0)
    return (voxels, spacing, np.array([float(x) for x in fields["space origin"].strip("()").split(",")]),
            steps / spacing), result.stderr


def by_itk(name):
    if os.path.isdir(path(name)):
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(path(name)))
        image = reader.Execute()
    else:
        image = sitk.ReadImage(path(name))
    return (sitk.GetArrayFromImage(image), np.array(image.GetSpacing()), np.array(image.GetOrigin()),
            np.reshape(image.GetDirection(), (3, 3)))


def same(a, b, most=1e-9):
    return (a[0].shape == b[0].shape and np.array_equal(a[0].astype("f8"), b[0].astype("f8"))
            and all(np.abs(p - q).max() < most for p, q in zip(a[1:], b[1:])))


def expect(name, what, values, direction=None, itk=True, most=1e-9, dtype=None):
    found, why = read(name)
    direction = make.turned() if direction is None else direction
    expected = values, np.array(SPACING), np.array(ORIGIN), direction
    fine = found is not None and same(found, expected, most) and (dtype is None or found[0].dtype == dtype)
    ok(fine, f"{what}: voxels and place", why or (found[0].dtype, found[0].shape, found[1:], expected[1:]))
    if sitk and itk:
        ok(found is not None and same(found, by_itk(name), most), f"{what}: as SimpleITK reads it")


def voxels_of(dtype, shape=(7, 6, 5), high=None):
    info = np.iinfo(dtype)
    return rng.integers(max(info.min, -2000), min(info.max, high or 4000), shape, endpoint=True).astype(dtype)


def series():
    for dtype in ("u1", "i1", "u2", "i2"):
        v = voxels_of(dtype)
        make.series(path(dtype), v)
        expect(dtype, f"CT {dtype}", v.astype("f8") - 1024, dtype="i4" if dtype[1] == "2" else "i2")
        make.series(path("mr" + dtype), v, kind=make.MR)
        expect("mr" + dtype, f"MR {dtype}", v.astype("f8"), dtype=dtype)
    for name, syntax in (("implicit", "1.2.840.10008.1.2"), ("big", "1.2.840.10008.1.2.2"),
                         ("rle", make.RLELossless)):
        v = voxels_of("i2")
        make.series(path(name), v, syntax=syntax)
        expect(name, name, v.astype("f8") - 1024)
    v = voxels_of("u2")
    one = sorted(os.listdir(path("u2")))[2]
    ok(same(read(os.path.join("u2", one))[0], read("u2")[0]), "one file stands for its series")
    for name, direction in (("LPS", np.eye(3)), ("AIL", np.eye(3)[:, [1, 2, 0]] * (-1, 1, 1))):
        direction = direction * (1, 1, np.linalg.det(direction))
        make.series(path(name), v, direction=direction)
        expect(name, f"axes {name}", v.astype("f8") - 1024, direction)
    v = voxels_of("u2", high=4095)

    def twelve_bits(ds, z):  # what stands in the upper four is none of the voxel
        ds.BitsStored, ds.HighBit = 12, 11
        ds.PixelData = (v[z] | (z % 16 << 12)).astype("<u2").tobytes()
    make.series(path("bits"), v, change=twelve_bits)
    expect("bits", "12 bits of 16", v.astype("f8") - 1024, itk=False, dtype="i2")
    v = voxels_of("i2")
    slopes = [(0.5 + z, -3 * z) for z in range(len(v))]
    make.series(path("pet"), v, slopes=slopes)
    values = np.array([p * s + b for p, (s, b) in zip(v.astype("f8"), slopes)])
    expect("pet", "a slope a slice", values, itk=False, dtype="f4")
    make.series(path("fraction"), v, slopes=[(0.25, 1.5)] * len(v))
    expect("fraction", "a fractional slope", v * 0.25 + 1.5)
    make.series(path("one"), v[:1])
    expect("one", "one slice", v[:1].astype("f8") - 1024, itk=False)

    def one_frame(ds, z):
        ds.NumberOfFrames = 1
    make.series(path("counted"), v, change=one_frame)
    expect("counted", "slices that say they are one frame", v.astype("f8") - 1024)
    ok(same(read("counted/IM0001")[0], read("counted")[0]), "one of them stands for its series too")
    make.series(path("beside"), v)
    with open(path("beside", "notes.txt"), "w") as file:
        file.write("not DICOM")
    expect("beside", "other files beside it", v.astype("f8") - 1024)


def without_preamble():
    """Series whose files begin with their meta information or with their first element."""
    v = voxels_of("i2")
    for syntax, name in (("1.2.840.10008.1.2.1", "explicit"), ("1.2.840.10008.1.2", "implicit"),
                         ("1.2.840.10008.1.2.2", "big")):
        make.series(path("head"), v, syntax=syntax)
        for cut in ("meta", "bare", "DICM"):
            target = f"{name}_{cut}"
            os.makedirs(path(target))
            for file in os.listdir(path("head")):
                with open(path("head", file), "rb") as source:
                    whole = source.read()
                first = {"meta": 132, "bare": 144 + int.from_bytes(whole[140:144], "little"), "DICM": 128}[cut]
                with open(path(target, file), "wb") as out:
                    out.write(whole[first:])
            if cut == "DICM":
                refused(target, f"{name}, cut before DICM", "IM0", "its first 128 bytes are missing")
                continue
            expect(target, f"{name} without preamble, from {cut}", v.astype("f8") - 1024, itk=False)
        one = sorted(os.listdir(path(f"{name}_bare")))[3]
        ok(same(read(os.path.join(f"{name}_bare", one))[0], read(f"{name}_meta")[0]), f"{name}: one file of them")
    with open(path("big_bare", one), "rb") as file:
        whole = file.read()
    for cut in (100, len(whole) - 50):
        with open(path("big_bare", one), "wb") as file:
            file.write(whole[:cut])
        refused("big_bare", f"one cut after {cut} bytes", os.path.join("big_bare", one))
    os.makedirs(path("others"))
    make.series(path("others"), v)
    text = b"\x08\0\x05\0" + b"\x0a\0\0\0ISO_IR 100"
    for name, content in (
            ("ramp", np.arange(8, 4000, dtype="<u2").tobytes()), ("zeros", b"\x08" + bytes(3000)),
            ("even", np.arange(8, 4000, 2, dtype="<u2").tobytes()), ("wide", np.arange(8, 900, dtype="<u4").tobytes()),
            ("big", np.arange(8, 4000, dtype=">u2").tobytes()), ("meta", b"\2" + bytes(3000)), ("two", b"\x08\0"),
            ("one_element", text + bytes(600)), ("same_twice", text * 40), ("dicm", b"DICM is what a note begins with"),
            ("typed", b"\x08\0\x05\0CS\x0a\0ISO_IR 100\x08\0\x08\0QQ\4\0ORIG" + bytes(600)),
            ("odd", b"\x08\0\x05\0CS\x09\0ISO_IR 10" * 50), ("random", b"\x08\0" + rng.bytes(5000))):
        with open(path("others", name), "wb") as file:
            file.write(content)
        refused(os.path.join("others", name), f"no DICOM: {name}", "not a volume")
    expect("others", "files beside it that begin as a group does", v.astype("f8") - 1024, itk=False)


def frames():
    v = voxels_of("u2")
    for syntax, name in ((make.ExplicitVRLittleEndian, "plain"), (make.RLELossless, "rle"),
                         ("1.2.840.10008.1.2.2", "big")):
        make.enhanced(path(f"ect_{name}.dcm"), v, syntax=syntax)
        expect(f"ect_{name}.dcm", f"Enhanced CT {name}", v * 2.0 - 1000)
    order = [3, 0, 6, 2, 5, 1, 4]
    make.enhanced(path("emr.dcm"), v, kind=make.ENHANCED_MR, order=order,
                  slopes=[(1, 10 * z) for z in range(len(v))])
    expect("emr.dcm", "Enhanced MR, frames in disorder, a slope a frame",
           v + np.arange(len(v))[:, None, None] * 10.0, itk=False)
    v = voxels_of("u1")
    make.enhanced(path("us.dcm"), v, kind=make.ENHANCED_US)
    expect("us.dcm", "Enhanced US Volume", v.astype("f8"), itk=False, dtype="u1")
    text = run("inspect", path("us.dcm")).stdout
    ok("ImagePositionVolume" in text and "not in the patient's frame" in text, "it says in what frame it lies", text)
    text = run("inspect", path("u2")).stdout
    ok("dicom" in text and "CT made for tests, 7 files" in text, "inspect of a folder", text)


def packed_by_itk():
    """JPEG 2000 and lossless JPEG, as ITK writes them through GDCM."""
    if not sitk:
        return
    v = voxels_of("u2", (3, 64, 48))
    make.series(path("source"), v, kind=make.MR)
    for name in ("JPEG", "JPEG2000"):
        os.makedirs(path(name), exist_ok=True)
        for file in sorted(os.listdir(path("source"))):
            image = sitk.ReadImage(path("source", file))
            writer = sitk.ImageFileWriter()
            writer.SetImageIO("GDCMImageIO")
            writer.KeepOriginalImageUIDOn()
            writer.UseCompressionOn()
            writer.SetCompressor(name)
            writer.SetFileName(path(name, file + ".dcm"))
            writer.Execute(image)
        found, why = read(name)
        fine = found is not None and same(found, by_itk(name)) and np.array_equal(found[0], v)
        ok(fine, f"{name} as SimpleITK writes it", why)


def refused(name, what, *words):
    result = run("convert", path(name), path("no.nrrd"))
    ok(result.returncode == 1 and all(w in result.stderr for w in words) and not os.path.exists(path("no.nrrd")),
       f"refused: {what}", f"{result.returncode}: {result.stderr}")


def refusals():
    v = voxels_of("i2")
    make.series(path("gap"), np.delete(v, 3, 0), places=np.delete(np.arange(7), 3) * 2.5)
    refused("gap", "a missing slice", "gap: ImagePositionPatient: 1 slice is missing", "IM0", "5 mm", "--repair")
    make.series(path("uneven"), v, places=[0, 2.5, 5, 8.1, 10, 12.5, 15])
    refused("uneven", "uneven slices", "uneven: ImagePositionPatient: slices are unevenly spaced", "3.1 mm", "--repair")
    make.series(path("double"), v)
    shutil.copy(path("double", "IM0003"), path("double", "IM0099"))
    refused("double", "a duplicate", "double/IM0099", "duplicate", "double/IM0003", "--repair")
    make.series(path("times"), np.concatenate([v, v + 1]), places=np.tile(np.arange(7), 2) * 2.5)
    refused("times", "two volumes in one series", "the same ImagePositionPatient and differ", "over time")
    tilt = np.tan(np.deg2rad(15))

    def tilted(ds, z):
        ds.GantryDetectorTilt = "15"
    make.series(path("tilt"), v, shear=(0, tilt), change=tilted)
    refused("tilt", "gantry tilt", "leans by 15 degrees", "GantryDetectorTilt is 15", "--repair")

    def change(name, what, words, **values):
        def apply(ds, z):
            for field, value in values.items():
                if z == 2 or name.startswith("all"):
                    if value is None:
                        delattr(ds, field)
                    else:
                        setattr(ds, field, value)
        make.series(path(name), v, change=apply)
        refused(name, what, *words)
    change("noplace", "no position", ["has no ImagePositionPatient"], ImagePositionPatient=None)
    change("noturn", "no orientation", ["has no ImageOrientationPatient"], ImageOrientationPatient=None)
    change("nostep", "no spacing", ["has no PixelSpacing"], PixelSpacing=None)
    change("turn", "another orientation", ["differs in ImageOrientationPatient"],
           ImageOrientationPatient=["1", "0", "0", "0", "1", "0"])
    change("step", "another spacing", ["differs in PixelSpacing"], PixelSpacing=["1", "1"])
    change("rows", "another size", ["differs in Rows and Columns"], Rows=5)
    change("slope", "slope 0", ["RescaleSlope is 0", "--repair"], RescaleSlope="0")
    change("all_shear", "a sheared orientation", ["ImageOrientationPatient", "right angle"],
           ImageOrientationPatient=["1", "0", "0", "0.5", "0.8660254", "0"])
    change("bits", "more bits stored than there are", ["BitsStored 17"], BitsStored=17, HighBit=16)
    change("twelve", "12 bits allocated", ["BitsAllocated: expected 8, 16 or 32, found 12"],
           BitsAllocated=12, BitsStored=12, HighBit=11)
    change("color", "colour", ["SamplesPerPixel 3", "RGB"], SamplesPerPixel=3, PhotometricInterpretation="RGB")
    change("short", "voxels missing", ["truncated: PixelData"], PixelData=b"\0\0" * 9)
    make.series(path("two"), v)
    make.series(path("two"), v, uid_number=2, order=range(20, 27))
    refused("two", "two series in a folder", "SeriesInstanceUID: 2 series", "made for tests", "IM0020")
    ok(same(read("two/IM0022")[0], read("two/IM0001")[0]), "either by one of its files")
    v = voxels_of("u2")

    def cine(ds):
        del ds.PerFrameFunctionalGroupsSequence
    make.enhanced(path("cine.dcm"), v, change=cine)
    refused("cine.dcm", "frames without a place", "cine.dcm: frame 1 has no ImagePositionPatient")

    def many(ds):
        ds.NumberOfFrames = 2000000000
    make.enhanced(path("many.dcm"), v, change=many)
    refused("many.dcm", "a lying number of frames", "NumberOfFrames: expected 1 to", "2000000000")

    def seven(ds):
        ds.NumberOfFrames = 6
    make.enhanced(path("six.dcm"), v, change=seven)
    refused("six.dcm", "frames against their groups", "has 7 items, NumberOfFrames is 6")
    with open(path("ect_rle.dcm"), "rb") as file:
        whole = file.read()
    with open(path("cut.dcm"), "wb") as file:
        file.write(whole[:len(whole) - 300])
    refused("cut.dcm", "compressed voxels cut off", "cut.dcm")
    os.makedirs(path("empty"))
    refused("empty", "an empty folder", "empty")
    result = run("convert", path("u2"), path("out.dcm"))
    ok(result.returncode == 1 and "out.dcm: no format" in result.stderr, "DICOM is not written", result.stderr)


def without_plugin():
    os.makedirs(path("bare"))
    shutil.copy(REVOXEL, path("bare", "revoxel"))
    result = subprocess.run([path("bare", "revoxel"), "inspect", path("u2")], capture_output=True, text=True)
    ok(result.returncode == 1 and "no librevoxel_dicom.so beside the program" in result.stderr
       and "libgdcm-dev" in result.stderr, "without the plug-in it is refused, with what to do", result.stderr)
    with open(path("bare", "librevoxel_dicom.so"), "w") as file:
        file.write("no library")
    result = subprocess.run([path("bare", "revoxel"), "inspect", path("u2")], capture_output=True, text=True)
    ok(result.returncode == 1 and "librevoxel_dicom.so" in result.stderr, "a damaged plug-in", result.stderr)


def real_files():
    """Whatever real DICOM there is: pydicom's own test files, those with a place in the patient."""
    try:
        from pydicom.data import get_testdata_file
        root = os.path.dirname(get_testdata_file("CT_small.dcm", download=False))
    except Exception:
        print("# no test files of pydicom")
        return
    crashed, opened = [], []
    for file in sorted(glob.glob(os.path.join(root, "*.dcm"))):
        os.makedirs(path("real"), exist_ok=True)
        shutil.copy(file, path("real", "one.dcm"))
        result = run("convert", path("real", "one.dcm"), path("out.nrrd"))
        if result.returncode not in (0, 1) or (result.returncode and "one.dcm" not in result.stderr):
            crashed.append((os.path.basename(file), result.returncode, result.stderr))
        if result.returncode == 0:
            opened.append(os.path.basename(file))
            if sitk:
                found, theirs = read("real/one.dcm")[0], by_itk("real/one.dcm")
                if not np.array_equal(found[0].astype("f8"), theirs[0].reshape(found[0].shape).astype("f8")):
                    crashed.append((os.path.basename(file), "voxels differ from SimpleITK's"))
    ok(not crashed and opened, f"real files: {len(opened)} opened, the others refused by name", crashed)


series()
without_preamble()
frames()
packed_by_itk()
refusals()
without_plugin()
real_files()
shutil.rmtree(folder, ignore_errors=True)
done()
