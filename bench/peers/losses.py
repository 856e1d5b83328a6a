"""nnU-Net's training loss in PyTorch: soft Dice + cross-entropy with ignore label, deep supervision.

Owns: the definition our losses are checked against. Invariant: everything is computed in the dtype
of the logits, so a float64 model gives a float64 loss.

Per output, logits z [N,K,D,H,W], labels t [N,D,H,W] (integers; `ignore` marks voxels left out):
  p = softmax_K(z); m = (t != ignore)
  CE = mean over voxels with m = 1, over the whole batch, of -log p[t]   (0 if there are none)
  for every n and every class k >= 1 (background left out), sums over the voxels of sample n:
  Dice_nk = (2 sum m p g + 1e-5) / max(sum m g + sum m p + 1e-5, 1e-8),  g = (t == k)
  loss = CE - mean_nk Dice_nk                                            (batch_dice off)
Deep supervision: loss = sum_l v_l loss(z_l, t_l), v = 1, 1/2, 1/4, ... with the LAST (coarsest) set
to 0, then divided by their sum; a single output has v = 1. A head with v = 0 is not evaluated and
its parameters get no gradient at all (so no weight decay either).
t_l = t sampled nearest with half-pixel centres (torch "nearest-exact"): for a factor f the source
index of i is floor((i + 0.5) f), that is f i + f/2 for even f.
"""

import torch
from torch.nn import functional


def dice_and_ce(logits, labels, ignore=None, smooth=1e-5):
    classes = logits.shape[1]
    mask = torch.ones_like(labels, dtype=torch.bool) if ignore is None else labels != ignore
    target = torch.where(mask, labels, torch.zeros_like(labels))
    log_p = functional.log_softmax(logits, 1)
    picked = -log_p.gather(1, target[:, None])[:, 0]
    count = int(mask.sum())
    ce = (picked * mask).sum() / count if count else picked.sum() * 0
    onehot = functional.one_hot(target, classes).movedim(-1, 1).to(logits.dtype)
    weight = mask[:, None].to(logits.dtype)
    p = (log_p.exp() * weight)[:, 1:]
    g = (onehot * weight)[:, 1:]
    axes = (2, 3, 4)
    dice = (2 * (p * g).sum(axes) + smooth) / (g.sum(axes) + p.sum(axes) + smooth).clamp_min(1e-8)
    return ce - dice.mean()


def supervision_weights(outputs):
    weights = [0.5**i for i in range(outputs)]
    if outputs > 1:
        weights[-1] = 0.0
    total = sum(weights)
    return [w / total for w in weights]


def labels_at(labels, shape):
    if tuple(labels.shape[1:]) == tuple(shape):
        return labels
    # Label values are small integers, exact in float32.
    small = functional.interpolate(labels[:, None].float(), tuple(shape), mode="nearest-exact")
    return small[:, 0].to(labels.dtype)


def training_loss(outputs, labels, ignore=None):
    """`outputs`: logits, or the deep supervision list from the finest level on."""
    outputs = outputs if isinstance(outputs, list) else [outputs]
    loss = 0
    for weight, logits in zip(supervision_weights(len(outputs)), outputs):
        if weight:
            loss = loss + weight * dice_and_ce(logits, labels_at(labels, logits.shape[2:]), ignore)
    return loss
