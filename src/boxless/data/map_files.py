"""Maps that any program left as ``.npy`` files: where they lie, and what they hold."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.data.images import walk
from boxless.data.listing import some
from boxless.errors import DataError
from boxless.ops._checks import check_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    AnyMap = NDArray[np.float32] | NDArray[np.float64]

_MAGIC = b"\x93NUMPY"
_ZIP = b"PK"  # what numpy.savez and torch.save write
_TO_SAVE = "save each map with numpy.save, (height, width) floats in [0, 1]"


def find_maps(folder: str | Path, names: Iterable[str]) -> dict[str, Path]:
    """The map file of each image.

    For the image ``a/b.jpg`` it is the first there is of ``a/b.jpg.npy`` (as wsolevaluation and ``boxless predict
    --maps`` write it), ``a/b.npy``, ``b.jpg.npy`` and ``b.npy``. The last three may be meant for several images, such
    as ``a/b.png``; then they are taken for none.

    Args:
        folder: Where the maps are.
        names: The images' names, as a list of boxes gives them; the answer has their order.

    Raises:
        DataError: An image has no map, or a file could be the map of several images; nothing is left out.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder of maps; check the path.")
    images = list(dict.fromkeys(names))
    owners = Counter(place for name in images for place in set(_places(name)[1:]))
    found: dict[str, Path] = {}
    for name in images:
        for rank, place in enumerate(_places(name)):
            path = root / place
            if not os.path.isfile(path):  # noqa: PTH113 - called up to four times for each of many images
                continue
            if rank and owners[place] > 1:
                raise _ambiguous(path, place, images)
            found[name] = path
            break
    if len(found) < len(images):
        raise _missing(root, [name for name in images if name not in found], len(images))
    return found


def read_map(path: str | Path) -> AnyMap:
    """The map of a ``.npy`` file as a contiguous array (h, w) in [0, 1].

    Leading axes of length one are dropped. Single and double precision stay what they are, since evaluators that count
    in 255 steps round them differently; half precision becomes single.

    Raises:
        DataError: The file is missing, no ``.npy`` file or cut short, or holds something else than floats in [0, 1] of
            two dimensions; the message names the file.
    """
    place = Path(path)
    values = _load(place)
    if values.dtype.kind in "iub":
        kinds = {"b": "a mask of true and false", "i": "whole numbers", "u": "whole numbers"}
        advice = "divide by 255 before saving" if values.dtype == np.uint8 else "save scores"
        raise DataError(
            f"{place}: got {kinds[values.dtype.kind]} ({values.dtype}); a map holds floats in [0, 1]: {advice}."
        )
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    check_map(values, str(place))
    single = values.dtype.itemsize <= np.dtype(np.float32).itemsize
    return np.ascontiguousarray(values, dtype=np.float32) if single else np.ascontiguousarray(values, dtype=np.float64)


def _places(name: str) -> tuple[str, ...]:
    """Where the map of an image may lie below the folder, the surest place first."""
    stem, file = os.path.splitext(name)[0], name.rpartition("/")[2]  # noqa: PTH122 - called for many names
    return tuple(f"{each}.npy" for each in (name, stem, file, os.path.splitext(file)[0]))  # noqa: PTH122


def _ambiguous(path: Path, place: str, images: Sequence[str]) -> DataError:
    meant = [name for name in images if place in _places(name)[1:]]
    return DataError(
        f"{path}: this could be the map of {some(meant, 2)}; call each map after its image, "
        f"{_places(meant[0])[0]} and {_places(meant[1])[0]}."
    )


def _missing(root: Path, names: Sequence[str], count: int) -> DataError:
    tried = " or ".join(dict.fromkeys(_places(names[0])))
    there = [name for name in walk(root) if name.endswith(".npy")]
    held = f"it holds {len(there)} .npy files ({some(there)})" if there else f"it holds no .npy file: {_TO_SAVE}"
    return DataError(
        f"{root}: {len(names)} of {count} images have no map there: {some(names)}. For the first, {tried} was looked "
        f"for; {held}. Mend the folder or the names, or take images that are not to be scored from the list of boxes."
    )


def _load(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
            if start != _MAGIC:
                raise DataError(f"{path}: {_no_npy(start)}")
            file.seek(0)
            values: NDArray[Any] = np.load(file, allow_pickle=False)
    except DataError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{path}: cannot be read ({reason}); check the path, or write the map again.") from error
    except Exception as error:  # a damaged header makes numpy raise nearly anything
        reason = str(error).partition("\n")[0].rstrip(". ") or type(error).__name__
        raise DataError(
            f"{path}: the .npy file is damaged or holds no plain numbers ({reason}); {_TO_SAVE}."
        ) from error
    return values


def _no_npy(start: bytes) -> str:
    if not start:
        return "the file is empty (0 bytes); write the map again."
    if start.startswith(_ZIP):
        return f"this is an archive (.npz or .pt), not a .npy file; {_TO_SAVE}."
    return f"this is not a .npy file (it begins with {start!r}); {_TO_SAVE}."
