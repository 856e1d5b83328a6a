#!/usr/bin/python3
"""Volumes against SimpleITK and pynrrd, whichever is there: what they write we read, what we write they
read, with the same values, spacing, origin and direction; and the real files.

Ours is `test_nifti dump|copy` (which take every format). Neither package is in Debian: skipped where
they are missing; `make peers` installs them in a folder of the build, as CI does."""
import glob
import itertools
import json
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)
try:
    import SimpleITK as sitk
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
except ImportError:
    sitk = None
try:
    import nrrd
except ImportError:
    nrrd = None

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.path.join(ROOT, os.environ.get("BUILD", "build"), "tests/volume/test_nifti")
FORMATS = os.path.join(ROOT, "..", "shared", "data", "formats")
TYPES = {"u1": 0, "i1": 1, "u2": 2, "i2": 3, "u4": 4, "i4": 5, "u8": 6, "i8": 7, "f4": 8, "f8": 9}
count = failures = 0


def ok(passed, name):
    global count, failures
    count += 1
    failures += not passed
    print(f"{'' if passed else 'not '}ok {count} - {name}", flush=True)


def skip(name, why):
    global count
    count += 1
    print(f"ok {count} # SKIP {name}: {why}")


def dump(path):
    """Voxels [z, y, x], and spacing, origin, direction in LPS."""
    with tempfile.NamedTemporaryFile() as raw:
        run = subprocess.run([TOOL, "dump", path, raw.name, "f32", "5"], capture_output=True, text=True)
        if run.returncode:
            return None, run.stderr.strip()
        info = json.loads(run.stdout)
        voxels = np.fromfile(raw.name, np.float32).reshape(info["size"][::-1])
    affine = np.reshape(info["affine"], (3, 4)) * np.array([[-1], [-1], [1]])
    spacing = np.array(info["spacing"])
    return info, (voxels, spacing, affine[:, 3], affine[:, :3] / spacing)


def copy(source, target):
    return subprocess.run([TOOL, "copy", source, target], capture_output=True, text=True).returncode == 0


def by_itk(path):
    image = sitk.ReadImage(path)
    n = image.GetDimension()
    spacing, origin, direction = np.ones(3), np.zeros(3), np.eye(3)
    spacing[:n], origin[:n] = image.GetSpacing()[:3], image.GetOrigin()[:3]
    direction[:n, :n] = np.reshape(image.GetDirection(), (n, n))[:3, :3]
    voxels = sitk.GetArrayFromImage(image)
    return voxels.reshape((1,) * (3 - voxels.ndim) + voxels.shape), spacing, origin, direction


def by_pynrrd(path):
    voxels, header = nrrd.read(path)
    directions = np.array(header["space directions"], float).T  # columns
    flip = {"left-posterior-superior": (1, 1, 1), "right-anterior-superior": (-1, -1, 1)}[header["space"]]
    directions = directions * np.array(flip)[:, None]
    spacing = np.linalg.norm(directions, axis=0)
    return voxels.T, spacing, np.array(header["space origin"]) * flip, directions / spacing


def same(a, b, exact=True):
    """Largest difference of the two grids; None where the voxels differ."""
    if a[0].shape != b[0].shape or not np.array_equal(a[0].astype(np.float32), b[0].astype(np.float32)):
        return None
    return max(np.abs(p - q).max() for p, q in zip(a[1:], b[1:]))


def agree(name, a, b, most=1e-12):
    error = same(a, b)
    ok(error is not None and error <= most * max(1, np.abs(a[2]).max()),
       f"{name}: " + ("voxels differ" if error is None else f"grid within {error:.1e} mm"))


def images(rng):
    """Arrays of every type on an oblique grid; then every order and sign of the axes."""
    a, b = np.deg2rad((20, -35))
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    grid = (0.7, 0.9, 2.5), (-30.1, 12.5, 100.7)
    for code in TYPES:
        info = np.iinfo(code) if code[0] != "f" else None
        low, high = (max(info.min, -2**24), min(info.max, 2**24)) if info else (-1000, 1000)
        yield code, rng.integers(low, high, (5, 4, 3), endpoint=True).astype(code), grid, turn
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            direction = np.eye(3)[:, list(order)] * signs
            yield f"axes {order} {signs}", rng.integers(0, 200, (5, 4, 3)).astype("i2"), grid, direction


