"""Class-per-folder trees: ``cat/1.jpg``, or ``train/cat/1.jpg`` with split folders above."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from boxless.data.images import is_image, walk
from boxless.data.listing import Entry, Listing, Numbers, some
from boxless.data.splits import split_of
from boxless.data.truth import BOXES_FILE, read_box_table
from boxless.errors import DataError
from boxless.predict.video_io import is_video

if TYPE_CHECKING:
    from boxless.data.catalog import Catalog

MASKS_FOLDER = "masks"  # beside split folders, or beside classes whose names it repeats: truth, no class


class FolderSource:
    """One folder per class; deeper folders belong to the class above. Boxes may lie in ``boxes.csv`` at the root.

    A folder ``masks`` at the root is left out if there are split folders, or if all that it holds are folders named
    like the classes beside it: true masks, see `boxless.data.masks`. Otherwise it is a class.
    """

    takes_images = False

    def recognise(self, path: Path) -> str | None:
        """Any folder may be one: the last guess."""
        if not path.is_dir():
            return None
        splits = list(split_folders(path))
        if not splits:
            return "a folder with one folder per class"
        return f"a folder with {_and(splits)} in it, and one folder per class in each"

    def read(self, path: Path, images: Path | None = None) -> Listing:
        """Folders to classes."""
        listing = Listing(path, [])
        loose: list[str] = []
        skipped: list[str] = []
        for name, label, split in files_by_class(path):
            if label and is_image(name):
                listing.entries.append(Entry(path / name, name, (label,), split))
            elif label:
                skipped.append(name)
            elif is_image(name):
                loose.append(name)
        if not listing.entries:
            raise DataError(_nothing(path, loose, skipped))
        report_left_out(listing, loose, skipped)
        listing.problems += _videos(listing, skipped)
        return listing

    def boxes(self, catalog: Catalog) -> tuple[dict[str, list[Numbers]], str] | None:
        """``boxes.csv`` at the root: the header ``path,x0,y0,x1,y1``, one line for each box."""
        table = catalog.root / BOXES_FILE
        return (read_box_table(table, catalog), str(table)) if table.is_file() else None


def files_by_class(path: Path) -> Iterator[tuple[str, str, str | None]]:
    """Each file's name with its class and its split; the class is empty where the file lies in no class folder.

    Left out are true masks, and what lies beside split folders.
    """
    splits = split_folders(path)
    depth, apart = (1, False) if splits else (0, repeats_classes(path))
    for name in walk(path):
        parts = name.split("/")
        if (splits and parts[0] not in splits) or (apart and parts[0] == MASKS_FOLDER):
            continue
        label = parts[depth] if len(parts) > depth + 1 else ""
        yield name, label, splits[parts[0]] if splits else None


def split_folders(path: Path) -> dict[str, str]:
    """The split folders of a tree, folder name -> split; none if the folders are classes.

    Folders count as splits if at least two of them, or all, are named like splits and hold folders themselves: a class
    may be called "train" too.
    """
    folders = folders_in(path)
    found = {name: split for name in folders if (split := split_of(name)) and folders_in(path / name)}
    others = [name for name in folders if name not in found and name != MASKS_FOLDER]
    if not found or (len(found) == 1 and others):
        return {}
    if len(set(found.values())) < len(found):
        raise DataError(
            f"{path}: the folders {_and(list(found))} do not name different splits; "
            "known are train, val (valid, validation, dev) and test: merge or rename them."
        )
    return found


def repeats_classes(path: Path) -> bool:
    """Whether ``masks`` beside class folders holds masks of theirs: folders of their names, and no image of its own."""
    folders = folders_in(path)
    if MASKS_FOLDER not in folders:
        return False
    inside = folders_in(path / MASKS_FOLDER)
    own = any(is_image(each.name) for each in (path / MASKS_FOLDER).iterdir() if each.is_file())
    return bool(inside) and not own and set(inside) <= set(folders) - {MASKS_FOLDER}


def folders_in(path: Path) -> list[str]:
    """The names of the folders in it, sorted, without what is hidden."""
    try:
        return sorted(each.name for each in path.iterdir() if each.is_dir() and not each.name.startswith((".", "__")))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions.") from error


def report_left_out(listing: Listing, loose: list[str], skipped: list[str]) -> None:
    """Say what of a tree is not used.

    Args:
        listing: What is used.
        loose: Files that lie in no class folder.
        skipped: Other files.
    """
    root, splits = listing.root, split_folders(listing.root)
    filled = {entry.labels[0] for entry in listing.entries}
    folders = {name for top in splits for name in folders_in(root / top)} if splits else set(folders_in(root))
    if not splits and repeats_classes(root):
        folders.discard(MASKS_FOLDER)
    listing.empty_classes = sorted(folders - filled)
    if splits and (others := [name for name in folders_in(root) if name not in splits and name != MASKS_FOLDER]):
        listing.problems.append(f"left out, being no splits: the folders {some(others)}")
    if loose:
        listing.problems.append(f"left out, lying in no class folder: {some(loose)}")
    if skipped:
        listing.problems.append(f"left out, being no images by their names: {some(skipped)}")


def _videos(listing: Listing, skipped: list[str]) -> list[str]:
    """What to say if the tree looks as if it were of videos."""
    if videos := [name for name in skipped if is_video(name)]:
        return [f"videos beside images are not read; --format video learns from videos alone: {some(videos)}"]
    inside = (entry.name.split("/")[entry.split is not None :] for entry in listing.entries)
    if all(len(parts) > 2 and parts[-1].rpartition(".")[0][-1:].isdigit() for parts in inside):
        return [
            "all images have numbers for names and lie in folders below those of the classes, such as "
            f"{listing.entries[0].name}: if these are frames of videos, --format video treats each folder as a shot"
        ]
    return []


def _nothing(path: Path, loose: list[str], skipped: list[str]) -> str:
    if loose:
        return (
            f"{path}: no class folders, but {len(loose)} images that lie in none ({some(loose)}); "
            "put them into one folder per class, or name their classes in a CSV file with the header path,label."
        )
    found = f"only files that are not images ({some(skipped)})" if skipped else "no files"
    if any(map(is_video, skipped)):
        return f"{path}: no images were found, but videos ({some(skipped)}); read them with --format video."
    return f"{path}: no images were found, {found}; expected one folder per class with images in it."


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
