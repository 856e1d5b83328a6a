#!/usr/bin/python3
"""The PyTorch side of the GPU benchmarks, rehearsed on the CPU: the search for the largest volume, the
loss and the reversible couplings against what they stand for, and a whole run at tiny sizes."""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
from command import ok

try:
    import torch
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)
PEERS = os.path.join(command.ROOT, "bench/peers")
sys.path.insert(0, PEERS)
import coupling
import gpu_step
import gpu_torch
import losses
import networks


def check_search():
    wrong, most_tries = [], 0
    for answer in range(14):
        for first in range(1, 14):
            tries = []
            found = gpu_step.largest(lambda k: tries.append(k) or k <= answer, first, 13)
            most_tries = max(most_tries, len(tries))
            if found != answer or len(set(tries)) != len(tries) or not all(1 <= k <= 13 for k in tries):
                wrong.append((answer, first, found, tries))
    ok(not wrong, "the largest volume is found from any start", wrong)
    ok(most_tries <= 8, "in few tries", most_tries)


def gradients(network, image, labels):
    network.zero_grad()
    gpu_step.loss_of(network(image), labels).backward()
    return [p.grad.clone() for p in network.parameters()]


def check_networks():
    torch.manual_seed(1)
    image, labels = torch.randn(1, 1, 16, 24, 16), torch.randint(0, 3, (1, 16, 24, 16))
    logits = 3 * torch.randn(2, 3, 5, 6, 7)
    some = torch.randint(0, 3, (2, 5, 6, 7))
    ours, theirs = gpu_step.loss_of(logits, some), losses.training_loss(logits, some)
    ok(abs(ours - theirs) < 1e-5, "the loss is that of the other benchmarks", f"{ours} {theirs}")
    made = {}
    for name, kind in gpu_step.NETWORKS.items():
        torch.manual_seed(2)
        made[name] = gradients(kind(1, 3, (8, 16, 16), encoder_depth=2, decoder_depth=1), image, labels)
    for name in ("reversible", "checkpoint"):
        far = max(float((a - b).norm() / b.norm()) for a, b in zip(made[name], made["stored"]))
        ok(far < 1e-4, f"{name}: the gradients of what is stored", far)


def write(path, rows):
    with open(path, "w") as file:
        json.dump({"device": "made up", "rows": rows}, file)


def check_run(folder):
    write(f"{folder}/gpu-kernels.json", [{"row": "norm_conv3 s1 C=16 fwd", "ms": 1}])
    write(f"{folder}/gpu-step.json", [{"network": "reference", "size": [1000, 1000, 200], "policy": "auto",
                                       "seconds": 1e-3}])
    result = subprocess.run([sys.executable, f"{PEERS}/gpu_torch.py", "--device", "cpu", "--small", "6", "--rounds",
                             "3", "--seconds", "300", "--beside", folder, "--json", f"{folder}/torch.json"],
                            text=True, capture_output=True, timeout=400, env={**os.environ, "OMP_NUM_THREADS": "2"})
    with open(f"{folder}/torch.json") as file:
        found = json.load(file)
    steps = [row for row in found["rows"] if row["what"] == "step"]
    kernels = [row for row in found["rows"] if row["what"] != "step"]
    ok(result.returncode == 0 and len(steps) == len(gpu_torch.STEPS) and len(kernels) == 20, "every way is a row",
       result.stdout + result.stderr)
    eager = [row for row in found["rows"] if row["mode"] == "eager" and row.get("precision") != "autocast"]
    ok(len(eager) == 15 and not [row for row in eager if "failed" in row], "what is eager runs", eager)
    ok(all(row.get("largest") == 1 and "out of memory" in row["too_large"] and row["seconds"] > 0 < row["peak_bytes"]
           for row in eager if row["what"] == "step"), "on the largest volume that it can hold", steps)
    modern = hasattr(torch, "compile")  # an older PyTorch has no compilation, and little autocast on a CPU
    rest = [row for row in found["rows"] if row not in eager]
    ok(all(("ms" in row or "largest" in row) if modern else row.get("failed") for row in rest),
       "what is compiled and autocast runs, or says why it cannot", rest)
    goals = {goal["what"]: goal["measured"] for goal in found["goals"]}
    reversible = max(32 ** 3 / row["seconds"] for row in steps if row["memory"] == "reversible" and "largest" in row)
    want = 2e8 / 1e-3 / reversible
    ok(len(goals) == 4 and result.stdout.count("\ngoal ") == 4
       and abs(goals["step, voxels/s, beside eager reversible"] / want - 1) < 1e-9, "goals compare voxels a second", goals)
    ok(modern or goals["norm+act+conv+add C=16 beside torch.compile"] is None, "and only what was measured", goals)


def check_ends(folder):
    class Options:
        device, rounds, small = "cpu", 3, 6
    row = gpu_torch.step_row(Options, "stored", "eager", "contiguous", "bf16", 1, 1)
    ok(row["failed"] == "no time left", "a step without time is a row that says so", row)
    result = subprocess.run([sys.executable, f"{PEERS}/gpu_torch.py"], text=True, capture_output=True, timeout=100)
    ok(torch.cuda.is_available() or (result.returncode == 0 and "sees no GPU: skipped" in result.stdout),
       "without a GPU it is skipped", result.stdout + result.stderr)
    empty = gpu_torch.goals([], folder + "/nothing")
    ok(len(empty) == 4 and all(measured is None for *_, measured in empty), "without our figures nothing is compared", empty)


with tempfile.TemporaryDirectory() as work:
    check_search()
    check_networks()
    check_run(work)
    check_ends(work)
command.done()
