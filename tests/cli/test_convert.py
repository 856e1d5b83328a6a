#!/usr/bin/python3
"""revoxel convert against nibabel and scipy: every format and back, orientations, spacing, another
volume's grid, types, refusals."""
import gzip
import itertools
import json
import os
import sys
import zlib

try:
    import nibabel
    import numpy as np
    from scipy import ndimage
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scratch import done, folder, ok, path, refused, revoxel

rng = np.random.default_rng(3)
a, b = np.deg2rad((15, -20))  # each axis has a world axis within 45 degrees: its letter is no matter of taste
turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
turn = (turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]))[:, [1, 0, 2]]
affine = np.eye(4)
affine[:3, :3] = turn * (0.7, 0.9, 2.5)
affine[:3, 3] = -30, 12.5, 100


def save(name, voxels, grid=affine):
    image = nibabel.Nifti1Image(voxels, grid)
    image.set_sform(grid, 1)
    image.set_qform(grid, 1)
    nibabel.save(image, path(name))


def load(name):
    image = nibabel.load(path(name))
    return image.get_fdata(dtype=np.float64), image.affine, image.get_data_dtype()


def convert(*arguments):
    return revoxel("convert", *arguments)


def formats():
    for code in ("u1", "i1", "u2", "i2", "i4", "f4"):
        voxels = rng.integers(0, 120, (9, 8, 7)).astype(code)
        save("a.nii", voxels)
        for ending in ("nii.gz", "hdr", "nrrd", "nhdr", "mha", "mhd", "raw.json"):
            fine = convert("a.nii", f"b.{ending}").returncode == 0 \
                and convert(f"b.{ending}", "c.nii").returncode == 0
            back, grid, dtype = load("c.nii")
            ok(fine and np.array_equal(back, voxels) and dtype == voxels.dtype
               and np.abs(grid - affine).max() < 1e-5, f"{code} through .{ending} and back")


def grids():
    voxels = rng.integers(0, 2000, (12, 10, 8)).astype("i2")
    save("a.nii.gz", voxels)
    source = nibabel.load(path("a.nii.gz"))
    wrong = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((0, 1), repeat=3):
            letters = "".join("LR PA IS".split()[axis][sign] for axis, sign in zip(order, signs))
            fine = convert("a.nii.gz", "o.nii.gz", "--orient", letters).returncode == 0
            there = nibabel.orientations.ornt_transform(nibabel.io_orientation(source.affine),
                                                        nibabel.orientations.axcodes2ornt(letters))
            expected = source.as_reoriented(there)
            if not fine or not np.array_equal(load("o.nii.gz")[0], expected.get_fdata()) \
                    or np.abs(load("o.nii.gz")[1] - expected.affine).max() > 1e-4:
                wrong.append(letters)
    ok(not wrong, f"48 orientations as nibabel turns them {wrong}")

    for mode, order in (([], 1), (["--labels"], 0), (["--interpolation", "cubic"], 3)):
        convert("a.nii.gz", "s.nii.gz", "--spacing", "0.97,0.53,2.1", "--dtype", "float32", *mode)
        found, grid, _ = load("s.nii.gz")
        index = np.linalg.inv(affine) @ grid
        points = np.indices(found.shape).reshape(3, -1)
        at = index[:3, :3] @ points + index[:3, 3:]
        expected = ndimage.map_coordinates(voxels.astype(float), at, order=order, mode="nearest")
        expected = np.clip(expected, voxels.min(), voxels.max())
        apart = np.abs(found.ravel() - expected)
        if not order:  # half-way between two voxels either is the nearest
            apart[np.any(np.abs(at - np.floor(at) - 0.5) < 1e-4, axis=0)] = 0
        ok(apart.max() < (0.05 if order else 1e-9),
           f"spacing, order {order}: within {apart.max():.2g} of scipy, {found.shape}")
        ok(np.allclose(np.linalg.norm(grid[:3, :3], axis=0), (0.97, 0.53, 2.1), atol=1e-5), "the spacing asked for")
        middle = [g @ np.append((np.array(s) - 1) / 2, 1) for g, s in ((affine, voxels.shape), (grid, found.shape))]
        ok(np.abs(middle[0] - middle[1]).max() < 1e-4, "the middle stays")

    for words, arguments in ((["axes that stay", "a.nii.gz"], ["cubic", "--orient", "SAR"]),
                             (["axes that stay"], ["cubic", "--like", "s.nii.gz"]),
                             (["label map", "nearest"], ["linear", "--labels"]),
                             (["'lanczos'", "linear, cubic or nearest"], ["lanczos"])):
        refused(f"--interpolation {' '.join(arguments)}", 1, words, "convert", "a.nii.gz", "refused.nii",
                "--interpolation", *arguments)

    other = np.diag((-1.1, 1.2, 1.3, 1.0))
    other[:3, 3] = affine[:3, :3] @ (6, 5, 4) + affine[:3, 3] + (4, -4, -4)
    save("like.nii.gz", np.zeros((9, 9, 9), "u1"), other)
    run = convert("a.nii.gz", "l.mha", "--like", "like.nii.gz", "--labels")
    convert("l.mha", "l.nii.gz")
    found, grid, dtype = load("l.nii.gz")
    at = (np.linalg.inv(affine) @ other @ np.vstack([np.indices(found.shape).reshape(3, -1),
                                                     np.ones(found.size)]))[:3]
    inside = np.all((at >= -0.5) & (at <= np.array(voxels.shape)[:, None] - 0.5), axis=0)
    near = np.clip(np.floor(at + 0.5), 0, np.array(voxels.shape)[:, None] - 1).astype(int)
    expected = np.where(inside, voxels[tuple(near)], 0)
    ok(run.returncode == 0 and np.abs(grid - other).max() < 1e-5 and dtype == np.int16
       and (found.ravel() != expected).mean() < 0.01 and 0 < inside.sum() < inside.size,
       f"another volume's grid: {inside.mean():.2f} of it inside {run.stderr}")


