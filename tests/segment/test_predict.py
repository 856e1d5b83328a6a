#!/usr/bin/python3
"""Prediction through the command with networks made by hand, whose answer is known exactly. The model
file is one that training wrote, its weights replaced here (XXH64 is computed by this file alone).

  constant    every weight 0: the logits are the head's bias, wherever tiles overlap
  identity    centre taps 1 and -1 along the finest path: class 1 wins where a voxel is brighter than
              the mean of its tile, so on a two-valued image the label map IS the image

Promises: the label map is on exactly the image's grid, whatever that is; tiles, mirrors, threads and
file formats do not change an answer that does not depend on them."""
import itertools
import json
import os
import shutil
import struct
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
import nibabel
import numpy
from command import must, ok

PATCH = 16
MASK64 = (1 << 64) - 1


def xxh64(data):
    """XXH64 with seed 0 (xxHash specification 0.1.1)."""
    p1, p2, p3, p4, p5 = (11400714785074694791, 14029467366897019727, 1609587929392839161,
                          9650029242287828579, 2870177450012600261)

    def turn(x, bits):
        return (x << bits | x >> 64 - bits) & MASK64

    def step(lane, word):
        return turn(lane + word * p2 & MASK64, 31) * p1 & MASK64
    at, h = 0, p5
    if len(data) >= 32:
        lanes = [p1 + p2 & MASK64, p2, 0, -p1 & MASK64]
        while at + 32 <= len(data):
            lanes = [step(l, w) for l, w in zip(lanes, struct.unpack_from("<4Q", data, at))]
            at += 32
        h = sum(turn(l, b) for l, b in zip(lanes, (1, 7, 12, 18))) & MASK64
        for lane in lanes:
            h = ((h ^ step(0, lane)) * p1 + p4) & MASK64
    h = h + len(data) & MASK64
    for size, form in ((8, "<Q"), (4, "<I"), (1, "<B")):
        while at + size <= len(data):
            word = struct.unpack_from(form, data, at)[0]
            at += size
            if size == 8:
                h = turn(h ^ step(0, word), 27) * p1 + p4 & MASK64
            elif size == 4:
                h = turn(h ^ word * p1 & MASK64, 23) * p2 + p3 & MASK64
            else:
                h = turn(h ^ word * p5 & MASK64, 11) * p1 & MASK64
    h = (h ^ h >> 33) * p2 & MASK64
    h = (h ^ h >> 29) * p3 & MASK64
    return h ^ h >> 32


def rewrite(source, target, change):
    """The model file with its f32 tensors changed by change(name, array)."""
    blob = bytearray(command.read(source))
    length = struct.unpack_from("<Q", blob)[0]
    header = json.loads(blob[8:8 + length])
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        first, last = (8 + length + offset for offset in entry["data_offsets"])
        array = numpy.frombuffer(bytes(blob[first:last]), "<f4").reshape(entry["shape"]).copy()
        change(name, array)
        blob[first:last] = array.tobytes()
    digits = blob.index(b'"revoxel.checksum":"xxh64:') + len(b'"revoxel.checksum":"xxh64:')
    blob[digits:digits + 16] = b"0" * 16
    blob[digits:digits + 16] = b"%016x" % xxh64(bytes(blob))
    with open(target, "wb") as out:
        out.write(blob)
    return target


def constant(bias):
    def change(name, array):
        array[...] = 0
        if name == "head0/bias":
            array[...] = bias
    return change


def identity(name, array):
    """Channel 0 carries the image, channel 1 its negative; classes 1 and 0 take one each."""
    if name.endswith("conv/weight") or name.endswith("up/weight") or name.endswith("bias"):
        array[...] = 0
    if name == "enc0/unit0/conv/weight":
        array[:2, 0, 1, 1, 1] = 1, -1
    elif name in ("enc0/unit1/conv/weight", "dec0/unit1/conv/weight"):
        array[[0, 1], [0, 1], 1, 1, 1] = 1
    elif name == "dec0/unit0/conv/weight":  # concat: upsampled channels first, then the skip
        skip = array.shape[1] // 2
        array[[0, 1], [skip, skip + 1], 1, 1, 1] = 1
    elif name == "head0/weight":
        array[...] = 0
        array[[1, 0], [0, 1]] = 1
    elif name == "head0/bias":
        array[2] = -100


