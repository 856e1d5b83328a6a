"""Writes tests/segment/golden_metrics.txt: label maps and their metrics by SciPy and NumPy.

Run by hand when the definitions change:  /usr/bin/python3 tests/segment/golden_metrics.py
Definitions are those of engine/segment/metrics.h, written a second time with library functions:
binary_erosion, distance_transform_edt and percentile. A line per case:
  case X Y Z sx sy sz tolerance classes / reference digits / prediction digits /
  one line per class: tp fp fn dice iou nsd hd95 assd hd
"""
import os
import numpy as np
from scipy import ndimage


def surface(mask):
    return mask & ~ndimage.binary_erosion(mask, border_value=0)


def directed(a, b, spacing):
    return ndimage.distance_transform_edt(~surface(b), sampling=spacing)[surface(a)]


def metrics(reference, prediction, spacing, tolerance):
    r, p = reference.sum(), prediction.sum()
    tp = (reference & prediction).sum()
    row = [tp, p - tp, r - tp]
    if r + p == 0:
        return row + [np.nan] * 6
    row += [2 * tp / (r + p), tp / (r + p - tp)]
    if r == 0 or p == 0:
        return row + [0.0] + [np.nan] * 3
    d, e = directed(reference, prediction, spacing), directed(prediction, reference, spacing)
    both = np.concatenate([d, e])
    near = (both <= tolerance * (1 + 1e-7)).mean()
    return row + [near, max(np.percentile(d, 95), np.percentile(e, 95)), both.mean(), both.max()]


def blob(generator, shape, sigma, share):
    noise = ndimage.gaussian_filter(generator.standard_normal(shape), sigma)
    return noise > np.quantile(noise, 1 - share)


def main():
    generator = np.random.default_rng(2)
    out = []
    grids = [((9, 13, 17), (1.0, 1.0, 1.0), 1.0), ((7, 11, 15), (3.0, 0.8, 0.65), 2.0),
             ((1, 19, 12), (5.0, 0.5, 0.5), 1.0), ((12, 10, 8), (0.3, 0.3, 0.3), 0.6),
             ((5, 6, 30), (10.0, 2.0, 0.1), 2.0)]
    for shape, spacing, tolerance in grids:
        maps = []
        for sigma in (1.5, 1.4):
            labels = np.zeros(shape, np.uint8)
            labels[blob(generator, shape, sigma, 0.35)] = 1
            labels[blob(generator, shape, sigma, 0.15)] = 2
            maps.append(labels)
        reference, prediction = maps
        prediction = np.where(generator.random(shape) < 0.5, reference, prediction)
        reference[0, 0, 0] = 3  # a class the prediction lacks; class 4 is in neither
        prediction[prediction == 3] = 0
        size = shape[::-1]
        out.append("case %d %d %d %s %g 4" % (*size, " ".join("%g" % s for s in spacing[::-1]),
                                              tolerance))
        for labels in (reference, prediction):
            out.append("".join(str(v) for v in labels.ravel()))
        for label in (1, 2, 3, 4):
            row = metrics(reference == label, prediction == label, spacing, tolerance)
            out.append(" ".join("%d" % v for v in row[:3]) + " "
                       + " ".join("%.17g" % v for v in row[3:]))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden_metrics.txt")
    with open(path, "w") as file:
        file.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
