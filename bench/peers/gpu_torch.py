"""PyTorch on a GPU beside bench_gpu and bench_step_gpu, as a table, goals and JSON.

Owns: the PyTorch side of `make check-gpu`. Kernels: x1 + conv 3^3(leaky ReLU(instance norm(x2))) of C channels,
half a coupling, forward, at the sizes of bench/gpu/problem.cu, eager and compiled, contiguous and
channels_last_3d, bf16. Steps: gpu_step.py, each way on the largest volume that it can hold, in a process of
its own. With --beside FOLDER, where check_gpu.sh left our figures, the goals that compare the two.

Whatever fails, for lack of memory or else, is a row that says why. JSON is whole after every row. Skipped
where torch or a GPU is absent. --device cpu with --small is a rehearsal: that all of it runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SIDES = {16: 192, 32: 160, 8: 192, 24: 160, 64: 112}
COPIES = 3
# memory, mode, layout, precision: what the goals need first
STEPS = [("reversible", "eager", "channels_last_3d", "bf16"), ("stored", "eager", "channels_last_3d", "bf16"),
         ("stored", "compile", "channels_last_3d", "bf16"), ("stored", "compile", "contiguous", "bf16"),
         ("reversible", "eager", "contiguous", "bf16"), ("stored", "eager", "contiguous", "bf16"),
         ("stored", "eager", "channels_last_3d", "autocast"), ("stored", "compile", "channels_last_3d", "autocast"),
         ("reversible", "eager", "channels_last_3d", "autocast"), ("checkpoint", "eager", "channels_last_3d", "bf16")]
WHOLE = [1000, 1000, 200]


def reason(error):
    return (str(error) or type(error).__name__).split("\n")[0][:200]


# ---- kernels ----------------------------------------------------------------------------------------


def timed(torch, device, run, rounds, until):
    """Median milliseconds of run(i), after two runs that warm it up (and compile it)."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    values = []
    for i in range(rounds + 2):
        wait()
        begin = time.perf_counter()
        run(i)
        wait()
        values.append(1e3 * (time.perf_counter() - begin))
        if time.monotonic() > until and len(values) >= 5:
            break
    return statistics.median(values[2:])


def kernel_row(torch, options, mode, layout, channels, until):
    side = min(SIDES[channels], options.small or SIDES[channels])
    device, dtype = options.device, torch.bfloat16 if options.device == "cuda" else torch.float32
    branch = torch.nn.Sequential(
        torch.nn.InstanceNorm3d(channels, affine=True), torch.nn.LeakyReLU(0.01),
        torch.nn.Conv3d(channels, channels, 3, padding=1, bias=False))

    def laid(tensor):
        return tensor.to(memory_format=torch.channels_last_3d) if layout == "channels_last_3d" else tensor

    def coupled(x1, x2):
        return x1 + branch(x2)
    branch = laid(branch.to(device, dtype))
    inputs = [[laid(torch.randn(1, channels, side, side, side, device=device, dtype=dtype)) for _ in range(2)]
              for _ in range(COPIES)]
    if mode == "compile":
        from torch import _dynamo  # from 2.0 on; nothing is left of what was compiled before
        _dynamo.reset()
        coupled = torch.compile(coupled, dynamic=False)
    with torch.no_grad():
        ms = timed(torch, device, lambda i: coupled(*inputs[i % COPIES]), options.rounds, until)
    return {"side": side, "ms": round(ms, 4)}


def kernel_rows(torch, options, until):
    for mode in ("eager", "compile"):
        for channels in SIDES:
            for layout in ("channels_last_3d", "contiguous"):
                row = {"what": "norm+act+conv3+add", "channels": channels, "phase": "fwd", "layout": layout,
                       "mode": mode}
                if time.monotonic() > until:
                    yield {**row, "failed": "no time left"}
                    continue
                try:
                    row.update(kernel_row(torch, options, mode, layout, channels, until))
                except Exception as error:  # out of memory, an unsupported format, a failed compilation
                    row["failed"] = reason(error)
                if options.device == "cuda":
                    torch.cuda.empty_cache()
                yield row


# ---- steps ------------------------------------------------------------------------------------------


