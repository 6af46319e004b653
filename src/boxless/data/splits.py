"""Train, val and test: their names, and a stable way to make those that are missing."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from boxless.types import Item

SPLITS = ("train", "val", "test")

_ALIASES = {
    **dict.fromkeys(("train", "training", "train-weaksup"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "train-fullsup", "valcl"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SPLIT_NAMES = tuple(_ALIASES)
HELD_OUT = 0.1  # the fraction of the images for each split that has to be made


def split_of(name: str) -> str | None:
    """The split that a folder or a table means by a name, whatever its case."""
    return _ALIASES.get(name.strip().lower())


def complete_splits(given: Mapping[str | None, Sequence[Item]]) -> tuple[dict[str, tuple[Item, ...]], str]:
    """All three splits and a sentence on how they came about.

    What is given is never reshuffled: images are only taken from train. A split that can be given but is missing is
    made from train; data with no train split are for evaluation and stay as they are.

    Args:
        given: Items by split; the key None holds them all if the data have no splits.
    """
    present = [split for split in SPLITS if given.get(split)]
    if not present or present == ["train"]:
        pool, missing = given.get("train") or given.get(None, ()), ["val", "test"]
        rule = f"no split was given: train, val and test are 80, 10 and 10 % by a hash of each {_named(pool)}"
    elif "train" not in present:
        pool, missing = (), []
        rule = f"only {' and '.join(present)} given: these data can be evaluated on, not trained on"
    else:
        pool, missing = given["train"], [split for split in SPLITS if split not in present]
        rule = "train, val and test as given"
        if missing:
            rule = f"{' and '.join(present)} as given; {missing[0]} is 10 % of train, by a hash of each {_named(pool)}"
    made = hold_out(pool, missing)
    every = {split: made.get(split) or tuple(given.get(split, ())) for split in SPLITS}
    return every, rule


def _named(pool: Sequence[Item]) -> str:
    return "video's name" if any(item.shot for item in pool) else "name"


def hold_out(items: Sequence[Item], missing: Sequence[str]) -> dict[str, tuple[Item, ...]]:
    """Part items into train and the missing splits by a hash of their names; frames of one video stay together.

    An item's place depends on its own name alone, so that a new image moves no other, save for what small data need:
    every class keeps at least one image in train, a class of ten images or more has at least one in every part, and no
    part is empty if train can spare an image. Over many images of a class the hash is as good as a stratified draw. A
    video counts as one image, by its own name.
    """
    frames = _videos(items)
    whole = [item for item in items if item.shot is None] + [_stand_in(name, each) for name, each in frames.items()]
    ranked = sorted(whole, key=lambda item: (hashed(item.name), item.name))
    start = 1 - HELD_OUT * len(missing)
    parts: dict[str, dict[str, Item]] = {"train": {}, **{split: {} for split in missing}}
    for item in ranked:
        fraction = hashed(item.name)
        place = min(int((fraction - start) / HELD_OUT), len(missing) - 1) if fraction >= start else -1
        parts[missing[place] if place >= 0 else "train"][item.name] = item
    _return_to_train(parts, missing)
    _fill(parts, missing)
    return {
        split: tuple(item for name in sorted(chosen) for item in frames.get(name, [chosen[name]]))
        for split, chosen in parts.items()
    }


def _videos(items: Sequence[Item]) -> dict[str, list[Item]]:
    """The frames of each video, in the order given."""
    frames: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.shot is not None:
            frames[item.shot.video].append(item)
    return dict(frames)


def _stand_in(name: str, frames: Sequence[Item]) -> Item:
    """One item for all frames of a video."""
    return Item(frames[0].path, name, tuple(sorted({label for frame in frames for label in frame.labels})))


def hashed(name: str) -> float:
    """A number in [0, 1) that depends on nothing but the name: the same on every machine, in every release."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest()) / 2**48


Parts = dict[str, dict[str, Item]]  # split -> item name -> item, each by rising hash


def _return_to_train(parts: Parts, missing: Sequence[str]) -> None:
    """Give train an image of every class: the one that is nearest to train by its hash."""
    seen = {label for item in parts["train"].values() for label in item.labels}
    for split in missing:
        for name, item in list(parts[split].items()):
            if not seen.issuperset(item.labels):
                parts["train"][name] = parts[split].pop(name)
                seen.update(item.labels)


def _fill(parts: Parts, missing: Sequence[str]) -> None:
    """Take images from train for parts, or classes in them, that would have none: the nearest by their hash."""
    totals = Counter(label for items in parts.values() for item in items.values() for label in item.labels)
    spare = Counter(label for item in parts["train"].values() for label in item.labels)
    candidates: dict[int, list[Item]] = defaultdict(list)
    for item in sorted(parts["train"].values(), key=lambda item: (hashed(item.name), item.name), reverse=True):
        for label in item.labels:
            candidates[label].append(item)
    for split in reversed(missing):
        held = {label for item in parts[split].values() for label in item.labels}
        for label in sorted(totals):
            if totals[label] * HELD_OUT >= 1 and label not in held:
                held.update(_move(parts, split, spare, candidates[label]))
        if not parts[split]:
            _move(parts, split, spare, [item for _, items in sorted(candidates.items()) for item in items])


def _move(parts: Parts, split: str, spare: Counter[int], candidates: Sequence[Item]) -> tuple[int, ...]:
    """Move the first candidate that train can spare, and return its labels."""
    for item in candidates:
        if item.name in parts["train"] and all(spare[label] > 1 for label in item.labels):
            parts[split][item.name] = parts["train"].pop(item.name)
            spare.subtract(item.labels)
            return item.labels
    return ()
