#!/usr/bin/env python3
"""Writes tests/kernels/goldens/<op>.bin: what PyTorch says each op gives, in float64.

    make build/tests/kernels/test_golden
    build/tests/kernels/test_golden --list | /usr/bin/python3 tests/kernels/make_goldens.py

The cases come from the C tables; inputs are made from Philox exactly as tests/kernels/harness.h
makes them, so the files hold only outputs and gradients (at most 256 numbers of each tensor). The
format is described in test_golden.c. Needs numpy and torch.
"""
import json
import math
import os
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

SAMPLES = 256
STREAM_GRAD_OUT = 16
LABELS = {"segmentation_loss": 1, "head_loss": 3}  # the input that is u8
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "goldens")


def philox(seed, stream, count):
    """The four words of Philox4x32-10 for counters 0 .. count - 1 (kernels/random.h)."""
    mask = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    counter = np.arange(count, dtype=np.uint64)
    c0, c1 = counter & mask, counter >> half
    c2 = np.full(count, stream & 0xFFFFFFFF, np.uint64)
    c3 = np.full(count, stream >> 32, np.uint64)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c2 = (p1 >> half) ^ c1 ^ np.uint64(k0), (p0 >> half) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & mask, p0 & mask
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [word.astype(np.uint32) for word in (c0, c1, c2, c3)]


def philox_word0(seed, stream, count):
    return philox(seed, stream, count)[0]


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def numbers(seed, stream, count):
    """Uniform in [-1, 1), exact in float32."""
    word = philox_word0(seed, stream, count)
    return (np.float32(2) * ((word >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24))
            - np.float32(1))


def input_of(case, index, seed):
    shape = case["in"][index]
    count = int(np.prod(shape))
    if LABELS.get(case["op"]) == index:
        return (philox_word0(seed, index, count) % np.uint32(case["labels"])).reshape(shape)
    v = numbers(seed, index, count)
    if index == 0:
        if case["levels"]:
            v = np.floor(v * np.float32(case["levels"])) / np.float32(case["levels"])
        v = np.float32(case["offset"]) + np.float32(case["scale"]) * v
    return v.reshape(shape)


def channels_first(x):
    return x.permute(0, 4, 1, 2, 3)


def channels_last(x):
    return x.permute(0, 2, 3, 4, 1)


def conv(case, x, weight, bias=None):
    y = F.conv3d(channels_first(x), weight.permute(4, 3, 0, 1, 2),
                 None if bias is None else bias.flatten(), case["stride"], case["pad"])
    return [channels_last(y)]


def conv_transpose(case, x, weight, bias=None):
    y = F.conv_transpose3d(channels_first(x), weight.permute(3, 4, 0, 1, 2),
                           None if bias is None else bias.flatten(), case["stride"])
    return [channels_last(y)]


def norm_conv(case, x, weight, bias=None, residual=None, gamma=None, beta=None):
    a, statistics, table = norm_act(case, x, gamma, beta)
    y, = conv(case, a, weight, bias)
    return [y if residual is None else y + residual.detach(), statistics, table]


def norm_act(case, x, gamma=None, beta=None):
    groups = case["groups"] or x.shape[-1]
    gamma = torch.ones(x.shape[-1], dtype=x.dtype) if gamma is None else gamma.flatten()
    beta = torch.zeros(x.shape[-1], dtype=x.dtype) if beta is None else beta.flatten()
    n = x.shape[0]
    if case["batch_statistics"]:
        y = F.leaky_relu(F.batch_norm(channels_first(x), None, None, gamma, beta, True, 0,
                                      case["epsilon"]), case["slope"])
        variance, mean = torch.var_mean(x.flatten(0, 3), 0, unbiased=False)
        variance, mean = variance.expand(n, -1), mean.expand(n, -1)
    else:
        y = F.leaky_relu(F.group_norm(channels_first(x), groups, gamma, beta, case["epsilon"]),
                         case["slope"])
        grouped = channels_first(x).reshape(n, groups, -1)
        variance, mean = torch.var_mean(grouped, 2, unbiased=False)
    rstd = (variance + case["epsilon"]) ** -0.5
    statistics = torch.stack([mean, rstd], -1).reshape(n, 1, 1, groups, 2)
    each = x.shape[-1] // groups
    scale = rstd.repeat_interleave(each, 1) * gamma
    shift = beta - mean.repeat_interleave(each, 1) * scale
    table = torch.stack([scale, shift, torch.full_like(scale, case["slope"])], 1)
    return [channels_last(y), statistics, table.reshape(n, 1, 1, 3, -1)]


