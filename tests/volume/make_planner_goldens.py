"""Makes tests/volume/goldens/planner.json: what nnU-Net v2's own planner says about synthetic data sets.

Owns: the data sets and the random questions. Invariant: every answer comes from nnunetv2's code as
published (ExperimentPlanner, get_pool_and_conv_props, compute_new_shape, determine_do_sep_z_and_axis);
nothing of it is replaced but the search for a low-resolution configuration, which is switched off by
its own threshold. goldens/README.md describes the fields.

usage: python3 tests/volume/make_planner_goldens.py [--check]
wants nnunetv2 2.8.1 (`pip install nnunetv2==2.8.1`, in a virtual environment of its own).
--check asks again and compares with the committed file.
"""

import contextlib
import importlib.metadata
import io
import json
import os
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "goldens", "planner.json")
SCRATCH = tempfile.TemporaryDirectory()
for folder in ("raw", "preprocessed", "results"):
    os.environ["nnUNet_" + folder] = os.path.join(SCRATCH.name, folder)
os.environ["nnUNet_n_proc_DA"] = "2"

from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner  # noqa: E402
from nnunetv2.experiment_planning.experiment_planners import network_topology  # noqa: E402
from nnunetv2.preprocessing.resampling import default_resampling  # noqa: E402

TWO_LABELS = {"background": 0, "organ": 1}


def spread(random, count, shape, spacing, jitter=0.0, choices=None):
    """Shapes and spacings (z, y, x) of `count` cases around one; `choices`: spacings of z."""
    shapes = [[max(1, int(round(edge * (1 + jitter * random.uniform(-1, 1))))) for edge in shape]
              for _ in range(count)]
    spacings = [list(spacing) for _ in range(count)]
    for i, one in enumerate(spacings):
        if choices:
            one[0] = choices[i % len(choices)]
    return shapes, spacings


