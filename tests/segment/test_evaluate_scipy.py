"""`revoxel evaluate` against SciPy on label maps that nibabel writes, anisotropic and oblique.

Skips where SciPy, nibabel or the command are absent. BUILD names the build folder."""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
COMMAND = os.path.join(os.environ.get("BUILD", "build"), "revoxel")


def skip(reason):
    print("1..0 # SKIP " + reason)
    sys.exit(0)


try:
    import nibabel
    import numpy as np
    import golden_metrics
except ImportError as missing:
    skip(str(missing))
if not os.access(COMMAND, os.X_OK):
    skip(COMMAND + " is not built")

KEYS = ("true_positive", "false_positive", "false_negative", "dice", "iou", "nsd", "hd95_mm",
        "assd_mm", "hd_mm")
GRIDS = (((40, 33, 21), (0.7, 0.9, 2.5)), ((25, 48, 30), (1.0, 1.0, 1.0)), ((60, 21, 7), (0.4, 0.4, 6.0)))


def write_pairs(root, generator):
    os.makedirs(os.path.join(root, "pred"))
    os.makedirs(os.path.join(root, "ref"))
    pairs = []
    for index, (shape, spacing) in enumerate(GRIDS):
        c, s = np.cos(0.3), np.sin(0.3)
        affine = np.eye(4)
        affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * spacing
        affine[:3, 3] = 7, -11, 3
        maps = []
        for folder, sigma in (("ref", 2.5), ("pred", 2.2)):
            labels = np.zeros(shape, np.uint8)
            for label, share in ((1, 0.4), (2, 0.2), (3, 0.02)):
                labels[golden_metrics.blob(generator, shape, sigma, share)] = label
            maps.append(labels)
        reference = maps[0]
        prediction = np.where(generator.random(shape) < 0.6, reference, maps[1])
        if index == 1:
            prediction[prediction == 3] = 0
        for folder, labels in (("ref", reference), ("pred", prediction)):
            image = nibabel.Nifti1Image(labels, affine)
            nibabel.save(image, os.path.join(root, folder, "case_%d.nii.gz" % index))
        spacing = [float(v) for v in image.header.get_zooms()]
        pairs.append((reference, prediction, spacing))
    return pairs


def close(found, expected):
    if found is None or np.isnan(expected):
        return found is None and np.isnan(expected)
    return abs(found - expected) <= 1e-6 * abs(expected) + 1e-12  # float32 spacings in the header


def main():
    generator = np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as root:
        pairs = write_pairs(root, generator)
        out = os.path.join(root, "metrics.json")
        done = subprocess.run([COMMAND, "evaluate", "--pred", os.path.join(root, "pred"), "--ref",
                               os.path.join(root, "ref"), "--out", out], capture_output=True, text=True)
        if done.returncode != 0:
            print("1..1\nnot ok 1 - evaluate runs\n# " + done.stderr.replace("\n", "\n# "))
            sys.exit(1)
        with open(out) as file:
            result = json.load(file)
    tests, failures = 0, 0
    for case, (reference, prediction, spacing) in zip(result["cases"], pairs):
        for entry in case["classes"]:
            label = entry["label"]
            expected = golden_metrics.metrics(reference == label, prediction == label, spacing,
                                              result["tolerance_mm"])
            good = all(close(entry[key], value) for key, value in zip(KEYS, expected))
            tests, failures = tests + 1, failures + (not good)
            print("%sok %d - %s class %d" % ("" if good else "not ", tests, case["case"], label))
            if not good:
                print("# found %s expected %s" % ([entry[key] for key in KEYS], expected))
    count = sum(len(case["classes"]) for case in result["cases"])
    tests, failures = tests + 1, failures + (count != 9)
    print("%sok %d - three cases of three classes" % ("" if count == 9 else "not ", tests))
    print("1..%d" % tests)
    sys.exit(failures != 0)


if __name__ == "__main__":
    main()