def max_pool(case, x):
    return [channels_last(F.max_pool3d(channels_first(x), case["kernel"]))]


def mean_pool(case, x):
    return [x.mean((1, 2, 3), keepdim=True)]


def upsample(case, x):
    y = F.interpolate(channels_first(x), scale_factor=[float(k) for k in case["kernel"]],
                      mode="trilinear", align_corners=False)
    return [channels_last(y)]


def add(case, a, b):
    return [a + b]


def round(case, x):
    return [x.clone()]


def concat(case, *inputs):
    return [torch.cat(inputs, -1)]


def split(case, x):
    return list(torch.split(x, [case["channel_count"], x.shape[-1] - case["channel_count"]], -1))


def deinterleave(case, x):
    return list(torch.chunk(x, 4, -1))


def interleave(case, *inputs):
    return [torch.cat(inputs, -1)]


def space_to_depth(case, x):
    n, d, h, w, c = x.shape
    i, j, k = case["stride"]
    blocks = x.reshape(n, d // i, i, h // j, j, w // k, k, c)
    coarse = (n, d // i, h // j, w // k, i * j * k * c)
    axes = (0, 1, 3, 5, 2, 4, 6, 7) if case["order"] else (0, 1, 3, 5, 7, 2, 4, 6)
    return [blocks.permute(axes).reshape(coarse)]


def depth_to_space(case, x):
    n, d, h, w, c = x.shape
    i, j, k = case["stride"]
    if case["order"]:
        blocks = x.reshape(n, d, h, w, i, j, k, -1).permute(0, 1, 4, 2, 5, 3, 6, 7)
    else:
        blocks = x.reshape(n, d, h, w, -1, i, j, k).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return [blocks.reshape(n, d * i, h * j, w * k, c // (i * j * k))]


def haar_matrix(case):
    low, high = (0.5**0.5, 0.5**0.5) if case["orthonormal"] else (0.5, 1.0)
    pair = torch.tensor([[low, low], [high, -high]], dtype=torch.float64)
    one = torch.eye(1, dtype=torch.float64)
    axes = [pair if stride == 2 else one for stride in case["stride"]]
    return torch.kron(torch.kron(axes[0], axes[1]), axes[2])


def haar(case, x):
    rows = space_to_depth(dict(case, order=0), x)[0].unflatten(-1, (x.shape[-1], -1))
    rows = rows @ haar_matrix(case).mT
    return [(rows.mT if case["order"] else rows).flatten(-2)]


def haar_up(case, x):
    s = math.prod(case["stride"])
    rows = x.unflatten(-1, (s, -1)).mT if case["order"] else x.unflatten(-1, (-1, s))
    rows = rows @ torch.linalg.inv(haar_matrix(case)).mT
    return depth_to_space(dict(case, order=0), rows.flatten(-2))


def orthogonal_matrices(case, weight):
    """Q of each channel, [c][row][column]."""
    w = weight[0, 0].permute(2, 1, 0)
    a = w - w.mT
    one = torch.eye(a.shape[-1], dtype=a.dtype)
    return torch.matrix_exp(a) if case["exponential"] else torch.linalg.solve(one + a, one - a)


def orthogonal_down(case, x, weight):
    rows = space_to_depth(dict(case, order=0), x)[0].unflatten(-1, (x.shape[-1], -1))
    rows = torch.einsum("cij,...cj->...ci", orthogonal_matrices(case, weight), rows)
    return [(rows.mT if case["order"] else rows).flatten(-2)]


def orthogonal_up(case, x, weight):
    s = math.prod(case["stride"])
    rows = x.unflatten(-1, (s, -1)).mT if case["order"] else x.unflatten(-1, (-1, s))
    rows = torch.einsum("cij,...ci->...cj", orthogonal_matrices(case, weight), rows)
    return depth_to_space(dict(case, order=0), rows.flatten(-2))


def dropout(case, x, key):
    """The rule of kernels/dropout.h: 16 bits for each element."""
    key = np.float32(key.item())
    if not key > 0:
        return [x * 1]
    chunks = -(-x.numel() // 128)
    words = philox(int(key.view(np.uint32)), case["layer"], chunks * 16)
    words = np.stack([word.reshape(chunks, 16) for word in words], 1)
    bits = np.stack([words & np.uint32(0xFFFF), words >> np.uint32(16)], 2)
    threshold = int(case["rate"] * 65536 + 0.5)
    keep = torch.from_numpy(bits.reshape(-1)[:x.numel()] >= threshold).reshape(x.shape)
    return [torch.where(keep, x, 0 * x) * (65536 / (65536 - threshold))]


def segmentation_loss(case, logits, labels):
    """nnU-Net's DC_and_CE_loss; labels that are no class count as ignored."""
    classes = logits.shape[-1]
    labels = torch.from_numpy(labels[..., 0].astype(np.int64))
    valid = (labels != case["ignore_label"]) & (labels < classes)
    z = channels_first(logits)
    target = torch.where(valid, labels, torch.full_like(labels, -100))
    ce = (F.cross_entropy(z, target, ignore_index=-100) if valid.any()
          else (0 * logits).sum())
    one_hot = channels_first(F.one_hot(torch.where(valid, labels, 0 * labels), classes)
                             * valid[..., None]).to(logits.dtype)
    p = F.softmax(z, 1) * valid[:, None]
    space = (2, 3, 4)
    intersect, size, truth = (p * one_hot).sum(space), p.sum(space), one_hot.sum(space)
    dice = (2 * intersect + case["smooth"]) / torch.clip(size + truth + case["smooth"], 1e-8)
    dice = -dice[:, 0 if case["include_background"] else 1:].mean()
    hard = channels_first(F.one_hot(logits.argmax(-1), classes) * valid[..., None])
    hit = (hard * one_hot).sum(space)
    statistics = torch.stack([intersect, size, truth, hit, hard.sum(space) - hit, truth - hit], -1)
    count = int(valid.sum())
    summary = torch.stack([ce, dice, torch.tensor(float(count // 2**24)).to(ce),
                           torch.tensor(float(count % 2**24)).to(ce)])
    loss = case["weight"] * (ce + dice)
    return [loss.reshape(1, 1, 1, 1, 1), statistics.reshape(-1, 1, 1, classes, 6),
            summary.reshape(1, 1, 1, 1, 4)]


def head_loss(case, x, weight, bias, labels):
    return segmentation_loss(case, x @ weight[0, 0, 0] + (0 if bias is None else bias), labels)


def head_labels(case, x, weight, bias=None):
    logits = x @ weight[0, 0, 0] + (0 if bias is None else bias)
    return [logits.argmax(-1, keepdim=True)]


DIFFERENTIABLE = {"split": 2, "deinterleave": 4, "head_labels": 0}


def record(name, tensor):
    """Every step-th number, step and count without a common factor so that all channels occur."""
    flat = tensor.detach().numpy().astype(np.float32).ravel()
    step = max(1, -(-flat.size // SAMPLES))
    while math.gcd(step, flat.size) != 1 and step > 1:
        step += 1
    flat = flat[::step]
    return name.encode().ljust(64, b"\0") + struct.pack("<qq", step, flat.size) + flat.tobytes()


def case_records(case):
    seed = fnv1a(case["op"] + "/" + case["case"])
    inputs = []
    for i in range(len(case["in"])):
        if case["in"][i][-1] == 0:  # absent
            inputs.append(None)
            continue
        value = input_of(case, i, seed)
        if value.dtype == np.float32:
            value = torch.from_numpy(value.astype(np.float64)).requires_grad_()
        inputs.append(value)
    outputs = globals()[case["op"]](case, *inputs)
    assert [list(y.shape) for y in outputs] == case["out"], (case, [y.shape for y in outputs])
    total = 0
    for i in range(DIFFERENTIABLE.get(case["op"], 1)):
        given = numbers(seed, STREAM_GRAD_OUT + i, outputs[i].numel()).reshape(outputs[i].shape)
        total = total + (outputs[i] * torch.from_numpy(given.astype(np.float64))).sum()
    if isinstance(total, torch.Tensor):
        total.backward()
    data = b"".join(record(f"{case['case']}/out{i}", y) for i, y in enumerate(outputs))
    for i, x in enumerate(inputs):
        if isinstance(x, torch.Tensor) and x.grad is not None:
            data += record(f"{case['case']}/grad{i}", x.grad)
    return data


def main():
    files = {}
    for line in sys.stdin:
        case = json.loads(line)
        files[case["op"]] = files.get(case["op"], b"RVXGOLD1") + case_records(case)
    os.makedirs(FOLDER, exist_ok=True)
    for op, data in files.items():
        with open(os.path.join(FOLDER, op + ".bin"), "wb") as file:
            file.write(data)
        print(f"{op}: {len(data)} bytes")


if __name__ == "__main__":
    main()
