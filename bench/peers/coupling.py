"""Couplings whose inputs are not kept: backward inverts them, as RevTorch and memcnn do, in 60 lines
and without either. Owns: the PyTorch way to train reversibly that the benchmarks compare with.

Only the result of a sequence is kept. In bf16 what is inverted differs from what was, by rounding; that
is what PyTorch's users get, and it takes the same time.
"""

import torch

import networks


class Inverted(torch.autograd.Function):
    """y = blocks(x). Gradients of parameters are added to their .grad; x must ask for one."""

    @staticmethod
    def forward(ctx, x, blocks, autocast):
        ctx.blocks, ctx.autocast = blocks, autocast
        with torch.no_grad():
            for block in blocks:
                x = block(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, gradient):
        y1, y2 = torch.chunk(ctx.saved_tensors[0], 2, 1)
        d1, d2 = torch.chunk(gradient, 2, 1)
        for block in reversed(ctx.blocks):
            y2, d1 = undo(block.g, y1, y2, d1, d2, ctx.autocast)
            y1, d2 = undo(block.f, y2, y1, d2, d1, ctx.autocast)
        return torch.cat((d1, d2), 1), None, None


def undo(branch, read, written, d_read, d_written, autocast):
    """Of written' = written + branch(read): written, and the gradient of read."""
    read = read.detach().requires_grad_()
    with torch.enable_grad(), torch.autocast(read.device.type, torch.bfloat16, enabled=autocast):
        made = branch(read)
    before = written - made.detach()
    made.backward(d_written.to(made.dtype))
    return before, d_read + read.grad


class ReversibleRevUNet3d(networks.RevUNet3d):
    """The same network and the same numbers; `autocast`: run under bf16 autocast."""

    autocast = False

    def sequence(self, stage, depth, x):
        blocks = [getattr(stage, f"block{block}") for block in range(depth)]
        return Inverted.apply(x, blocks, self.autocast)


class CheckpointedRevUNet3d(networks.RevUNet3d):
    """Every sequence within torch.utils.checkpoint."""

    def sequence(self, stage, depth, x):
        from torch.utils.checkpoint import checkpoint
        return checkpoint(super().sequence, stage, depth, x, use_reentrant=False)
