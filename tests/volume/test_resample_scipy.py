#!/usr/bin/python3
"""Resampling against scipy.ndimage, as skimage.transform.resize and through it nnU-Net call it: zoom on
a grid of boxes (grid_mode), order 3 or 1, edges repeated, held to the range of the input; slice by slice
with the nearest slice along a coarse axis; labels by interpolating each label's mask.

Tolerance of images: float32 sums of at most 28 products in each of three directions, the weights of a
spline adding up to about 2 without their signs, against float64. scipy's own spline repeats 12 voxels at
the edge and then reflects: 0.268^12 = 1.4e-7 of the range."""
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from scipy import ndimage
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.path.join(ROOT, os.environ.get("BUILD", "build"), "tests/volume/test_resample")
count = failures = 0


def ok(passed, name):
    global count, failures
    count += 1
    failures += not passed
    print(f"{'' if passed else 'not '}ok {count} - {name}", flush=True)


def ours(kind, rules, array, out_shape):
    """array: z, y, x[, c]; rules and sizes of the tool are x, y, z."""
    array = np.ascontiguousarray(array, np.uint8 if kind == "labels" else np.float32)
    channels = array.shape[3] if array.ndim == 4 else 1
    with tempfile.TemporaryDirectory() as scratch:
        source, target = os.path.join(scratch, "in"), os.path.join(scratch, "out")
        array.tofile(source)
        subprocess.run([TOOL, kind, rules, source,
                        ",".join(map(str, (*array.shape[2::-1], channels))), target,
                        ",".join(map(str, out_shape[::-1]))], check=True)
        out = np.fromfile(target, array.dtype)
    return out.reshape(*out_shape, *array.shape[3:])


def resize(array, shape, order, held=True):
    """skimage.transform.resize(array, shape, order, mode='edge', anti_aliasing=False, clip=held)"""
    out = ndimage.zoom(array, [n / m for n, m in zip(shape, array.shape)], order=order,
                       mode="nearest", grid_mode=True)
    return np.clip(out, array.min(), array.max()) if held else out


def nearest_along(array, axis, size):
    """nnU-Net's map_coordinates of order 0 along the coarse axis."""
    old = array.shape[axis]
    at = old / size * (np.arange(size) + 0.5) - 0.5
    picks = np.clip(np.floor(at + 0.5), 0, old - 1).astype(int)
    return np.take(array, picks, axis)


def theirs(array, shape, order, separate):
    array = array.astype(np.float64)
    if separate is None:
        return resize(array, shape, order)
    inner = [n for a, n in enumerate(shape) if a != separate]
    # Slices along z are held each to its own range, as nnU-Net does; along others to the volume's.
    slices = [resize(np.take(array, i, separate), inner, order, separate == 0)
              for i in range(array.shape[separate])]
    stack = np.clip(np.stack(slices, separate), array.min(), array.max())
    return nearest_along(stack, separate, shape[separate])


def images(shape, out, order, separate, channels=1):
    rng = np.random.default_rng(sum(shape) + order)
    array = rng.gamma(2, 40, (*shape, channels)).astype(np.float32)
    rules = ["cl"[order == 1]] * 3
    if separate is not None:
        rules[2 - separate] = "n"
    made = ours("image", "".join(rules), array, out)
    worst = limit = 0
    for c in range(channels):
        wanted = theirs(array[..., c], out, order, separate)
        spread = float(array[..., c].max())
        worst = max(worst, np.abs(made[..., c] - wanted).max())
        limit = max(limit, spread * (3 * 28 * 2 * 2**-24 + (3e-7 if order == 3 else 0)))
    ok(worst <= limit, f"order {order}{'' if separate is None else f', axis {separate} by itself'}: "
                       f"{shape} x {channels} -> {out}: off by {worst:.1e} of {limit:.1e}")


def multihot(labels, shape):
    """batchgenerators' resize_segmentation, and where a label's share is half but for rounding."""
    out, doubt = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    for label in np.unique(labels):
        share = resize((labels == label).astype(float), shape, 1)
        out[share >= 0.5] = label
        doubt |= np.abs(share - 0.5) < 1e-6
    return out, doubt


def label_maps(shape, out, separate):
    rng = np.random.default_rng(sum(shape))
    coarse = rng.integers(0, 5, [max(1, n // 4) for n in shape])
    labels = ndimage.zoom(coarse, [n / m for n, m in zip(shape, coarse.shape)], order=0,
                          mode="nearest", grid_mode=True).astype(np.uint8)
    rules = ["l"] * 3
    if separate is None:
        wanted, doubt = multihot(labels, out)
    else:
        rules[2 - separate] = "n"
        inner = [n for a, n in enumerate(out) if a != separate]
        both = [multihot(np.take(labels, i, separate), inner) for i in range(shape[separate])]
        wanted, doubt = (nearest_along(np.stack(part, separate), separate, out[separate])
                         for part in zip(*both))
    made = ours("labels", "".join(rules), labels, out)
    wrong = (made != wanted) & ~doubt
    ok(not wrong.any() and doubt.mean() < 0.3,
       f"labels{'' if separate is None else f', axis {separate} by itself'}: {shape} -> {out}: "
       f"{wrong.sum()} of {wrong.size} differ, {doubt.sum()} where half is met but for rounding")


if not os.path.exists(TOOL):
    print(f"1..0 # SKIP {TOOL} is not built")
    sys.exit(0)
for order in (1, 3):
    images((23, 31, 17), (36, 48, 27), order, None)
    images((40, 21, 33), (19, 40, 33), order, None, channels=3)
    images((9, 64, 50), (22, 40, 71), order, 0)
    images((50, 9, 41), (41, 20, 60), order, 1)
    images((3, 2, 5), (7, 5, 4), order, None)
    images((1, 20, 30), (1, 33, 22), order, None)
for shape, out, separate in (((23, 31, 17), (36, 47, 27), None), ((40, 21, 33), (19, 40, 29), None),
                             ((9, 64, 50), (22, 40, 71), 0), ((16, 16, 16), (32, 32, 32), None)):
    label_maps(shape, out, separate)
print(f"1..{count}")
sys.exit(failures > 0)
