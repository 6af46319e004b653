"""The figure that weights are selected by while a run trains, and a look at the maps of the weights selected."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.maps.sanity import NOT_FINITE, SAME_FOR_ALL, Warned, Warnings, kinds_of, same_for_all_classes
from boxless.methods.base import Method
from boxless.ops.maps import resize
from boxless.ops.otsu import otsu_thresholds
from boxless.stream import batched, default_workers, ordered_map
from boxless.training.examples import Examples
from boxless.training.features import FeatureCache

MAPS_LOOKED_AT = 32
Seen = TypeVar("Seen")


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
        images_kept = [image for _, image in kept]
        logits = _seen(method, rows, images_kept, cache, device, method.scores)
        hit = examples.targets[rows].gather(1, logits.argmax(1, keepdim=True).cpu())
        right, count = right + int(hit.sum()), count + len(rows)
    method.train(mode)
    return right, count


@torch.no_grad()
def look_at_maps(
    method: Method,
    sets: tuple[Examples, Examples],
    device: torch.device,
    threshold: str | float,
) -> tuple[Warned, ...]:
    """What is wrong with the maps of an image's own class in one batch, spread over the images of val.

    Of a method whose maps are to differ they are also compared with those of another class: if each image has one map
    for both, that is said of all.

    Args:
        method: The method; its mode is left as found.
        sets: The images of train and of val; without any in val those of train are looked at.
        device: Where to compute.
        threshold: The rule for foreground that the run predicts with.
    """
    mode = method.training
    method.eval()
    which = 1 if len(sets[1]) else 0
    examples = sets[which]
    step = max(1, len(examples) // MAPS_LOOKED_AT)
    spread = [i for i in range(0, len(examples), step) if i not in examples.refused][:MAPS_LOOKED_AT]
    images = [examples.attempt(i, examples.plain) for i in spread]  # some methods' maps need more than features
    rows = [i for i in spread if i not in examples.refused]
    found = Warnings()
    if rows:
        own, size = examples.labels[rows], (examples.preprocess.size, examples.preprocess.size)
        asked = torch.stack([own, (own + 1) % examples.targets.shape[1]], 1).to(device)
        kept = [image for i, image in zip(spread, images, strict=True) if i not in examples.refused]
        maps = _seen(method, rows, kept, None, device, lambda seen: method.localize(seen, asked)).maps.float()
        kinds = _kinds(resize(maps, size), maps.isfinite().flatten(1).all(1).tolist(), threshold)
        if method.class_specific and examples.targets.shape[1] > 1 and same_for_all_classes(maps.cpu().numpy()):
            kinds = [kind or SAME_FOR_ALL for kind in kinds]
        for i, kind in zip(rows, kinds, strict=True):
            found.add(examples.items[i].name, kind)
    method.train(mode)
    return found.all()


def _kinds(maps: Tensor, finite: list[bool], threshold: str | float) -> list[str | None]:
    """Of the first map of each image (b, n, h, w), by the foreground that the run would take."""
    first = torch.nan_to_num(maps[:, 0]).clamp(0, 1).cpu().numpy()
    thresholds = otsu_thresholds(first) if threshold == "otsu" else [float(threshold)] * len(first)
    return [kind if sound else NOT_FINITE for kind, sound in zip(kinds_of(first, thresholds), finite, strict=True)]


def _seen(
    method: Method,
    rows: list[int],
    images: list[Tensor | None],
    cache: FeatureCache | None,
    device: torch.device,
    look: Callable[[Tensor], Seen],
) -> Seen:
    """What the method makes of some images, or of their features where these were computed before."""
    if cache is None:
        stacked = torch.stack([image for image in images if image is not None])
        return look(stacked.to(device, memory_format=torch.channels_last))
    stand_in = torch.empty(len(rows), 3, 0, 0, device=device)  # the features are at hand, the images are not needed
    backbone: Backbone = method.backbone
    with backbone.replay(stand_in, cache.read(rows, [False] * len(rows), device)):
        return look(stand_in)
