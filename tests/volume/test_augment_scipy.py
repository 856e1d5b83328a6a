#!/usr/bin/python3
"""Augmentation against numpy and scipy: blur, contrast, gamma, low resolution, and the reading of a
patch under a matrix.

Tolerances: float32 rounding of values of order one (2^-24 each) times the number of roundings, which
is the number of taps for sums; the fast logarithm and exponential of gamma are within 1e-6 and 3e-7 of
theirs (point_spread.h), the exponent is at most 1.5 times the 46 of log(1e-20)."""
import os, subprocess, sys, tempfile

try:
    import numpy as np
    from scipy import ndimage
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.path.join(ROOT, os.environ.get("BUILD", "build"), "tests/volume/test_augment")
ULP = 2.0**-24
count = failures = 0


def ok(passed, name):
    global count, failures
    count += 1
    failures += not passed
    print(f"{'' if passed else 'not '}ok {count} - {name}", flush=True)


def ours(name, image, *numbers):
    with tempfile.TemporaryDirectory() as scratch:
        path, out = os.path.join(scratch, "in"), os.path.join(scratch, "out")
        image.astype(np.float32).tofile(path)
        subprocess.run([TOOL, name, *map(str, image.shape), path, out, *map(repr, numbers)], check=True)
        return np.fromfile(out, np.float32).reshape(image.shape).astype(np.float64)


def compare(name, got, wanted, tolerance):
    worst = np.abs(got - wanted).max()
    ok(worst <= tolerance and got.std() > 0, f"{name}: {worst:.1e} <= {tolerance:.1e}")


def contrast(image, factor):
    return np.clip((image - image.mean()) * factor + image.mean(), image.min(), image.max())


def gamma(image, exponent, inverted):
    image = -image if inverted else image
    low, span = image.min(), np.ptp(image)
    made = ((image - low) / span) ** exponent * span + low
    made = (made - made.mean()) * (image.std() / made.std()) + image.mean()
    return -made if inverted else made


def low_resolution(image, zoom):
    """Nearest voxel under each coarse centre, then linear with half-pixel centres, edges clamped."""
    small = [max(int(np.floor(n * z + 0.5)), 1) for n, z in zip(image.shape, zoom)]
    pick = [((2 * np.arange(s) + 1) * n) // (2 * s) for n, s in zip(image.shape, small)]
    coarse = image[np.ix_(*pick)]
    at = [np.clip((np.arange(n) + 0.5) * s / n - 0.5, 0, s - 1) for n, s in zip(image.shape, small)]
    return ndimage.map_coordinates(coarse, np.meshgrid(*at, indexing="ij"), order=1, mode="nearest")


def warp(image, matrix, offset):
    return ndimage.affine_transform(image, matrix, offset, order=1, mode="grid-constant", cval=0)


def main():
    generator = np.random.default_rng(3)
    for shape in [(17, 31, 9), (1, 12, 40), (20, 5, 701)]:
        image = generator.standard_normal(shape).astype(np.float32).astype(np.float64)
        big = np.abs(image).max()
        tag = "x".join(map(str, shape))
        for sigma in [(0.5, 0.9, 1.0), (0, 2.3, 0.7)]:
            taps = 3 * (2 * int(4 * max(sigma) + 0.5) + 1)
            wanted = ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=4)
            compare(f"blur {sigma} {tag}", ours("blur", image, *sigma), wanted, taps * big * ULP)
        compare(f"brightness {tag}", ours("brightness", image, 0.8), image * np.float32(0.8), big * 2 * ULP)
        for factor in (0.75, 1.25):
            compare(f"contrast {factor} {tag}", ours("contrast", image, factor), contrast(image, factor),
                    big * 8 * ULP)
        for exponent in (0.7, 1.5):
            for name in ("gamma", "gamma_inverted"):
                compare(f"{name} {exponent} {tag}", ours(name, image, exponent),
                        gamma(image, exponent, name != "gamma"), 4 * np.ptp(image) * 1.5e-6)
        for zoom in [(0.5, 0.5, 0.5), (1, 0.73, 0.61)]:
            # The position of a voxel is float32 too: its error times the largest step between voxels.
            compare(f"low resolution {zoom} {tag}", ours("low_resolution", image, *zoom),
                    low_resolution(image, zoom), 2 * big * (3 * 2 * max(shape) + 12) * ULP)
        matrix, _ = np.linalg.qr(generator.standard_normal((3, 3)))
        matrix = matrix * 0.9
        middle = (np.array(shape) - 1) / 2
        offset = middle - matrix @ middle + 0.3
        compare(f"warp {tag}", ours("warp", image, *matrix.ravel(), *offset), warp(image, matrix, offset),
                2 * big * 24 * ULP)
    print(f"1..{count}")
    return failures != 0


sys.exit(main())
