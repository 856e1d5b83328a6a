#!/usr/bin/env python3
"""Cubic resampling of a volume beside skimage's resize (as nnU-Net calls it), or where that is missing
scipy.ndimage.zoom as skimage calls it: seconds and peak memory of processes that do nothing else, in turn.

    compare_resample.py build/revoxel [EDGE_IN EDGE_OUT ROUNDS]

Ours is `revoxel convert --spacing --interpolation cubic` with 2 threads. Both read the same raw floats from a
file and write raw floats."""
import json
import os
import subprocess
import sys
import tempfile

from paired import compare

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


tool = sys.argv[1]
n, m, rounds = (int(a) for a in (sys.argv[2:5] or (256, 400, 3)))
with tempfile.TemporaryDirectory() as folder:
    source = os.path.join(folder, "in")
    subprocess.run([sys.executable, "-c", MAKE, source, str(n)], check=True)
    with open(source + ".raw.json", "w") as file:
        json.dump({"format": "revoxel raw volume", "version": 1, "data": "in", "type": "float32",
                   "byte_order": sys.byteorder, "size": [n, n, n], "spacing": [1, 1, 1]}, file)
    out = [os.path.join(folder, name) for name in ("ours.raw", "theirs")]
    print(f"{n}^3 -> {m}^3", flush=True)
    compare([tool, "convert", source + ".raw.json", out[0] + ".json", "--interpolation", "cubic", "--spacing",
             f"{n / m},{n / m},{n / m}"],
            [sys.executable, "-c", THEIRS, source, str(n), str(m), out[1]], rounds)
    subprocess.run([sys.executable, "-c", COMPARE, *out], check=True)
