"""Writes nnU-Net raw datasets, for the scripts beside it. Invariant: an image and its labels are
written with one affine, so that they cannot end on different grids."""
import json
import os

import nibabel
import numpy


def write(folder, cases, labels, channel, tests=()):
    """cases, tests: (name, image, label map, affine); labels: names of the values 1, 2, ..."""
    for kind, members in (("Tr", cases), ("Ts", tests)):
        for name, image, values, affine in members:
            save(os.path.join(folder, "images" + kind, name + "_0000.nii.gz"), image, affine)
            save(os.path.join(folder, "labels" + kind, name + ".nii.gz"),
                 values.astype(numpy.uint8), affine)
    description = {"channel_names": {"0": channel},
                   "labels": {"background": 0, **{label: i + 1 for i, label in enumerate(labels)}},
                   "numTraining": len(cases), "file_ending": ".nii.gz"}
    with open(os.path.join(folder, "dataset.json"), "w") as out:
        json.dump(description, out, indent=2)
    for name, _, values, _ in list(cases) + list(tests):
        counts = numpy.bincount(values.ravel().astype(int), minlength=len(labels) + 1)
        print(name, values.shape, dict(zip(["background", *labels], counts.tolist())))


def save(path, array, affine):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def merge(values, groups):
    """A label map with 1 where `values` lies in the first group, 2 in the second, ...; 0 elsewhere."""
    out = numpy.zeros(values.shape, numpy.uint8)
    for label, group in enumerate(groups, 1):
        out[numpy.isin(values, list(group))] = label
    return out
