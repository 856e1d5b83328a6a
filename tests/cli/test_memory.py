#!/usr/bin/env python3
"""Memory policies by the command line: the table of a training step, the largest size that fits a
budget, `check`, what the process really takes, and training runs that end in the same bits."""
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scratch import command, done, ok, path, refused, revoxel, start

MIB = 1 << 20


def table(*arguments):
    run = revoxel("plan", *arguments, "--json")
    if not ok(run.returncode == 0 and not run.stderr, f"plan {' '.join(map(str, arguments))[-60:]}", run.stderr):
        return {}
    return {row["policy"]: row for row in json.loads(run.stdout)}


# ---- The table: a machine without the memory can ask ------------------------------------------------

began = time.monotonic()
rows = table("--model", "revnet3d-full", "--size", "1000x1000x200", "--storage", "bf16")
ok(time.monotonic() - began < 2, "planned in less than two seconds")
ok(list(rows) == ["store", "checkpoint", "reversible"], "three policies without a budget", list(rows))
for name, row in rows.items():
    live = row["live_at_peak"]
    ok(sum(one["bytes"] for one in live) == row["peak_bytes"], f"{name}: what is live adds up to the peak")
    sizes = [one["bytes"] for one in live if not one["name"].startswith("gaps")]
    ok(sizes == sorted(sizes, reverse=True) and all(one["name"] for one in live), f"{name}: largest first, with names")
    ok(row["exact"], f"{name}: exact with i16 streams")
store, reversible = rows["store"], rows["reversible"]
ok(store["recompute_flops"] == 0 and store["time_ratio"] == 1, "store computes nothing twice")
ok(reversible["peak_bytes"] < 16 << 30 < store["peak_bytes"] / 2, "reversible fits 16 GiB, store does not",
   [row["peak_bytes"] for row in rows.values()])
ok(reversible["peak_bytes"] < 1.02 * (4 * 16 + 3) * 200e6, "the whole step takes 4 C + 3 bytes a voxel, C = 16",
   reversible["peak_bytes"] / 200e6)
ok(0 < reversible["recompute_flops"] < reversible["flops"] / 3 and reversible["time_ratio"] > 1,
   "its branches are computed once more")
more = table("--model", "revnet3d-full", "--size", "1000x1000x200", "--storage", "bf16", "--classes", 105)
ok(more["reversible"]["peak_bytes"] < 1.01 * reversible["peak_bytes"], "105 classes take no more memory than 5")
ok(not table("--model", "revnet3d-full", "--size", "64x64x64", "--streams", "f32")["reversible"]["exact"],
   "with f32 streams the table says that reversible is not exact")

# ---- A budget: the largest that fits -----------------------------------------------------------------

GIB = 1 << 30
rows = table("--model", "revnet3d-full", "--budget", "2GiB")
size = rows["auto"]["size"]
ok(len(rows) == 4 and len(set(size)) == 1, "without a size: a cube", size)
ok(rows["auto"]["peak_bytes"] <= 2 * GIB and rows["auto"]["fits"] and rows["auto"]["takes"] == "reversible",
   "it fits, as reversible", rows["auto"]["peak_bytes"])
for policy in ("store", "checkpoint", "reversible"):
    edge = rows[policy]["largest_size"][0]
    for grown, fits in ((edge, True), (edge + 8, False)):
        cube = table("--model", "revnet3d-full", "--size", "x".join([str(grown)] * 3))
        ok((cube[policy]["peak_bytes"] <= 2 * GIB) == fits, f"{policy}: {grown}^3 {'fits' if fits else 'does not'}")
flat = table("--model", "revnet3d-full", "--size", "80x80x16", "--budget", "2GiB")["auto"]["largest_size"]
ok(flat[0] == flat[1] and abs(flat[0] / flat[2] - 5) < 0.5 and flat[0] > size[0], "in proportion", flat)
refused("nothing fits a megabyte", 1, ("not even the smallest", "revnet3d-full"), "plan", "--model", "revnet3d-full",
        "--budget", "1MiB")
text = revoxel("plan", "--model", "unet3d", "--size", "64x64x64", "--budget", "1GiB").stdout
ok(all(word in text for word in ("store", "auto", "largest that fits", "live at the peak of store")), "for people", text)
ok(max(map(len, text.splitlines())) <= 130, "it fits a screen", text)

# ---- check --------------------------------------------------------------------------------------------

refused("more classes than labels of 8 bits have", 1, ("irevnet", "1000 classes", "--classes"), "check", "irevnet")
run = revoxel("check", "revnet3d-full", "--widths", "8,16", "--size", "16x24x32", "--quiet")
ok(run.returncode == 0 and run.stdout.startswith("exact: 37 of 37 gradients bit-identical in reversible and checkpoint")
   and "as planned; 0 overflows" in run.stdout and run.stdout.count("\n") == 1, "check: one line", run.stdout + run.stderr)
run = revoxel("check", "revunet3d", "--widths", "8,16", "--size", "32x32x32", "--threads", 3, "--json", "--quiet",
              "--grid", 7)
runs = json.loads(run.stdout)["runs"]
ok(run.returncode == 0 and {(one["policy"], one["threads"]) for one in runs} ==
   {(p, t) for p in ("store", "checkpoint", "reversible") for t in (1, 3)}, "check: every policy on 1 and 3 threads")