# ---- grids -----------------------------------------------------------------------------------------


def blocks(shape, seed=0, edge=3):
    """0 and 1 in blocks, so that every tile holds both."""
    coarse = numpy.random.default_rng(seed).integers(0, 2, [n // edge + 1 for n in shape])
    for axis in range(3):
        coarse = coarse.repeat(edge, axis)
    return coarse[tuple(slice(n) for n in shape)].astype(numpy.uint8)


def oblique(spacing, angles, origin):
    matrix = numpy.eye(3)
    for axis, angle in enumerate(angles):
        turn, (a, b) = numpy.eye(3), [i for i in range(3) if i != axis]
        turn[a, a] = turn[b, b] = numpy.cos(angle)
        turn[a, b], turn[b, a] = -numpy.sin(angle), numpy.sin(angle)
        matrix = turn @ matrix
    affine = numpy.eye(4)
    affine[:3, :3] = matrix * spacing
    affine[:3, 3] = origin
    return affine


def images():
    """(name, file ending, image): every kind of grid and header."""
    def image(shape, affine, dtype=numpy.int16, kind=nibabel.Nifti1Image, sform=2, qform=1):
        mask = blocks(shape)
        made = kind((mask * 180 + 20).astype(dtype), affine)
        made.set_sform(affine, sform)
        made.set_qform(affine, qform)
        return made
    turned = oblique([0.7, 0.7, 2.5], [0.3, -0.2, 1.1], [-31.5, 12.25, 140])
    plain = numpy.diag([1.0, 1.5, 2.0, 1])
    yield "RAS", ".nii.gz", image((40, 33, 29), plain)
    yield "LPS", ".nii.gz", image((40, 33, 29), numpy.diag([-1.0, -1.5, 2.0, 1]))
    for codes in ("LAS", "PIR", "SAL", "ASR"):
        turn = nibabel.orientations.axcodes2ornt(codes)
        affine = plain @ nibabel.orientations.inv_ornt_aff(turn, (21, 18, 26))
        yield codes, ".nii.gz", image((21, 18, 26), affine)
    yield "oblique", ".nii.gz", image((31, 17, 9), turned)
    yield "oblique and left-handed", ".nii.gz", image((19, 22, 17), turned * [-1, 1, 1, 1])
    yield "qform only", ".nii.gz", image((17, 31, 9), turned, sform=0)
    yield "sform only", ".nii.gz", image((17, 31, 9), turned, qform=0)
    other = image((18, 19, 20), turned)
    other.set_qform(plain, 1)
    yield "qform that differs", ".nii.gz", other
    yield "neither", ".nii.gz", image((18, 19, 20), plain, sform=0, qform=0)
    yield "NIfTI-2", ".nii.gz", image((18, 19, 20), turned, kind=nibabel.Nifti2Image)
    yield "plain file", ".nii", image((18, 19, 20), turned)
    yield "float64", ".nii.gz", image((18, 19, 20), plain, numpy.float64)
    yield "uint16", ".nii.gz", image((18, 19, 20), plain, numpy.uint16)
    scaled = image((18, 19, 20), plain)
    scaled.header.set_slope_inter(0.5, -7)
    yield "scaled", ".nii.gz", scaled
    yield "thin", ".nii.gz", image((40, 40, 3), plain)
    yield "smaller than a tile", ".nii.gz", image((7, 5, 11), plain)


def corners_lps(header):
    """World corners in LPS millimetres from the header's fields alone, as ITK would place them."""
    size = header["dim"][1:4]
    if header["sform_code"] > 0:
        matrix = numpy.array([header["srow_x"], header["srow_y"], header["srow_z"]], float)
    elif header["qform_code"] > 0:
        matrix = header.get_qform()[:3]
    else:
        matrix = numpy.diag(header["pixdim"][1:4].astype(float))
        matrix = numpy.hstack([matrix, numpy.zeros((3, 1))])
    corners = [matrix @ [*(c * (size - 1)), 1] for c in itertools.product((0, 1), repeat=3)]
    return numpy.array(corners) * [-1, -1, 1]


def check_grids(folder, model):
    for name, ending, image in images():
        stem = name.replace(" ", "_")
        path, out = f"{folder}/{stem}_0000{ending}", f"{folder}/grids"
        nibabel.save(image, path)
        before = nibabel.load(path)
        result = command.run("predict", model, path, "--out", out)
        if not ok(result.returncode == 0, f"{name}: predicts", result.error):
            continue
        after = nibabel.load(f"{out}/{stem}.nii.gz")
        raw = after.header
        fields = ("qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c",
                  "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "pixdim", "xyzt_units")
        differ = [f for f in fields if not numpy.array_equal(before.header[f], raw[f])]
        ok(before.shape == after.shape and numpy.array_equal(before.affine, after.affine) and
           not differ, f"{name}: shape, affine and every field of the grid", differ)
        ok(numpy.array_equal(corners_lps(before.header), corners_lps(raw)), f"{name}: corners")
        expected = numpy.asarray(before.dataobj) > numpy.asarray(before.dataobj).mean()
        found = numpy.asarray(after.dataobj)
        ok(after.get_data_dtype() == numpy.uint8 and numpy.array_equal(found, expected),
           f"{name}: the labels are the image", f"{(found != expected).sum()} voxels differ")


# ---- tiles -----------------------------------------------------------------------------------------


def check_tiles(folder, model):
    path = f"{folder}/tiles_0000.nii.gz"
    mask = blocks((45, 37, 50), 5)
    command.save(path, mask * 100)

    def labels(*options, source=path, case="tiles"):
        out = f"{folder}/tiled"
        shutil.rmtree(out, ignore_errors=True)
        must("predict", model, source, "--out", out, *options)
        return command.read(f"{out}/{case}.nii.gz"), nibabel.load(f"{out}/{case}.nii.gz").get_fdata()
    plain, found = labels()
    ok(numpy.array_equal(found, mask), "tiles: the labels are the image")
    ok(labels("--threads", "1")[0] == plain, "one thread: the same bytes")
    for options in (["--step", "0.25"], ["--step", "1"], ["--mirror"], ["--whole"],
                    ["--whole", "--mirror"]):
        ok(numpy.array_equal(labels(*options)[1], mask), f"{' '.join(options)}: the same labels")
    small = f"{folder}/small_0000.nii.gz"
    command.save(small, numpy.random.default_rng(1).integers(0, 99, (PATCH,) * 3).astype(numpy.uint8))
    one = labels(source=small, case="small", *["--step", "1"])[0]
    ok(labels("--whole", source=small, case="small")[0] == one and
       labels(source=small, case="small")[0] == one, "one tile and whole: the same bytes")


def check_names(folder, model):
    images, out = f"{folder}/named", f"{folder}/named_out"
    for name in ("my case_0000.nii.gz", "b.c_0000.nii.gz"):
        command.save(f"{images}/{name}", blocks((9, 9, 9)))
    must("predict", model, images, "--out", out)
    ok(sorted(os.listdir(out)) == ["b.c.nii.gz", "my case.nii.gz"], "names keep spaces and dots",
       os.listdir(out))
    shutil.copy(f"{images}/b.c_0000.nii.gz", f"{folder}/same_0000.nii.gz")
    shutil.copy(f"{images}/b.c_0000.nii.gz", f"{folder}/same.nii.gz")
    result = command.run("predict", model, f"{folder}/same_0000.nii.gz", f"{folder}/same.nii.gz",
                         "--out", f"{folder}/twice")
    ok(result.returncode == 1 and "two images are called 'same'" in result.error and
       not os.path.exists(f"{folder}/twice"), "two images of one name", result.error)


def check_probabilities(folder, trained, model):
    bias = numpy.array([0.4, -0.3, 1.1], numpy.float32)
    flat = rewrite(model, f"{folder}/flat.safetensors", constant(bias))
    path, out = f"{folder}/p_0000.nii.gz", f"{folder}/probable"
    command.save(path, numpy.random.default_rng(2).integers(0, 99, (37, 21, 40)).astype(numpy.int16))
    expected = numpy.exp(bias - bias.max())
    expected /= expected.sum()
    for options in ([], ["--step", "0.25"], ["--mirror"], ["--step", "1"], ["--whole"]):
        must("predict", flat, path, "--out", out, "--probabilities", *options)
        for label, name in ((1, "one"), (2, "two")):
            values = numpy.unique(nibabel.load(f"{out}/p_prob_{name}.nii.gz").get_fdata())
            ok(values.size == 1 and abs(values[0] - expected[label] * 255) <= 0.5 + 1e-3,
               f"tile weights sum to one {' '.join(options)}: {name}", values)
        ok((nibabel.load(f"{out}/p.nii.gz").get_fdata() == 2).all(), "the likeliest class everywhere")
    must("predict", trained, path, "--out", out, "--whole", "--probabilities")
    averaged = nibabel.load(f"{out}/p.nii.gz").get_fdata()
    must("predict", trained, path, "--out", out, "--whole")
    differ = (nibabel.load(f"{out}/p.nii.gz").get_fdata() != averaged).mean()
    ok(differ <= 1e-4, "whole: labels without logits are those of the logits but for ties", differ)
    must("predict", trained, path, "--out", out, "--probabilities")
    one, two = (nibabel.load(f"{out}/p_prob_{name}.nii.gz") for name in ("one", "two"))
    image, labels = nibabel.load(path), nibabel.load(f"{out}/p.nii.gz").get_fdata()
    ok(all(p.shape == image.shape and numpy.array_equal(p.affine, image.affine) and
           p.get_data_dtype() == numpy.uint8 for p in (one, two)), "probabilities: the image's grid")
    parts = numpy.stack([one.get_fdata(), two.get_fdata()])
    background = 255 - parts.sum(0)
    ok(background.min() >= -1, "probabilities: no sum above one beyond rounding", background.min())
    parts = numpy.concatenate([background[None], parts])
    chosen = numpy.take_along_axis(parts, labels.astype(int)[None], 0)[0]
    ok((parts.max(0) - chosen).max() <= 2, "probabilities: the label is the likeliest class")


def check_resampling(folder, data, trained):
    """The network works at 1 mm; images at 2 and 0.8 mm come back on their grid and in their place."""
    plan = command.plan(data, f"{folder}/fine.json", "--widths", "4,8", "--patch", "32x32x32", "--fold",
                        "none", training={"steps": 1}, spacing=[1, 1, 1])
    must("train", data, "--plan", plan, "--out", f"{folder}/fine")
    model = rewrite(f"{folder}/fine/best.safetensors", f"{folder}/fine.safetensors", identity)
    for spacing, shape in (([2, 2, 2], (16, 18, 15)), ([0.8, 0.8, 1.6], (40, 36, 21))):
        at = (numpy.indices(shape).T - (numpy.array(shape) - 1) / 2).T
        side = numpy.einsum("i,ixyz->xyz", numpy.array([1, 0.6, -0.8]) * spacing, at) > 0.1
        affine = oblique(spacing, [0.2, 0.4, -0.1], [5, 6, 7])
        path = f"{folder}/side_0000.nii.gz"
        command.save(path, (side * 100).astype(numpy.uint8), affine)
        must("predict", model, path, "--out", f"{folder}/sides", "--whole")
        before, after = nibabel.load(path), nibabel.load(f"{folder}/sides/side.nii.gz")
        found = after.get_fdata() == 1
        dice = 2 * (found & side).sum() / (found.sum() + side.sum())
        ok(after.shape == shape and numpy.array_equal(after.affine, before.affine),
           f"resampled to 1 mm from {spacing}: the image's grid")
        # Half a voxel's shift along any axis moves the plane by 2 % of the volume or more.
        ok(dice > 0.99, f"resampled to 1 mm from {spacing}: in its place", dice)


with tempfile.TemporaryDirectory() as top:
    data, run = f"{top}/data", f"{top}/run"
    command.dataset(data, [(20, 18, 16)] * 2)
    plan = command.plan(data, f"{top}/plan.json", "--widths", "4,8", "--patch", "16x16x16", "--fold",
                        "none", training={"steps": 2}, spacing=None,
                        augmentation={"mirror_axes": ["x", "y", "z"]})
    must("train", data, "--plan", plan, "--out", run)
    trained = f"{run}/best.safetensors"
    same = rewrite(trained, f"{top}/same.safetensors", lambda name, array: None)
    ok(command.read(same) == command.read(trained), "the checksum is XXH64, as computed here")
    model = rewrite(trained, f"{top}/identity.safetensors", identity)
    check_grids(top, model)
    check_tiles(top, model)
    check_names(top, model)
    check_probabilities(top, trained, model)
    check_resampling(top, data, trained)
command.done()
