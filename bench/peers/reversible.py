"""One training step of the partially reversible U-Net, ours beside four ways to run it in PyTorch.

The network is revunet3d as published (networks.RevUNet3d: 4 channels, 3 classes, widths 60 .. 480, one
coupling a stage), batch 1, soft Dice + CE, forward and backward, no optimiser. PyTorch runs it

  stored      as it is
  checkpoint  every coupling within torch.utils.checkpoint
  memcnn      every coupling as memcnn.InvertibleModuleWrapper(memcnn.AdditiveCoupling), inputs freed
  revtorch    every coupling as revtorch.ReversibleSequence of one revtorch.ReversibleBlock

and ours is build/bench_policies under store, checkpoint and reversible, in f32 and in bf16, with 16-bit
integer streams in both.

Invariant: every variant runs in a process of its own, so that no high-water mark hides another, and the
variants take turns, so that other work on the machine meets all alike. All PyTorch variants have the same
parameters, image and labels.

seconds         median over all steps of all rounds, the first step of a process left out
processor_seconds  the same of the time that all threads together had a processor; waiting threads sleep. On
                a machine that others use it is the fairer figure of the two
peak_bytes      resident high-water mark over the residency before the network was made: parameters,
                gradients, input, activations and workspace are inside; the least of the rounds
gradient_error  of the parameter that is worst: |g - g_stored| / |g_stored| (L2), stored being that of the
                same implementation

With --mallocs keep, glibc is told never to give pages back: PyTorch is then faster and takes more memory.
Where both settings were run the table has the faster seconds and the smaller peak of the two.

memcnn and revtorch come from PyPI and are not needed by anything else: pip install --no-deps memcnn
revtorch. A real BLAS (libopenblas0-openmp) makes PyTorch several times faster; `blas` tells which was there.

On a machine with no quiet minute, --peers and --policies pick some of the variants for a short run; ratios to
a stored mode that is not among them, and gradient errors against it, are then left out.

usage: reversible.py BENCH_POLICIES [--sizes 64x64x64,96x96x48] [--rounds 3] [--repeats 1] [--json FILE]
                     [--peers stored,memcnn,...] [--policies store,reversible,...]
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

PEERS = ("stored", "checkpoint", "memcnn", "revtorch")
POLICIES, STORAGES = ("store", "checkpoint", "reversible"), ("f32", "bf16")
CHANNELS, CLASSES, WIDTHS = 4, 3, (60, 120, 240, 360, 480)
SPEED_GOAL, MEMORY_GOAL = 2.0, 0.5


def wrap(model, variant, depths):
    """Puts each coupling into its variant's wrapping; the parameters stay the same objects."""
    import torch
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return checkpoint(self.inner, x)

    def wrapped(coupling):
        if variant == "checkpoint":
            return Checkpointed(coupling)
        if variant == "memcnn":
            import memcnn
            return memcnn.InvertibleModuleWrapper(memcnn.AdditiveCoupling(coupling.f, coupling.g),
                                                  keep_input=False)
        import revtorch
        return revtorch.ReversibleSequence(torch.nn.ModuleList([revtorch.ReversibleBlock(coupling.f, coupling.g)]))

    for level in range(model.levels):
        for side, depth in zip(("enc", "dec"), depths):
            stage = getattr(model, f"{side}{level}")
            for block in range(depth):
                setattr(stage, f"block{block}", wrapped(getattr(stage, f"block{block}")))


