#!/usr/bin/python3
"""The command on a device, on tiny volumes: plans are the arena to the byte, also without the
library; a run follows the CPU's, and goes on from a kill with the same bits; prediction equals the
CPU's; what a device cannot hold and what is not there is refused before anything starts. The device
is a GPU where RVX_TEST_CUDA names librevoxel_cuda.so, else the emulation."""
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
import nibabel
import numpy
from command import must, ok

LIBRARY = os.path.join(command.ROOT, os.environ.get("RVX_TEST_CUDA", "build/librevoxel_cuda_emulated.so"))
EMULATED = "emulated" in os.path.basename(LIBRARY)
os.environ["REVOXEL_CUDA_LIBRARY"] = LIBRARY
CUDA = ("--device", "cuda", "--quiet")
FILES = ("latest.safetensors", "best.safetensors", "metrics.jsonl")


def bits(run):
    return [command.read(f"{run}/{name}") for name in FILES]


def losses(run):
    with open(f"{run}/metrics.jsonl") as lines:
        return numpy.array([line["loss"] for line in map(json.loads, lines) if "loss" in line])


def refused(name, words, *arguments, status=1, **environment):
    result = command.run(*arguments, env={**os.environ, **environment})
    ok(result.returncode == status and all(word in result.error for word in words), name,
       f"{result.returncode}: {result.error}")


def without_library():
    """An environment in which only what stands beside the program can be found."""
    return {name: value for name, value in os.environ.items() if name != "REVOXEL_CUDA_LIBRARY"}


# ---- plans ---------------------------------------------------------------------------------------


def check_plan(network, *options):
    """The table, made without the library, against the arenas that a check allocates."""
    size = ("--widths", "8,16", "--size", "8x16x8", "--json", *options)
    table = command.run("plan", "--model", network, "--device", "cuda", *size,
                        env={**os.environ, "REVOXEL_CUDA_LIBRARY": "/nowhere"})
    run = command.run("check", network, *CUDA, *size)
    name = " ".join((network, *options))
    if not ok(table.returncode == 0 and run.returncode == 0, f"{name}: plan and check", table.error + run.error):
        return
    rows, found = json.loads(table.stdout), json.loads(run.stdout)
    planned = {row["policy"]: row["peak_bytes"] for row in rows}
    ok(all(row["device"] == "cuda" and sum(one["bytes"] for one in row["live_at_peak"]) == row["peak_bytes"]
           for row in rows), f"{name}: what is live adds up to the peak")
    ok(len(found["runs"]) == 6 and all(one["arena_bytes"] == planned[one["policy"]] for one in found["runs"]),
       f"{name}: the arena on the device is the plan to the byte", run.stdout)
    ok(found["exact"] and found["gradients_equal"] == found["gradients"] > 0,
       f"{name}: every policy gives the same gradients", run.stdout)


# ---- training and prediction -----------------------------------------------------------------------


