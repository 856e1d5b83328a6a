#!/usr/bin/python3
"""Who does convolutions on a device: own kernels unless asked otherwise; times are measured once and
kept; a cache that is broken, of other versions or not writable is noticed; a file pins the choice, or
is refused; every policy gives the same bits whoever does it, inverses of couplings too, and the plan
holds the workspace. In the emulation, whose libraries are plain loops and whose times are what the
test says."""
import json
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
from command import must, ok

LIBRARY = os.path.join(command.ROOT, os.environ.get("RVX_TEST_CUDA", "build/librevoxel_cuda_emulated.so"))
os.environ["REVOXEL_CUDA_LIBRARY"] = LIBRARY
OPS = ("conv", "conv_transpose", "norm_conv")
SIZE = ("--widths", "8,16", "--size", "8x16x8")
CHECK = ("check", "unet3d", *SIZE, "--device", "cuda", "--quiet")
BACKWARDS = "own=3,emulated:forwards=2,emulated:backwards=1"
FORWARDS = "own=3,emulated:forwards=1,emulated:backwards=2"
OWN = {"own", "conv.any"}  # of f32 tensors, whose convolutions have one kernel of ours; the transposed one has no name
KINDS = {"forward", "data", "weights"}


def run(*arguments, **environment):
    return command.run(*arguments, env={**os.environ, **environment}, timeout=400)


def chosen(text):
    """The implementation of every call in a list of them."""
    return {key: rest.split(" (")[0] for key, _, rest in
            (line.partition(": ") for line in text.splitlines()
             if line.partition(" ")[0] in OPS and "is left out" not in line)}


def tuned(how, *options, **environment):
    return run(*CHECK, "--implementation", how, "--workspace", "1MiB", "--list-implementations", *options, **environment)


def exact(result):
    return result.returncode == 0 and result.stdout.startswith("exact")


def check_cache(folder):
    os.environ["XDG_CACHE_HOME"] = folder
    result = run(*CHECK)
    ok(exact(result) and not os.path.exists(folder), "own kernels unless asked otherwise, and no cache")
    result = tuned("own", RVX_EMULATE_SECONDS=BACKWARDS)
    ok(exact(result) and not chosen(result.error) and not os.path.exists(folder), "nor where own is asked for")
    result = tuned("auto", RVX_EMULATE_SECONDS=BACKWARDS)
    first = chosen(result.error)
    ok(exact(result) and len(first) >= 9 and set(first.values()) == {"emulated:backwards"},
       "the fastest does it, and every policy gives the same bits", result.error)
    kinds = {key.split()[1] for key in first}
    ok(kinds == KINDS, "forward passes and both gradients", kinds)
    files = os.listdir(f"{folder}/revoxel")
    ok(len(files) == 1 and files[0].startswith("implementations-") and files[0].endswith(".json"),
       "one file is kept", files)
    path = f"{folder}/revoxel/{files[0]}"
    kept = command.read(path)
    result = tuned("auto", RVX_EMULATE_SECONDS="own=0.1")
    ok(exact(result) and chosen(result.error) == first and command.read(path) == kept,
       "a second run takes what was measured", result.error)
    result = tuned("cudnn", RVX_EMULATE_SECONDS="own=0.1")
    ok(set(chosen(result.error).values()) == {"emulated:backwards"}, "libraries wherever they can")
    shutil.rmtree(folder)
    result = tuned("auto", RVX_EMULATE_SECONDS="own=0.1")
    ok(set(chosen(result.error).values()) == OWN, "own kernels where they are fastest")
    result = tuned("cudnn")
    ok(set(chosen(result.error).values()) == {"emulated:forwards"}, "but not where libraries are asked for")
    return path


def check_failing(top):
    """An algorithm that a library lists and cannot run."""
    result = tuned("auto", RVX_EMULATE_FAILING="1", RVX_EMULATE_SECONDS=BACKWARDS + ",emulated:failing=0.1",
                   XDG_CACHE_HOME=f"{top}/failing")
    told = [line for line in result.error.splitlines() if "emulated:failing is left out: cuda: run: " in line]
    ok(exact(result) and set(chosen(result.error).values()) == {"emulated:backwards"} and len(told) == len(chosen(result.error)),
       "what a library cannot do after all is told and left out", result.error)


