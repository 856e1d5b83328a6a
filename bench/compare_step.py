"""One training step of unet3d (widths 16, 32, 64, 128), ours against PyTorch's, as paired ratios.

Runs the two in turn, each in a fresh process, and compares minima: machines are noisy, and a ratio of
runs that alternate holds when the speed drifts. PyTorch is taken at its best: each layout and malloc
setting of bench/peers/step.py is tried first, then the fastest one and the leanest one are repeated.

usage: compare_step.py BENCH_STEP [--sizes 64,96] [--rounds 3] [--json FILE]
"""

import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SPEED_MUST, MEMORY_MUST = 1.3, 0.6


def ours(binary, size, dtypes):
    storage = ["--bf16"] if dtypes != "f32" else []
    out = subprocess.run([binary, "--size", str(size), "--repeats", "6"] + storage, check=True, capture_output=True,
                         text=True).stdout
    return json.loads(out)


def torch_variants(size, layouts, mallocs, dtypes):
    command = [sys.executable, os.path.join(HERE, "peers", "step.py"), "--sizes", f"{size}x{size}x{size}",
               "--dtypes", dtypes, "--layouts", layouts, "--mallocs", mallocs, "--repeats", "4"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out)["variants"]


def compare(binary, size, rounds, dtypes):
    first = torch_variants(size, "contiguous,channels_last", "default,keep", dtypes)
    fast = min(first, key=lambda v: v["step_seconds"])
    lean = min(first, key=lambda v: v["peak_bytes"])
    torch_seconds, our_seconds, ratios = [fast["step_seconds"]], [], []
    for _ in range(rounds):
        mine = ours(binary, size, dtypes)
        theirs = torch_variants(size, fast["layout"], fast["malloc"], fast["dtype"])[0]
        our_seconds.append(mine["seconds"])
        torch_seconds.append(theirs["step_seconds"])
        ratios.append(theirs["step_seconds"] / mine["seconds"])
    peak = mine["peak_mib"] * 2**20
    return {"size": size, "dtype": fast["dtype"], "ours_seconds": min(our_seconds),
            "torch_seconds": min(torch_seconds), "speedup": min(torch_seconds) / min(our_seconds),
            "paired_ratios": ratios, "ours_peak_bytes": peak, "torch_fast_peak_bytes": fast["peak_bytes"],
            "torch_lean_peak_bytes": lean["peak_bytes"], "torch_fast": f"{fast['layout']}, malloc {fast['malloc']}",
            "memory_ratio": peak / lean["peak_bytes"], "torch": fast["torch"], "blas": fast["blas"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary")
    parser.add_argument("--sizes", default="64,96")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtypes", default="f32")
    parser.add_argument("--json")
    options = parser.parse_args()
    rows = [compare(options.binary, int(size), options.rounds, options.dtypes) for size in options.sizes.split(",")]
    print("step of unet3d   ours      PyTorch   speedup           memory ours / PyTorch's leanest")
    for r in rows:
        print(f"{r['size']:3d}^3 {r['dtype']:4s}    {r['ours_seconds']:7.3f} s {r['torch_seconds']:8.3f} s"
              f"   {r['speedup']:.2f}x {'ok  ' if r['speedup'] >= SPEED_MUST else 'MISS'}"
              f"   {r['ours_peak_bytes'] / 2**20:7.0f} MiB / {r['torch_lean_peak_bytes'] / 2**20:.0f} MiB ="
              f" {r['memory_ratio']:.2f} {'ok' if r['memory_ratio'] <= MEMORY_MUST else 'MISS'}"
              f"   ({r['torch_fast']}, {r['blas']})")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