def killed(arguments, run, lines, timeout=200):
    process = subprocess.Popen([command.REVOXEL, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    path, end = f"{run}/metrics.jsonl", time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < end:
        if os.path.exists(path) and command.read(path).count(b"\n") >= lines:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)
    return process.wait(timeout)


def check_training(folder, data, plan, name):
    must("train", data, "--plan", plan, "--out", f"{folder}/{name}_cpu", "--quiet", "--no-validation-output")
    whole = f"{folder}/{name}"
    must("train", data, "--plan", plan, "--out", whole, *CUDA, timeout=400)
    want, got = losses(f"{folder}/{name}_cpu"), losses(whole)
    ok(len(got) == len(want) and numpy.allclose(got, want, rtol=2e-3, atol=2e-3),
       f"{name}: the losses are the CPU's", f"{got} {want}")
    ok(os.path.exists(f"{whole}/validation.json"), f"{name}: validation cases are segmented")
    run = f"{folder}/{name}_killed"
    status = killed(["train", data, "--plan", plan, "--out", run, *CUDA], run, 3)
    must("train", data, "--out", run, "--resume", *CUDA, timeout=400)
    ok(status == -9 and bits(run) == bits(whole), f"{name}: killed and resumed, the same bits", status)


def check_auto(folder, data, plan, name, *options):
    """A GPU too small for keeping everything: the policy auto keeps less, and the bits are the same."""
    table = json.loads(must("plan", data, "--widths", "8,16", *options, "--device", "cuda", "--json").stdout)
    peak = {row["policy"]: row["peak_bytes"] for row in table}
    room = table[0]["held_bytes"] + (peak["store"] + peak["reversible"]) // 2
    run = f"{folder}/{name}_auto"
    result = command.run("train", data, "--plan", plan, "--out", run, *CUDA, timeout=400,
                         env={**os.environ, "RVX_EMULATE_MEMORY": str(room * 64 // 63 + 64)})
    ok(peak["reversible"] < peak["store"] and result.returncode == 0 and bits(run) == bits(f"{folder}/{name}"),
       f"{name}: with less memory, the same bits", f"{peak} {result.error}")


def labels_of(folder):
    return {name: numpy.asarray(nibabel.load(f"{folder}/{name}").dataobj) for name in sorted(os.listdir(folder))}


def check_prediction(folder, run, data, *options):
    name = "predict " + " ".join(options)
    for where, device in (("cpu", ("--quiet",)), ("cuda", CUDA)):
        must("predict", run, f"{data}/imagesTr/a_0000.nii.gz", "--out", f"{folder}/{where}", *device, *options,
             timeout=400)
    want, got = labels_of(f"{folder}/cpu"), labels_of(f"{folder}/cuda")
    ok(list(got) == list(want), f"{name}: the same files", list(got))
    for file, voxels in got.items():
        if file == "a.nii.gz":
            ok((voxels == want[file]).mean() > 0.99, f"{name}: the CPU's labels", (voxels == want[file]).mean())
        else:
            ok(abs(voxels.astype(int) - want[file]).max() <= 2, f"{name}: {file} is the CPU's")
    shutil.rmtree(f"{folder}/cpu")
    shutil.rmtree(f"{folder}/cuda")


class SegmenterOptions(ctypes.Structure):
    _fields_ = [("struct_bytes", ctypes.c_size_t), ("budget_bytes", ctypes.c_int64), ("threads", ctypes.c_int),
                ("mirror", ctypes.c_int), ("device", ctypes.c_char_p), ("device_library", ctypes.c_char_p)]


class Grid(ctypes.Structure):
    _fields_ = [("size", ctypes.c_int64 * 3), ("spacing", ctypes.c_double * 3), ("origin", ctypes.c_double * 3),
                ("direction", ctypes.c_double * 3 * 3)]


def check_library(run):
    """The C interface, in memory."""
    path = os.path.join(os.path.dirname(command.REVOXEL), "librevoxel.so")
    if b"__asan_init" in command.read(path):
        return  # which only a program built for it can load
    library = ctypes.CDLL(path)
    shape = (8, 12, 16)
    image = numpy.random.default_rng(1).normal(100, 10, shape).astype(numpy.float32)
    grid = Grid((ctypes.c_int64 * 3)(*shape[::-1]), (ctypes.c_double * 3)(1.5, 1.5, 2), (ctypes.c_double * 3)(),
                (ctypes.c_double * 3 * 3)((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    found = []
    for device in (None, b"cuda:0"):
        options = SegmenterOptions(ctypes.sizeof(SegmenterOptions), 0, 1, 0, device, LIBRARY.encode())
        segmenter, labels = ctypes.c_void_p(), numpy.full(shape, 99, numpy.uint8)
        channels = (ctypes.c_void_p * 1)(image.ctypes.data)
        status = library.rvx_segmenter_open(ctypes.byref(segmenter), run.encode(), ctypes.byref(options), None)
        status = status or library.rvx_segmenter_run(segmenter, labels.ctypes.data_as(ctypes.c_void_p), channels,
                                                     ctypes.byref(grid), None, None, None)
        library.rvx_segmenter_close(segmenter)
        ok(status == 0 and labels.max() < 3, f"the C interface segments, device {device}", status)
        found.append(labels)
    ok((found[0] == found[1]).mean() > 0.99, "and gives the CPU's labels")


# ---- refusals ------------------------------------------------------------------------------------


def check_refused(folder, data, plan, run):
    out = f"{folder}/refused"
    train = ("train", data, "--plan", plan, "--out", out, "--quiet")
    refused("another word", ('"gpu"',), *train, "--device", "gpu")
    refused("no such GPU", ("cuda:999",), *train, "--device", "cuda:999")
    refused("no such library", ("cannot read", "/nowhere/x.so"), *train, "--device", "cuda",
            REVOXEL_CUDA_LIBRARY="/nowhere/x.so")
    refused("another library", ("README.md",), *train, "--device", "cuda",
            REVOXEL_CUDA_LIBRARY=f"{command.ROOT}/README.md")
    program = f"{folder}/bin/revoxel"
    os.makedirs(f"{folder}/bin")
    shutil.copy(command.REVOXEL, program)
    for there, word in ((False, "no librevoxel_cuda.so beside"), (True, "cuda:999")):
        if there:
            shutil.copy(LIBRARY, f"{folder}/bin/librevoxel_cuda.so")
        result = subprocess.run([program, *train, "--device", "cuda:999"], stderr=subprocess.PIPE, text=True,
                                env=without_library())
        ok(result.returncode == 1 and word in result.stderr, f"beside the program: {word}", result.stderr)
    if EMULATED:
        refused("a step that does not fit", ("cuda:0 has room for", "would fit"), *train, "--device", "cuda",
                RVX_EMULATE_MEMORY="400000")
        refused("a network that does not fit", ("cuda:0 has room for", "would fit"), "predict", run,
                f"{data}/imagesTr/a_0000.nii.gz", "--out", out, *CUDA, "--whole", RVX_EMULATE_MEMORY="200000")
    ok(not os.path.exists(f"{out}/plan.json"), "nothing was written", os.path.exists(out) and os.listdir(out))


with tempfile.TemporaryDirectory() as top:
    check_plan("unet3d")
    check_plan("unet3d", "--storage", "bf16", "--batch", "2")
    check_plan("revunet3d")
    check_plan("revnet3d-full", "--storage", "bf16")
    data = f"{top}/data"
    command.dataset(data, [(16, 12, 8)] * 3)
    shared = {"fold": {"train": ["a", "b"], "validation": ["c"]},
              "training": {"steps": 4, "steps_per_epoch": 2, "validation_every": 4, "checkpoint_every": 2}}
    plan = command.plan(data, f"{top}/plan.json", "--widths", "8,16", "--patch", "8x8x8", memory={"policy": "store"},
                        optimizer={"name": "adamw", "learning_rate": 0.002}, **shared)
    check_training(top, data, plan, "unet3d")
    reversible = command.plan(data, f"{top}/reversible.json", "--widths", "8,16", "--patch", "whole", "--model",
                              "revunet3d", "--storage", "bf16", **shared)
    check_training(top, data, reversible, "revunet3d")
    if EMULATED:
        check_auto(top, data, reversible, "revunet3d", "--patch", "whole", "--model", "revunet3d", "--storage", "bf16")
    check_prediction(top, f"{top}/unet3d", data)
    check_prediction(top, f"{top}/unet3d", data, "--probabilities", "--step", "1")
    check_prediction(top, f"{top}/revunet3d", data, "--whole")
    check_library(f"{top}/unet3d")
    check_refused(top, data, plan, f"{top}/unet3d")
command.done()
