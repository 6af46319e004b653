"""True masks to evaluate against, read one image at a time: a data set's masks may not fit in memory.

They are where wsolevaluation's metadata say, or beside the images as GlaS has them; for other formats PNG files in a
folder of masks that repeats the images' paths (``masks/val/cat/1.png`` for ``val/cat/1.jpg``). A pixel is on the object
if its 8-bit gray value is not 0. Masks come at the size of a map, resized as wsolevaluation does (OpenCV's
INTER_NEAREST).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from boxless.data.images import decode, read_size
from boxless.data.listing import is_file, some
from boxless.data.sources.folder import MASKS_FOLDER
from boxless.data.sources.glas import GlasSource
from boxless.data.sources.wsol import WsolSource
from boxless.errors import DataError, UnknownNameError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.data.catalog import Catalog

    Bools = NDArray[np.bool_]
    Size = tuple[int, int]

_LISTED: dict[str, type[WsolSource] | type[GlasSource]] = {"wsol": WsolSource, "glas": GlasSource}
"""Formats that say where each mask is."""

_SHADES = ("1", "L", "P", "RGB")  # Pillow's modes of 8 bits and no transparency


@dataclass(frozen=True, slots=True)
class MaskFiles:
    """The files of one image."""

    image: Path
    masks: tuple[Path, ...]  # the object is what any of them marks; none where it is known that there is no object
    ignores: tuple[Path, ...] = ()  # what they mark does not count, save where the object is


@dataclass(frozen=True, slots=True)
class Masks:
    """The masks of one split; images without one are not in it."""

    source: str  # where they come from
    files: dict[str, MaskFiles]  # by item name

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the items that have a mask."""
        return tuple(self.files)

    def of(self, name: str, size: Size) -> tuple[Bools, Bools | None]:
        """Read an image's mask, and what to ignore beside it (None for nothing), each bool (height, width).

        Args:
            name: The item's name.
            size: (width, height) to have them at, such as that of a map.

        Raises:
            DataError: A file that is missing, no 8-bit picture, or of other proportions than its image.
            UnknownNameError: The image has no mask.
        """
        if name not in self.files:
            raise UnknownNameError("image with a mask", name, self.names)
        files = self.files[name]
        whole = read_size(files.image)
        mask = _united(files.masks, files.image, whole, size)
        return mask, _united(files.ignores, files.image, whole, size) & ~mask if files.ignores else None


def read_masks(catalog: Catalog, split: str, masks: str | Path | None = None) -> Masks | None:
    """Find the true masks of a split, for evaluation; None if there are none.

    Args:
        catalog: Labelled images of any format.
        split: A name in its ``splits``.
        masks: The folder that the masks' paths are relative to, if it is not a usual one: for ``wsol`` those that
            wsolevaluation has (beside the images), else ``masks`` in the folder of the images.

    Raises:
        DataError: A mask that the metadata name is not there, the folder given is not or has no mask of this split, or
            two images would share a mask.
        UnknownNameError: There is no such split.
    """
    if split not in catalog.splits:
        raise UnknownNameError("split", split, catalog.splits)
    root = None if masks is None else Path(masks).expanduser()
    if root is not None and not root.is_dir():
        raise DataError(f"{root}: there is no such folder of masks; check the path.")
    if catalog.format in _LISTED:
        return _listed(catalog, split, root)
    return _mirrored(catalog, split, root)


def resize_nearest(mask: Bools, size: Size) -> Bools:
    """The mask at ``size`` (width, height), by the rule of OpenCV's INTER_NEAREST.

    Pixel ``i`` of ``n`` is taken from ``floor(i * s)`` of ``m``, with ``s = 1 / (n / m)`` in double precision: where
    ``i * m / n`` is whole, that rounding may give the pixel before it, and the field's masks have it so.
    """
    rows, columns = (
        np.minimum((np.arange(new) * (1 / (new / old))).astype(np.int64), old - 1)
        for new, old in zip(size[::-1], mask.shape, strict=True)
    )
    resized: Bools = mask.take(rows, axis=0).take(columns, axis=1)
    return resized


