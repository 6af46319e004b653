"""What is in a data set and what is wrong with it, before anything is trained on it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from boxless.data.catalog import Catalog, read_catalog
from boxless.data.images import decode
from boxless.data.likeness import HEIGHT, WIDTH, Thumbnail, alike_across, difference_hash, thumbnail
from boxless.data.listing import kind_of, some
from boxless.errors import DataError
from boxless.stream import default_workers, ordered_map
from boxless.types import Item

Key = TypeVar("Key")
Value = TypeVar("Value")

SMALL = 32  # pixels; a shorter side than this gives most backbones a map of one cell
FEW = 10  # images or videos; a class with fewer is hard to learn


@dataclass(frozen=True, slots=True)
class Spread:
    """Least, median and greatest of a number of pixels."""

    least: int
    median: float
    greatest: int


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that cannot be read."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Two images of different splits that look alike."""

    first: str
    first_split: str
    second: str
    second_split: str
    bits: int  # of 64 that differ in their hashes


@dataclass(frozen=True, slots=True)
class Footage:
    """How much there is of videos."""

    videos: int
    shots: int
    frames: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """The findings. Names are item names; groups hold at least two of them."""

    source: str
    format: str
    reason: str
    split_rule: str
    multi_label: bool
    counts: dict[str, dict[str, int]]  # class -> split -> images that show it
    footage: dict[str, Footage]  # split -> what there is of videos; empty if the data are of images
    width: Spread | None  # None if no image can be read
    height: Spread | None
    modes: dict[str, int]  # how files store colour, Pillow's names -> files
    broken: tuple[Broken, ...]
    duplicates: tuple[tuple[str, ...], ...]  # equal files
    duplicates_across_splits: tuple[tuple[str, ...], ...]  # those of them in more than one split, as "split: name"
    duplicates_across_classes: tuple[tuple[str, ...], ...]  # those of them with different labels
    near_duplicates: tuple[NearDuplicate, ...]  # across splits; equal files are not repeated here
    equal_names: tuple[tuple[str, ...], ...]  # the same file name in different folders; frames of videos do not count
    small: tuple[str, ...]  # a side shorter than 32 pixels
    few: tuple[str, ...]  # classes with fewer than 10 images, or videos
    warnings: tuple[str, ...]  # all of it that the user should act on, in plain words

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the scan keeps of one file."""

    size: tuple[int, int] = (0, 0)
    mode: str = ""
    digest: bytes = b""
    levels: Thumbnail | None = None
    broken: str = ""


def inspect(
    source: Catalog | str | Path, *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> Inspection:
    """Decode every image of a data set and report.

    Args:
        source: A catalog, or what ``read_catalog`` takes.
        workers: Threads that decode; by default as many as there are processors, up to 8.
        progress: Called after each image with how many are done and how many there are.
    """
    catalog = source if isinstance(source, Catalog) else read_catalog(source)
    listed = [(split, item) for split, items in catalog.splits.items() for item in items]
    count = default_workers() if workers is None else workers
    seen: list[_Seen] = []
    for one in ordered_map(_look, (item for _, item in listed), workers=count, ahead=8 * max(1, count)):
        seen.append(one)
        if progress is not None:
            progress(len(seen), len(listed))
    return _findings(catalog, listed, seen)


def _look(item: Item) -> _Seen:
    try:
        decoded = decode(item.path, shrink_to=8 * max(WIDTH, HEIGHT))
        with item.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except (DataError, OSError) as error:
        return _Seen(broken=str(error))
    return _Seen(decoded.size, decoded.mode, digest, thumbnail(decoded.image))


def _findings(catalog: Catalog, listed: list[tuple[str, Item]], seen: list[_Seen]) -> Inspection:
    looked = [(item, one) for (_, item), one in zip(listed, seen, strict=True)]
    read = [(item, one) for item, one in looked if not one.broken]
    found: dict[str, tuple[Any, ...]] = {
        "broken": tuple(Broken(item.name, one.broken) for item, one in looked if one.broken),
        **_duplicates(listed, seen),
        "near_duplicates": _near_duplicates(listed, seen),
        "equal_names": tuple(
            map(tuple, _groups((item.path.name, item.name) for item in _distinct(listed) if not item.shot))
        ),
        "small": tuple(item.name for item, one in read if min(one.size) < SMALL),
        "few": tuple(name for name, count in _units(catalog).items() if count < FEW),
    }
    return Inspection(
        source=str(catalog.source or catalog.root),
        format=catalog.format,
        reason=catalog.reason,
        split_rule=catalog.split_rule,
        multi_label=catalog.multi_label,
        counts=_counts(catalog),
        footage=_footage(catalog),
        width=_spread([one.size[0] for _, one in read]),
        height=_spread([one.size[1] for _, one in read]),
        modes=dict(Counter(one.mode for _, one in read).most_common()),
        warnings=(*catalog.problems, *_warnings(found, kind_of(catalog.items))),
        **found,
    )


def _duplicates(listed: list[tuple[str, Item]], seen: list[_Seen]) -> dict[str, tuple[tuple[str, ...], ...]]:
    equal = _groups((one.digest, listed[place]) for place, one in enumerate(seen) if one.digest)
    return {
        "duplicates": tuple(tuple(item.name for _, item in group) for group in equal),
        "duplicates_across_splits": tuple(
            tuple(f"{split}: {item.name}" for split, item in group)
            for group in equal
            if len({split for split, _ in group}) > 1
        ),
        "duplicates_across_classes": tuple(
            tuple(item.name for _, item in group) for group in equal if len({item.labels for _, item in group}) > 1
        ),
    }


def _distinct(listed: list[tuple[str, Item]]) -> Iterable[Item]:
    return {item.name: item for _, item in listed}.values()


def _groups(pairs: Iterable[tuple[Key, Value]]) -> list[list[Value]]:
    """Values with the same key, where there are at least two."""
    found: dict[Key, list[Value]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return [values for values in found.values() if len(values) > 1]


def _counts(catalog: Catalog) -> dict[str, dict[str, int]]:
    counts = {name: dict.fromkeys(catalog.splits, 0) for name in catalog.classes}
    for split, items in catalog.splits.items():
        for item in items:
            for label in item.labels:
                counts[catalog.classes[label]][split] += 1
    return counts


def _units(catalog: Catalog) -> dict[str, int]:
    """How many images, or videos, show each class."""
    if kind_of(catalog.items) == "image":
        return {name: sum(counts.values()) for name, counts in _counts(catalog).items()}
    showing = {(label, item.shot.video if item.shot else item.name) for item in catalog.items for label in item.labels}
    counts = Counter(label for label, _ in showing)
    return {name: counts[label] for label, name in enumerate(catalog.classes)}


def _footage(catalog: Catalog) -> dict[str, Footage]:
    shots = {split: [item.shot for item in items if item.shot] for split, items in catalog.splits.items()}
    if not any(shots.values()):
        return {}
    return {split: Footage(len({shot.video for shot in of}), len(set(of)), len(of)) for split, of in shots.items()}


def _spread(values: list[int]) -> Spread | None:
    return Spread(min(values), median(values), max(values)) if values else None


def _near_duplicates(listed: list[tuple[str, Item]], seen: list[_Seen]) -> tuple[NearDuplicate, ...]:
    hashes = [None if one.levels is None else difference_hash(one.levels) for one in seen]
    pairs = alike_across(hashes, [one.levels for one in seen], [split for split, _ in listed])
    return tuple(
        NearDuplicate(
            listed[pair.first][1].name,
            listed[pair.first][0],
            listed[pair.second][1].name,
            listed[pair.second][0],
            pair.bits,
        )
        for pair in pairs
        if seen[pair.first].digest != seen[pair.second].digest
    )


def _warnings(found: Mapping[str, Any], kind: str) -> list[str]:
    """One sentence for each kind of finding, with the first examples and what to do."""
    alike = [
        f"{pair.first} ({pair.first_split}) and {pair.second} ({pair.second_split})"
        for pair in found["near_duplicates"]
    ]
    sentences = (
        (
            [each.name for each in found["broken"]],
            "files cannot be read and would be skipped; mend or remove them",
        ),
        (
            [" = ".join(group) for group in found["duplicates_across_splits"]],
            "images lie in more than one split, which makes results look better than they are; keep each in one split",
        ),
        (alike, "pairs of images in different splits look alike; keep copies of one picture in one split"),
        (
            [" = ".join(group) for group in found["duplicates_across_classes"]],
            "images lie under different classes; keep the right one, or give both labels in a CSV file",
        ),
        (found["small"], f"images have a side shorter than {SMALL} pixels; maps of them are coarse"),
        (found["few"], f"classes have fewer than {FEW} {kind}s; add some, or join or remove the class"),
    )
    return [f"{len(names)} {sentence}: {some(names)}" for names, sentence in sentences if names]
