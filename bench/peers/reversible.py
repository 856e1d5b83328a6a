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
peak_bytes      resident high-water mark over the residency before the network was made: parameters,
                gradients, input, activations and workspace are inside; the least of the rounds
gradient_error  of the parameter that is worst: |g - g_stored| / |g_stored| (L2), stored being that of the
                same implementation

With --mallocs keep, glibc is told never to give pages back: PyTorch is then faster and takes more memory.
Where both settings were run the table has the faster seconds and the smaller peak of the two.

memcnn and revtorch come from PyPI and are not needed by anything else: pip install --no-deps memcnn
revtorch. A real BLAS (libopenblas0-openmp) makes PyTorch several times faster; `blas` tells which was there.

usage: reversible.py BENCH_POLICIES [--sizes 64x64x64,96x96x48] [--rounds 3] [--repeats 1] [--json FILE]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

PEERS = ("stored", "checkpoint", "memcnn", "revtorch")
OURS = tuple((policy, storage) for storage in ("f32", "bf16") for policy in ("store", "checkpoint", "reversible"))
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
    seconds = []
    for _ in range(1 + options.repeats):
        model.zero_grad(set_to_none=True)
        begin = time.perf_counter()
        loss = losses.training_loss([model(image)], labels)
        loss.backward()
        seconds.append(time.perf_counter() - begin)
        value = loss.item()
        del loss
    result = {"variant": variant, "size": size, "seconds": seconds[1:], "loss": value,
              "peak_bytes": resident_bytes("VmHWM") - before, "torch": torch.__version__, "blas": blas_name()}
    gradients = {name: tensor.grad for name, tensor in named}
    if variant == "stored":
        torch.save(gradients, options.gradients)
    else:
        stored = torch.load(options.gradients)
        errors = {name: float((g - stored[name]).norm() / stored[name].norm()) for name, g in gradients.items()}
        result["worst"] = max(errors, key=errors.get)
        result["gradient_error"] = errors[result["worst"]]
    print(json.dumps(result))


def child(command, **environment):
    run = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, **environment))
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
    return {"seconds": [out["policies"][0]["seconds"]], "peak_bytes": out["peak_rss_bytes"],
            "arena_bytes": out["policies"][0]["arena_bytes"]}


def our_errors(storage, size, options):
    """Gradients of all policies, compared in one process."""
    command = [options.binary, "--model", "revunet3d", "--size", "x".join(size.split("x")[::-1]), "--repeats", "1",
               "--threads", str(options.threads)]
    out = child(command + (["--f32"] if storage == "f32" else []))
    return {p["policy"]: p["gradient_error"] for p in out["policies"]}


def compare(size, options):
    runs, facts = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        gradients = os.path.join(folder, "stored.pt")
        for turn in range(options.rounds):
            for variant in PEERS:
                for malloc in options.mallocs.split(","):
                    run = peer(variant, size, malloc, gradients, options)
                    runs.setdefault((variant, malloc), []).append(run)
                    facts.update(torch=run["torch"], blas=run["blas"])
                    print(f"{turn} {variant} {malloc}: {run['seconds']} s, {run['peak_bytes'] >> 20} MiB",
                          file=sys.stderr)
            for policy, storage in OURS:
                run = ours(policy, storage, size, options)
                runs.setdefault((policy, storage), []).append(run)
                print(f"{turn} ours {policy} {storage}: {run['seconds']} s, {run['peak_bytes'] >> 20} MiB",
                      file=sys.stderr)
    errors = {storage: our_errors(storage, size, options) for storage in ("f32", "bf16")}

    def row(name, keys):
        seconds = [statistics.median(s for run in runs[key] for s in run["seconds"]) for key in keys]
        last = runs[keys[0]][-1]
        one = {"name": name, "seconds": min(seconds),
               "peak_bytes": min(run["peak_bytes"] for key in keys for run in runs[key])}
        one.update({key: last[key] for key in ("worst", "gradient_error", "arena_bytes") if key in last})
        return one

    rows = [row(f"PyTorch {variant}", [(variant, malloc) for malloc in options.mallocs.split(",")])
            for variant in PEERS]
    for policy, storage in OURS:
        rows.append(dict(row(f"ours {policy} {storage}", [(policy, storage)]),
                         gradient_error=errors[storage][policy]))
    for base, group in (("PyTorch stored", rows[:4]), ("ours store f32", rows[4:7]), ("ours store bf16", rows[7:])):
        stored = next(r for r in rows if r["name"] == base)
        for one in group:
            one["time_ratio"] = one["seconds"] / stored["seconds"]
            one["memory_ratio"] = one["peak_bytes"] / stored["peak_bytes"]
    return {"size": size, "rows": rows, "goals": goals(rows), **facts}


def goals(rows):
    """Ours reversible against each of their three ways to save memory: >= 2x the speed at <= 0.5x the peak."""
    result = []
    for one in rows[4:]:
        if "reversible" not in one["name"]:
            continue
        for other in rows[1:4]:
            speed, memory = other["seconds"] / one["seconds"], one["peak_bytes"] / other["peak_bytes"]
            result.append({"ours": one["name"], "peer": other["name"], "speed": speed, "memory": memory,
                           "speed_met": speed >= SPEED_GOAL, "memory_met": memory <= MEMORY_GOAL})
    return result


def print_table(result):
    print(f"\nrevunet3d, {result['size']} (x, y, z), torch {result['torch']} with {result['blas']}\n")
    print("| | seconds | to its stored | peak MiB | to its stored | gradient error |\n|---|---|---|---|---|---|")
    for r in result["rows"]:
        error = f"{r['gradient_error']:.1e}" if r.get("gradient_error") else "0" if "gradient_error" in r else "-"
        print(f"| {r['name']} | {r['seconds']:.2f} | {r['time_ratio']:.2f} | {r['peak_bytes'] / 2**20:.0f} |"
              f" {r['memory_ratio']:.2f} | {error} |")
    print()
    for g in result["goals"]:
        print(f"{g['ours']} against {g['peer']}: {g['speed']:.2f}x the speed"
              f" ({'met' if g['speed_met'] else 'missed'}), {g['memory']:.2f}x the memory"
              f" ({'met' if g['memory_met'] else 'missed'})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", help="bench_policies")
    parser.add_argument("--sizes", default="64x64x64,96x96x48", help="XxYxZ, comma separated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mallocs", default="default,keep")
    parser.add_argument("--json")
    parser.add_argument("--commit", default="", help="noted in the JSON")
    parser.add_argument("--machine", default="", help="noted in the JSON")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--gradients", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(*options.one.split(","), options)
        return 0
    results = []
    for size in options.sizes.split(","):
        results.append(compare(size, options))
        print_table(results[-1])
        if options.json:  # after each size: what is measured is kept
            with open(options.json, "w") as file:
                json.dump({"date": time.strftime("%Y-%m-%d"), "commit": options.commit, "device": options.machine,
                           "rounds": options.rounds, "results": results}, file, indent=1)
                file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