def measure(variant, size, options):
    """One PyTorch variant in this process."""
    import torch

    import losses
    import networks
    from step import blas_name, resident_bytes

    torch.set_num_threads(options.threads)
    tiny = torch.nn.Conv3d(1, 16, 3)
    tiny(torch.zeros(1, 1, 5, 5, 5)).sum().backward()
    if variant in ("memcnn", "revtorch"):
        __import__(variant)
    before = resident_bytes("VmRSS")
    generator = torch.Generator().manual_seed(1)
    model = networks.RevUNet3d(CHANNELS, CLASSES, list(WIDTHS))
    networks.initialise(model, generator)
    named = networks.parameters_by_name(model)
    if variant != "stored":
        wrap(model, variant, model.depths)
    shape = [int(s) for s in size.split("x")][::-1]
    image = torch.randn(1, CHANNELS, *shape, generator=generator)
    labels = torch.randint(0, CLASSES, (1, *shape), generator=generator)
    seconds, processor = [], []
    for _ in range(1 + options.repeats):
        model.zero_grad(set_to_none=True)
        begin, busy = time.perf_counter(), time.process_time()
        loss = losses.training_loss([model(image)], labels)
        loss.backward()
        seconds.append(time.perf_counter() - begin)
        processor.append(time.process_time() - busy)
        value = loss.item()
        del loss
    result = {"variant": variant, "size": size, "seconds": seconds[1:],
              "processor_seconds": processor[1:], "loss": value,
              "peak_bytes": resident_bytes("VmHWM") - before, "torch": torch.__version__, "blas": blas_name()}
    gradients = {name: tensor.grad for name, tensor in named}
    if variant == "stored":
        torch.save(gradients, options.gradients)
    elif os.path.exists(options.gradients):
        stored = torch.load(options.gradients)
        errors = {name: float((g - stored[name]).norm() / stored[name].norm()) for name, g in gradients.items()}
        result["worst"] = max(errors, key=errors.get)
        result["gradient_error"] = errors[result["worst"]]
    print(json.dumps(result))


def child(command, **environment):
    environment = dict(os.environ, OMP_WAIT_POLICY="passive", **environment)
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)}: {run.stderr.strip()[-600:]}")
    return json.loads(run.stdout)


def peer(variant, size, malloc, gradients, options):
    from step import KEEP
    command = [sys.executable, os.path.abspath(__file__), options.binary, "--one", f"{variant},{size}",
               "--repeats", str(options.repeats), "--threads", str(options.threads), "--gradients", gradients]
    return child(command, **(KEEP if malloc == "keep" else {}))


def ours(policy, storage, size, options):
    """bench_policies wants depth first; one policy a process."""
    command = [options.binary, "--model", "revunet3d", "--size", "x".join(size.split("x")[::-1]), "--repeats",
               str(options.repeats), "--threads", str(options.threads), "--policy", policy]
    out = child(command + (["--f32"] if storage == "f32" else []))
    one = out["policies"][0]
    return {"seconds": [one["seconds"]], "processor_seconds": [one["processor_seconds"]],
            "peak_bytes": out["peak_rss_bytes"], "arena_bytes": one["arena_bytes"]}


def our_errors(storage, size, options):
    """Gradients of all policies, compared in one process."""
    command = [options.binary, "--model", "revunet3d", "--size", "x".join(size.split("x")[::-1]), "--repeats", "1",
               "--threads", str(options.threads)]
    out = child(command + (["--f32"] if storage == "f32" else []))
    return {p["policy"]: p["gradient_error"] for p in out["policies"]}


def measure_round(runs, size, folder, options):
    """Every variant once, in turn; `runs` collects."""
    gradients = os.path.join(folder, f"stored-{size}.pt")
    for variant in options.peers.split(","):
        for malloc in options.mallocs.split(","):
            run = peer(variant, size, malloc, gradients, options)
            runs.setdefault((variant, malloc), []).append(run)
            print(f"{size} {variant} {malloc}: {run['seconds']} s, {run['processor_seconds']} processor s,"
                  f" {run['peak_bytes'] >> 20} MiB", file=sys.stderr, flush=True)
    for storage, policy in itertools.product(STORAGES, options.policies.split(",")):
        run = ours(policy, storage, size, options)
        runs.setdefault((policy, storage), []).append(run)
        print(f"{size} ours {policy} {storage}: {run['seconds']} s, {run['processor_seconds']} processor s,"
              f" {run['peak_bytes'] >> 20} MiB", file=sys.stderr, flush=True)
    for storage in STORAGES if options.policies == ",".join(POLICIES) else ():
        if storage not in runs:
            runs[storage] = our_errors(storage, size, options)