def datasets():
    """name: (shapes, spacings, channel names, labels, share of the nonzero box)."""
    random = np.random.RandomState(20261124)
    many = {"background": 0, **{f"structure{i}": i for i in range(1, 61)}}

    def plain(name, *cases, channels=("CT",), labels=TWO_LABELS, share=1.0):
        return name, (*cases, list(channels), labels, share)

    made = dict([
        plain("isotropic_ct", *spread(random, 20, (500, 512, 512), (0.8, 0.8, 0.8), 0.05)),
        plain("whole_body_61_labels", *spread(random, 40, (280, 250, 250), (1.5, 1.5, 1.5), 0.2),
              labels=many),
        plain("thick_slices", *spread(random, 32, (20, 320, 320), (3.6, 0.6, 0.6), 0.02),
              channels=("T2", "ADC")),
        plain("tenth_percentile", *spread(random, 20, (10, 224, 256), (10, 1.5, 1.5), 0.1,
                                          [10, 10, 5, 10, 7, 8, 10, 6, 10, 9]), channels=("MRI",)),
        plain("tenth_percentile_below_plane", *spread(random, 10, (14, 200, 200), (6, 1.5, 1.5), 0.1,
                                                      [6, 6, 1.0, 6, 1.0]), channels=("MRI",)),
        plain("coarse_but_long", *spread(random, 8, (90, 200, 220), (5, 1.0, 1.0), 0.1)),
        plain("four_modalities_masked", *spread(random, 30, (140, 172, 138), (1, 1, 1), 0.05),
              channels=("FLAIR", "T1w", "t1gd", "T2w"), share=0.31,
              labels={"background": 0, "edema": 1, "core": 2, "enhancing": 3}),
        plain("just_above_the_mask_rule", *spread(random, 6, (100, 100, 100), (1, 1, 1), 0.05),
              channels=("MRI", "ct"), share=0.75),
        plain("just_below_the_mask_rule", *spread(random, 6, (100, 100, 100), (1, 1, 1), 0.05),
              channels=("MRI", "CT", "noNorm", "rescale_to_0_1", "zscore"), share=0.7499),
        plain("tiny", *spread(random, 260, (36, 50, 35), (1, 1, 1), 0.1), channels=("MRI",)),
        plain("tinier", *spread(random, 12, (7, 9, 14), (1, 1, 1), 0.1), channels=("MRI",)),
        plain("half_voxels", [[15, 31, 47], [16, 32, 48], [23, 8, 40], [8, 7, 41]],
              [[1, 1, 1]] * 4, channels=("MRI",)),
        plain("gland", *spread(random, 20, (41, 59, 44), (1, 1, 1)), channels=("US",)),
        plain("one_case", *spread(random, 1, (120, 300, 200), (1.2, 0.7, 0.7)), channels=("MRI",)),
        plain("sagittal", *spread(random, 15, (280, 280, 24), (0.7, 0.7, 4.0), 0.05),
              channels=("MRI",)),
        plain("coronal", *spread(random, 15, (300, 18, 256), (0.8, 5.0, 0.9), 0.05),
              channels=("MRI",)),
        plain("lung", *spread(random, 60, (250, 512, 512), (1.245, 0.785, 0.785), 0.2)),
        plain("very_thick", *spread(random, 25, (24, 640, 640), (8, 0.3, 0.3), 0.1),
              channels=("MRI",)),
        plain("thin_plane", *spread(random, 25, (300, 512, 30), (1.25, 1.25, 0.24), 0.1),
              channels=("US",)),
        plain("microscopy", *spread(random, 4, (1000, 1500, 2000), (0.01, 0.004, 0.004), 0.05),
              channels=("noNorm",)),
        plain("with_ignore", *spread(random, 9, (160, 190, 170), (1, 0.9, 0.9), 0.1),
              labels={"background": 0, "organ": 1, "ignore": 2}),
    ])
    for i in range(30):
        spacing = np.round(random.uniform(0.3, 2.5, 3), 2)
        if i % 2:
            spacing[random.randint(3)] = round(random.uniform(2, 9), 2)
        else:
            spacing[2] = spacing[1]
        shape = [int(np.clip(random.uniform(60, 500) / s, 6, 900)) for s in spacing]
        count = int(random.randint(1, 60))
        shapes, spacings = spread(random, count, shape, spacing, 0.3)
        for one in spacings:
            for axis in range(3):
                one[axis] = round(one[axis] * random.choice([1, 1, 0.8, 1.25]), 4)
        made[f"random{i}"] = (shapes, spacings, ["MRI", "CT"][: 1 + i % 2], TWO_LABELS,
                              float(np.round(random.uniform(0.5, 1), 3)))
    return made


def plan(number, name, data):
    """nnU-Net's 3d_fullres plan of one data set."""
    shapes, spacings, channels, labels, share = data
    folder = f"Dataset{number:03d}_{name}"
    raw, prepared = (os.path.join(os.environ["nnUNet_" + kind], folder)
                     for kind in ("raw", "preprocessed"))
    for path in (os.path.join(raw, "imagesTr"), os.path.join(raw, "labelsTr"), prepared):
        os.makedirs(path)
    for i in range(len(shapes)):
        open(os.path.join(raw, "labelsTr", f"c{i:03d}.nii.gz"), "w").close()
        for channel in range(len(channels)):
            open(os.path.join(raw, "imagesTr", f"c{i:03d}_{channel:04d}.nii.gz"), "w").close()
    intensity = {"mean": 80.0, "median": 75.0, "std": 30.0, "min": -900.0, "max": 900.0,
                 "percentile_99_5": 300.0, "percentile_00_5": -100.0}
    with open(os.path.join(raw, "dataset.json"), "w") as out:
        json.dump({"channel_names": {str(i): c for i, c in enumerate(channels)}, "labels": labels,
                   "numTraining": len(shapes), "file_ending": ".nii.gz",
                   "overwrite_image_reader_writer": "SimpleITKIO"}, out)
    with open(os.path.join(prepared, "dataset_fingerprint.json"), "w") as out:
        json.dump({"spacings": spacings, "shapes_after_crop": shapes,
                   "median_relative_size_after_cropping": share,
                   "foreground_intensity_properties_per_channel": {
                       str(i): intensity for i in range(len(channels))}}, out)
    with contextlib.redirect_stdout(io.StringIO()):
        planner = default_experiment_planner.ExperimentPlanner(folder)
        planner.lowres_creation_threshold = 0
        plans = planner.plan_experiment()
    full = plans["configurations"]["3d_fullres"]
    network = full["architecture"]["arch_kwargs"]
    return {"name": name, "shapes": shapes, "spacings": spacings, "channels": channels,
            "labels": list(labels), "share": share,
            "plan": {"transpose_forward": plans["transpose_forward"],
                     "spacing": [float(i) for i in full["spacing"]],
                     "median_shape": [float(i) for i in full["median_image_size_in_voxels"]],
                     "patch": [int(i) for i in full["patch_size"]],
                     "batch": int(full["batch_size"]),
                     "widths": [int(i) for i in network["features_per_stage"]],
                     "strides": [[int(i) for i in s] for s in network["strides"]],
                     "kernels": [[int(i) for i in k] for k in network["kernel_sizes"]],
                     "normalization": full["normalization_schemes"],
                     "use_mask": [bool(i) for i in full["use_mask_for_norm"]]}}


