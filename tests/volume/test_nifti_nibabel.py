#!/usr/bin/python3
"""NIfTI against nibabel: every type, both byte orders, both versions, forms, slopes, real files.

The peer is nibabel (its array and affine); ours is `test_nifti dump|copy`. Values must be equal to
the last bit of float32, affines to 1e-5 mm on the grid's corners."""
import glob, gzip, json, os, subprocess, sys, tempfile

try:
    import nibabel
    import numpy as np
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.path.join(ROOT, os.environ.get("BUILD", "build"), "tests/volume/test_nifti")
SHARED = os.path.join(ROOT, "..", "shared", "data")
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


def dump(path, kind="f32", slices=5):
    with tempfile.NamedTemporaryFile() as raw:
        run = subprocess.run([TOOL, "dump", path, raw.name, kind, str(slices)],
                             capture_output=True, text=True)
        if run.returncode:
            return None, run.stderr.strip()
        info = json.loads(run.stdout)
        dtype = {"f32": np.float32, "labels": np.uint8, "i32": np.int32}[kind]
        voxels = np.fromfile(raw.name, dtype).reshape(info["size"][::-1])
    return info, voxels.transpose(2, 1, 0)


def corner_error(a, b, shape):
    corners = np.array([[x, y, z, 1] for x in (0, shape[0] - 1) for y in (0, shape[1] - 1)
                        for z in (0, shape[2] - 1)], float).T
    return np.abs(a @ corners - b @ corners).max()


def square(twelve):
    return np.vstack([np.reshape(twelve, (3, 4)), [0, 0, 0, 1]])


def half_turn(header):
    """True where the quaternion's first part, sqrt(1 - b^2 - c^2 - d^2), is within rounding of 0."""
    parts = [float(header["quatern_" + letter]) for letter in "bcd"]
    return abs(1 - sum(part * part for part in parts)) < 2e-7


