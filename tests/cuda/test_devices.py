#!/usr/bin/python3
"""--device cuda:I: each GPU gives the same bits; one that is not there, a machine without any, without a
driver, or with too little memory is refused by every command before anything is written. With the
emulation, which has as many devices as it is told; with the real library, where it was built, on a
machine without a driver."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
from command import must, ok

EMULATED = os.path.join(command.ROOT, "build/librevoxel_cuda_emulated.so")
GIVEN = os.path.join(command.ROOT, os.environ.get("RVX_TEST_CUDA", EMULATED))
if "emulated" not in os.path.basename(GIVEN):
    print("1..0 # SKIP what is tested is the emulation's devices")
    sys.exit(0)
REAL = os.path.join(os.path.dirname(command.REVOXEL), "librevoxel_cuda.so")


def run(*arguments, library=GIVEN, **environment):
    return command.run(*arguments, timeout=300, env={**os.environ, "REVOXEL_CUDA_LIBRARY": library, **environment})


def commands(top, device):
    """Every command that works on a device, each with what it would write."""
    image = f"{top}/data/imagesTr/a_0000.nii.gz"
    return {"train": (("train", f"{top}/data", "--plan", f"{top}/plan.json", "--out", f"{top}/t"), f"{top}/t"),
            "predict": (("predict", f"{top}/run", image, "--out", f"{top}/p"), f"{top}/p"),
            "predict --whole": (("predict", f"{top}/run", image, "--out", f"{top}/w", "--whole"), f"{top}/w"),
            "check": (("check", "unet3d", "--size", "16x16x16", "--classes", "3", "--widths", "8,16", "--in", "1"),
                      f"{top}/c")}, ("--device", device, "--quiet")


def refused(top, words, device, why, only=None, **settings):
    every, options = commands(top, device)
    for name, (arguments, out) in every.items():
        if only and name != only:
            continue
        result = run(*arguments, *options, **settings)
        ok(result.returncode == 1 and words in result.error and result.error.count("\n") <= 12,
           f"{name}: {why} is refused", f"{result.returncode}: {result.error}")
        ok(not os.path.exists(out) or not os.listdir(out), f"{name}: and nothing was written", out)


def check_each(top):
    bits = []
    for device in ("cuda:0", "cuda:1", "cuda:2"):
        out = f"{top}/{device}"
        for arguments in (("train", f"{top}/data", "--plan", f"{top}/plan.json", "--out", out),
                          ("predict", out, f"{top}/data/imagesTr/a_0000.nii.gz", "--out", f"{out}/p")):
            result = run(*arguments, "--device", device, "--quiet", RVX_EMULATE_DEVICES="3")
            ok(result.returncode == 0, f"{arguments[0]} on {device} of three", result.error)
        bits.append([command.read(f"{out}/latest.safetensors"), command.read(f"{out}/p/a.nii.gz")])
    ok(bits[0] == bits[1] == bits[2], "the same bits on each")


with tempfile.TemporaryDirectory() as top:
    command.dataset(f"{top}/data", [(16, 12, 8)] * 2)
    command.plan(f"{top}/data", f"{top}/plan.json", "--widths", "8,16", "--patch", "8x8x8",
                 fold={"train": ["a", "b"], "validation": []}, training={"steps": 1, "checkpoint_every": 1})
    must("train", f"{top}/data", "--plan", f"{top}/plan.json", "--out", f"{top}/run", "--quiet")
    check_each(top)
    refused(top, "cuda:0: this machine has no GPU that CUDA can use", "cuda", "a machine without a GPU",
            RVX_EMULATE_DEVICES="0")
    refused(top, "cuda:1: this machine has one GPU, cuda:0", "cuda:1", "the second of one", RVX_EMULATE_DEVICES="1")
    refused(top, "cuda:2: this machine has 2 GPUs, cuda:0 to cuda:1", "cuda:2", "the third of two",
            RVX_EMULATE_DEVICES="2")
    for word in ("cuda:", "cuda:-1", "cuda:0,1", "cuda:1024", "CUDA"):
        refused(top, f'found "{word}"', word, f'"{word}"', only=None if word == "cuda:" else "train")
    refused(top, "MiB", "cuda", "too little memory", RVX_EMULATE_MEMORY="50000")
    if os.path.exists(REAL) and not os.path.exists("/dev/nvidiactl"):
        refused(top, "no driver of a GPU is installed", "cuda", "a machine without a driver", library=REAL)
command.done()
