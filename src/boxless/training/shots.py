"""Frames of videos in training: an epoch shows one of each shot, for those beside it are nearly the same.

So do Belharbi et al. (TCAM, WACV 2023) and Murtaza's thesis, appendix II. Images that are no frames are all shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from boxless.data.frames import spread
from boxless.training.randomness import generator
from boxless.types import Item, Shot

Groups = tuple[tuple[int, ...], ...]
LOOKED_AT = 4  # frames of each shot of val


def in_shots(items: Sequence[Item]) -> Groups:
    """The places of items by shot, in their order; an image that is no frame is alone."""
    groups: dict[Shot | int, list[int]] = {}
    for place, item in enumerate(items):
        groups.setdefault(place if item.shot is None else item.shot, []).append(place)
    return tuple(map(tuple, groups.values()))


def rounds(items: Sequence[Item], epochs: int, seed: int) -> tuple[Item, ...]:
    """The items that so many epochs can show: of each shot as many frames, drawn at random.

    All else that training does with its images, such as pseudo-labels and features that are kept, is then done for no
    frame in vain.
    """
    kept: list[int] = []
    for frames in in_shots(items):
        if len(frames) <= epochs:
            kept += frames
            continue
        drawn = torch.randperm(len(frames), generator=_of(items, frames, seed, "kept"))[:epochs]
        kept += sorted(frames[i] for i in drawn.tolist())
    return tuple(items[place] for place in sorted(kept))


def looked_at(items: Sequence[Item]) -> tuple[Item, ...]:
    """What of val is looked at after each epoch: all images, and of each shot so many frames, spread evenly."""
    kept = [place for frames in in_shots(items) for place in spread(frames, LOOKED_AT)]
    return tuple(items[place] for place in sorted(kept))


def draw(items: Sequence[Item], groups: Groups, epoch: int, seed: int) -> list[int]:
    """The places of the items that an epoch shows: one of each shot, each frame once before any comes again."""
    places = []
    for frames in groups:
        around, which = divmod(epoch, len(frames))
        if len(frames) > 1:
            order = torch.randperm(len(frames), generator=_of(items, frames, seed, f"round {around}"))
            which = int(order[which])
        places.append(frames[which])
    return places


@dataclass(frozen=True, slots=True)
class Before:
    """What frame comes before which, in a whole split."""

    items: Sequence[Item]
    place: dict[str, int]  # of each item, by name

    def __call__(self, item: Item, count: int) -> tuple[Item, ...]:
        """The frames before one in its shot, the nearest first, at most ``count``."""
        here = self.place[item.name]
        found = []
        for other in reversed(self.items[max(here - count, 0) : here]):
            if item.shot is None or other.shot != item.shot:
                break
            found.append(other)
        return tuple(found)


def before(items: Sequence[Item]) -> Before:
    """The frames before each of these."""
    return Before(items, {item.name: place for place, item in enumerate(items)})


def _of(items: Sequence[Item], frames: tuple[int, ...], seed: int, purpose: str) -> torch.Generator:
    shot = items[frames[0]].shot
    return generator(seed, "frames", purpose, "" if shot is None else f"{shot.video}#{shot.number}")
