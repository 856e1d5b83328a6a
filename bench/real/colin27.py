#!/usr/bin/python3
"""colin27.py OUT [MM]: the Colin27 T1 image (ch2.nii.gz) and the AAL atlas of Debian's mricron-data as
a dataset with eight classes, both sampled at MM millimetres (default 2; 1 is as they are).

AAL numbers its 116 regions 1 .. 116 in the file; aal.nii.txt gives each its four-digit code, whose
first digit is the part of the brain. Left and right fall together, so mirroring along x is fair.

One head is one case. To have something to validate on, the head is written twice: whole as "colin27",
and as "colin27_flip", mirrored left to right with a little noise. That is a check of the machinery on
a real image, not a measure of generalisation."""
import os
import sys

import nibabel
import numpy

import raw_dataset

FOLDER = "/usr/share/mricron/templates"
PARTS = {2: "frontal", 3: "insula", 4: "limbic", 5: "occipital", 6: "parietal", 7: "deep_grey",
         8: "temporal", 9: "cerebellum"}


def groups():
    parts = {digit: [] for digit in PARTS}
    with open(os.path.join(FOLDER, "aal.nii.txt")) as lines:
        for line in filter(str.strip, lines):
            value, _, code = line.split()[:3]
            parts[int(code[0])].append(int(value))
    return [parts[digit] for digit in PARTS]


def sample(volume, affine, factor):
    """Every factor-th voxel for labels, means of blocks for images; the affine of block centres."""
    size = [n // factor * factor for n in volume.shape]
    blocks = volume[:size[0], :size[1], :size[2]]
    coarse = affine.copy()
    coarse[:3, :3] *= factor
    coarse[:3, 3] = affine[:3, 3] + affine[:3, :3] @ numpy.full(3, (factor - 1) / 2)
    return blocks.reshape(size[0] // factor, factor, size[1] // factor, factor,
                          size[2] // factor, factor).transpose(0, 2, 4, 1, 3, 5), coarse


def shrink(image, labels, affine, factor):
    image_blocks, coarse = sample(image, affine, factor)
    label_blocks, _ = sample(labels, affine, factor)
    votes = numpy.stack([(label_blocks == k).sum((3, 4, 5)) for k in range(len(PARTS) + 1)])
    mean = numpy.rint(image_blocks.mean((3, 4, 5))).astype(numpy.uint8)
    return mean, votes.argmax(0).astype(numpy.uint8), coarse


def main(out, millimetres=2):
    image = nibabel.load(os.path.join(FOLDER, "ch2.nii.gz"))
    atlas = nibabel.load(os.path.join(FOLDER, "aal.nii.gz"))
    if image.shape != atlas.shape or not numpy.allclose(image.affine, atlas.affine):
        sys.exit("colin27.py: ch2 and aal lie on different grids")
    merged = raw_dataset.merge(numpy.asarray(atlas.dataobj), groups())
    head, labels, affine = shrink(numpy.asarray(image.dataobj), merged, image.affine,
                                  int(millimetres))
    noise = numpy.random.default_rng(27).normal(0, 3, head.shape)
    other = numpy.clip(head[::-1] + noise, 0, 255).astype(numpy.uint8)
    raw_dataset.write(out, [("colin27", head, labels, affine),
                            ("colin27_flip", other, labels[::-1], affine)],
                      list(PARTS.values()), "MR")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: colin27.py OUT [MM]")
    main(*sys.argv[1:])