def summarise(size, runs, options):
    mallocs = options.mallocs.split(",")

    def row(name, keys):
        def middle(field):
            return min(statistics.median(s for run in runs[key] for s in run[field]) for key in keys)

        one = {"name": name, "seconds": middle("seconds"), "processor_seconds": middle("processor_seconds"),
               "peak_bytes": min(run["peak_bytes"] for key in keys for run in runs[key])}
        last = runs[keys[0]][-1]
        one.update({key: last[key] for key in ("worst", "gradient_error", "arena_bytes") if key in last})
        return one

    groups = [[row(f"PyTorch {variant}", [(variant, malloc) for malloc in mallocs])
               for variant in options.peers.split(",")]]
    for storage in STORAGES:
        groups.append([row(f"ours {policy} {storage}", [(policy, storage)])
                       for policy in options.policies.split(",")])
        for one, policy in zip(groups[-1], POLICIES if storage in runs else ()):
            one["gradient_error"] = runs[storage][policy]
    for group in groups:
        for one in group if group[0]["name"].split()[1] in ("stored", "store") else ():
            one["time_ratio"] = one["processor_seconds"] / group[0]["processor_seconds"]
            one["memory_ratio"] = one["peak_bytes"] / group[0]["peak_bytes"]
    first = runs[(options.peers.split(",")[0], mallocs[0])]
    rows = sum(groups, [])
    return {"size": size, "rounds": len(first), "rows": rows, "goals": goals(rows), "torch": first[0]["torch"],
            "blas": first[0]["blas"]}


def goals(rows):
    """Ours reversible against each of their three ways to save memory: >= 2x the speed at <= 0.5x the peak."""
    result = []
    for one in (r for r in rows if r["name"].startswith("ours reversible")):
        for other in (r for r in rows if r["name"].startswith("PyTorch") and r["name"] != "PyTorch stored"):
            speed = other["processor_seconds"] / one["processor_seconds"]
            memory = one["peak_bytes"] / other["peak_bytes"]
            result.append({"ours": one["name"], "peer": other["name"], "speed": speed,
                           "speed_by_the_clock": other["seconds"] / one["seconds"], "memory": memory,
                           "speed_met": speed >= SPEED_GOAL, "memory_met": memory <= MEMORY_GOAL})
    return result


def print_table(result):
    print(f"\nrevunet3d, {result['size']} (x, y, z), torch {result['torch']} with {result['blas']},"
          f" {result['rounds']} rounds\n")
    print("| | seconds | processor seconds | to its stored | peak MiB | to its stored | gradient error |")
    print("|---|---|---|---|---|---|---|")
    for r in result["rows"]:
        error = f"{r['gradient_error']:.1e}" if r.get("gradient_error") else "0" if "gradient_error" in r else "-"
        slower, smaller = (f"{r[k]:.2f}" if k in r else "-" for k in ("time_ratio", "memory_ratio"))
        print(f"| {r['name']} | {r['seconds']:.2f} | {r['processor_seconds']:.2f} | {slower} |"
              f" {r['peak_bytes'] / 2**20:.0f} | {smaller} | {error} |")
    print()
    for g in result["goals"]:
        print(f"{g['ours']} against {g['peer']}: {g['speed']:.2f}x the speed"
          f" (by the clock {g['speed_by_the_clock']:.2f}x;"
              f" {'met' if g['speed_met'] else 'missed'}), {g['memory']:.2f}x the memory"
              f" ({'met' if g['memory_met'] else 'missed'})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", help="bench_policies")
    parser.add_argument("--sizes", default="64x64x64,96x96x48", help="XxYxZ, comma separated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mallocs", default="default,keep")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--json")
    parser.add_argument("--commit", default="", help="noted in the JSON")
    parser.add_argument("--machine", default="", help="noted in the JSON")
    parser.add_argument("--conditions", default="", help="noted in the JSON")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--gradients", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(*options.one.split(","), options)
        return 0
    sizes = options.sizes.split(",")
    runs = {size: {} for size in sizes}
    with tempfile.TemporaryDirectory() as folder:
        for size in (size for _ in range(options.rounds) for size in sizes):
            measure_round(runs[size], size, folder, options)
            results = [summarise(one, runs[one], options) for one in sizes if runs[one]]
            if options.json:  # after each round: what is measured is kept
                with open(options.json, "w") as file:
                    json.dump({"date": time.strftime("%Y-%m-%d"), "commit": options.commit,
                               "device": options.machine, "conditions": options.conditions,
                               "results": results}, file, indent=1)
                    file.write("\n")
    for result in results:
        print_table(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