def check_broken(path):
    for name, content in (("broken", b"{"), ("of another kind", b'{"format": "else"}'), ("empty", b"")):
        with open(path, "wb") as file:
            file.write(content)
        result = tuned("auto", RVX_EMULATE_SECONDS=FORWARDS)
        ok(exact(result) and path in result.error and "taken anew" in result.error and
           set(chosen(result.error).values()) == {"emulated:forwards"} and json.loads(command.read(path)),
           f"a cache that is {name} is noticed and written anew", result.error)
    result = tuned("auto", RVX_EMULATE_LIBRARIES="emulated 2.0", RVX_EMULATE_SECONDS=BACKWARDS)
    ok(exact(result) and "libraries" in result.error and set(chosen(result.error).values()) == {"emulated:backwards"},
       "one of other versions too", result.error)
    result = tuned("auto", RVX_EMULATE_SECONDS=FORWARDS)
    ok(exact(result) and "emulated 1.0" in result.error, "and back", result.error)
    times = json.loads(command.read(path))
    next(iter(times["calls"].values()))["implementation"] = "cudnn:eng7"
    with open(path, "w") as file:
        json.dump(times, file)
    result = tuned("auto", RVX_EMULATE_SECONDS=FORWARDS)
    ok(exact(result) and "implementation" in result.error and "cudnn:eng7" in result.error,
       "one that names what was not measured", result.error)
    blocked = os.path.dirname(os.path.dirname(path)) + "_file"
    with open(blocked, "w") as file:
        file.write("no folder")
    result = tuned("auto", XDG_CACHE_HOME=blocked)
    ok(exact(result) and "not kept" in result.error, "a cache that cannot be written costs no run", result.error)
    result = tuned("auto", RVX_EMULATE_LIBRARIES="")
    ok(exact(result) and "neither" in result.error and not chosen(result.error),
       "without libraries own kernels do it, and nothing is measured where there is but one", result.error)


def check_pin(top, path):
    pin = f"{top}/pin.json"
    times = json.loads(command.read(path))
    keys = list(times["calls"])
    for key in keys[::2]:
        times["calls"][key]["implementation"] = "own"
    write = lambda what: open(pin, "w").write(json.dumps(what))
    write(times)
    before = command.read(pin), command.read(path)
    result = tuned(pin, RVX_EMULATE_SECONDS=BACKWARDS)
    want = {key: times["calls"][key]["implementation"] for key in keys}
    ok(exact(result) and chosen(result.error) == want and len(set(want.values())) == 2, "a file pins the choice",
       result.error)
    ok((command.read(pin), command.read(path)) == before, "and neither it nor the cache is touched")
    del times["calls"][keys[3]]
    write(times)
    result = tuned(pin)
    ok(result.returncode == 1 and pin in result.error and keys[3] in result.error, "a call that it lacks is refused",
       result.error)
    times["calls"][keys[0]] = {"implementation": "own", "seconds": {"own": "fast"}}
    write(times)
    result = tuned(pin)
    ok(result.returncode == 1 and pin in result.error and "seconds" in result.error, "a wrong field is refused", result.error)
    result = tuned(path, RVX_EMULATE_LIBRARIES="emulated 3.0")
    ok(result.returncode == 1 and "libraries" in result.error, "a file of other versions is refused", result.error)
    result = tuned(f"{top}/nothing.json")
    ok(result.returncode == 1 and "nothing.json" in result.error, "a file that is not there is refused", result.error)
    result = run("check", "unet3d", *SIZE, "--quiet", "--implementation", "auto")
    ok(result.returncode == 1 and "CPU" in result.error, "so is a choice on the CPU", result.error)