def topologies():
    """Strides, kernels and padded patch for a patch and a spacing, at random."""
    random = np.random.RandomState(7)
    asked = []
    for i in range(200):
        patch = [int(p) for p in random.randint(4, 200, 3)]
        spacing = [float(s) for s in np.round(np.exp(random.uniform(-1, 2, 3)), 2)]
        if i % 3 == 0:
            spacing = [spacing[0], spacing[1], spacing[1]]
        _, strides, kernels, padded, _ = network_topology.get_pool_and_conv_props(
            spacing, patch, 4, 999999)
        asked.append({"patch": patch, "spacing": spacing, "padded": [int(p) for p in padded],
                      "strides": strides, "kernels": kernels})
    return asked


def grids():
    """Size after resampling and the axis by itself, from file to network and back, at random."""
    random = np.random.RandomState(11)
    asked = []
    for i in range(400):
        size = [int(s) for s in random.randint(1, 700, 3)]
        spacing = [float(s) for s in np.round(np.exp(random.uniform(-1.5, 2, 3)), random.randint(1, 6))]
        target = [float(s) for s in np.round(np.exp(random.uniform(-1.5, 2, 3)), random.randint(1, 6))]
        if i % 4 == 0:
            spacing[1] = spacing[2]
        if i % 5 == 0:
            target[0] = target[random.randint(3)]
        if i % 7 == 0:
            target = [round(s * random.choice([0.992, 0.999, 1, 1.004]), 6) for s in spacing]
        forward = default_resampling.determine_do_sep_z_and_axis(None, spacing, target)
        back = default_resampling.determine_do_sep_z_and_axis(None, target, spacing)
        new = default_resampling.compute_new_shape(size, spacing, target)
        asked.append({"size": size, "spacing": spacing, "target": target,
                      "new_size": [int(n) for n in new],
                      "separate": int(forward[1]) if forward[0] else None,
                      "separate_back": int(back[1]) if back[0] else None})
    return asked


def main():
    made = {"made_with": {name: importlib.metadata.version(name) for name in
                          ("nnunetv2", "dynamic-network-architectures", "numpy")},
            "plans": [], "topologies": topologies(), "grids": grids()}
    for number, (name, data) in enumerate(datasets().items()):
        made["plans"].append(plan(number, name, data))
        print(name, made["plans"][-1]["plan"]["patch"], made["plans"][-1]["plan"]["batch"],
              file=sys.stderr, flush=True)
    made = json.loads(json.dumps(made))
    if "--check" in sys.argv[1:]:
        with open(GOLDEN) as committed:
            known = json.load(committed)
        differing = [key for key in ("plans", "topologies", "grids") if known[key] != made[key]]
        print("differs in " + ", ".join(differing) if differing else "the same")
        return bool(differing)
    with open(GOLDEN, "w") as out:
        out.write("{" + json.dumps("made_with") + ": " + json.dumps(made["made_with"]))
        for key in ("plans", "topologies", "grids"):
            out.write(",\n" + json.dumps(key) + ": [\n" +
                      ",\n".join(json.dumps(one) for one in made[key]) + "\n]")
        out.write("}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