def raw():
    """What numpy and json make of it, and what is made by them; every field that can be wrong."""
    voxels = rng.integers(-300, 300, (7, 8, 9)).astype("i2")
    save("a.nii", voxels)
    lps = np.diag((-1, -1, 1, 1)) @ affine
    convert("a.nii", "a.raw.json")
    with open(path("a.raw.json")) as file:
        header = json.load(file)
    found = np.fromfile(path("a.raw"), "<i2").reshape(header["size"][::-1])
    ok(np.array_equal(found, voxels.T) and np.allclose(np.array(header["direction"]) * header["spacing"], lps[:3, :3])
       and np.allclose(header["origin"], lps[:3, 3]), "raw: by json and numpy", header)

    def write(**changes):
        fields = {"format": "revoxel raw volume", "version": 1, "data": "b.raw", "type": "int16", "byte_order": "big",
                  "size": [7, 8, 9], "spacing": [1, 2, 3], **changes}
        with open(path("b.raw.json"), "w") as file:
            json.dump({k: v for k, v in fields.items() if v is not None}, file)
    packed = {"none": lambda b: b, "gzip": gzip.compress, "zlib": zlib.compress}
    for compression, pack in packed.items():
        with open(path("b.raw"), "wb") as file:
            file.write(pack(b"12345" + voxels.T.astype(">i2").tobytes()))
        write(compression=compression, offset=5, slope=0.5, intercept=3, space="RAS", origin=[4, 5, 6])
        run = convert("b.raw.json", "c.nii")
        back, grid, _ = load("c.nii")
        expected = np.diag((1.0, 2, 3, 1))
        expected[:3, 3] = 4, 5, 6
        ok(run.returncode == 0 and np.array_equal(back, voxels * 0.5 + 3) and np.abs(grid - expected).max() < 1e-6,
           f"raw: {compression}, offset, slope, RAS", run.stderr)
    with open(path("b.raw"), "wb") as file:
        file.write(voxels.T.astype(">i2").tobytes())
    for changes, words in (({"size": [7, 8, 90]}, ["truncated", "b.raw"]), ({"size": [7, 0, 9]}, ["'size[1]'"]),
                           ({"size": [2**40, 2**40, 2]}, ["'size'", "64-bit"]), ({"data": "gone.raw"}, ["data", "gone.raw"]),
                           ({"type": "int17"}, ["'type'"]), ({"byte_order": None}, ["'byte_order'"]),
                           ({"spacing": [1, -2, 3]}, ["spacing along y"]), ({"spacing": None}, ["'spacing'"]),
                           ({"direction": [[1, 0, 0], [0, 1, 0]]}, ["'direction'"]), ({"slope": 0}, ["'slope'"]),
                           ({"direction": [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]}, ["direction"]), ({"version": 2}, ["'version'"]),
                           ({"offset": -1}, ["'offset'"]), ({"extra": 1}, ["extra"])):
        write(**changes)
        refused(f"raw: {changes}", 1, ["b.raw.json", *words], "convert", "b.raw.json", "b8.nrrd")


def segmentation():
    voxels = rng.choice(np.array([0, 2, 5], "u1"), (6, 5, 4))
    save("m.nii.gz", voxels)
    fine = convert("m.nii.gz", "m.seg.nrrd").returncode == 0 and convert("m.seg.nrrd", "n.nii.gz").returncode == 0
    text = revoxel("inspect", "m.seg.nrrd").stdout
    ok(fine and np.array_equal(load("n.nii.gz")[0], voxels) and "label 2" in text and "label 5" in text,
       "a label map becomes a segmentation", text)


def refusals():
    save("a.nii.gz", np.full((4, 4, 4), 300, "i2"))
    refused("a type too small", 1, ["b8.nrrd: voxel (0, 0, 0) is 300", "uint8"], "convert", "a.nii.gz", "b8.nrrd",
            "--dtype", "uint8")
    refused("no such type", 1, "dtype 'short'", "convert", "a.nii.gz", "b8.nrrd", "--dtype", "short")
    refused("letters", 1, "orientation 'RAR'", "convert", "a.nii.gz", "b8.nrrd", "--orient", "RAR")
    refused("spacing", 2, "--spacing", "convert", "a.nii.gz", "b8.nrrd", "--spacing", "1,2")
    refused("too many voxels", 1, "2^20", "convert", "a.nii.gz", "b8.nrrd", "--spacing", "1e-9,0,0")
    refused("ending", 1, ".nrrd", "convert", "a.nii.gz", "b.png")
    refused("both", 1, "'like'", "convert", "a.nii.gz", "b8.nrrd", "--like", "a.nii.gz", "--orient", "RAS")
    refused("missing", 1, "No such file", "convert", "gone.mha", "b8.nrrd")
    ok(not [name for name in os.listdir(folder) if "b8" in name], "nothing half-written")


formats()
raw()
grids()
segmentation()
refusals()
done()