def check_couplings(top):
    """Libraries in the branches of couplings, whose inverses must form the forward pass's sums; and a pin of
    our kernels, one of several."""
    for network, storage in (("revnet3d-full", "f32"), ("revunet3d", "bf16")):
        folder = f"{top}/{network}"
        result = run("check", network, *SIZE, "--storage", storage, "--device", "cuda", "--quiet", "--implementation", "auto",
                     "--workspace", "1MiB", "--list-implementations", RVX_EMULATE_SECONDS=BACKWARDS, XDG_CACHE_HOME=folder)
        calls = chosen(result.error)
        residual = [key for key in calls if "residual" in key and key.split()[1] == "forward"]
        ok(exact(result) and residual and set(calls.values()) == {"emulated:backwards"},
           f"{network}, {storage}: couplings by a library, undone by it", result.stdout + result.error)
    path, = (f"{folder}/revoxel/{name}" for name in os.listdir(f"{folder}/revoxel"))
    table = json.loads(command.read(path))
    several = 0
    for number, call in enumerate(table["calls"].values()):
        names = sorted(call["seconds"])
        call["implementation"] = "conv.any" if "conv.halo" in names else names[number % len(names)]
        several += "conv.halo" in names  # which runs where nobody is asked for
    pin = f"{top}/kernels.json"
    with open(pin, "w") as file:
        json.dump(table, file)
    result = run("check", "revunet3d", *SIZE, "--storage", "bf16", "--device", "cuda", "--quiet", "--implementation", pin,
                 "--workspace", "1MiB", "--list-implementations")
    want = {key: call["implementation"] for key, call in table["calls"].items()}
    ok(exact(result) and chosen(result.error) == want and several > 1 and len(set(want.values())) > 2,
       "a file pins each call to a kernel of ours or a library", result.stdout + result.error)


def check_plan(path):
    for network, workspace in (("unet3d", "1MiB"), ("unet3d", "3MiB"), ("revnet3d-full", "2MiB")):
        options = (network, *SIZE, "--device", "cuda", "--json", "--implementation", "auto", "--workspace")
        table = run("plan", "--model", *options, workspace, REVOXEL_CUDA_LIBRARY="/nowhere")
        found = run("check", *options, workspace, "--quiet")
        peaks = {row["policy"]: row["peak_bytes"] for row in json.loads(table.stdout)}
        ok(all(one["arena_bytes"] == peaks[one["policy"]] > int(workspace[0]) << 20
               for one in json.loads(found.stdout)["runs"]), f"{network}: {workspace} of workspace are part of the plan, to the byte")
    result = run("plan", "--model", "unet3d", *SIZE, "--device", "cuda", "--list-implementations")
    ok(result.returncode == 0 and path in result.error and len(chosen(result.error)) > 9, "plan lists what is known",
       result.error)


def check_training(top):
    data, bits = f"{top}/data", {}
    command.dataset(data, [(16, 12, 8)] * 3)
    plan = command.plan(data, f"{top}/plan.json", "--widths", "8,16", "--patch", "8x8x8",
                        fold={"train": ["a", "b"], "validation": ["c"]},
                        training={"steps": 3, "steps_per_epoch": 3, "validation_every": 3, "checkpoint_every": 3})
    losses = {}
    for name, how, *more in (("own", "own"), ("first", "auto"), ("second", "auto"), ("rounded", "own", "--tf32")):
        result = run("train", data, "--plan", plan, "--out", f"{top}/{name}", "--device", "cuda", "--quiet", *more,
                     "--no-validation-output", "--implementation", how, "--workspace", "1MiB", "--list-implementations",
                     RVX_EMULATE_SECONDS=BACKWARDS if name == "first" else "own=0.1")
        bits[name] = command.read(f"{top}/{name}/latest.safetensors") if result.returncode == 0 else result.error
        with open(f"{top}/{name}/metrics.jsonl") as lines:
            losses[name] = [line["loss"] for line in map(json.loads, lines) if "loss" in line]
        if how == "auto":
            ok("emulated:backwards" in chosen(result.error).values(), f"{name} training with libraries", result.error)
    ok(bits["first"] == bits["second"] != bits["own"], "training takes what was measured: the same bits again")
    ok(all(a != b and abs(a - b) < 1e-2 for a, b in zip(losses["own"], losses["rounded"])), "--tf32: other bits, near",
       losses)
    result = run(*CHECK, "--tf32")
    ok(exact(result), "--tf32: every policy gives the same bits", result.error)
    result = run("check", "unet3d", *SIZE, "--quiet", "--tf32")
    ok(result.returncode == 1 and "tf32" in result.error, "--tf32 on the CPU is refused", result.error)


with tempfile.TemporaryDirectory() as top:
    if "emulated" not in os.path.basename(LIBRARY):
        ok(True, "# skip times are those of the GPU")
        command.done()
        sys.exit()
    path = check_cache(f"{top}/cache")
    check_failing(top)
    check_broken(path)
    check_pin(top, path)
    check_couplings(top)
    check_plan(path)
    check_training(top)
command.done()
