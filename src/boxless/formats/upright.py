"""Puts an image file beside its labels so that every reader sees it upright."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, JpegImagePlugin

from boxless.errors import DataError

_JPEG_START = b"\xff\xd8\xff"
_PNG_METADATA = (
    b"eXIf",
    b"Raw profile type exif",
    b"XML:com.adobe.xmp",
)  # what can hold an orientation, and is never packed


def place_upright(source: Path, destination: Path) -> None:
    """Link ``source`` at ``destination`` (hard, else symbolic, else a copy), or write it upright if EXIF turns it.

    Raises:
        DataError: The image cannot be read, or cannot be written upright in its own file format.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        original = source.resolve(strict=True)  # a hard link to a symbolic link would break when either moves
        upright = _turned(original)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unplaceable(source, error) from error
    if upright is None:
        _link_or_copy(original, destination)
    else:
        _save(upright, source, destination)


def _turned(path: Path) -> Image.Image | None:
    """The image upright if its EXIF orientation turns it, else nothing; then hardly ever is a pixel decoded."""
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.filterwarnings("ignore", module="PIL")  # of large images and odd metadata: predict has read this one
        is_jpeg = file.read(len(_JPEG_START)) == _JPEG_START
        file.seek(0)
        # Image.open would refuse a very large JPEG, which predict reads at a reduced scale, and take a camera's
        # multi-picture file for something other than the JPEG that it begins with.
        with JpegImagePlugin.JpegImageFile(file) if is_jpeg else Image.open(file) as image:
            # A PNG may have them behind its pixels, so that Pillow decodes all of it to look.
            is_plain_png = image.format == "PNG" and not _holds(path, _PNG_METADATA)
            if is_plain_png or _orientation(image) not in range(2, 9):
                return None
            upright = ImageOps.exif_transpose(image)
            upright.format = image.format
            return upright


def _holds(path: Path, marks: tuple[bytes, ...]) -> bool:
    content = path.read_bytes()
    return any(mark in content for mark in marks)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata: 1, as viewers and boxless.data.images have it
        return 1


def _save(upright: Image.Image, source: Path, destination: Path) -> None:
    """Encode anew; the colour profile is kept, the EXIF data are not, since readers would turn the image once more."""
    options = {"quality": 95, "subsampling": 0} if upright.format == "JPEG" else {}
    profile = upright.info.get("icc_profile")
    try:
        upright.save(destination, format=upright.format, icc_profile=profile, exif=b"", **options)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's fault, not the image's
            raise
        raise _unplaceable(source, error) from error


def _unplaceable(source: Path, error: Exception) -> DataError:
    return DataError(f"{source}: cannot be put among the YOLO images ({error}); mend or remove it and predict again.")


def _link_or_copy(original: Path, destination: Path) -> None:
    try:
        os.link(original, destination)
    except OSError:  # another file system, or one without hard links
        try:
            destination.symlink_to(original)
        except OSError:  # such as Windows without the right to make them
            shutil.copyfile(original, destination)
