"""The metadata of wsolevaluation (Choe et al., CVPR 2020): CUB, ILSVRC, OpenImages, and pseudo-boxes in the same files.

https://github.com/clovaai/wsolevaluation keeps, for each split, ``image_ids.txt`` (``path``), ``class_labels.txt``
(``path,class``), ``image_sizes.txt`` (``path,width,height``; may be empty) and ``localization.txt`` (boxes
``path,x0,y0,x1,y1`` or masks ``path,mask.png,ignore.png``). Lines are split from the right, so a path may have commas.

So do Rony et al. (MELBA 2023, https://github.com/jeromerony/survey_wsl_histology) for GlaS and for 512 x 512 patches of
CAMELYON16: there ``path,,`` says that an image shows no object (a normal patch), ``encoding.yaml`` beside the split
folders or above them names the classes, and val is ``valcl``; ``valpx``, a few images of it, is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from boxless.data.documents import read_lines
from boxless.data.images import is_image
from boxless.data.listing import Entry, Listing, Numbers, is_file, located, missing_images, some
from boxless.data.splits import split_of
from boxless.data.truth import checked_box
from boxless.errors import DataError

if TYPE_CHECKING:
    from boxless.data.catalog import Catalog

IDS, LABELS, SIZES, LOCALIZATION = "image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt"
ENCODING = "encoding.yaml"
WITHOUT_BOX = "without_box.txt"  # of boxless: images without a box, which wsolevaluation's lists cannot hold


class WsolSource:
    """A folder with one folder of text files for each split.

    Box corners stay as the files give them: the last pixel counts in some data sets (ILSVRC) and not in others (CUB),
    so that a box one pixel wide may have equal corners.
    """

    takes_images = True

    def recognise(self, path: Path) -> str | None:
        """By the text files in the split folders."""
        found = metadata_folders(path)
        return f"a folder of wsolevaluation metadata, by {found[0][0].name}/{IDS}" if found else None

    def read(self, path: Path, images: Path | None) -> Listing:
        """Ids and class numbers to entries."""
        folders = metadata_folders(path)
        if not folders:
            raise DataError(f"{path}: no split folder (train, val, test) has a file {IDS}; give the folder above them.")
        ids = {folder: [line for _, line in read_lines(folder / IDS)] for folder, _ in folders}
        root = images or _image_root(path, next((each[0] for each in ids.values() if each), None))
        listing = Listing(root, [], _left_out(path, [folder.name for folder, _ in folders]))
        class_names = _class_names(path)
        missing: dict[str, str] = {}
        for folder, split in folders:
            labels = _labels(folder / LABELS)
            for number, name in enumerate(ids[folder], start=1):
                if name not in labels:
                    raise DataError(f"{folder / LABELS}: no class for {name}, which {IDS} lists; add the line.")
                if not is_file(root / name):
                    missing[f"{folder / IDS}, entry {number}"] = str(root / name)
                called = _called(labels[name], class_names, folder / LABELS)
                listing.entries.append(Entry(*located(root, name), called, split))
        if missing:
            raise DataError(missing_images(missing, "say where the images are (images), or remove the line"))
        return listing

    def boxes(self, catalog: Catalog) -> tuple[dict[str, list[Numbers]], str] | None:
        """The box lines of ``localization.txt``."""
        source = catalog.source or catalog.root
        boxes: dict[str, list[Numbers]] = defaultdict(list)
        for folder, _ in metadata_folders(source):
            sizes = image_sizes(folder)
            for where, name, corners in box_lines(folder / LOCALIZATION):
                boxes[name].append(checked_box(corners, where, size=sizes.get(name), last_pixel_counts=True))
        return (dict(boxes), f"{source} ({LOCALIZATION})") if boxes else None

    def masks(self, catalog: Catalog) -> dict[str, list[tuple[str, str]]]:
        """Mask files by item name, each with its ignore mask, as the files give them; an empty text for none."""
        masks: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for folder, _ in metadata_folders(catalog.source or catalog.root):
            for where, line in _optional_lines(folder / LOCALIZATION):
                if _is_mask(line):
                    name, mask, ignore = _fields(where, line, 2, "path,mask.png,ignore.png")
                    masks[name].append((mask, ignore))
        return dict(masks)


def metadata_folders(path: Path) -> list[tuple[Path, str]]:
    """The folders of the splits that there are."""
    found = [(each.parent, split) for each in sorted(path.glob(f"*/{IDS}")) if (split := split_of(each.parent.name))]
    for _, split in found:
        same = [each.name for each, other in found if other == split]
        if len(same) > 1:
            raise DataError(f"{path}: {some(same)} are all for the split {split!r}; keep one of them.")
    return found


def _left_out(path: Path, read: list[str]) -> list[str]:
    """What to say of folders that look like splits and are none."""
    others = [each.parent.name for each in sorted(path.glob(f"*/{IDS}")) if each.parent.name not in read]
    return [f"left out, being no splits: the folders {some(others)}"] if others else []


def _class_names(path: Path) -> dict[str, str]:
    """Class number -> name, of ``encoding.yaml``; empty if there is none."""
    found = next((each for folder in (path, path.parent) if (each := folder / ENCODING).is_file()), None)
    if found is None:
        return {}
    from boxless.parsing import read_yaml

    try:
        content = read_yaml(found)
    except (OSError, ValueError) as error:
        raise DataError(f"{found}: cannot be read ({error}); expected lines such as benign: 0.") from error
    numbers = content.values() if isinstance(content, dict) else [None]
    if not all(type(number) is int for number in numbers) or len(set(numbers)) < len(content):
        raise DataError(f"{found}: got {content!r}; expected a number of its own for each name, such as benign: 0.")
    return {str(number): str(name) for name, number in content.items()}


def _called(labels: tuple[str, ...], names: dict[str, str], where: Path) -> tuple[str, ...]:
    unknown = [label for label in labels if names and label not in names]
    if unknown:
        raise DataError(
            f"{where}: class {unknown[0]!r} has no name in {ENCODING}, which knows {some(names, 6)}; add it there."
        )
    return tuple(names.get(label, label) for label in labels)


def _image_root(path: Path, first: str | None) -> Path:
    """The first of the usual places that holds the first image."""
    around = path.resolve()
    dataset = around.parent.parent / "dataset" / around.name  # where wsolevaluation itself keeps images
    tried = [path, path / "images", path.parent / "images", path.parent, dataset, around.parent.parent]
    for folder in tried:
        if first is not None and is_file(folder / first):
            return folder
    raise DataError(f"{path}: the image {first} is in none of {some(map(str, tried), 8)}; say where (images).")


def _labels(path: Path) -> dict[str, tuple[str, ...]]:
    labels: dict[str, tuple[str, ...]] = {}
    for where, line in read_lines(path):
        name, label = _fields(where, line, 1, "path,class")
        if not label:
            raise DataError(f"{where}: the class is empty in {line!r}; expected path,class.")
        labels[name] = tuple(dict.fromkeys((*labels.get(name, ()), label)))
    return labels


def box_lines(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Place, image and unchecked corners of each box of ``localization.txt``; lines that name masks are passed over."""
    for where, line in _optional_lines(path):
        if not _is_mask(line):
            name, *corners = _fields(where, line, 4, "path,x0,y0,x1,y1")
            yield where, name, corners


def image_sizes(folder: Path) -> dict[str, tuple[float, float]]:
    """(width, height) of the images of a split's folder; none if it does not say."""
    sizes: dict[str, tuple[float, float]] = {}
    for where, line in _optional_lines(folder / SIZES):
        name, width, height = _fields(where, line, 2, "path,width,height")
        try:
            sizes[name] = (float(width), float(height))
        except ValueError:
            raise DataError(
                f"{where}: the size {width},{height} is not two numbers; expected path,width,height."
            ) from None
    return sizes


def _fields(where: str, line: str, count: int, form: str) -> list[str]:
    """The path and ``count`` fields to its right."""
    fields = [field.strip() for field in line.rsplit(",", count)]
    if len(fields) != count + 1:
        raise DataError(f"{where}: {line!r} has too few commas; expected {form}.")
    return fields


def _is_mask(line: str) -> bool:
    """A mask line ends in ``mask.png,ignore.png``, the latter on an image's first line only, or in ``,,`` for none."""
    fields = [field.strip() for field in line.rsplit(",", 2)[1:]]
    return any(map(is_image, fields)) or fields == ["", ""]


def _optional_lines(path: Path) -> list[tuple[str, str]]:
    return list(read_lines(path)) if path.is_file() else []
