"""Makes tests/volume/goldens/mask.json: nnU-Net v2's crop, mask and z-score of small volumes.

Owns: the volumes. Invariant: every answer comes from nnunetv2's code as published (crop_to_nonzero,
ZScoreNormalization with use_mask_for_norm). goldens/README.md describes the fields.

usage: python3 tests/volume/make_mask_goldens.py [--check]
wants nnunetv2 2.8.1, as make_planner_goldens.py does. --check asks again and compares.
"""
import importlib.metadata
import json
import os
import sys

import numpy as np
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "goldens", "mask.json")


def volumes():
    """name: voxels [channel, z, y, x], small integers."""
    random = np.random.RandomState(20261124)

    def tissue(channels, shape, margin=1):
        """Numbers other than 0 with black around."""
        made = np.zeros((channels, *shape), np.float32)
        inner = tuple(slice(margin, n - margin) for n in shape)
        made[(slice(None), *inner)] = random.randint(1, 200, made[(slice(None), *inner)].shape)
        return made

    made = {}
    made["a closed cavity"] = tissue(1, (7, 8, 9))
    made["a closed cavity"][0, 3:5, 3:6, 3:6] = 0
    made["a cavity with a way out"] = made["a closed cavity"].copy()
    made["a cavity with a way out"][0, 4, 4, 5:] = 0
    made["a way out over an edge only"] = made["a closed cavity"].copy()
    made["a way out over an edge only"][0, 4, 6:, 6:] = 0
    made["a winding way out"] = tissue(1, (9, 9, 7))
    for z, y, x in ((4, 4, 3), (3, 4, 3), (2, 4, 3), (2, 5, 3), (2, 6, 3), (3, 6, 3), (4, 6, 3), (5, 6, 3),
                    (6, 6, 3), (6, 6, 2), (6, 6, 1), (6, 6, 0)):
        made["a winding way out"][0, z, y, x] = 0
    made["a cavity at the edge of the file"] = tissue(1, (6, 7, 8), margin=0)
    made["a cavity at the edge of the file"][0, 2:4, 2:5, :3] = 0
    made["a cavity that one channel fills in part"] = tissue(2, (8, 7, 8))
    made["a cavity that one channel fills in part"][0, 2:6, 2:5, 2:6] = 0
    made["a cavity that one channel fills in part"][1, 2:6, 2:5, 3:] = 0
    made["zeros of one channel alone, at its edge"] = tissue(2, (6, 8, 8))
    made["zeros of one channel alone, at its edge"][1, :, :, 4:] = 0
    speckle = tissue(2, (9, 11, 10))
    made["zeros all over"] = speckle * (random.rand(*speckle.shape) > 0.45)
    made["more zeros than not"] = speckle * (random.rand(*speckle.shape) > 0.8)
    made["one slice"] = tissue(1, (1, 9, 9), margin=0)
    made["one slice"][0, 0, 3:5, 3:5] = 0
    made["two bodies"] = tissue(1, (6, 7, 12))
    made["two bodies"][..., 5:7] = 0
    made["two bodies"][0, 2:4, 3, 2:4] = 0
    return made


def answer(name, data):
    cropped, seg, box = crop_to_nonzero(data.copy())
    mask = seg[0] >= 0
    zscore = ZScoreNormalization(use_mask_for_norm=True, intensityproperties={})
    normalised = [zscore.run(channel.astype(np.float64), seg[0]) for channel in cropped]
    return {"name": name, "size": list(data.shape), "voxels": data.astype(int).ravel().tolist(),
            "box": [[int(low), int(high)] for low, high in box],
            "mask": "".join("01"[int(m)] for m in mask.ravel()),
            "normalised": [[float(f"{v:.6g}") for v in channel.ravel()] for channel in normalised]}


def main():
    made = {"made_with": {name: importlib.metadata.version(name) for name in ("nnunetv2", "numpy", "scipy")},
            "volumes": [answer(name, data) for name, data in volumes().items()]}
    if "--check" in sys.argv[1:]:
        with open(GOLDEN) as committed:
            same = json.load(committed)["volumes"] == made["volumes"]
        print("the same" if same else "differs")
        return not same
    with open(GOLDEN, "w") as out:
        out.write('{"made_with": ' + json.dumps(made["made_with"]) + ',\n"volumes": [\n' +
                  ",\n".join(json.dumps(one, separators=(",", ":")) for one in made["volumes"]) + "\n]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