def against_itk(folder, endings):
    rng = np.random.default_rng(7)
    for ending in endings:
        ours, theirs = (os.path.join(folder, name + ending) for name in ("ours", "theirs"))
        worst = {"we read": 0.0, "they read": 0.0}
        bad = []
        for name, voxels, (spacing, origin), direction in images(rng):
            image = sitk.GetImageFromArray(voxels)
            image.SetSpacing(spacing)
            image.SetOrigin(origin)
            image.SetDirection(direction.ravel())
            for compress in (False, True):
                sitk.WriteImage(image, theirs, compress)
                expected = by_itk(theirs)
                info, found = dump(theirs)
                error = same(expected, found) if info else None
                if error is None or info["type"] != TYPES[voxels.dtype.str[1:]]:
                    bad.append(f"{name} {found if info is None else info['type']}")
                    continue
                worst["we read"] = max(worst["we read"], error)
                if copy(theirs, ours):
                    error = same(expected, by_itk(ours))
                    worst["they read"] = max(worst["they read"], np.inf if error is None else error)
                else:
                    bad.append(f"{name}: no copy")
        ok(not bad and max(worst.values()) < 1e-12, f"{ending}: every type and orientation, {worst} {bad[:3]}")


def against_pynrrd(folder):
    """Spaces, encodings, byte orders and detached data, as pynrrd writes them."""
    rng = np.random.default_rng(11)
    cases = itertools.product(("left-posterior-superior", "right-anterior-superior"), ("raw", "gzip"),
                              "<>", (".nrrd", ".nhdr"))
    for n, (space, encoding, order, ending) in enumerate(cases):
        theirs, ours = os.path.join(folder, "theirs" + ending), os.path.join(folder, "ours.nrrd")
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        voxels = rng.integers(-99, 99, (5, 4, 3)).astype(order + ("i2", "f4", "u1")[n % 3])
        nrrd.write(theirs, voxels, {"space": space, "space origin": rng.normal(size=3),
                                    "space directions": turn * rng.uniform(0.3, 3, (3, 1)),
                                    "encoding": encoding, "endian": {"<": "little", ">": "big"}[order]})
        expected = by_pynrrd(theirs)
        found = dump(theirs)[1]
        agree(f"pynrrd {space} {encoding} {voxels.dtype} {ending}", expected, found)
        copy(theirs, ours)
        agree("the copy of it", expected, by_pynrrd(ours))


def real_files(folder, endings):
    paths = [p for p in sorted(glob.glob(os.path.join(FORMATS, "*")))
             if os.path.splitext(p)[1] in (".mha", ".mhd", ".nrrd")]
    if not paths:
        skip("real files", "no ../shared/data/formats")
    for path in paths:
        name = os.path.basename(path)
        info, found = dump(path)
        if info is None:
            ok(False, f"{name}: {found}")
            continue
        if sitk:
            agree(f"{name} as SimpleITK reads it", by_itk(path), found)
        for ending in endings:
            target = os.path.join(folder, "copy" + ending)
            again = dump(target)[1] if copy(path, target) else None
            agree(f"{name} as {ending}", found, again)
            if sitk:
                agree(f"{name} as {ending} by SimpleITK", found, by_itk(target))
            if nrrd and "nrrd" in ending:
                agree(f"{name} as {ending} by pynrrd", found, by_pynrrd(target))


if not os.path.exists(TOOL):
    print(f"1..0 # SKIP {TOOL} is not built")
    sys.exit(0)
with tempfile.TemporaryDirectory() as scratch:
    if sitk:
        against_itk(scratch, (".mha", ".mhd", ".nrrd", ".nhdr"))
    else:
        skip("SimpleITK", "not installed")
    if nrrd:
        against_pynrrd(scratch)
    else:
        skip("pynrrd", "not installed")
    real_files(scratch, (".mha", ".mhd", ".nrrd", ".nhdr", ".seg.nrrd"))
print(f"1..{count}")
sys.exit(failures > 0)
