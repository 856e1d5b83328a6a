#!/usr/bin/python3
"""Preprocessing against numpy and scipy on real volumes: normalisation, resampling, fingerprint.

The peer is scipy.ndimage.map_coordinates (order 1, edges clamped) at skimage's coordinates, and
numpy for every statistic. Tolerances: float32 rounding of values that are of order one after
normalisation (a handful of roundings, 2^-24 each, times the largest value)."""
import glob, json, os, subprocess, sys, tempfile

try:
    import nibabel
    import numpy as np
    from scipy import ndimage
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)

try:
    from monai.transforms import ScaleIntensityRangePercentiles as monai
except ImportError:
    monai = None
monai_asked = []

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.path.join(ROOT, os.environ.get("BUILD", "build"), "tests/volume/test_preprocess")
SHARED = os.path.join(ROOT, "..", "shared", "data")
count = failures = 0


def ok(passed, name):
    global count, failures
    count += 1
    failures += not passed
    print(f"{'' if passed else 'not '}ok {count} - {name}", flush=True)


def normalise(image, scheme, mask):
    """mask: the voxels that a z-score counts; None: all."""
    image = image.astype(np.float64)
    if scheme == "ct":
        return (np.clip(image, 20, 180) - 100) / 40
    if scheme == "rescale_to_0_1":
        return (image - image.min()) / max(image.max() - image.min(), 1e-8)
    if scheme.startswith("percentiles"):
        options = [float(o) for o in scheme.partition(":")[2].split(",") if o]
        return scale_percentiles(image, 20, 99.5, *options)
    if scheme == "zscore":
        inside = image if mask is None else image[mask]
        return (image - inside.mean()) / max(inside.std(), 1e-8)
    return image


def scale_percentiles(image, lower, upper, b_min=0, b_max=1, clip=True):
    """What MONAI's ScaleIntensityRangePercentiles documents; where MONAI is, it is asked as well. Of equal
    percentiles it clips nothing, ours does."""
    low, high = np.percentile(image, [lower, upper])
    made = image - low + b_min if high == low else (image - low) / (high - low) * (b_max - b_min) + b_min
    made = np.clip(made, b_min, b_max) if clip else made
    if monai and not (high == low and clip):
        theirs = np.asarray(monai(lower, upper, b_min, b_max, clip=bool(clip), dtype=np.float64)(image))
        assert np.allclose(made, theirs, rtol=0, atol=1e-9), "not what MONAI makes"
        monai_asked.append(1)
    return made


def separate_axis(spacing, target):
    """nnU-Net's axis that is resampled by itself, or None."""
    for mm in (spacing, [t or s for s, t in zip(spacing, target)]):
        if max(mm) / min(mm) > 3 and list(mm).count(max(mm)) == 1:
            return list(mm).index(max(mm))
    return None


def coordinates(out, size, separate):
    axes = [np.clip((np.arange(n) + 0.5) * (m / n) - 0.5, 0, m - 1) for n, m in zip(out, size)]
    if separate is not None:
        axes[separate] = np.floor(axes[separate] + 0.5)
    return np.meshgrid(*axes, indexing="ij")


def nonzero_mask(images):
    """nnU-Net's: the voxels that are not 0 in some channel, holes filled; z, y, x."""
    mask = np.any([nibabel.load(path).get_fdata().transpose(2, 1, 0) != 0 for path in images], axis=0)
    return ndimage.binary_fill_holes(mask)


