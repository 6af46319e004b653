"""One catalog for every kind of labelled data: classes, items and splits, and never a box."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boxless.data.cache import cache_folder
from boxless.data.listing import Entry, Listing, Slow, Source, kind_of, names_of, some
from boxless.data.sources import SOURCES
from boxless.data.splits import complete_splits
from boxless.data.truth import Truth, read_truth
from boxless.errors import ConfigError, DataError, RunError, UnknownNameError
from boxless.listener import Listener, counter
from boxless.types import Item

__all__ = ["BUNDLED", "SAMPLE", "SOURCES", "Catalog", "Truth", "read_catalog", "read_truth"]

SAMPLE, CLIPS = "sample", "clips"
BUNDLED = {SAMPLE: "folder", CLIPS: "video"}  # the names of the data that boxless makes itself, and their formats


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
        source: A folder or file, or ``sample`` or ``clips``, the names of the bundled images and of the bundled clips
            (a folder so called is ``./sample``).
        format: A name in ``SOURCES``, or ``auto`` to find out.
        images: Where the pictures are, for formats that list them (csv, coco, wsol) if they are not beside the list.
        listener: Hears of what takes long: rendering bundled data and taking frames from videos, at their first use.

    Raises:
        DataError: The data cannot be used: nothing found, one class only, a file or line that is wrong.
        UnknownNameError: There is no such format.
        ConfigError: ``images`` was given for a format that has its pictures inside.
    """
    if format != "auto" and format not in SOURCES:
        raise UnknownNameError("source", format, ["auto", *SOURCES])
    if source in BUNDLED:
        path, format = bundled_folder(str(source), listener), BUNDLED[str(source)]  # noqa: A001
        pictures = "clips as folders of frames" if source == CLIPS else "images"
        reason = f"it is the bundled {source}, {pictures} in one folder per class"
    else:
        path = Path(source).expanduser()
        format, reason = _recognise(path) if format == "auto" else (format, "this format was asked for")  # noqa: A001
    reader: Source = SOURCES.load(format)()
    if isinstance(reader, Slow):
        reader.listener = listener or Listener()
    if images is not None and not reader.takes_images:
        raise ConfigError(f"{path}: the format {format!r} has its images inside; leave out images={str(images)!r}.")
    return _assemble(path, format, reason, reader.read(path, _folder(images)))


def bundled_folder(name: str, listener: Listener | None = None) -> Path:
    """Bundled data as a folder, rendered into the cache at their first use."""
    from boxless.data import sample

    write = sample.write_clips if name == CLIPS else sample.write_sample
    target = cache_folder() / f"{name}-v{sample.CLIPS_VERSION if name == CLIPS else sample.VERSION}"
    try:
        return write(target, progress=counter(listener or Listener(), f"rendering the {name}"))
    except RunError as error:
        raise DataError(f"{error} (The environment variable BOXLESS_CACHE moves {target.parent}.)") from error


def _recognise(path: Path) -> tuple[str, str]:
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; give a path, or the name {SAMPLE!r} or {CLIPS!r}.")
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
    counts = _counts(listing.entries)
    classes = tuple(_sorted(counts))
    if not listing.entries:
        raise DataError(f"{path}: no labelled images were found; check that this is the right file or folder.")
    if len(classes) < 2:
        raise DataError(_one_class(path, format, classes[0], counts[classes[0]], listing))
    kind = kind_of(listing.entries)
    empty = {_plain(label) for label in listing.empty_classes} - counts.keys()
    if empty:
        problems.append(f"classes without {_a(kind)} are left out: {some(map(repr, sorted(empty)))}")
    if single := [name for name in classes if counts[name] == 1]:
        problems.append(f"classes with one {kind} only can hardly be learned{_ALONE[kind]}: {some(map(repr, single))}")
    number = {name: index for index, name in enumerate(classes)}
    given: dict[str | None, list[Item]] = defaultdict(list)
    for entry in listing.entries:
        labels = tuple(sorted({number[_plain(label)] for label in entry.labels}))
        given[entry.split].append(Item(entry.path, entry.name, labels, entry.shot))
    splits, rule = complete_splits(given)
    splits = _fitting(splits, listing)
    problems += _in_two_splits(splits)
    if not splits["train"]:
        problems.append("there is no train split: these data can be evaluated on, not trained on")
    else:
        _check_seen(path, splits, classes)
        problems += [f"split {split!r} is empty: too few {kind}s" for split in ("val", "test") if not splits[split]]
    multi_label = any(len(item.labels) > 1 for items in given.values() for item in items)
    return Catalog(listing.root, format, reason, classes, splits, multi_label, tuple(problems), rule, path)


def _fitting(splits: dict[str, tuple[Item, ...]], listing: Listing) -> dict[str, tuple[Item, ...]]:
    """Without what serves for another split alone."""
    unfit = {split: listing.only_measured if split == "train" else listing.only_learned for split in splits}
    return {split: tuple(item for item in items if item.name not in unfit[split]) for split, items in splits.items()}


def _in_two_splits(splits: dict[str, tuple[Item, ...]]) -> list[str]:
    problems = []
    for kind in _ALONE:
        times = Counter(name for items in splits.values() for name in names_of(items, kind))
        if twice := [name for name, count in times.items() if count > 1]:
            problems.append(f"{kind}s in more than one split make results look better than they are: {some(twice)}")
    return problems


_ALONE = {"image": "", "video": ", and none can be held out for val and test"}  # what to say of the only one of a class


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "image" else f"a {kind}"


def _counts(entries: Sequence[Entry]) -> Counter[str]:
    """How many images or videos show each class."""
    counts = Counter(_plain(label) for entry in entries if entry.shot is None for label in set(entry.labels))
    counts.update(
        label
        for _, label in {(entry.shot.video, _plain(label)) for entry in entries if entry.shot for label in entry.labels}
    )
    return counts


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
                    showing = [each for each in splits[split] if label in each.labels]
                    kind = kind_of(showing)
                    named = some(names_of(showing, kind))
                    raise DataError(
                        f"{path}: class {classes[label]!r} is in {split} but not in train ({named}); "
                        f"add {kind}s of it to train, mend the label, or remove these files."
                    )


def _one_class(path: Path, format: str, name: str, count: int, listing: Listing) -> str:  # noqa: A002
    kind = kind_of(listing.entries)
    message = f"{path}: every {kind} ({count}) is of one class, {name!r}; at least two classes are needed."
    nested = sorted({entry.name.split("/")[1] for entry in listing.entries if entry.name.count("/") > 1})
    if format == "folder" and nested:
        message += f" Its folders are {some(nested)}: if these are the classes, give {path / name}."
    return message
