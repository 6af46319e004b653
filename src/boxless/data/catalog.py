"""One catalog for every kind of labelled data: classes, items and splits, and never a box."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boxless.data.cache import cache_folder
from boxless.data.listing import Listing, Source, some
from boxless.data.sources import SOURCES
from boxless.data.splits import complete_splits
from boxless.data.truth import Truth, read_truth
from boxless.errors import ConfigError, DataError, RunError, UnknownNameError
from boxless.listener import Listener, counter
from boxless.types import Item

__all__ = ["SAMPLE", "SOURCES", "Catalog", "Truth", "read_catalog", "read_truth"]

SAMPLE = "sample"  # the name of the bundled data


@dataclass(frozen=True, slots=True)
class Catalog:
    """Labelled images: what there is to learn from. Boxes are read apart, by ``read_truth``."""

    root: Path  # the folder that item names are relative to
    format: str  # a name in SOURCES
    reason: str  # why the source was taken for that format, one sentence
    classes: tuple[str, ...]  # sorted; a label is a place in this tuple
    splits: dict[str, tuple[Item, ...]]  # always train, val and test; one may be empty
    multi_label: bool  # whether any image shows more than one class
    problems: tuple[str, ...] = ()  # what the user should know, one sentence each
    split_rule: str = ""  # where the splits come from, one sentence
    source: Path | None = None  # the file or folder that was read

    @property
    def items(self) -> tuple[Item, ...]:
        """The items of all splits."""
        return tuple(item for split in self.splits.values() for item in split)


def read_catalog(
    source: str | Path,
    *,
    format: str = "auto",  # noqa: A002
    images: str | Path | None = None,
    listener: Listener | None = None,
) -> Catalog:
    """Read labelled images of any known format.

    Args:
        source: A folder or file, or the name ``sample`` for the bundled data (a folder so called is ``./sample``).
        format: A name in ``SOURCES``, or ``auto`` to find out.
        images: Where the pictures are, for formats that list them (csv, coco, wsol) if they are not beside the list.
        listener: Hears of the sample being rendered at its first use.

    Raises:
        DataError: The data cannot be used: nothing found, one class only, a file or line that is wrong.
        UnknownNameError: There is no such format.
        ConfigError: ``images`` was given for a format that has its pictures inside.
    """
    if format != "auto" and format not in SOURCES:
        raise UnknownNameError("source", format, ["auto", *SOURCES])
    if source == SAMPLE:
        path, format = sample_folder(listener), "folder"  # noqa: A001
        reason = "it is the bundled sample, a folder with one folder per class"
    else:
        path = Path(source).expanduser()
        format, reason = _recognise(path) if format == "auto" else (format, "this format was asked for")  # noqa: A001
    reader: Source = SOURCES.load(format)()
    if images is not None and not reader.takes_images:
        raise ConfigError(f"{path}: the format {format!r} has its images inside; leave out images={str(images)!r}.")
    return _assemble(path, format, reason, reader.read(path, _folder(images)))


def sample_folder(listener: Listener | None = None) -> Path:
    """The bundled sample as a folder, rendered into the cache at its first use."""
    from boxless.data.sample import VERSION, write_sample

    target = cache_folder() / f"sample-v{VERSION}"
    try:
        return write_sample(target, progress=counter(listener or Listener(), "rendering the sample"))
    except RunError as error:
        raise DataError(f"{error} (The environment variable BOXLESS_CACHE moves {target.parent}.)") from error


def _recognise(path: Path) -> tuple[str, str]:
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; give a path, or the name {SAMPLE!r}.")
    for name in SOURCES:
        why = SOURCES.load(name)().recognise(path)
        if why is not None:
            return name, f"it is {why}"
    raise DataError(
        f"{path}: this file is of no kind that boxless reads; known are a folder, a .csv file with the header "
        "path,label, a COCO .json file and metadata.jsonl. Name the format if the file's name hides it."
    )


def _folder(images: str | Path | None) -> Path | None:
    if images is None:
        return None
    folder = Path(images).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of images; check the path.")
    return folder


def _assemble(path: Path, format: str, reason: str, listing: Listing) -> Catalog:  # noqa: A002
    problems = list(listing.problems)
    counts = Counter(_plain(label) for entry in listing.entries for label in set(entry.labels))
    classes = tuple(_sorted(counts))
    if not listing.entries:
        raise DataError(f"{path}: no labelled images were found; check that this is the right file or folder.")
    if len(classes) < 2:
        raise DataError(_one_class(path, format, classes[0], listing))
    empty = {_plain(label) for label in listing.empty_classes} - counts.keys()
    if empty:
        problems.append(f"classes without an image are left out: {some(map(repr, sorted(empty)))}")
    if single := [name for name in classes if counts[name] == 1]:
        problems.append(f"classes with one image only can hardly be learned: {some(map(repr, single))}")
    number = {name: index for index, name in enumerate(classes)}
    given: dict[str | None, list[Item]] = defaultdict(list)
    for entry in listing.entries:
        labels = tuple(sorted({number[_plain(label)] for label in entry.labels}))
        given[entry.split].append(Item(entry.path, entry.name, labels, entry.shot))
    splits, rule = complete_splits(given)
    problems += _in_two_splits(splits)
    if not splits["train"]:
        problems.append("there is no train split: these data can be evaluated on, not trained on")
    else:
        _check_seen(path, splits, classes)
        problems += [f"split {split!r} is empty: too few images" for split in ("val", "test") if not splits[split]]
    multi_label = any(len(item.labels) > 1 for items in given.values() for item in items)
    return Catalog(listing.root, format, reason, classes, splits, multi_label, tuple(problems), rule, path)


def _in_two_splits(splits: dict[str, tuple[Item, ...]]) -> list[str]:
    times = Counter(item.name for items in splits.values() for item in items)
    twice = [name for name, count in times.items() if count > 1]
    return [f"images in more than one split make results look better than they are: {some(twice)}"] if twice else []


def _plain(label: str) -> str:
    return unicodedata.normalize("NFC", label)  # some systems store é as two characters, and a class would fall in two


def _sorted(labels: Counter[str]) -> list[str]:
    """By name; by number if all names are numbers, so that class "7" of a numbered list gets the index 7."""
    if all(label.isascii() and label.isdigit() for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels)


def _check_seen(path: Path, splits: dict[str, tuple[Item, ...]], classes: Sequence[str]) -> None:
    seen = {label for item in splits["train"] for label in item.labels}
    for split in ("val", "test"):
        for item in splits[split]:
            for label in item.labels:
                if label not in seen:
                    files = [each.name for each in splits[split] if label in each.labels]
                    raise DataError(
                        f"{path}: class {classes[label]!r} is in {split} but not in train ({some(files)}); "
                        "add images of it to train, mend the label, or remove these files."
                    )


def _one_class(path: Path, format: str, name: str, listing: Listing) -> str:  # noqa: A002
    message = (
        f"{path}: every image ({len(listing.entries)}) is of one class, {name!r}; at least two classes are needed."
    )
    nested = sorted({entry.name.split("/")[1] for entry in listing.entries if entry.name.count("/") > 1})
    if format == "folder" and nested:
        message += f" Its folders are {some(nested)}: if these are the classes, give {path / name}."
    return message