def ambiguous(affine):
    """True where some axis has no world axis within 45 degrees: any letter would do."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return (np.abs(directions).max(axis=0) < np.sqrt(0.5)).any()


def compare(path, name, kinds=("f32",)):
    image = nibabel.load(path)
    shape = image.shape[:3]
    expected = image.get_fdata(dtype=np.float64).reshape(shape)
    for kind in kinds:
        info, voxels = dump(path, kind)
        if info is None:
            ok(False, f"{name}: {voxels}")
            return
        same = voxels.shape == shape and np.array_equal(voxels, expected.astype(voxels.dtype))
        header = image.header
        codes = [int(header["qform_code"]), int(header["sform_code"])]
        source = "sform" if codes[1] > 0 else "qform" if codes[0] > 0 else "pixdim"
        error = 0 if source == "pixdim" else corner_error(square(info["affine"]), image.affine, shape)
        if codes[0] > 0:
            theirs = corner_error(square(info["qform"]), image.get_qform(), shape)
            if half_turn(header):  # the angle is lost to rounding: NIfTI's C library, and we, take 0
                extent = np.linalg.norm(image.affine[:3, :3] @ shape)
                theirs = 0 if theirs < 2 * np.sqrt(2e-7) * extent else theirs
            error = max(error, theirs)
        axes = (source == "pixdim" or ambiguous(image.affine)
                or "".join(nibabel.aff2axcodes(image.affine)) == info["axes"])
        ok(same and error < 1e-5 * max(1, np.abs(image.affine).max()) and axes and
           info["codes"] == codes and info["source"] == source,
           f"{name} {kind}: {image.get_data_dtype()} {shape} {info['axes']} by {source}, "
           f"corners within {error:.1e} mm")


def matrix(angles, spacing, origin, left_handed=False):
    x, y, z = np.deg2rad(angles)
    rx = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rz = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rx @ ry @ rz @ np.diag(spacing)
    affine[:3, 3] = origin
    if left_handed:
        affine[:3, 0] *= -1
    return affine


def synthetic(folder):
    rng = np.random.default_rng(5)
    shape = (11, 7, 13)
    affine = matrix((10, -25, 160), (0.7, 0.9, 2.5), (-30, 12.5, 100), True)
    types = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
    for version, kind in (("nifti1", nibabel.Nifti1Image), ("nifti2", nibabel.Nifti2Image)):
        for code in types:
            for order in "<>":
                dtype = np.dtype(code).newbyteorder(order)
                low, high = (0, 200) if code[0] == "u" else (-120, 120)
                voxels = rng.integers(low, high, shape)
                if code[0] == "f":
                    voxels = voxels + rng.random(shape)
                elif int(code[1]) > 1:
                    voxels = voxels * 251
                header = kind.header_class(endianness=order)
                header.set_data_dtype(dtype)
                image = kind(voxels.astype(dtype), affine, header)
                path = os.path.join(folder, f"a.nii{'.gz' if order == '>' else ''}")
                nibabel.save(image, path)
                compare(path, f"{version} {code} {order}")
    scaled = nibabel.Nifti1Image(rng.integers(-1000, 1000, shape).astype("i2"), affine)
    scaled.header.set_slope_inter(0.0371, -11.3)
    path = os.path.join(folder, "b.nii")
    nibabel.save(scaled, path)
    raw = bytearray(open(path, "rb").read())
    raw[112:120] = np.array([0.0371, -11.3], "<f4").tobytes()
    open(path, "wb").write(raw)
    compare(path, "slope and intercept")
    raw[112:120] = np.array([0, 5], "<f4").tobytes()
    open(path, "wb").write(raw)
    compare(path, "slope 0")
    for trial in range(24):  # codes and rotations of every kind
        angles = rng.uniform(-180, 180, 3) if trial % 4 else rng.integers(-2, 3, 3) * 90
        affine = matrix(angles, rng.uniform(0.1, 5, 3), rng.uniform(-200, 200, 3), trial % 2 == 1)
        image = nibabel.Nifti1Image(rng.integers(0, 9, shape).astype("u1"), None)
        image.set_qform(affine, int(trial % 3 != 0))
        image.set_sform(affine, int(trial % 3 != 1))
        path = os.path.join(folder, "c.nii.gz")
        nibabel.save(image, path)
        compare(path, f"forms {trial}", ("f32", "labels", "i32"))
    image = nibabel.Nifti1Image(np.arange(60, dtype="i2").reshape(5, 4, 3, 1), affine)
    nibabel.save(image, path)
    compare(path, "4-D singleton")
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 4, 3, 2), "i2"), affine), path)
    ok("4-D image (dim[4] = 2)" in str(dump(path)[1]), "real 4-D is refused: " + str(dump(path)[1]))
    image = nibabel.Nifti1Image(np.arange(60, dtype="i2").reshape(5, 4, 3), affine)
    for unit, factor in (("meter", 1000), ("micron", 1e-3)):
        image.header.set_xyzt_units(unit)
        nibabel.save(image, path)
        info, _ = dump(path)
        scaled = np.diag([factor, factor, factor, 1]) @ affine
        error = corner_error(square(info["affine"]), scaled, (5, 4, 3))
        ok(error < 1e-6 * np.abs(scaled).max(), f"{unit}: in millimetres to {error:.1e}")


def header_fields(path):
    opener = gzip.open if open(path, "rb").read(2) == b"\x1f\x8b" else open
    return opener(path, "rb").read(348)


def real_files(folder):
    paths = sorted(glob.glob(os.path.join(SHARED, "*", "*.nii.gz"))
                   + glob.glob(os.path.join(SHARED, "*", "labelsTr", "*.nii.gz"))[:3]
                   + glob.glob(os.path.join(SHARED, "*", "imagesTr", "*.nii.gz"))[:3]
                   + glob.glob("/usr/share/mricron/templates/*.nii.gz"))
    if not paths:
        skip("real files", "neither ../shared/data nor mricron-data")
    for path in paths:
        name = os.path.basename(path)
        voxels = nibabel.load(path).get_fdata(dtype=np.float32)
        if voxels.size > 5e6 and "--all" not in sys.argv:
            continue
        compare(path, name)
        copy = os.path.join(folder, "copy.nii.gz")
        run = subprocess.run([TOOL, "copy", path, copy], capture_output=True, text=True)
        ours, theirs = header_fields(copy), header_fields(path)
        ok(run.returncode == 0 and ours[76:108] == theirs[76:108] and ours[252:328] == theirs[252:328]
           and ours[123] == theirs[123]
           and np.array_equal(nibabel.load(copy).get_fdata(dtype=np.float32), voxels),
           f"{name}: a copy repeats the geometry byte by byte {run.stderr}")


if not os.path.exists(TOOL):
    print(f"1..0 # SKIP {TOOL} is not built")
    sys.exit(0)
with tempfile.TemporaryDirectory() as scratch:
    synthetic(scratch)
    real_files(scratch)
print(f"1..{count}")
sys.exit(failures > 0)