ok(all(one["arena_bytes"] == one["planned_bytes"] for one in runs), "check: the arena is the plan, to the byte")
ok(sum(one["streams_rebuilt"] for one in runs) > 0 and sum(one["reruns"] for one in runs) > 0 and
   all(one["streams_rebuilt"] == one["streams_equal"] for one in runs), "check: streams came back", run.stdout)
run = revoxel("check", "revnet3d-full", "--widths", "8,16", "--size", "16x24x32", "--storage", "bf16", "--batch", 2,
              "--quiet")
ok(run.returncode == 0 and run.stdout.startswith("exact: 37 of 37"), "check: bf16 activations", run.stdout + run.stderr)
run = revoxel("check", "revnet3d-full", "--widths", "8,16", "--size", "16x16x16", "--streams", "f32", "--quiet")
ok(run.returncode == 1 and run.stdout.startswith("not exact:") and "memory.streams" in run.stderr,
   "check: f32 streams are told apart", run.stdout + run.stderr)
refused("check: neither network nor file", 1, "neither a network", "check", "unet9d")

# ---- What the process takes ----------------------------------------------------------------------------

command.dataset(path("data"), [(24, 24, 24), (20, 28, 24)])
command.plan(path("data"), path("large.json"), "--widths", "16,24", "--fold", "none",
             network={"kernels": [[1, 1, 1]] * 2, "deep_supervision": False},
             patch={"size": [96, 96, 96], "batch": 1}, memory={"policy": "store"})


def highest(process):
    """The largest VmHWM seen while it runs."""
    most = 0
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as lines:
                most = max([most] + [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")])
        except OSError:
            break
        time.sleep(0.005)
    return most


process = start("check", "large.json", "--json", "--quiet")
peak = highest(process)
output, errors = process.communicate()
found = json.loads(output) if process.returncode == 0 else {"runs": [{"arena_bytes": 0}]}
arena = max(one["arena_bytes"] for one in found["runs"])
ok(process.returncode == 0 and 400 * MIB < arena < 600 * MIB, f"a plan of {arena / MIB:.1f} MiB", errors)
ok(arena <= peak <= 1.05 * arena + 64 * MIB, f"the process peaks at {peak / MIB:.1f} MiB", peak)
ok(found.get("as_planned") and abs(found["process_peak_bytes"] - peak) < 32 * MIB, "and knows it", found)

# ---- Training under each policy ---------------------------------------------------------------------------


def parameters(run):
    """The tensors of the last checkpoint, optimiser and counters included, without the plan."""
    data = command.read(path(run, "latest.safetensors"))
    return data[8 + int.from_bytes(data[:8], "little"):]


def losses(run):
    with open(path(run, "metrics.jsonl")) as lines:
        return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


for model, widths in (("revnet3d-full", "8,16"), ("revunet3d", "6,12"), ("unet3d", "6,12")):
    ends = []
    for policy in ("store", "checkpoint", "reversible"):
        name = f"{model}_{policy}"
        run = revoxel("train", "data", "--model", model, "--widths", widths, "--patch", "16x16x16", "--steps", 5,
                      "--memory", policy, "--out", name, "--no-validation-output", "--quiet",
                      "--threads", 1 + len(ends))
        ok(run.returncode == 0, f"{name}: trains", run.stderr)
        with open(path(name, "plan.json")) as text:
            ok(json.load(text)["memory"]["policy"] == policy, f"{name}: its plan says so")
        ends.append((parameters(name), losses(name)))
    ok(len(ends[0][1]) == 5 and ends[0] == ends[1] == ends[2], f"{model}: the same bits and losses under every policy",
       [end[1] for end in ends])

run = revoxel("check", "revnet3d-full_store", "--data", "data/imagesTr/a_0000.nii.gz", "--quiet")
ok(run.returncode == 0 and run.stdout.startswith("exact: 19 of 19"), "check: a run on an image", run.stdout + run.stderr)
run = revoxel("plan", "data", "--patch", "16x16x16", "--widths", "6,12", "--out", "plan.json")
ok(run.returncode == 0 and "policy" in run.stdout and "reversible" in run.stdout, "plan DATASET --out prints the table",
   run.stdout + run.stderr)
run = revoxel("plan", "data", "--patch", "whole", "--widths", "6,12", "--fold", "none", "--json")
ok(run.returncode == 0 and json.loads(run.stdout)[0]["size"] == [24, 28, 24], "whole volumes: that of the largest case",
   run.stdout)
refused("a policy that is not there", 1, ("memory expected auto", "'frugal'"), "plan", "data", "--memory", "frugal")
refused("what would fit is a policy", 1, ('memory.policy "reversible"', "--memory reversible", "would fit"), "train",
        "data", "--model", "revnet3d-full", "--widths", "16,32", "--patch", "24x24x24", "--memory", "store", "--budget",
        "5.8MiB", "--out", "none")
revoxel("plan", "data", "--patch", "1024x1024x1024", "--widths", "32,64", "--steps", "5", "--out", "huge.json")
refused("without a budget: what the machine does not have", 1,
        ("this machine has", "patch.size", "would fit", "largest in a step"), "train", "data", "--plan", "huge.json", "--out", "none")
done()
