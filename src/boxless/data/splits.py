"""Train, val and test: their names, and a stable way to make those that are missing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from boxless.types import Item

SPLITS = ("train", "val", "test")

_ALIASES = {
    **dict.fromkeys(("train", "training", "train-weaksup"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "train-fullsup"), "val"),
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
        rule = "no split was given: train, val and test are 80, 10 and 10 % by a hash of each name"
    elif "train" not in present:
        pool, missing = (), []
        rule = f"only {' and '.join(present)} given: these data can be evaluated on, not trained on"
    else:
        pool, missing = given["train"], [split for split in SPLITS if split not in present]
        rule = "train, val and test as given"
        if missing:
            rule = f"{' and '.join(present)} as given; {missing[0]} is 10 % of train, by a hash of each name"
    made = hold_out(pool, missing)
    every = {split: made.get(split) or tuple(given.get(split, ())) for split in SPLITS}
    return every, rule


def hold_out(items: Sequence[Item], missing: Sequence[str]) -> dict[str, tuple[Item, ...]]:
    """Part items into train and the missing splits by a hash of their names.

    An item's place depends on its own name alone, so that a new image moves no other, with two exceptions for small
    data: every class keeps at least one image in train, and a split that would be empty gets one if train can spare it.
    Over a class with many images the hash is as good as a stratified draw.
    """
    ranked = sorted((hashed(item.name), item.name, item) for item in items)
    start = 1 - HELD_OUT * len(missing)
    parts: dict[str, list[Item]] = {"train": [], **{split: [] for split in missing}}
    for fraction, _, item in ranked:
        place = int((fraction - start) / HELD_OUT) if fraction >= start else -1
        parts["train" if place < 0 else missing[min(place, len(missing) - 1)]].append(item)
    _return_to_train(parts)
    _fill(parts, missing)
    return {split: tuple(sorted(chosen, key=lambda item: item.name)) for split, chosen in parts.items()}


def hashed(name: str) -> float:
    """A number in [0, 1) that depends on nothing but the name: the same on every machine, in every release."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest()) / 2**48


def _return_to_train(parts: dict[str, list[Item]]) -> None:
    seen = {label for item in parts["train"] for label in item.labels}
    for split in [split for split in parts if split != "train"]:
        for item in list(parts[split]):  # by rising hash: the nearest to train first
            if not seen.issuperset(item.labels):
                parts[split].remove(item)
                parts["train"].append(item)
                seen.update(item.labels)


def _fill(parts: dict[str, list[Item]], missing: Sequence[str]) -> None:
    counts = Counter(label for item in parts["train"] for label in item.labels)
    for split in reversed(missing):
        if parts[split]:
            continue
        for item in reversed(parts["train"]):  # by falling hash: the nearest to the held-out end first
            if all(counts[label] > 1 for label in item.labels):
                parts["train"].remove(item)
                parts[split].append(item)
                counts.subtract(item.labels)
                break
