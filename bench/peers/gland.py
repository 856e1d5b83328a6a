"""The same network and recipe in PyTorch on an nnU-Net raw dataset of small volumes, for comparing
Dice with ours.

Owns: the PyTorch side of the accuracy comparison. Reads the plan.json that `revoxel plan` writes
(keys of engine/run/recipe.h, axes x, y, z) and follows it as far as a small peer can: whole-volume or
patch training, z-score, mirroring, rotation and scaling, noise, blur, brightness, contrast, low
resolution, gamma, Dice + CE with deep supervision, SGD-Nesterov or AdamW, poly or cosine,
clipping, our own split rule. Invariant: with one thread the result depends on plan and seed alone.

usage: gland.py DATASET [--plan plan.json] [--set key=value ...] [--seed N] [--minutes M]
                [--threads T] [--dtype f32|bf16] [--mirror-inference]
Prints one JSON object: Dice per validation case and class, its mean, seconds, and the curve.
--set changes a dotted key of the plan, e.g. --set training.steps=300 --set network.widths=[8,16,32].
"""

import argparse
import glob
import itertools
import json
import os
import sys
import time

import nibabel
import numpy as np
import torch
from torch.nn import functional

import losses
import networks

DEFAULTS = {
    "network": {"name": "unet3d", "in_channels": 1, "classes": 2, "widths": [16, 32, 64, 128],
                "strides": None, "kernels": None, "convolutions_per_stage": 2, "depth": 1,
                "deep_supervision": True},
    "patch": {"size": "whole", "batch": 2, "foreground_fraction": 0.33},
    "augmentation": {
        "mirror_axes": ["x", "y", "z"], "mirror_probability": 0.5,
        "rotation": {"probability": 0.2, "degrees": [30, 30, 30]},
        "scaling": {"probability": 0.2, "factor": [0.7, 1.4]},
        "noise": {"probability": 0.1, "variance": [0, 0.1]},
        "blur": {"probability": 0.2, "channel_probability": 0.5, "sigma_voxels": [0.5, 1]},
        "brightness": {"probability": 0.15, "factor": [0.75, 1.25]},
        "contrast": {"probability": 0.15, "factor": [0.75, 1.25]},
        "low_resolution": {"probability": 0.25, "channel_probability": 0.5, "zoom": [0.5, 1]},
        "gamma_inverted": {"probability": 0.1, "exponent": [0.7, 1.5]},
        "gamma": {"probability": 0.3, "exponent": [0.7, 1.5]}},
    "optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.99, "nesterov": True,
                  "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 3e-5,
                  "schedule": "poly", "poly_power": 0.9, "warmup_steps": 0, "gradient_clip": 12},
    "training": {"steps": 800, "validation_every": 100, "seed": 0},
    "inference": {"mirror": False},
    "fold": {"index": 0, "count": 4, "seed": 12345, "train": None, "validation": None},
}


def merge(base, extra):
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
    return base


def philox(seed, stream, counter):
    """kernels/random.h, one block."""
    c = [counter & 0xFFFFFFFF, counter >> 32, stream & 0xFFFFFFFF, stream >> 32]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k1, p0 & 0xFFFFFFFF]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def split(cases, fold):
    """rvx__recipe_split: Fisher-Yates with Philox stream "fold", then runs as in sklearn's KFold."""
    if fold["train"]:
        return fold["train"], fold["validation"]
    order = list(range(len(cases)))
    for counter, i in enumerate(range(len(cases) - 1, 0, -1)):
        word = philox(fold["seed"], 0x666F6C64, counter)
        j = ((word[1] << 32 | word[0]) * (i + 1)) >> 64
        order[i], order[j] = order[j], order[i]
    length, longer = divmod(len(cases), fold["count"])
    first = fold["index"] * length + min(fold["index"], longer)
    held = set(order[first:first + length + (fold["index"] < longer)])
    return ([c for i, c in enumerate(cases) if i not in held],
            [c for i, c in enumerate(cases) if i in held])


def load_case(dataset, case, channels):
    """Image [C,z,y,x] z-scored over the volume, labels [z,y,x]."""
    image = [np.asarray(nibabel.load(f"{dataset}/imagesTr/{case}_{c:04d}.nii.gz").dataobj,
                        np.float32).T for c in range(channels)]
    image = np.stack([(i - i.mean()) / max(float(i.std()), 1e-8) for i in image])
    labels = np.asarray(nibabel.load(f"{dataset}/labelsTr/{case}.nii.gz").dataobj).T
    return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(labels.astype(np.int64))