def step_row(options, memory, mode, layout, precision, first, seconds):
    """What gpu_step.py says last; of a process that did not come to that, what it last managed, and why."""
    if options.small and precision == "bf16":
        precision = "f32"  # processors lack too much of bf16
    row = {"what": "step", "memory": memory, "mode": mode, "layout": layout, "precision": precision}
    command = [sys.executable, os.path.join(HERE, "gpu_step.py"), "--device", options.device, "--mode", mode,
               "--layout", layout, "--precision", precision, "--memory", memory, "--rounds", str(options.rounds),
               "--seconds", str(seconds / 2), "--first", str(first)]
    if options.small:
        command += ["--unit", "32x32x32", "--widths", "4,4,4,4,4", "--most", "2", "--limit", "40000"]
    if seconds < 5:
        return {**row, "failed": "no time left"}
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds)
        text, why = done.stdout, (done.stderr.strip().split("\n") or [""])[-1]
    except subprocess.TimeoutExpired as late:
        text, why = late.stdout or "", f"longer than {seconds:.0f} s"
        text = text.decode() if isinstance(text, bytes) else text
    tries = [json.loads(line) for line in text.split("\n") if line.startswith("{") and line.endswith("}")]
    row["tries"] = len(tries)
    failed = [one["failed"] for one in tries if "failed" in one]
    row["too_large"] = failed[-1] if failed else None
    if tries and "largest" in tries[-1]:
        return {**row, **tries[-1]}
    ran = [one for one in tries if "seconds" in one]
    if ran:  # of the first steps, plans included: not to be compared
        row["ran"] = max(ran, key=lambda one: one["k"])["size"]
    return {**row, "failed": (why or (failed[-1] if failed else "nothing was said"))[:200]}


def step_rows(options, until):
    largest = {}
    for i, (memory, mode, layout, precision) in enumerate(STEPS):
        left = until - time.monotonic()
        share = max(left / (len(STEPS) - i) * 1.5, min(left, 45)) if not options.small else 300
        # compiling takes long: not at sizes that cannot fit
        first = largest.get((memory, layout, precision), 4) if not options.small else 1
        row = step_row(options, memory, mode, layout, precision, first, min(share, left))
        if "largest" in row:
            largest[memory, layout, precision] = row["largest"]
        yield row


# ---- goals ------------------------------------------------------------------------------------------


def rows_of(folder, name):
    try:
        with open(os.path.join(folder, name)) as file:
            return json.load(file)["rows"]
    except (OSError, ValueError, KeyError):
        return []


def voxels_a_second(row):
    size = row["size"] if isinstance(row["size"], list) else [int(n) for n in row["size"].split("x")]
    return size[0] * size[1] * size[2] / row["seconds"]


def goals(rows, beside):
    """(what, must, stretch, measured or None): times the speed of PyTorch's best."""
    found = []
    ours = {row["row"]: row["ms"] for row in rows_of(beside, "gpu-kernels.json")}
    for channels, must, stretch in ((16, 4, 6), (32, 3, 4)):
        peers = [row["ms"] for row in rows if row.get("channels") == channels and row["mode"] == "compile" and "ms" in row]
        mine = ours.get(f"norm_conv3 s1 C={channels} fwd")
        found.append((f"norm+act+conv+add C={channels} beside torch.compile", must, stretch,
                      min(peers) / mine if peers and mine else None))
    mine = [voxels_a_second(row) for row in rows_of(beside, "gpu-step.json")
            if row["network"] == "reference" and row["size"] == WHOLE and row["policy"] != "inference" and "seconds" in row]
    for name, must, key, value in (("eager reversible", 3.5, "memory", "reversible"),
                                   ("torch.compile", 2.5, "mode", "compile")):
        peers = [voxels_a_second(row) for row in rows if row["what"] == "step" and row[key] == value and "largest" in row]
        found.append((f"step, voxels/s, beside {name}", must, 0, max(mine) / max(peers) if mine and peers else None))
    return found


def verdict(must, stretch, measured):
    if measured is None:
        return "not measured"
    if measured < must:
        return "NOT MET"
    return "met" if not stretch else "met, stretch too" if measured >= stretch else "met, stretch not"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json")
    parser.add_argument("--beside", default="", help="folder with gpu-kernels.json and gpu-step.json")
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", type=int, default=0, help="a rehearsal: sides of kernels, and tiny steps")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("gpu_torch: no torch here: skipped")
        return 0
    if options.device == "cuda" and not torch.cuda.is_available():
        print("gpu_torch: torch sees no GPU: skipped")
        return 0
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(1)
    begin = time.monotonic()
    found = {"device": torch.cuda.get_device_name(0) if options.device == "cuda" else "cpu",
             "torch": torch.__version__, "cudnn": torch.backends.cudnn.version(), "goals": [], "rows": []}

    def keep(row=None):
        if row:
            found["rows"].append(row)
            print(" ".join(f"{k}={v}" for k, v in row.items()), flush=True)
        if options.json:  # after every row: a time limit may end this
            with open(options.json, "w") as file:
                json.dump(found, file, indent=1)
    for row in kernel_rows(torch, options, begin + 0.25 * options.seconds):
        keep(row)
    for row in step_rows(options, begin + options.seconds):
        keep(row)
    for what, must, stretch, measured in goals(found["rows"], options.beside):
        word = verdict(must, stretch, measured)
        found["goals"].append({"what": what, "at_least": must, "stretch": stretch, "measured": measured})
        print(f"goal  {what:<44} times PyTorch at least {must}" + (f" (stretch {stretch})" if stretch else "")
              + (f", measured {measured:.4g}" if measured is not None else "") + f": {word}")
    keep()
    return 0


if __name__ == "__main__":
    sys.exit(main())
