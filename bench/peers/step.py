"""Time and peak memory of one PyTorch training step of unet3d on the CPU, as JSON.

Owns: the PyTorch side of `make bench`. Invariant: each variant runs in a fresh process, so that one
variant's high-water mark never hides another's. A step is: forward, soft Dice + CE on the finest
logits (no deep supervision unless asked), backward, gradient norm clip 12, SGD-Nesterov.

What makes PyTorch fast on the CPU, found by trying, and all tried here:
- a real BLAS (libopenblas0-openmp): small and transposed convolutions go through GEMM, and with
  Debian's reference BLAS a step is 5 times slower. `blas` in the output says which one was loaded.
- memory format contiguous or channels_last_3d; in-place activations (less memory, same time).
- malloc "keep": glibc told never to give pages back, up to 1.5 times faster at 96^3 (no page
  faults) for up to 1.6 times the memory. So the summary names two peers: `fast` and `lean`.

step_seconds  minimum over --repeats after one warm-up step
peak_bytes    resident high-water mark over the residency after import and one tiny convolution:
              parameters, gradients, momentum, activations and library workspace are all inside
gflop         convolution FLOPs of the step (2 per multiply-add; forward + data + weight gradient)
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time

import torch

import losses
import networks

KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1000000000000"}


def resident_bytes(field):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def upsample_in_f32(model):
    """torch 1.13 has no bfloat16 transposed 3D convolution on the CPU: run those three in float32."""
    for module in model.modules():
        if isinstance(module, torch.nn.ConvTranspose3d):
            module.float()
            module.forward = lambda x, m=module: torch.nn.functional.conv_transpose3d(
                x.float(), m.weight, m.bias, m.stride).to(x.dtype)


def blas_name():
    with open("/proc/self/maps") as maps:
        text = maps.read()
    return "openblas" if "openblas" in text else "mkl" if "libmkl" in text else "reference"


def measure(options):
    torch.set_num_threads(options.threads)
    tiny = torch.nn.Conv3d(1, 16, 3)
    tiny(torch.zeros(1, 1, 5, 5, 5)).sum().backward()
    baseline = resident_bytes("VmRSS")
    widths = [int(w) for w in options.widths.split(",")]
    size = [int(s) for s in options.size.split("x")][::-1]
    torch.manual_seed(1)
    model = networks.UNet3d(options.channels, options.classes, widths,
                            deep_supervision=options.deep_supervision, inplace=True)
    networks.initialise(model)
    image = torch.randn(options.batch, options.channels, *size)
    labels = torch.randint(0, options.classes, (options.batch, *size))
    if options.layout == "channels_last":
        model = model.to(memory_format=torch.channels_last_3d)
        image = image.to(memory_format=torch.channels_last_3d)
    if options.dtype == "bf16":
        model, image = model.to(torch.bfloat16), image.to(torch.bfloat16)
        upsample_in_f32(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.99, nesterov=True,
                                weight_decay=3e-5)
    seconds = []
    for _ in range(1 + options.repeats):
        begin = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.dtype == "autocast"):
            outputs = model(image)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        loss = losses.training_loss([z.float() for z in outputs], labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 12)
        optimiser.step()
        loss.item()
        del outputs, loss
        seconds.append(time.perf_counter() - begin)
    peak = resident_bytes("VmHWM") - baseline
    with torch.no_grad():
        forward = networks.forward_flops(
            networks.UNet3d(options.channels, options.classes, widths), size)
    first = 2 * 27 * options.channels * widths[0] * size[0] * size[1] * size[2]
    flops = options.batch * (3 * forward - first)
    best = min(seconds[1:])
    return {
        "size": options.size, "dtype": options.dtype, "layout": options.layout,
        "malloc": options.malloc, "threads": options.threads, "step_seconds": round(best, 4),
        "median_seconds": round(sorted(seconds[1:])[len(seconds[1:]) // 2], 4),
        "gflop": round(flops / 1e9, 2), "gflop_per_second": round(flops / 1e9 / best, 1),
        "peak_bytes": peak, "torch": torch.__version__, "blas": blas_name(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="64x64x64,96x96x96", help="XxYxZ, comma separated")
    parser.add_argument("--dtypes", default="f32,bf16,autocast")
    parser.add_argument("--layouts", default="contiguous,channels_last")
    parser.add_argument("--mallocs", default="default,keep")
    parser.add_argument("--widths", default="16,32,64,128")
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--deep-supervision", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        options.size, options.dtype, options.layout, options.malloc = options.one.split(",")
        print(json.dumps(measure(options)))
        return 0
    variants, failed = [], []
    for one in itertools.product(options.sizes.split(","), options.dtypes.split(","),
                                 options.layouts.split(","), options.mallocs.split(",")):
        run = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--one", ",".join(one)],
                             capture_output=True, text=True,
                             env=dict(os.environ, **(KEEP if one[3] == "keep" else {})))
        if run.returncode:
            failed.append({"variant": ",".join(one), "error": run.stderr.strip()[-300:]})
            continue
        variants.append(json.loads(run.stdout))
        print(run.stdout.strip(), file=sys.stderr)
    best = {}
    for variant in variants:
        kind = "f32" if variant["dtype"] == "f32" else "bf16"
        slot = best.setdefault(variant["size"], {}).setdefault(kind, {})
        for name, key in (("fast", "step_seconds"), ("lean", "peak_bytes")):
            if name not in slot or variant[key] < slot[name][key]:
                slot[name] = variant
    print(json.dumps({"best": best, "variants": variants, "failed": failed}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
