#!/usr/bin/python3
"""ct_organs.py FOLDER OUT: one abdominal CT and its 61 structures as a dataset with one case and the
classes liver, kidneys (both) and spleen.

FOLDER holds example_ct.nii.gz and example_ct_labels.nii.gz. The values are those of
TotalSegmentator's class list (version 2). They are not taken on trust: `check` compares the centres
of the organs with anatomy, in nibabel's RAS millimetres."""
import os
import sys

import nibabel
import numpy

import raw_dataset

SPLEEN, KIDNEY_RIGHT, KIDNEY_LEFT, LIVER = 1, 2, 3, 5


def check(values, affine):
    def centre(value):
        voxels = numpy.argwhere(values == value)
        if not len(voxels):
            sys.exit(f"ct_organs.py: the label map has no value {value}")
        return nibabel.affines.apply_affine(affine, voxels.mean(0))

    def litres(value):
        return (values == value).sum() * abs(numpy.linalg.det(affine[:3, :3])) * 1e-6
    liver, spleen = centre(LIVER), centre(SPLEEN)
    right, left = centre(KIDNEY_RIGHT), centre(KIDNEY_LEFT)
    facts = {"liver opposite to spleen": (liver[0] - spleen[0]) > 100,
             "right kidney on the liver's side": right[0] > left[0],
             "kidneys below liver and spleen": max(right[2], left[2]) < min(liver[2], spleen[2]),
             "liver 0.8 to 2.5 l": 0.8 < litres(LIVER) < 2.5,
             "spleen 0.05 to 0.5 l": 0.05 < litres(SPLEEN) < 0.5,
             "kidneys 0.08 to 0.35 l each": all(0.08 < litres(k) < 0.35
                                                for k in (KIDNEY_RIGHT, KIDNEY_LEFT))}
    wrong = [name for name, holds in facts.items() if not holds]
    if wrong:
        sys.exit("ct_organs.py: unexpected anatomy: " + "; ".join(wrong))


def main(folder, out):
    image = nibabel.load(os.path.join(folder, "example_ct.nii.gz"))
    labels = nibabel.load(os.path.join(folder, "example_ct_labels.nii.gz"))
    values = numpy.asarray(labels.dataobj)
    check(values, labels.affine)
    merged = raw_dataset.merge(values, [(LIVER,), (KIDNEY_RIGHT, KIDNEY_LEFT), (SPLEEN,)])
    intensities = numpy.asarray(image.dataobj).astype(numpy.int16)
    raw_dataset.write(out, [("ct", intensities, merged, image.affine)],
                      ["liver", "kidneys", "spleen"], "CT")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: ct_organs.py FOLDER OUT")
    main(*sys.argv[1:])
