"""PyTorch on a GPU beside bench_gpu and bench_step_gpu, as a table and JSON.

Owns: the PyTorch side of `make check-gpu`. Kernels: norm + leaky ReLU + 3x3x3 convolution of C channels,
forward, and forward with backward, at the sizes of bench/bench_gpu.cu. Steps: forward, soft Dice + CE,
backward, gradient norm clip 12, SGD-Nesterov, of UNet3d and RevUNet3d (stored by autograd). Each eager and
compiled, contiguous and channels_last_3d, bf16 parameters and tensors. Medians of CUDA events; inputs
rotate through several copies. Out of memory is reported, not fatal. Skipped where torch or a GPU is absent.
"""

import argparse
import json
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

KERNEL_SIDES = {8: 192, 16: 192, 24: 160, 32: 160, 64: 112, 128: 80}
STEP_SIZES = ["128x128x128", "256x256x128", "512x512x160"]
COPIES = 3


def timed(torch, run, rounds, until):
    """Median milliseconds of run(i), after two runs that warm it up (and compile it)."""
    run(0)
    run(1)
    torch.cuda.synchronize()
    values = []
    for i in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run(i)
        end.record()
        end.synchronize()
        values.append(begin.elapsed_time(end))
        if time.monotonic() > until and len(values) >= 3:
            break
    return statistics.median(values)


def guarded(torch, work):
    """The result of work(), or why there is none."""
    try:
        return {"ms": round(work(), 4)}
    except Exception as error:  # out of memory, an unsupported format, a failed compilation
        return {"failed": str(error).split("\n")[0][:200]}
    finally:
        torch.cuda.empty_cache()


def formatted(torch, tensor, layout):
    return tensor.to(memory_format=torch.channels_last_3d) if layout == "channels_last_3d" else tensor


def compiled(torch, module, mode):
    """The module as it is or compiled for the shapes it is called with, with nothing left of other modules."""
    if mode == "eager":
        return module
    torch._dynamo.reset()
    return torch.compile(module, dynamic=False)


def kernel_row(torch, mode, layout, channels, phase, rounds, until):
    side = KERNEL_SIDES[channels]
    module = torch.nn.Sequential(
        torch.nn.InstanceNorm3d(channels, affine=True), torch.nn.LeakyReLU(0.01),
        torch.nn.Conv3d(channels, channels, 3, padding=1, bias=False))
    module = formatted(torch, module.cuda().bfloat16(), layout)
    inputs = [formatted(torch, torch.randn(1, channels, side, side, side, device="cuda", dtype=torch.bfloat16),
                        layout) for _ in range(COPIES)]
    call = compiled(torch, module, mode)
    if phase == "fwd":
        with torch.no_grad():
            return timed(torch, lambda i: call(inputs[i % COPIES]), rounds, until)
    leaves = [x.detach().requires_grad_() for x in inputs]

    def run(i):
        y = call(leaves[i % COPIES])
        y.backward(y.detach())
    return timed(torch, run, rounds, until)


def kernel_rows(torch, mode, rounds, until):
    for channels, side in KERNEL_SIDES.items():
        for layout in ("contiguous", "channels_last_3d"):
            for phase in ("fwd", "fwd+bwd"):
                if time.monotonic() > until:
                    return
                yield {"what": "norm+act+conv3", "channels": channels, "side": side, "phase": phase,
                       "layout": layout, "mode": mode,
                       **guarded(torch, lambda: kernel_row(torch, mode, layout, channels, phase, rounds, until))}


def step_row(torch, mode, layout, name, size, rounds, until):
    import losses
    import networks
    voxels = [int(s) for s in size.split("x")][::-1]
    widths = [16, 32, 64, 128] if name == "UNet3d" else [60, 120, 240, 360, 480]
    model = formatted(torch, getattr(networks, name)(1, 3, widths).cuda().bfloat16(), layout)
    call = compiled(torch, model, mode)
    image = formatted(torch, torch.randn(1, 1, *voxels, device="cuda", dtype=torch.bfloat16), layout)
    labels = torch.randint(0, 3, (1, *voxels), device="cuda")
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.99, nesterov=True)

    def run(_):
        optimiser.zero_grad(set_to_none=True)
        outputs = call(image)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        losses.training_loss([z.float() for z in outputs], labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 12)
        optimiser.step()
    return timed(torch, run, rounds, until)


def step_rows(torch, mode, rounds, until):
    for size in STEP_SIZES:
        for name in ("UNet3d", "RevUNet3d"):
            for layout in ("contiguous", "channels_last_3d"):
                if time.monotonic() > until:
                    return
                torch.cuda.reset_peak_memory_stats()
                row = {"what": "step", "network": name, "size": size, "layout": layout, "mode": mode,
                       **guarded(torch, lambda: step_row(torch, mode, layout, name, size, rounds, until))}
                row["peak_bytes"] = torch.cuda.max_memory_allocated()
                yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json")
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("gpu_torch: no torch here: skipped")
        return 0
    if not torch.cuda.is_available():
        print("gpu_torch: torch sees no GPU: skipped")
        return 0
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(1)
    begin = time.monotonic()
    rows = []
    # What is compiled takes longest and comes last: time may run out.
    for make, mode, share in ((kernel_rows, "eager", 0.25), (step_rows, "eager", 0.5),
                              (kernel_rows, "compile", 0.75), (step_rows, "compile", 1.0)):
        for row in make(torch, mode, options.rounds, begin + share * options.seconds):
            rows.append(row)
            print(" ".join(f"{k}={v}" for k, v in row.items()), flush=True)
            if options.json:  # after every row: a time limit may end this
                with open(options.json, "w") as file:
                    json.dump({"device": torch.cuda.get_device_name(0), "torch": torch.__version__,
                               "cudnn": torch.backends.cudnn.version(), "rows": rows}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
