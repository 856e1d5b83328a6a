"""Milliseconds a patch: our augmentation (build/bench_augment) beside the shortest scipy and numpy
that does the same, one thread each, processor time, in one run. Owns: the table in docs/augmentation.md.

usage: augment.py BENCH_AUGMENT [EDGE]"""
import json
import os
import subprocess
import sys
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np
from scipy import ndimage

REPEATS = 7


def spatial(image, labels, edge, turn=True, zoom=1.0):
    """Rotation and zoom of a patch as batchgenerators does them: coordinates, then map_coordinates."""
    angles = np.random.uniform(-0.5, 0.5, 3) if turn else np.zeros(3)
    matrix = np.eye(3) * zoom
    for axis, angle in enumerate(angles):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        one = np.eye(3)
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        matrix = one @ matrix
    grid = np.stack(np.meshgrid(*[np.arange(edge) - (edge - 1) / 2] * 3, indexing="ij"))
    at = np.tensordot(matrix, grid, 1) + (np.array(image.shape) / 2)[:, None, None, None]
    out = ndimage.map_coordinates(image, at, order=1, mode="constant", cval=0)
    made = np.zeros(out.shape, np.uint8)
    for value in np.unique(labels)[1:]:
        made[ndimage.map_coordinates((labels == value).astype(np.float32), at, order=1) > 0.5] = value
    return out, made


def gamma(x, exponent):
    mean, deviation, low, span = x.mean(), x.std(), x.min(), np.ptp(x)
    x = np.power((x - low) / span, exponent) * span + low
    return (x - x.mean()) * (deviation / x.std()) + mean


def low_resolution(x, zoom):
    small = ndimage.zoom(x, zoom, order=0)
    return ndimage.zoom(small, np.array(x.shape) / np.array(small.shape), order=1)


def main():
    edge = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    ours = json.loads(subprocess.run([sys.argv[1], str(edge)], check=True, capture_output=True, text=True,
                                     env=dict(os.environ, OMP_NUM_THREADS="1")).stdout)
    size = edge + edge // 2
    index = np.indices((size,) * 3)
    image = (np.sin(0.2 * (index[0] + index[2])) + np.random.rand(size, size, size)).astype(np.float32)
    labels = ((index // 20).sum(0) % 4).astype(np.uint8)
    cut = (slice(10, 10 + edge),) * 3
    patch = image[cut].copy()
    theirs = {
        "copy": lambda: (image[cut].copy(), labels[cut].copy()),
        "rotation": lambda: spatial(image, labels, edge),
        "scaling": lambda: spatial(image, labels, edge, False, 1.2),
        "noise": lambda: patch + np.random.normal(0, 0.05, patch.shape).astype(np.float32),
        "blur": lambda: ndimage.gaussian_filter(patch, 0.75, truncate=4),
        "brightness": lambda: patch * np.float32(1.1),
        "contrast": lambda: np.clip((patch - patch.mean()) * 1.1 + patch.mean(), patch.min(), patch.max()),
        "low resolution": lambda: low_resolution(patch, 0.75),
        "gamma inverted": lambda: -gamma(-patch, 1.1),
        "gamma": lambda: gamma(patch, 1.1),
        "mirror": lambda: (image[cut][::-1, ::-1, ::-1].copy(), labels[cut][::-1, ::-1, ::-1].copy()),
    }
    print(f"| transform, {edge}^3 | ours, ms | scipy, ms | ratio |\n|---|---|---|---|")
    copy = ours["copy"]
    for name, value in ours.items():
        if name == "edge":
            continue
        # A sample holds the cut of the patch as well: for transforms of grey values it is taken off.
        alone = value if name in ("copy", "rotation", "scaling", "mirror", "pose", "sound") or "drawn" in name else value - copy
        row = f"| {name} | {alone:.2f} |"
        if name in theirs:
            times = []
            for _ in range(REPEATS):
                start = time.thread_time()
                theirs[name]()
                times.append(time.thread_time() - start)
            peer = sorted(times)[REPEATS // 2] * 1e3
            row += f" {peer:.2f} | {peer / max(alone, 1e-3):.1f} |"
        else:
            row += " | |"
        print(row)


main()
