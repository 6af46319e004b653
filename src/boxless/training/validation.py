"""The figure that weights are selected by while a run trains."""

from __future__ import annotations

import torch
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.methods.base import Method
from boxless.stream import batched, default_workers, ordered_map
from boxless.training.examples import Examples
from boxless.training.features import FeatureCache


@torch.no_grad()
def class_accuracy(
    method: Method,
    examples: Examples,
    cache: FeatureCache | None,
    device: torch.device,
    *,
    rank: int = 0,
    world: int = 1,
) -> tuple[int, int]:
    """How many of a device's share of the images get one of their labels as predicted class, out of how many.

    Args:
        method: The method; its mode is left as found.
        examples: The images.
        cache: Their features, if they were computed before.
        device: Where to compute.
        rank: Which share of the images.
        world: Number of shares.
    """
    mode = method.training
    method.eval()
    right = count = 0
    indices = range(rank, len(examples), world)
    images = ordered_map(
        lambda i: (i, None if cache is not None else examples.attempt(i, examples.plain)),
        indices,
        workers=0 if cache is not None else default_workers(),
        ahead=128,
    )
    for chunk in batched(images, 64):
        kept = [(i, image) for i, image in chunk if i not in examples.refused]
        if not kept:
            continue
        rows = [i for i, _ in kept]
        logits = _logits(method, rows, [image for _, image in kept], cache, device)
        hit = examples.targets[rows].gather(1, logits.argmax(1, keepdim=True).cpu())
        right, count = right + int(hit.sum()), count + len(rows)
    method.train(mode)
    return right, count


def _logits(
    method: Method, rows: list[int], images: list[Tensor | None], cache: FeatureCache | None, device: torch.device
) -> Tensor:
    if cache is None:
        stacked = torch.stack([image for image in images if image is not None])
        return method.localize(stacked.to(device, memory_format=torch.channels_last)).logits
    stand_in = torch.empty(len(rows), 3, 0, 0, device=device)  # the features are at hand, the images are not needed
    backbone: Backbone = method.backbone
    with backbone.replay(stand_in, cache.read(rows, [False] * len(rows), device)):
        return method.localize(stand_in).logits