def _listed(catalog: Catalog, split: str, root: Path | None) -> Masks | None:
    """Those that the format itself names."""
    named = _LISTED[catalog.format]().masks(catalog)
    items = {item.name: item for item in catalog.splits[split] if item.name in named}
    if not items:
        return None
    source = catalog.source or catalog.root
    written = [each for name in items for pair in named[name] for each in pair if each]
    base = root or (_mask_root(source, catalog.root, written) if written else catalog.root)
    missing = [each for each in written if not is_file(base / each)]
    if missing:
        raise DataError(
            f"{source}: there is no mask {base / missing[0]}, which the split {split!r} names "
            f"({len(missing)} missing: {some(missing)}); copy it there, or say where the masks are (masks)."
        )
    files = {
        name: MaskFiles(
            item.path,
            tuple(base / mask for mask, _ in named[name] if mask),
            tuple(base / ignore for _, ignore in named[name] if ignore),
        )
        for name, item in items.items()
    }
    bare = [name for name, each in files.items() if each.ignores and not each.masks]
    if bare:
        raise DataError(f"{source}: {some(bare)} has a mask to ignore but none of the object; add it to the line.")
    return Masks(f"{source} (masks in {base})", files)


def _mask_root(source: Path, images: Path, written: Sequence[str]) -> Path:
    """The first of the usual places that holds the first mask; wsolevaluation has masks beside the images."""
    around = source.resolve()
    dataset = around.parent.parent / "dataset" / around.name
    tried = [images, source / "masks", images / "masks", images.parent / "masks", source, source.parent, dataset]
    for folder in tried:
        if is_file(folder / written[0]):
            return folder
    raise DataError(f"{source}: the mask {written[0]} is in none of {some(map(str, tried), 8)}; say where (masks).")


def _mirrored(catalog: Catalog, split: str, root: Path | None) -> Masks | None:
    """Those in a folder that repeats the images' paths."""
    base = root or catalog.root / MASKS_FOLDER
    # A folder of this name may be a class, whose pictures are no masks.
    if root is None and any(item.name.startswith(f"{MASKS_FOLDER}/") for item in catalog.items):
        return None
    paths = {item.name: (base / item.name).with_suffix(".png") for item in catalog.splits[split]}
    files = {
        item.name: MaskFiles(item.path, (paths[item.name],))
        for item in catalog.splits[split]
        if is_file(paths[item.name])
    }
    _check_own(files)
    if files:
        return Masks(str(base), files)
    if root is None:
        return None
    first = next(iter(paths.values()), base / "(no image)")
    raise DataError(
        f"{base}: there is no mask of any of the {len(paths)} images of the split {split!r}; "
        f"the first was looked for as {first}."
    )


def _check_own(files: dict[str, MaskFiles]) -> None:
    shared: dict[Path, list[str]] = defaultdict(list)
    for name, each in files.items():
        shared[each.masks[0]].append(name)
    for path, names in shared.items():
        if len(names) > 1:
            raise DataError(f"{path}: this mask may be meant for {some(names)}; give the images names of their own.")


def _united(paths: Iterable[Path], image: Path, whole: Size, size: Size) -> Bools:
    """What any of the files marks, at ``size``; each file may have a size of its own, as those of OpenImages do."""
    united = np.zeros(size[::-1], dtype=np.bool_)
    for path in paths:
        mask = _read(path)
        _check_proportions(path, (mask.shape[1], mask.shape[0]), image, whole)
        united |= resize_nearest(mask, size)
    return united


def _read(path: Path) -> Bools:
    decoded = decode(path)
    with Image.open(path) as stored:
        see_through = "transparency" in stored.info
    if decoded.mode not in _SHADES or see_through:
        kind = f"{decoded.mode} with transparency" if see_through else decoded.mode
        raise DataError(
            f"{path}: this mask is stored as {kind}, of which it is not sure what is marked; save it as an 8-bit "
            "grayscale PNG, 0 beside the object and 255 on it."
        )
    return np.asarray(decoded.image.convert("L")) > 0


def _check_proportions(path: Path, mask: Size, image: Path, whole: Size) -> None:
    """Of the same proportions is what a whole number of pixels can be, one more or less."""
    width, height = mask
    if abs(width * whole[1] / whole[0] - height) > 1 and abs(height * whole[0] / whole[1] - width) > 1:
        raise DataError(
            f"{path}: the mask has {width} x {height} pixels and its image {image} has {whole[0]} x {whole[1]}, which "
            "is no picture of the same proportions; check that they belong together and that both are upright."
        )
