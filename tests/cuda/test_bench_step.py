#!/usr/bin/python3
"""bench_step_gpu: what the goals' steps would take is planned without a GPU and lies within the goals;
it is the plan that the command makes too. On the device (emulated, or that of RVX_TEST_CUDA) steps run
and are written down, whole after every row; what does not fit is a row that says so."""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
from command import must, ok

LIBRARY = os.path.join(command.ROOT, os.environ.get("RVX_TEST_CUDA", "build/librevoxel_cuda_emulated.so"))
BENCH = os.path.join(os.path.dirname(command.REVOXEL), "bench_step_gpu")
WHOLE = "1000x1000x200"


def bench(folder, *arguments, **environment):
    """Status, what was printed, and the JSON."""
    path = f"{folder}/step.json"
    result = subprocess.run([BENCH, "--json", path, *arguments], text=True, capture_output=True, timeout=300,
                            env={**os.environ, **environment})
    with open(path) as file:
        return result.returncode, result.stdout + result.stderr, json.load(file)


def find(rows, network, policy, size):
    return [row for row in rows if (row["network"], row["policy"], row["size"]) == (network, policy, size)]


def check_plans(folder):
    status, text, found = bench(folder, "--plan-only")
    rows = found["rows"]
    planned = [(row, goal) for row in rows for goal in row["goals"] if goal["measured"] is not None]
    ok(status == 0 and found["device"] == "none" and all("arena_bytes" in row for row in rows),
       "every job is planned without a device", text)
    ok(sorted(goal["at_most"] for _, goal in planned) == [28, 60, 60] and all(goal["met"] for _, goal in planned),
       "1000 x 1000 x 200: the plans lie within 60 GB and, C = 32 and fully reversible, 28 GiB", text)
    ok(all(goal["measured"] == float(f"{row['arena_bytes'] / (2**30 if goal['figure'] == 'GiB' else 1e9):.6g}")
           for row, goal in planned), "what is held against a goal is the arena of the plan", planned)
    ok(text.count("\ngoal ") == sum(len(row["goals"]) for row in rows) and "NOT MET" not in text
       and text.count("not measured") == sum(len(row["goals"]) for row in rows) - len(planned),
       "each goal has a line; what only a run can tell is not measured", text)
    for name, first in (("full-16", 16), ("full-32", 32)):
        table = must("plan", "--model", "revnet3d-full", "--widths", ",".join(str(first << i) for i in range(4)),
                     "--size", WHOLE, "--storage", "bf16", "--device", "cuda", "--json")
        want = {row["policy"]: row["peak_bytes"] for row in json.loads(table.stdout)}["reversible"]
        got = find(rows, name, "reversible", [1000, 1000, 200])
        ok(len(got) == 1 and got[0]["arena_bytes"] == want, f"{name}: the plan that the command makes",
           f"{got} {want}")


def check_steps(folder):
    small = ("--library", LIBRARY, "--network", "full-16", "--size", "12x16x16", "--steps", "1")
    for policy in ("reversible", "inference"):
        status, text, found = bench(folder, *small, "--policy", policy)
        row = found["rows"][0]
        ok(status == 0 and row["steps"] == 1 and row["seconds"] > 0, f"{policy}: a step runs", text)
        ok(row["run_as"] == [16, 16, 16] and "run as" in text, f"{policy}: of a size that the network divides", text)
    status, text, found = bench(folder, *small, RVX_EMULATE_MEMORY="100000")
    row = found["rows"][0]
    ok(status == 1 and "not run: " in text and "free" in text and "seconds" not in row and "arena_bytes" in row,
       "what does not fit is a row that says so", text)
    status, text, found = bench(folder, "--library", LIBRARY, "--seconds", "-1")
    ok(status == 0 and text.count("not run: no time left") == len(found["rows"]) > 10
       and find(found["rows"], "reference", "auto", [1000, 1000, 200])[0]["goals"][2]["measured"] is None,
       "without time every job is still a row", text)


def check_refusals(folder):
    status, text, _ = bench(folder, "--plan-only", "--network", "x", "--size", "8x8x8")
    ok(status == 1 and "no network is called x" in text, "a network that is not there", text)
    for arguments in (("--size", "8x8x8"), ("--network",), ("--steps", "0"), ("--what", "1")):
        result = subprocess.run([BENCH, "--plan-only", *arguments], text=True, capture_output=True, timeout=60)
        ok(result.returncode == 2 and "usage" in result.stderr, f"{' '.join(arguments)}: refused", result.stderr)
    result = subprocess.run([BENCH, "--library", "/nowhere.so"], text=True, capture_output=True, timeout=60)
    ok(result.returncode == 3 and "/nowhere.so" in result.stderr, "no library: status 3", result.stderr)


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_plans(folder)
        if "emulated" in LIBRARY:
            check_steps(folder)
        check_refusals(folder)
    command.done()


main()
