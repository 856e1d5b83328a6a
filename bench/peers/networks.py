"""PyTorch peers of our networks: the reference the C models are checked and timed against.

Owns: the exact structure of `unet3d` and `revunet3d` (and of the reversible network's published
non-reversible baseline, for its parameter count only), the map from our parameter names to tensors,
and nnU-Net's initialisation. Invariant: `parameters_by_name` lists every parameter exactly once,
in the order a builder that reads the network top to bottom creates them.

Our names use scope paths (`enc0/unit1/conv/weight`); the modules below carry the same names with
dots, so the map is a replacement of separators. Levels count from the finest (0) to the coarsest.

Run as a program: prints parameter counts and checks them against the published ones.
"""

import torch
from torch import nn
from torch.nn import functional

NEGATIVE_SLOPE = 0.01


def triple(value):
    return (value,) * 3 if isinstance(value, int) else tuple(value)


class ConvUnit(nn.Module):
    """conv 3^3 (or 1 along some axes; padding k/2, stride s, WITH bias) -> InstanceNorm (affine,
    eps 1e-5, biased variance) -> LeakyReLU 0.01.
    Names: conv/weight [O,I,k,k,k], conv/bias [O], norm/gamma [O], norm/beta [O]."""

    def __init__(self, channels_in, channels_out, stride=1, kernel=(3, 3, 3), inplace=False):
        super().__init__()
        self.conv = nn.Conv3d(channels_in, channels_out, kernel, stride=stride,
                              padding=[k // 2 for k in kernel], bias=True)
        self.norm = nn.InstanceNorm3d(channels_out, eps=1e-5, affine=True)
        self.inplace = inplace

    def forward(self, x):
        return functional.leaky_relu(self.norm(self.conv(x)), NEGATIVE_SLOPE, inplace=self.inplace)


class UNet3d(nn.Module):
    """nnU-Net's PlainConvUNet, 3d_fullres. Stages s = 0..S-1, widths w_s, strides t_s (t_0 = 1),
    kernels k_s (3^3 unless given; the decoder level l uses k_l, as the encoder stage l does).

    encoder stage s:  unit0 = ConvUnit(w_{s-1} or inputs -> w_s, stride t_s)   [down = strided conv]
                      unit1 = ConvUnit(w_s -> w_s)                            [skip_s = its output]
    decoder level l = S-2 .. 0 (named by the level it produces):
                      up    = transposed conv, kernel = stride = t_{l+1}, no padding, WITH bias,
                              w_{l+1} -> w_l; weight [I,O,k,k,k]; no norm, no activation after it
                      x     = concat(up(x), skip_l), upsampled channels FIRST    [2 w_l channels]
                      unit0 = ConvUnit(2 w_l -> w_l), unit1 = ConvUnit(w_l -> w_l)
                      head  = conv 1^3, WITH bias, w_l -> classes: logits, no activation
    Every decoder level has a head, used or not, so the count does not depend on deep supervision.
    Parameters, in order: enc0..enc{S-1}, then dec{l} and head{l} for l = S-2..0.
    forward: logits of level 0, or with `deep_supervision` the list for levels 0..S-2.
    """

    def __init__(self, channels, classes, widths, strides=None, kernels=None, units=2,
                 deep_supervision=False, inplace=False):
        super().__init__()
        self.levels = len(widths)
        self.units = units
        self.deep_supervision = deep_supervision
        self.strides = [triple(s) for s in (strides or [1] + [2] * (self.levels - 1))]
        kernels = [triple(k) for k in (kernels or [3] * self.levels)]
        width = channels
        for level, wide in enumerate(widths):
            stage = nn.Module()
            for unit in range(units):
                stride = self.strides[level] if unit == 0 else 1
                stage.add_module(f"unit{unit}",
                                 ConvUnit(width, wide, stride, kernels[level], inplace))
                width = wide
            self.add_module(f"enc{level}", stage)
        for level in reversed(range(self.levels - 1)):
            stage = nn.Module()
            stride = self.strides[level + 1]
            stage.up = nn.ConvTranspose3d(width, widths[level], stride, stride=stride, bias=True)
            for unit in range(units):
                width = 2 * widths[level] if unit == 0 else widths[level]
                stage.add_module(f"unit{unit}",
                                 ConvUnit(width, widths[level], 1, kernels[level], inplace))
            width = widths[level]
            self.add_module(f"dec{level}", stage)
            self.add_module(f"head{level}", nn.Conv3d(width, classes, 1, bias=True))

    def forward(self, x):
        skips = []
        for level in range(self.levels):
            for unit in range(self.units):
                x = getattr(getattr(self, f"enc{level}"), f"unit{unit}")(x)
            skips.append(x)
        logits = []
        for level in reversed(range(self.levels - 1)):
            stage = getattr(self, f"dec{level}")
            x = torch.cat((stage.up(x), skips[level]), 1)
            for unit in range(self.units):
                x = getattr(stage, f"unit{unit}")(x)
            if self.deep_supervision or level == 0:
                logits.insert(0, getattr(self, f"head{level}")(x))
        return logits if self.deep_supervision else logits[0]


class Branch(nn.Module):
    """F and G of a coupling, on C/2 channels: GroupNorm (affine, eps 1e-5) -> LeakyReLU 0.01 ->
    conv 3^3 (padding 1, NO bias). Names: norm/gamma, norm/beta, conv/weight."""

    def __init__(self, channels, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-5, affine=True)
        self.conv = nn.Conv3d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x):
        return self.conv(functional.leaky_relu(self.norm(x), NEGATIVE_SLOPE))


class Coupling(nn.Module):
    """x1, x2 = first and second half of the channels; y1 = x1 + F(x2); y2 = x2 + G(y1);
    output = concat(y1, y2). Names: f/..., g/..."""

    def __init__(self, channels, groups):
        super().__init__()
        self.f = Branch(channels // 2, groups)
        self.g = Branch(channels // 2, groups)

    def forward(self, x):
        x1, x2 = torch.chunk(x, 2, 1)
        y1 = x1 + self.f(x2)
        return torch.cat((y1, x2 + self.g(y1)), 1)


def default_groups(widths):
    """One group count for the whole net, as published (30 = 60/2): the largest divisor <= 30 of the
    greatest common divisor of all C_l/2."""
    common = 0
    for width in widths:
        a, b = width // 2, common
        while b:
            a, b = b, a % b
        common = a
    return max(g for g in range(1, 31) if common % g == 0)


class RevUNet3d(nn.Module):
    """Partially reversible U-Net (Bruegger 2019, released code). Levels l = 0..L-1, widths C_l (even).

    stem:             conv 3^3, padding 1, NO bias, inputs -> C_0; no norm, no activation
    encoder level l:  l > 0: max-pool 2 (stride 2), expand = conv 1^3 WITH bias C_{l-1} -> C_l
                      then `encoder_depth` couplings at C_l (block0, block1, ...); skip_l = output, l < L-1
    decoder level l = L-1 .. 0 (named by the level its couplings act on; L-1 has its own couplings
                      after the encoder's, and no skip):
                      `decoder_depth` couplings at C_l
                      l > 0: reduce = conv 1^3 WITH bias C_l -> C_{l-1} (BEFORE upsampling), trilinear
                      x2 (align_corners = false, edge clamped), then x = x + skip_{l-1}
    head0:            conv 1^3 WITH bias C_0 -> classes: logits (the paper ends in a sigmoid)
    GroupNorm group count is the same everywhere: C_0/2 = 30 in the paper, see `default_groups`.
    Every extent must be a multiple of 2^(L-1).
    Parameters, in order: stem, enc0..enc{L-1}, dec{L-1}..dec0, head0.
    """

    def __init__(self, channels, classes, widths, encoder_depth=1, decoder_depth=1, groups=None):
        super().__init__()
        self.levels = len(widths)
        self.depths = (encoder_depth, decoder_depth)
        groups = groups or default_groups(widths)
        self.groups = groups
        self.stem = nn.Conv3d(channels, widths[0], 3, padding=1, bias=False)
        for level in range(self.levels):
            stage = nn.Module()
            if level:
                stage.expand = nn.Conv3d(widths[level - 1], widths[level], 1, bias=True)
            for block in range(encoder_depth):
                stage.add_module(f"block{block}", Coupling(widths[level], groups))
            self.add_module(f"enc{level}", stage)
        for level in reversed(range(self.levels)):
            stage = nn.Module()
            for block in range(decoder_depth):
                stage.add_module(f"block{block}", Coupling(widths[level], groups))
            if level:
                stage.reduce = nn.Conv3d(widths[level], widths[level - 1], 1, bias=True)
            self.add_module(f"dec{level}", stage)
        self.head0 = nn.Conv3d(widths[0], classes, 1, bias=True)

    def sequence(self, stage, depth, x):
        """The couplings of a stage; what coupling.py replaces."""
        for block in range(depth):
            x = getattr(stage, f"block{block}")(x)
        return x

    def forward(self, x):
        skips = []
        x = self.stem(x)
        for level in range(self.levels):
            stage = getattr(self, f"enc{level}")
            if level:
                x = stage.expand(functional.max_pool3d(x, 2))
            x = self.sequence(stage, self.depths[0], x)
            skips.append(x)
        for level in reversed(range(self.levels)):
            stage = getattr(self, f"dec{level}")
            x = self.sequence(stage, self.depths[1], x)
            if level:
                x = functional.interpolate(stage.reduce(x), scale_factor=2, mode="trilinear",
                                           align_corners=False)
                x = x + skips[level - 1]
        return self.head0(x)


def baseline_count(channels, classes, widths):
    """Parameters of the published non-reversible baseline: widths 30..480, units conv 3^3 (no bias),
    GroupNorm; two per encoder level, one at the bottom; decoder: one back to the next width, then
    (same width, next width) after each trilinear x2 and added skip; head with bias."""

    def unit(i, o):
        return 27 * i * o + 2 * o

    total, width = 0, channels
    for wide in widths[:-1]:
        total, width = total + unit(width, wide) + unit(wide, wide), wide
    total += unit(width, widths[-1]) + unit(widths[-1], width)
    for wide in list(reversed(widths[:-2])) + [widths[0]]:
        total, width = total + unit(width, width) + unit(width, wide), wide
    return total + widths[0] * classes + classes


def parameters_by_name(model):
    """[(our name, tensor)] in creation order. Norm weight and bias are called gamma and beta."""
    result = []
    for name, tensor in model.named_parameters():
        scope, leaf = name.rsplit(".", 1)
        if scope.endswith("norm"):
            leaf = {"weight": "gamma", "bias": "beta"}[leaf]
        result.append((f"{scope}.{leaf}".replace(".", "/"), tensor))
    return result


def fan_in(model, name, tensor):
    """PyTorch's: product of every extent but the first. For a transposed conv, whose weight is
    [I,O,k,k,k], that is O*k^3 and not I: nnU-Net's initialisation has this quirk, so we keep it."""
    return tensor[0].numel()


@torch.no_grad()
def initialise(model, generator=None):
    """nnU-Net's InitWeights_He(0.01): conv and transposed conv weights normal with
    std = sqrt(2 / ((1 + 0.01^2) fan_in)), biases 0; norms gamma 1, beta 0."""
    for name, tensor in parameters_by_name(model):
        leaf = name.rsplit("/", 1)[1]
        if leaf == "weight":
            std = (2 / ((1 + NEGATIVE_SLOPE**2) * fan_in(model, name, tensor))) ** 0.5
            tensor.normal_(0, std, generator=generator)
        else:
            tensor.fill_(1.0 if leaf == "gamma" else 0.0)
    return model


def build(name, channels, classes, widths, **options):
    return {"unet3d": UNet3d, "revunet3d": RevUNet3d}[name](channels, classes, widths, **options)


def count(model):
    return sum(tensor.numel() for _, tensor in parameters_by_name(model))


def forward_flops(model, size):
    """Multiply-adds x 2 of every convolution in one forward pass on `size`; the backward pass costs
    twice this, less the first layer's data gradient."""
    total = 0

    def hook(module, _inputs, output):
        nonlocal total
        spatial = output[0, 0].numel()
        if isinstance(module, nn.ConvTranspose3d):
            spatial = _inputs[0][0, 0].numel()
        total += 2 * spatial * module.weight.numel()

    handles = [m.register_forward_hook(hook) for m in model.modules()
               if isinstance(m, (nn.Conv3d, nn.ConvTranspose3d))]
    channels = next(m for m in model.modules() if isinstance(m, nn.Conv3d)).in_channels
    with torch.no_grad():
        model(torch.zeros(1, channels, *size))
    for handle in handles:
        handle.remove()
    return total


def main():
    stages = [32, 64, 128, 256, 320, 320]
    for classes in (2, 3):
        print(f"unet3d 6 stages 32..320, 1 -> {classes}:", count(UNet3d(1, classes, stages)))
    paper = [60, 120, 240, 360, 480]
    checks = [
        ("revunet3d 4 -> 3", count(RevUNet3d(4, 3, paper)), 12365283),
        ("revunet3d fat (encoder depth 2)", count(RevUNet3d(4, 3, paper, encoder_depth=2)), 18248403),
        ("non-reversible baseline", baseline_count(4, 3, [30, 60, 120, 240, 480]), 12425253),
    ]
    for what, found, expected in checks:
        print(f"{what}: {found} (published {expected})")
        assert found == expected, what


if __name__ == "__main__":
    main()
