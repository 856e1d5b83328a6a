#!/usr/bin/python3
"""bench_gpu on the emulation, sizes and repeats made small (bench/gpu/device_emulated.cc), plain loops
as cuDNN: every row is made and written down, and every kernel agrees with the peer that it is timed
beside, so operands, phases and layouts of both are the same problem. Times mean nothing here."""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
from command import ok

BENCH = os.path.join(os.path.dirname(command.REVOXEL), "bench_gpu_emulated")
BF16 = 2 ** -7  # a result rounded to the other side: one place of eight bits, of the largest number
F32 = 1e-5


def bench(folder, *arguments, **environment):
    path = f"{folder}/kernels.json"
    result = subprocess.run([BENCH, "--seconds", "1", "--rounds", "3", "--json", path, *arguments], text=True,
                            capture_output=True, timeout=300, env={**os.environ, **environment})
    with open(path) as file:
        return result.returncode, result.stdout + result.stderr, json.load(file)


def check_all(folder):
    status, text, found = bench(folder)
    rows = {row["row"]: row for row in found["rows"]}
    ok(status == 0 and len(rows) == len(found["rows"]) == 18 * 3 + 2 + 3 * 2, "every row",
       f"{len(rows)} {text}")
    convs = {name: row for name, row in rows.items() if name.startswith("conv")}
    ok(len(convs) == 18 * 3 and all(row["peer"].startswith("emulated:") and 1 <= row["peers_tried"] <= 4
                                    for row in convs.values()), "convolutions have a peer", convs)
    far = {name: row["error"] for name, row in convs.items()
           if not 0 <= row["error"] <= (F32 if row["phase"] == "wgrad" else BF16)}
    ok(not far, "every kernel agrees with its peer", far)
    pinned = {name: row["halo_error"] for name, row in convs.items() if "halo_error" in row}
    ok(len(pinned) >= 12 and all(0 <= error <= BF16 for error in pinned.values()), "and so does each that is pinned",
       pinned)
    goals = [(name, goal) for name, row in rows.items() for goal in row["goals"]]
    ok(text.count("\ngoal ") == len(goals) and all(goal["measured"] > 0 and goal["met"] in (True, False)
                                                   for _, goal in goals), "each goal has a line and a verdict", goals)
    want = {"times cuDNN": (3.5, 5), "% of the floor": (55, 75)}
    for name in ("conv3 s1 C=16 fwd", "conv3 s1 C=16 dgrad"):
        got = {goal["figure"]: (goal["at_least"], goal["stretch"]) for goal in rows[name]["goals"]}
        ok(got == want, f"{name}: the headline's goals", got)
    ok(list(rows)[:3] == [f"conv3 s1 C=16 {phase}" for phase in ("fwd", "wgrad", "dgrad")], "which come first")


def check_some(folder):
    status, _, found = bench(folder, "--only", "conv3 s1 C=16 fwd", RVX_EMULATE_CAPABILITY="9")
    names = [row["row"] for row in found["rows"]]
    ok(status == 0 and names == ["conv3 s1 C=16 fwd", "norm_conv3 s1 C=16 fwd"], "--only picks rows", names)
    ok(0 <= found["rows"][0]["stream_error"] <= BF16, "on sm_90a the stream of planes is pinned too", found)
    ok(len(found["wgmma_tflops"]) == len(found["wgmma_shifted_tflops"]) == 4, "and rates of its products are taken")
    result = subprocess.run([BENCH, "--what", "1"], text=True, capture_output=True, timeout=60)
    ok(result.returncode == 2 and "usage" in result.stderr, "an option that is none", result.stderr)


with tempfile.TemporaryDirectory() as work:
    check_all(work)
    check_some(work)
command.done()