def pad_to(tensor, shape):
    """Zeros (the mean after z-score; background) on both sides, the smaller half first."""
    pads = []
    for extent, wanted in zip(reversed(tensor.shape[-3:]), reversed(shape)):
        more = max(0, wanted - extent)
        pads += [more // 2, more - more // 2]
    return functional.pad(tensor, pads)


def crop(tensor, begin, shape):
    index = tuple(slice(b, b + s) for b, s in zip(begin, shape))
    return tensor[(..., *index)]


class Sampler:
    def __init__(self, plan, cases, shape, seed):
        self.plan, self.cases, self.shape = plan, cases, shape
        self.random = np.random.default_rng(seed)
        self.noise = torch.Generator().manual_seed(seed)
        self.deck = []

    def happens(self, probability):
        return self.random.random() < probability

    def draw(self):
        if not self.deck:
            self.deck = list(self.random.permutation(len(self.cases)))
        image, labels = self.cases[self.deck.pop()]
        margin = [s - p for s, p in zip(labels.shape, self.shape)]
        begin = [int(self.random.integers(0, max(m, 0) + 1)) for m in margin]
        if max(margin) > 0 and self.happens(self.plan["patch"]["foreground_fraction"]):
            where = torch.nonzero(labels)
            if len(where):
                centre = where[int(self.random.integers(len(where)))].tolist()
                begin = [min(max(c - p // 2, 0), max(m, 0))
                         for c, p, m in zip(centre, self.shape, margin)]
        image, labels = crop(image, begin, self.shape), crop(labels, begin, self.shape)
        return self.augment(pad_to(image, self.shape), pad_to(labels, self.shape))

    def spatial(self, image, labels):
        a = self.plan["augmentation"]
        rotate, scale = self.happens(a["rotation"]["probability"]), self.happens(
            a["scaling"]["probability"])
        if not rotate and not scale:
            return image, labels
        matrix = np.eye(3)
        if rotate:
            for axis, limit in enumerate(a["rotation"]["degrees"]):
                angle = np.deg2rad(self.random.uniform(-limit, limit))
                c, s, turn = np.cos(angle), np.sin(angle), np.eye(3)
                i, j = [k for k in range(3) if k != axis]
                turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
                matrix = matrix @ turn
        if scale:
            matrix = matrix / self.random.uniform(*a["scaling"]["factor"])
        half = np.array(labels.shape[::-1]) / 2  # x, y, z: the unit of grid_sample's coordinates
        theta = np.zeros((1, 3, 4), np.float32)
        theta[0, :, :3] = matrix * half[None, :] / half[:, None]
        grid = functional.affine_grid(torch.from_numpy(theta), (1, 1, *labels.shape),
                                      align_corners=False)
        image = functional.grid_sample(image[None], grid, align_corners=False)[0]
        # Labels linearly, the class with the largest share.
        onehot = functional.one_hot(labels, self.plan["network"]["classes"]).movedim(-1, 0).float()
        onehot[0] -= 1  # outside is background
        moved = functional.grid_sample(onehot[None], grid, align_corners=False)[0]
        moved[0] += 1
        return image, moved.argmax(0)

    def each_channel(self, image, transform, change):
        """`change` of every channel, with the transform's chances: per sample, then per channel."""
        if self.happens(transform["probability"]):
            return torch.stack([change(plane) if self.happens(transform["channel_probability"])
                                else plane for plane in image])
        return image

    def blur(self, plane):
        sigma = self.random.uniform(*self.plan["augmentation"]["blur"]["sigma_voxels"])
        radius = int(np.ceil(4 * sigma))
        weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
        weights = (weights / weights.sum()).float()
        for axis in range(3):
            moved = plane.movedim(axis, -1)
            lines = functional.pad(moved.reshape(-1, 1, moved.shape[-1]), (radius, radius),
                                   mode="replicate")
            lines = functional.conv1d(lines, weights[None, None])
            plane = lines.reshape(moved.shape).movedim(-1, axis)
        return plane

    def low_resolution(self, plane):
        zoom = self.random.uniform(*self.plan["augmentation"]["low_resolution"]["zoom"])
        small = [max(1, round(extent * zoom)) for extent in plane.shape]
        coarse = functional.interpolate(plane[None, None], small, mode="nearest-exact")
        return functional.interpolate(coarse, plane.shape, mode="trilinear")[0, 0]

    def gamma(self, image, exponent, inverted):
        image = -image if inverted else image
        low, span = image.min(), image.max() - image.min()
        mean, std = image.mean(), image.std()
        image = ((image - low) / span.clamp_min(1e-7)) ** exponent * span + low
        image = (image - image.mean()) / image.std().clamp_min(1e-7) * std + mean
        return -image if inverted else image

    def augment(self, image, labels):
        a, uniform = self.plan["augmentation"], self.random.uniform
        image, labels = self.spatial(image, labels)
        if self.happens(a["noise"]["probability"]):
            sigma = uniform(*a["noise"]["variance"]) ** 0.5
            image = image + sigma * torch.randn(image.shape, generator=self.noise)
        image = self.each_channel(image, a["blur"], self.blur)
        if self.happens(a["brightness"]["probability"]):
            image = image * uniform(*a["brightness"]["factor"])
        if self.happens(a["contrast"]["probability"]):
            mean, low, high = image.mean(), image.min(), image.max()
            image = ((image - mean) * uniform(*a["contrast"]["factor"]) + mean).clamp(low, high)
        image = self.each_channel(image, a["low_resolution"], self.low_resolution)
        for name in ("gamma_inverted", "gamma"):
            if self.happens(a[name]["probability"]):
                image = self.gamma(image, uniform(*a[name]["exponent"]), name == "gamma_inverted")
        for axis in a["mirror_axes"]:
            if self.happens(a["mirror_probability"]):
                at = {"x": -1, "y": -2, "z": -3}[axis]
                image, labels = image.flip(at), labels.flip(at)
        return image, labels

    def batch(self):
        images, labels = zip(*(self.draw() for _ in range(self.plan["patch"]["batch"])))
        return torch.stack(images), torch.stack(labels)


def learning_rate(o, step, steps):
    if step < o["warmup_steps"]:
        return o["learning_rate"] * (step + 1) / o["warmup_steps"]
    part = (step - o["warmup_steps"]) / max(1, steps - o["warmup_steps"])
    if o["schedule"] == "poly":
        return o["learning_rate"] * (1 - part) ** o["poly_power"]
    return o["learning_rate"] * ((1 + np.cos(np.pi * part)) / 2 if o["schedule"] == "cosine" else 1)


@torch.no_grad()
def predict(model, image, shape, axes, autocast):
    """Whole volume, padded to what the strides divide; probabilities averaged over mirrored views."""
    padded = pad_to(image, shape)[None]
    begin = [(w - e) // 2 for w, e in zip(shape, image.shape[1:])]
    total = 0
    for flips in itertools.chain(*(itertools.combinations(axes, n) for n in range(len(axes) + 1))):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            z = model(padded.flip(flips))
        z = z[0] if isinstance(z, list) else z
        total = total + z.float().softmax(1).flip(flips)
    return crop(total[0], begin, image.shape[1:]).argmax(0)


def dice_scores(found, labels, classes):
    scores = []
    for k in range(1, classes):
        p, g = found == k, labels == k
        both = int(p.sum() + g.sum())
        scores.append(2 * int((p & g).sum()) / both if both else 1.0)
    return scores


def evaluate(model, cases, shape, plan, autocast, axes=()):
    model.eval()
    scores = [dice_scores(predict(model, image, shape(labels.shape), axes, autocast), labels,
                          plan["network"]["classes"]) for image, labels in cases]
    model.train()
    return scores


def build(plan, seed):
    n = plan["network"]
    torch.manual_seed(seed)
    if n["name"] == "revunet3d":
        model = networks.RevUNet3d(n["in_channels"], n["classes"], n["widths"], n["depth"])
        strides = [[1] * 3] + [[2] * 3] * (len(n["widths"]) - 1)
    else:
        strides = [s[::-1] for s in n["strides"]] if n["strides"] else \
            [[1] * 3] + [[2] * 3] * (len(n["widths"]) - 1)
        kernels = [k[::-1] for k in n["kernels"]] if n["kernels"] else None
        model = networks.UNet3d(n["in_channels"], n["classes"], n["widths"], strides, kernels,
                                n["convolutions_per_stage"], n["deep_supervision"], inplace=True)
    networks.initialise(model)
    divisor = np.prod(np.array(strides), 0)
    return model, lambda shape: [int(-(-e // d) * d) for e, d in zip(shape, divisor)]


def optimiser_of(model, o):
    if o["name"] == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=1, betas=(o["beta1"], o["beta2"]),
                                 eps=o["epsilon"], weight_decay=o["weight_decay"])
    return torch.optim.SGD(model.parameters(), lr=1, momentum=o["momentum"],
                           nesterov=o["nesterov"], weight_decay=o["weight_decay"])


def train(plan, dataset, seed, minutes, autocast, quiet=False):
    begin = time.perf_counter()
    names = sorted(os.path.basename(p)[:-len(".nii.gz")]
                   for p in glob.glob(f"{dataset}/labelsTr/*.nii.gz"))
    train_names, validation_names = split(names, plan["fold"])
    channels = plan["network"]["in_channels"]
    load = {name: load_case(dataset, name, channels) for name in names}
    model, rounded = build(plan, seed)
    model = model.to(memory_format=torch.channels_last_3d)
    if plan["patch"]["size"] == "whole":
        largest = np.max([load[n][1].shape for n in train_names], 0)
        shape = rounded(largest)
    else:
        shape = plan["patch"]["size"][::-1]
    sampler = Sampler(plan, [load[n] for n in train_names], shape, seed)
    validation = [load[n] for n in validation_names]
    o, steps = plan["optimizer"], plan["training"]["steps"]
    optimiser = optimiser_of(model, o)
    curve, step, average = [], 0, None
    while step < steps:
        if minutes and time.perf_counter() - begin > 60 * minutes:
            break
        image, labels = sampler.batch()
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(o, step, steps)
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            outputs = model(image)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        loss = losses.training_loss([z.float() for z in outputs], labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), o["gradient_clip"] or float("inf"))
        optimiser.step()
        step += 1
        average = loss.item() if average is None else 0.95 * average + 0.05 * loss.item()
        if step % plan["training"]["validation_every"] == 0 and step < steps:
            scores = evaluate(model, validation, rounded, plan, autocast)
            curve.append([step, round(time.perf_counter() - begin, 1), round(average, 4),
                          round(float(np.mean(scores)), 4)])
            if not quiet:
                print(*curve[-1], file=sys.stderr, flush=True)
    seconds = time.perf_counter() - begin
    axes = [{"x": -1, "y": -2, "z": -3}[a] for a in plan["augmentation"]["mirror_axes"]]
    result = {"steps": step, "seconds": round(seconds, 1), "step_seconds": round(seconds / step, 4),
              "shape_zyx": list(map(int, shape)), "parameters": networks.count(model), "seed": seed,
              "loss": round(average, 4), "validation": validation_names}
    scores = evaluate(model, validation, rounded, plan, autocast)
    result["dice"] = dict(zip(validation_names, scores))
    result["mean_dice"] = round(float(np.mean(scores)), 4)
    if plan["inference"]["mirror"]:
        mirrored = evaluate(model, validation, rounded, plan, autocast, axes)
        result["mean_dice_mirrored"] = round(float(np.mean(mirrored)), 4)
    result["curve"] = curve
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--plan")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--mirror-inference", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plan = json.loads(json.dumps(DEFAULTS))
    if options.plan:
        with open(options.plan) as file:
            merge(plan, json.load(file))
    for change in options.changes:
        path, value = change.split("=", 1)
        where = plan
        *scope, leaf = path.split(".")
        for key in scope:
            where = where[key]
        if leaf not in where:
            parser.error(f"the plan has no key '{path}'")
        try:
            where[leaf] = json.loads(value)
        except json.JSONDecodeError:
            where[leaf] = value
    plan["inference"]["mirror"] |= options.mirror_inference
    result = train(plan, options.dataset, options.seed, options.minutes, options.dtype == "bf16")
    result["changes"] = options.changes
    print(json.dumps(result))


if __name__ == "__main__":
    main()