def compare(images, label, scheme, nonzero, target, name, crop=False):
    """All arrays are z, y, x."""
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "case")
        run = subprocess.run([TOOL, "case", scheme, str(nonzero + 2 * crop),
                              ",".join(map(str, target)), label or "-", out, *images],
                             capture_output=True, text=True)
        if run.returncode:
            ok(False, f"{name}: {run.stderr}")
            return
        shape = json.loads(run.stdout)
        ours = np.fromfile(out + ".image", np.float32).reshape(shape)
        labels = np.fromfile(out + ".labels", np.uint8).reshape(shape[:3]) if label else None
    spacing = nibabel.load(images[0]).header.get_zooms()[:3]
    mask = nonzero_mask(images)
    box = ndimage.find_objects(mask)[0] if crop else (slice(None),) * 3
    worst = limit = 0
    for channel, path in enumerate(images):
        file = nibabel.load(path)
        voxels = file.get_fdata(dtype=np.float64).transpose(2, 1, 0)[box]
        size = voxels.shape
        expected_shape = [
            m if t == 0 else max(1, int(np.rint(float(s) / t * m)))
            for m, s, t in zip(size, spacing[::-1], target[::-1])]
        expected = normalise(voxels, scheme, mask[box] if nonzero else None)
        if list(expected_shape) != list(size):
            separate = separate_axis([float(s) for s in spacing[::-1]], target[::-1])
            expected = ndimage.map_coordinates(
                expected, coordinates(expected_shape, size, separate), order=1, mode="nearest")
        if list(ours.shape[:3]) != expected_shape:
            ok(False, f"{name}: shape {ours.shape}, expected {expected_shape}")
            return
        worst = max(worst, np.abs(ours[..., channel] - expected).max())
        limit = max(limit, 16 * 2.0**-24 * max(1, np.abs(expected).max()))
    same = True
    if label:
        stored = nibabel.load(label).get_fdata().transpose(2, 1, 0).astype(np.uint8)[box]
        picks = [(2 * np.arange(n) + 1) * m // (2 * n) for n, m in zip(expected_shape, stored.shape)]
        same = np.array_equal(labels, stored[np.ix_(*picks)])
    ok(worst <= limit and same, f"{name}: {tuple(size)} -> {tuple(expected_shape)}, off by "
                                f"{worst:.1e} of {limit:.1e}, labels {'equal' if same else 'differ'}")


def fingerprint(folder, name):
    run = subprocess.run([TOOL, "fingerprint", folder], capture_output=True, text=True)
    if run.returncode:
        ok(False, f"{name}: {run.stderr}")
        return
    ours = json.loads(run.stdout)
    pooled, spacings, boxes, shares, voxels = [], [], [], [], []
    paths = sorted(glob.glob(os.path.join(folder, "labelsTr", "*.nii.gz")))
    share = min(100000, 4000000 // len(paths))
    for path in paths:
        labels = nibabel.load(path).get_fdata()
        image = nibabel.load(path.replace("labelsTr", "imagesTr")
                             .replace(".nii.gz", "_0000.nii.gz")).get_fdata()
        pooled.append(image[labels > 0])
        spacings.append(nibabel.load(path).header.get_zooms()[:3])
        filled = np.argwhere(image != 0)
        box = filled.max(axis=0) - filled.min(axis=0) + 1
        boxes.append([*map(int, box), len(filled), int((labels == 1).sum())])
        shares.append(np.prod(box) / image.size)
        voxels.append(len(pooled[-1]))
    whole = max(voxels) <= share  # then our samples are all foreground voxels
    pooled = np.concatenate(pooled).astype(np.float64)
    expected = [pooled.mean(), pooled.std(), pooled.min(), pooled.max(), np.median(pooled),
                *np.percentile(pooled, [0.5, 99.5])]
    close = np.allclose(ours["intensity"], expected, rtol=1e-9 if whole else 0.02, atol=1e-9)
    ok(close and whole, f"{name}: intensities over {len(pooled)} foreground voxels")
    ok(ours["cases"] == boxes, f"{name}: nonzero boxes and label counts of {len(boxes)} cases")
    ok(np.allclose(ours["spacing"], np.median(spacings, axis=0), rtol=1e-6)
       and abs(ours["share"] - np.median(shares)) < 1e-12, f"{name}: spacing and nonzero share")


def synthetic():
    with tempfile.TemporaryDirectory() as scratch:
        rng = np.random.default_rng(3)
        shape = (23, 31, 17)
        affine = np.diag([0.7, 1.1, 2.3, 1])
        paths = []
        for channel in range(3):
            voxels = rng.gamma(2, 40, shape) * (rng.random(shape) > 0.3)
            paths.append(os.path.join(scratch, f"a_{channel:04d}.nii.gz"))
            nibabel.save(nibabel.Nifti1Image(voxels.astype("f4"), affine), paths[-1])
        label = os.path.join(scratch, "a.nii.gz")
        nibabel.save(nibabel.Nifti1Image(rng.integers(0, 9, shape).astype("u1"), affine), label)
        for scheme in ("zscore", "ct", "rescale_to_0_1", "none", "percentiles"):
            for nonzero in (False, True) if scheme == "zscore" else (False,):
                for target in ((0, 0, 0), (1, 1, 1), (0.5, 2.2, 2.31), (9, 0.9, 40)):
                    compare(paths, label, scheme, nonzero, target,
                            f"{scheme}{' in nonzero' if nonzero else ''} at {target}")
        for ends in ("-1,1,1", "-1,1,0", "0,255,1", "100,101,0"):
            for target in ((0, 0, 0), (0.5, 2.2, 2.31)):
                compare(paths, None, f"percentiles:{ends}", False, target, f"percentiles to {ends} at {target}")
        flat = os.path.join(scratch, "flat.nii.gz")
        voxels = np.full(shape, 7.0)
        voxels[3, 4, 5] = 7.25
        voxels[6:9, 1, 1] = 3
        nibabel.save(nibabel.Nifti1Image(voxels.astype("f4"), affine), flat)
        for ends in ("-1,1,1", "2,5,0"):
            compare([flat], None, f"percentiles:{ends}", False, (0, 0, 0), f"equal percentiles to {ends}")
        for name, (low, high) in {"margins": ((3, 4, 2), (5, 1, 0)), "z alone": ((0, 0, 4), (0, 0, 6)),
                                  "one slice": ((0, 0, 9), (0, 0, 7))}.items():
            margins(paths, label, low, high, name)


def margins(paths, label, low, high, name):
    """The same images with `low` and `high` (x, y, z) voxels blacked out at their ends, one of them less
    in the last channel: the box is that of all channels."""
    for i, path in enumerate(paths):
        file = nibabel.load(path)
        voxels = file.get_fdata().copy()
        for axis in range(3):
            less = int(i == len(paths) - 1 and axis == 1 and low[axis] > 0)
            keep = np.arange(voxels.shape[axis])
            keep = (keep >= low[axis] - less) & (keep < voxels.shape[axis] - high[axis])
            voxels *= keep.reshape([-1 if a == axis else 1 for a in range(3)])
        nibabel.save(nibabel.Nifti1Image(voxels.astype("f4"), file.affine), path + ".cut.nii.gz")
    cut = [path + ".cut.nii.gz" for path in paths]
    for scheme in ("zscore", "rescale_to_0_1", "percentiles"):
        for target in ((0, 0, 0), (0.5, 2.2, 2.31)):
            compare(cut, label, scheme, scheme == "zscore", target, f"{name} cropped, {scheme} at {target}",
                    crop=True)


def real():
    trus = os.path.join(SHARED, "Dataset001_TrusGland")
    ct = os.path.join(SHARED, "ct-organs")
    if os.path.isdir(trus):
        images = sorted(glob.glob(os.path.join(trus, "imagesTr", "*.nii.gz")))[:2]
        for image in images:
            label = image.replace("imagesTr", "labelsTr").replace("_0000", "")
            compare([image], label, "zscore", False, (0.5, 0.4, 0.9), os.path.basename(image))
        fingerprint(trus, "TrusGland")
    if os.path.isdir(ct):
        compare([os.path.join(ct, "example_ct.nii.gz")], os.path.join(ct, "example_ct_labels.nii.gz"),
                "ct", False, (2.5, 2.5, 4), "example_ct")


if not os.path.exists(TOOL):
    print(f"1..0 # SKIP {TOOL} is not built")
    sys.exit(0)
synthetic()
real()
if monai:
    ok(len(monai_asked) > 10, f"MONAI agrees {len(monai_asked)} times")
print(f"1..{count}")
sys.exit(failures > 0)
