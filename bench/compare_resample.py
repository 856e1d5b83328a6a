#!/usr/bin/env python3
"""Cubic resampling of a volume beside skimage's resize (as nnU-Net calls it), or where that is missing
scipy.ndimage.zoom as skimage calls it: seconds and peak memory of processes that do nothing else, in turn.

    compare_resample.py build/revoxel [EDGE_IN EDGE_OUT ROUNDS]

Ours is `revoxel convert --spacing --interpolation cubic` with 2 threads. Both read the same raw floats from a
file and write raw floats."""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

# A new process counts the memory of the one that starts it as its own until it runs its program: this one
# stays small, and arrays are made and compared elsewhere.
MAKE = """
import sys, numpy as np
n = int(sys.argv[2])
np.random.default_rng(0).gamma(2, 40, (n, n, n)).astype(np.float32).tofile(sys.argv[1])
"""

COMPARE = """
import sys, numpy as np
a, b = (np.fromfile(path, np.float32) for path in sys.argv[1:])
print(f"largest difference {np.abs(a - b).max():.2e} of {b.max():.0f}")
"""

THEIRS = """
import sys, numpy as np
n, m = int(sys.argv[2]), int(sys.argv[3])
a = np.fromfile(sys.argv[1], np.float32).reshape(n, n, n).astype(float)
try:
    from skimage.transform import resize
    b = resize(a, (m, m, m), 3, mode="edge", anti_aliasing=False, clip=True)
except ImportError:
    from scipy import ndimage
    b = np.clip(ndimage.zoom(a, m / n, order=3, mode="nearest", grid_mode=True), a.min(), a.max())
b.astype(np.float32).tofile(sys.argv[4])
"""


def measure(arguments):
    start = time.monotonic()
    process = subprocess.Popen(arguments, env={**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{arguments[0]} failed")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def ratios(pairs, column):
    return [theirs[column] / ours[column] for ours, theirs in pairs]


tool = sys.argv[1]
n, m, rounds = (int(a) for a in (sys.argv[2:5] or (256, 400, 3)))
with tempfile.TemporaryDirectory() as folder:
    source = os.path.join(folder, "in")
    subprocess.run([sys.executable, "-c", MAKE, source, str(n)], check=True)
    with open(source + ".raw.json", "w") as file:
        json.dump({"format": "revoxel raw volume", "version": 1, "data": "in", "type": "float32",
                   "byte_order": sys.byteorder, "size": [n, n, n], "spacing": [1, 1, 1]}, file)
    out = [os.path.join(folder, name) for name in ("ours.raw", "theirs")]
    pairs = []
    for _ in range(rounds):
        ours = measure([tool, "convert", source + ".raw.json", out[0] + ".json", "--interpolation", "cubic",
                        "--spacing", f"{n / m},{n / m},{n / m}"])
        theirs = measure([sys.executable, "-c", THEIRS, source, str(n), str(m), out[1]])
        pairs.append((ours, theirs))
    print(f"{n}^3 -> {m}^3", flush=True)
    subprocess.run([sys.executable, "-c", COMPARE, *out], check=True)
    for i, what in enumerate(("wall seconds", "processor seconds", "peak MiB")):
        print(f"{what}: ours {statistics.median(o[i] for o, _ in pairs):.2f}, "
              f"theirs {statistics.median(t[i] for _, t in pairs):.2f}, "
              f"ratio {statistics.median(ratios(pairs, i)):.2f} (least {min(ratios(pairs, i)):.2f})")
