#!/usr/bin/python3
"""revoxel augment: the picture for datasets, their cases and volumes of their own, and refusals."""
import os
import sys

try:
    import nibabel
    import numpy as np
    from PIL import Image
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scratch import done, ok, path, refused, revoxel


def picture(*arguments):
    out = path("preview.png")
    if os.path.exists(out):
        os.remove(out)
    made = revoxel("augment", *arguments, "--out", out)
    if made.returncode:
        print("#", made.stderr.strip())
        return None
    return np.asarray(Image.open(out)).astype(int)


revoxel("synth", path("us"), "--cases", "2", "--size", "24x20x16", "--quiet")
revoxel("plan", path("us"), "--out", path("plan.json"), "--steps", "5", "--augmentation", "nnunet")

US = ("--augmentation", "ultrasound")
sheet = picture(path("us"), *US)
ok(sheet is not None and sheet.ndim == 3 and sheet.shape[2] == 3 and np.ptp(sheet, axis=2).max() > 50,
   "a dataset, labels in colour")
again = picture(path("us"), *US)
ok(sheet is not None and (sheet == again).all(), "the same bytes again")
named = picture(path("us"), *US, "--case", "phantom_000")
ok((sheet == named).all(), "--case: the first case is the default")
image = os.path.join(path("us"), "imagesTr", "phantom_000_0000.nii.gz")
ok((sheet == picture(image, *US)).all(), "an image of a dataset is that case")
other = picture(path("us"), *US, "--case", "phantom_001")
ok(other.shape == sheet.shape and (other != sheet).any(), "another case is another picture")
moved = picture(path("us"), *US, "--seed", "7")
ok(moved.shape == sheet.shape and (moved != sheet).any(), "another seed draws otherwise")
fewer = picture(path("us"), "--plan", path("plan.json"))
ok(fewer.shape[0] < sheet.shape[0], "a plan without ultrasound's transforms has fewer tiles")
ok((picture(path("us")) == fewer).all(), "which is the default")
none = picture(path("us"), "--augmentation", "none", "--draws", "2")
ok(none.shape[0] < fewer.shape[0], "none: the patch and the draws alone")
tile = (none.shape[1] - 8) // 6
first, second = none[50:, 8:8 + tile - 8], none[50:, 8 + tile:8 + 2 * tile - 8]
ok((first == second).all(), "none: a draw is the patch as it is")

voxels = np.random.default_rng(1).normal(100, 20, (24, 20, 16)).astype(np.float32)
nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path("alone.nii.gz"))
nibabel.save(nibabel.Nifti1Image((voxels > 110).astype(np.uint8), np.eye(4)), path("alone_labels.nii.gz"))
plain = picture(path("alone.nii.gz"))
ok(plain is not None, "a volume of its own")
labelled = picture(path("alone.nii.gz"), "--labels", path("alone_labels.nii.gz"))
ok((np.ptp(plain, axis=2) == 0).mean() > (np.ptp(labelled, axis=2) == 0).mean(), "its labels are drawn in colour")

out = path("no.png")
refused("without --out", 2, "--out", "augment", path("us"))
refused("a case that is not there", 1, "no training case 'liver'", "augment", path("us"), "--case", "liver", "--out", out)
refused("a set that is not known", 1, "expected \"none\", \"nnunet\" or \"ultrasound\"", "augment", path("us"),
        "--augmentation", "all", "--out", out)
refused("a plan that says otherwise", 1, "augmentation", "augment", path("us"), "--plan", path("plan.json"),
        "--augmentation", "ultrasound", "--out", out)
refused("a channel that is not there", 1, "channel expected 0 to 0", "augment", path("us"), "--channel", "1", "--out", out)
refused("labels beside a dataset", 1, "has its own", "augment", path("us"), "--labels", path("alone_labels.nii.gz"),
        "--out", out)
refused("a file that is not there", 1, "missing.nii.gz", "augment", path("missing.nii.gz"), "--out", out)
ok(not os.path.exists(out), "nothing is left behind")
done()
