"""GlaS, the glands of colon tissue (Sirinukunwattana et al., Medical Image Analysis 2017), as its authors released it.

The archive ``warwick_qu_dataset_released_2016_07_08`` has one folder: ``train_1.bmp`` and so on, ``testA_*.bmp`` and
``testB_*.bmp``; beside each image ``train_1_anno.bmp``, whose pixels are the numbers of glands, 0 for none; and
``Grade.csv`` with the columns name, patient ID and grade (GlaS): benign or malignant, which is the class.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from boxless.data.images import is_image, walk
from boxless.data.listing import Entry, Listing, Numbers, is_file, missing_images, some
from boxless.data.tables import Row, header_of, read_table
from boxless.errors import DataError

if TYPE_CHECKING:
    from boxless.data.catalog import Catalog

GRADES, SUFFIX, ANNOTATION = "Grade.csv", ".bmp", "_anno"
NAME, PATIENT, GRADE = "name", "patient id", "grade (glas)"
CLASSES = ("benign", "malignant")
# The release has no validation split. These numbers of train are that of Rony et al. (MELBA 2023), which the thesis
# follows: 67, 18 and 80 images. They are folds/wsol-done-right-splits/GLAS/fold-0/valcl of their repository,
# https://github.com/jeromerony/survey_wsl_histology
VALIDATION = frozenset({2, 5, 12, 18, 24, 26, 36, 38, 51, 52, 54, 63, 65, 68, 72, 74, 77, 83})


class GlasSource:
    """The folder of the GlaS release, with ``Grade.csv`` in it. Its masks of glands are read for evaluation alone."""

    takes_images = False

    def recognise(self, path: Path) -> str | None:
        """By the table of grades and its columns."""
        known = {NAME, GRADE} <= set(header_of(path / GRADES)) if path.is_dir() else False
        return f"the GlaS release, by its {GRADES}" if known else None

    def read(self, path: Path, images: Path | None = None) -> Listing:
        """Rows of the table to entries; test is testA and testB."""
        if not (path / GRADES).is_file():
            raise DataError(f"{path}: there is no {GRADES} in it; give the folder of the GlaS release itself.")
        listing, missing = Listing(path, []), {}
        patients: dict[str, set[str]] = defaultdict(set)
        for row in read_table(path / GRADES, (NAME, PATIENT, GRADE)).rows:
            name, split = row.values[NAME] + SUFFIX, _split(row)
            if not is_file(path / name):
                missing[row.where] = str(path / name)
            listing.entries.append(Entry(path / name, name, (_grade(row),), split))
            patients[split].add(row.values[PATIENT])
        if missing:
            raise DataError(missing_images(missing, "copy it there or remove the line"))
        _check_twice(path, listing)
        listing.problems += _problems(path, listing, patients)
        return listing

    def boxes(self, catalog: Catalog) -> tuple[dict[str, list[Numbers]], str] | None:
        """There are none: a gland is no box."""
        return None

    def masks(self, catalog: Catalog) -> dict[str, list[tuple[str, str]]]:
        """The annotation beside each image, by item name; with nothing to ignore."""
        return {item.name: [(f"{Path(item.name).stem}{ANNOTATION}{SUFFIX}", "")] for item in catalog.items}


def _split(row: Row) -> str:
    kind, _, number = row.values[NAME].partition("_")
    if kind in ("testA", "testB") and number.isdigit():
        return "test"
    if kind == "train" and number.isdigit():
        return "val" if int(number) in VALIDATION else "train"
    raise DataError(
        f"{row.where}: the name {row.values[NAME]!r} tells no split; expected train_, testA_ or testB_ and a number."
    )


def _grade(row: Row) -> str:
    grade = row.values[GRADE]
    if grade not in CLASSES:
        raise DataError(f"{row.where}: the grade {grade!r} is not known; it is one of {', '.join(CLASSES)}.")
    return grade


def _check_twice(path: Path, listing: Listing) -> None:
    names = [entry.name for entry in listing.entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path / GRADES}: {some(twice)} stands in more than one line; remove all but one.")


def _problems(path: Path, listing: Listing, patients: dict[str, set[str]]) -> list[str]:
    problems = []
    if both := sorted(patients["train"] & patients["val"]):
        problems.append(
            f"patients with images in both train and val, as the split of Rony et al. (2023) has it: {some(both)}"
        )
    known = {entry.name for entry in listing.entries}
    others = [
        name for name in walk(path) if is_image(name) and name not in known and not Path(name).stem.endswith(ANNOTATION)
    ]
    if others:
        problems.append(f"left out, having no line in {GRADES}: {some(others)}")
    return problems
