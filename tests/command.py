"""What the tests that run the command share: TAP lines, tiny datasets, and one way to run `revoxel`.
Nothing here is a test (prove does not look at it)."""
import json
import os
import subprocess
import sys

try:
    import nibabel
    import numpy
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REVOXEL = os.path.join(ROOT, os.environ.get("REVOXEL", "build/revoxel"))
count = failures = 0


def ok(passed, name, detail=""):
    global count, failures
    count += 1
    failures += not passed
    print(f"{'' if passed else 'not '}ok {count} - {name}", flush=True)
    if not passed and detail:
        print("\n".join("#   " + line for line in str(detail).splitlines()), flush=True)
    return passed


def done():
    print(f"1..{count}")
    sys.exit(failures != 0)


def run(*arguments, timeout=120, **keywords):
    """The finished process; its standard error as `error`."""
    keywords = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **keywords}
    result = subprocess.run([REVOXEL, *map(str, arguments)], text=True, timeout=timeout,
                            errors="replace", **keywords)
    result.error = result.stderr
    return result


def must(*arguments, **keywords):
    result = run(*arguments, **keywords)
    if result.returncode:
        print(f"Bail out! revoxel {' '.join(map(str, arguments))}: {result.stderr}")
        sys.exit(1)
    return result


def save(path, array, affine=None):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, numpy.diag([1.5, 1.5, 2, 1]) if affine is None
                                     else affine), path)


def scene(shape, seed, classes=3):
    """Noise with a bright box per class, somewhere; and its label map."""
    rng = numpy.random.default_rng(seed)
    image = rng.normal(100, 10, shape)
    labels = numpy.zeros(shape, numpy.uint8)
    for label in range(1, classes):
        low = [int(rng.integers(0, n - max(1, n // 3) + 1)) for n in shape]
        box = tuple(slice(a, a + max(1, n // 3)) for a, n in zip(low, shape))
        labels[box] = label
        image[box] += 60 * label
    return image.astype(numpy.int16), labels


def describe(folder, cases, labels=("background", "one", "two"), channels=("US",), **more):
    text = {"channel_names": {str(i): name for i, name in enumerate(channels)},
            "labels": {name: i for i, name in enumerate(labels)}, "numTraining": cases,
            "file_ending": ".nii.gz", **more}
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "dataset.json"), "w") as out:
        json.dump(text, out)


def dataset(folder, shapes, channels=1, affines=None):
    """A dataset with one case per shape: CASE a, b, c, ..."""
    describe(folder, len(shapes), channels=[f"US{c}" for c in range(channels)])
    for i, shape in enumerate(shapes):
        name, affine = chr(ord("a") + i), affines[i] if affines else None
        for channel in range(channels):
            image, labels = scene(shape, seed=i)
            save(f"{folder}/imagesTr/{name}_{channel:04d}.nii.gz", image + channel, affine)
        save(f"{folder}/labelsTr/{name}.nii.gz", labels, affine)


def plan(dataset_folder, path, *options, **sections):
    """A plan file, its sections changed as in training={"steps": 3}."""
    must("plan", dataset_folder, "--out", path, *options)
    with open(path) as text:
        made = json.load(text)
    for section, members in sections.items():
        if isinstance(members, dict):
            made[section].update(members)
        else:
            made[section] = members
    with open(path, "w") as out:
        json.dump(made, out)
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()


def listing(folder):
    """Every file below the folder with its bytes: what was there before and after."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            found[os.path.relpath(path, folder)] = read(path)
    return found
