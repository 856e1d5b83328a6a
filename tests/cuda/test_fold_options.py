#!/usr/bin/python3
"""--tf32, --implementation and --workspace over a cross-validation, its resumption and an ensemble: every fold gives
the bits of that fold trained alone with the same options, and every member of an ensemble predicts with them. In the
emulation, whose libraries are plain loops and whose times are what the test says."""
import json
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
import nibabel
import numpy
from command import ok

LIBRARY = os.path.join(command.ROOT, os.environ.get("RVX_TEST_CUDA", "build/librevoxel_cuda_emulated.so"))
os.environ["REVOXEL_CUDA_LIBRARY"] = LIBRARY
os.environ["RVX_EMULATE_SECONDS"] = "own=3,emulated:forwards=2,emulated:backwards=1"
CUDA = ("--device", "cuda", "--quiet", "--threads", 1)


def works(what, *arguments):
    result = command.run(*arguments, timeout=400)
    ok(result.returncode == 0, what, f"{' '.join(map(str, arguments))}: {result.error}")


def bits(*names):
    path = os.path.join(*names, "latest.safetensors")
    return command.read(path) if os.path.exists(path) else path


def check_folds(top, data, plan):
    """Folds 1 and 2 with each set of options; those trained alone and those gone on with."""
    train = ("train", data, "--plan", plan, *CUDA, "--no-validation-output")
    library = ("--implementation", "auto", "--workspace", "1MiB")
    made = {}
    for name, options in (("own", ()), ("tf32", ("--tf32",)), ("library", library)):
        cv, half = f"{top}/{name}", f"{top}/{name}_half"
        works(f"{name}: cross-validation", *train, "--fold", "all", "--out", cv, *options)
        made[name] = [bits(cv, f"fold_{k}") for k in (1, 2)]
        if name == "own":
            continue
        for k in (1, 2):
            with open(plan) as text:
                alone = json.load(text)
            alone["fold"]["index"] = k - 1
            with open(f"{top}/alone.json", "w") as out:
                json.dump(alone, out)
            works(f"{name}: fold {k} alone", "train", data, "--plan", f"{top}/alone.json", *train[4:], "--out",
                  f"{top}/{name}_{k}", *options)
            ok(bits(top, f"{name}_{k}") == made[name][k - 1], f"{name}: fold {k} has the bits of that fold alone")
        ok(all(a != b for a, b in zip(made[name], made["own"])), f"{name}: both folds differ from own kernels")
        shutil.copytree(cv, half)
        shutil.rmtree(f"{half}/fold_2")
        with open(f"{half}/cross_validation.json", "w") as out:
            json.dump({"format_version": 1, "folds": 2, "finished": 1}, out)
        works(f"{name}: going on", *train, "--fold", "all", "--out", half, "--resume", *options)
        ok(bits(half, "fold_2") == made[name][1], f"{name}: a fold that was gone on with too")
    return made


def check_workspace(top, data, plan, made):
    """A file pins calls by their workspace, among others: a fold with another one would find none in it."""
    folder = f"{top}/cache/revoxel"
    pin = f"{top}/pin.json"
    shutil.copy(os.path.join(folder, os.listdir(folder)[0]), pin)
    train = ("train", data, "--plan", plan, *CUDA, "--no-validation-output", "--fold", "all", "--implementation", pin)
    works("a pinned choice", *train, "--out", f"{top}/pinned", "--workspace", "1MiB")
    ok([bits(top, "pinned", f"fold_{k}") for k in (1, 2)] == made["library"], "and its workspace reach every fold")
    result = command.run(*train, "--out", f"{top}/other", "--workspace", "2MiB")
    ok(result.returncode == 1 and pin in result.error, "with another workspace the first fold is refused", result.error)
    shutil.copytree(f"{top}/pinned", f"{top}/later")
    shutil.rmtree(f"{top}/later/fold_2")
    with open(f"{top}/later/cross_validation.json", "w") as out:
        json.dump({"format_version": 1, "folds": 2, "finished": 1}, out)
    result = command.run(*train, "--out", f"{top}/later", "--workspace", "2MiB", "--resume")
    ok(result.returncode == 1 and pin in result.error, "and so is the second", result.error)


def check_members(top, image):
    """The same network twice is that network: a member without tf32 would pull the mean away."""
    def maps(name, *arguments):
        out = f"{top}/maps_{name}"
        works(name, "predict", *arguments, "--out", out, *CUDA, "--no-postprocessing", "--probabilities")
        return numpy.stack([numpy.asarray(nibabel.load(f"{out}/{file}").dataobj).astype(int)
                            for file in sorted(os.listdir(out)) if "_prob_" in file])

    one, two = f"{top}/own/fold_1", f"{top}/own/fold_2"
    own = [maps(f"own {k}", run, image) for k, run in enumerate((one, two), 1)]
    tf32 = [maps(f"tf32 {k}", run, image, "--tf32") for k, run in enumerate((one, two), 1)]
    apart = [(a != b).sum() for a, b in zip(own, tf32)]
    ok(min(apart) >= 20, "tf32 shows in the probabilities of both", apart)
    for k, run in enumerate((one, two)):
        twice = maps(f"tf32 {k + 1} twice", run, image, "--with", run, "--tf32")
        ok((twice == tf32[k]).all(), "tf32 reaches the network and the one beside it", (twice != tf32[k]).sum())
    voted, plain = maps("voted", f"{top}/own", image, "--tf32"), maps("voted own", f"{top}/own", image)
    named = maps("named", one, image, "--with", two, "--tf32")
    ok((voted == named).all() and (voted != plain).any(), "the folds of a cross-validation vote with it too")


with tempfile.TemporaryDirectory() as top:
    if "emulated" not in os.path.basename(LIBRARY):
        ok(True, "# skip times are those of the GPU")
        command.done()
        sys.exit()
    os.environ["XDG_CACHE_HOME"] = f"{top}/cache"
    data = f"{top}/data"
    command.dataset(data, [(8, 8, 8)] * 4)
    plan = command.plan(data, f"{top}/plan.json", "--widths", "8,16", "--patch", "8x8x8", fold={"count": 2},
                        training={"steps": 1, "steps_per_epoch": 1, "validation_every": 1, "checkpoint_every": 1})
    made = check_folds(top, data, plan)
    check_workspace(top, data, plan, made)
    check_members(top, f"{data}/imagesTr/a_0000.nii.gz")
command.done()
