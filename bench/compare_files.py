#!/usr/bin/env python3
"""Files beside SimpleITK: reading, converting and resampling one volume of 512 x 512 x SLICES int16 with black
around it, as whole programs in turn (paired.py). Theirs starts Python and loads SimpleITK, which the first
line of figures measures by itself.

    build/peers/bin/python bench/compare_files.py build/revoxel [SLICES ROUNDS]

SimpleITK: make peers."""
import os
import subprocess
import sys
import tempfile

from paired import compare

MAKE = """
import sys, numpy as np, SimpleITK as sitk
n = int(sys.argv[2])
a = np.zeros((n, 512, 512), np.int16)
a[n // 8:-n // 8, 64:-64, 64:-64] = np.random.default_rng(0).normal(300, 60, a[n // 8:-n // 8, 64:-64, 64:-64].shape)
sitk.WriteImage(sitk.GetImageFromArray(a), sys.argv[1], True)
"""

READ = "import sys, SimpleITK as sitk; image = sitk.ReadImage(sys.argv[1])\n"
WRITE = READ + "sitk.WriteImage(image, sys.argv[2], sys.argv[2].endswith(('.gz', '.nrrd', '.mha')))"
RESAMPLE = READ + """
size = [round(n / 1.3) for n in image.GetSize()]
rule = {"linear": sitk.sitkLinear, "cubic": sitk.sitkBSpline3}[sys.argv[3]]
sitk.WriteImage(sitk.Resample(image, size, sitk.Transform(), rule, [0.15] * 3, [1.3] * 3, image.GetDirection()),
                sys.argv[2])
"""

tool = sys.argv[1]
slices, rounds = (int(a) for a in (sys.argv[2:4] or (400, 3)))
with tempfile.TemporaryDirectory() as folder:
    source = os.path.join(folder, "in.nii.gz")
    subprocess.run([sys.executable, "-c", MAKE, source, str(slices)], check=True)
    python = [sys.executable, "-c"]
    print("start alone: revoxel --version, import SimpleITK")
    compare([tool, "--version"], [*python, "import SimpleITK"], rounds)
    for what, ending, options, text in (
            ("read .nii.gz, write it plain", ".nii", [], WRITE),
            ("convert .nii.gz to packed .nrrd", ".nrrd", [], WRITE),
            ("convert .nii.gz to packed .mha", ".mha", [], WRITE),
            ("resample linearly to 1.3 mm, write plain", ".nii", ["--spacing", "1.3,1.3,1.3"], RESAMPLE),
            ("resample by cubic splines to 1.3 mm, write plain", ".nii",
             ["--spacing", "1.3,1.3,1.3", "--interpolation", "cubic"], RESAMPLE)):
        out = [os.path.join(folder, name + ending) for name in ("ours", "theirs")]
        print(what, flush=True)
        compare([tool, "convert", source, out[0], *options],
                [*python, text, source, out[1], options[-1] if "cubic" in options else "linear"], rounds)
        print(f"file: ours {os.path.getsize(out[0]) / 2**20:.1f} MiB, theirs {os.path.getsize(out[1]) / 2**20:.1f} MiB")
        for path in out:
            os.remove(path)
