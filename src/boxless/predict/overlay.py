"""Pictures of predictions: an image with its map and boxes, and sheets of many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from boxless.predict.fonts import Font, font_for
from boxless.types import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

Colour = tuple[int, int, int]
Corners = tuple[float, float, float, float]

PREDICTED: Colour = (255, 140, 0)  # orange
TRUE: Colour = (60, 220, 130)  # green; dashed as well, for eyes that do not tell the two apart
_DARK: Colour = (24, 26, 30)
_PAPER: Colour = (250, 250, 248)
_INK: Colour = (40, 42, 46)
_WRONG: Colour = (200, 40, 40)
_HEAT = ((70, 0, 120), (190, 20, 110), (250, 90, 30), (255, 215, 60))  # colours of the map at 0, 1/3, 2/3 and 1
_STRONGEST_TINT = 0.62  # the image must show through where the map is 1


@dataclass(frozen=True, slots=True)
class Tile:
    """One cell of a contact sheet."""

    image: Image.Image
    caption: str  # cut if it is too long for the cell
    detail: str = ""  # after the caption, never cut
    wrong: bool = False  # whether the caption is set in red


def draw(
    image: Image.Image, prediction: Prediction, *, truth: Any = None, heat: bool = True, labels: bool = True
) -> Image.Image:
    """The image with the predicted boxes, and the map as a tint if the prediction holds one; ``image`` stays as it is.

    Args:
        image: The upright image, at any scale: boxes are scaled from ``prediction.size`` to it.
        prediction: What to draw.
        truth: True boxes (n, 4), in pixels of the original as the predicted ones; drawn dashed.
        heat: Whether to tint the image by the map.
        labels: Whether to write the class and the score at each box.
    """
    canvas = image.convert("RGB")
    if canvas is image:
        canvas = image.copy()
    if heat and prediction.map is not None:
        canvas = _tint(canvas, prediction.map)
    pen = ImageDraw.Draw(canvas)
    scale = (canvas.width / prediction.size[0], canvas.height / prediction.size[1])
    width = max(2, round(max(canvas.size) / 320))
    for corners in () if truth is None else np.asarray(truth, dtype=float).reshape(-1, 4).tolist():
        _rectangle(pen, _scaled(corners, scale), TRUE, width, dashed=True)
    for box in prediction.boxes:
        _rectangle(pen, _scaled(box.xyxy, scale), PREDICTED, width)
    if labels:
        for box in prediction.boxes:
            _label(pen, canvas.size, _scaled(box.xyxy, scale), box.label, f"  {box.score:.0%}", width)
        if not prediction.boxes:
            _label(pen, canvas.size, (0, 0, 0, 0), prediction.label, f"  {prediction.score:.0%}, no box", 0)
    return canvas


def tile(
    image: Image.Image, prediction: Prediction, *, truth: Any = None, true_label: str | None = None, size: int = 200
) -> Tile:
    """A cell of a contact sheet: the image at ``size`` pixels with both boxes, class and score below.

    With ``true_label`` a wrong class is set in red, with the right one beside it.
    """
    factor = size / max(image.size)
    target = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    enlarged = image.convert("RGB").resize(target, Image.Resampling.BICUBIC)  # before drawing, so that lines stay sharp
    drawn = draw(enlarged, prediction, truth=truth, labels=False)
    wrong = true_label is not None and true_label != prediction.label
    if wrong:
        return Tile(drawn, f"{prediction.label}, is {true_label}", f"  {prediction.score:.0%}", wrong=True)
    return Tile(drawn, prediction.label, f"  {prediction.score:.0%}")


def contact_sheet(
    tiles: Sequence[Tile], *, columns: int = 6, size: int = 200, title: str = "", legend: bool = True
) -> Image.Image:
    """A sheet of tiles with their captions, and a head with the title and what the lines mean.

    Args:
        tiles: In reading order; larger ones are shrunk to the cell.
        columns: Cells in a row.
        size: The side of a cell, in pixels.
        title: Set at the top left.
        legend: Whether the head explains the two kinds of box.
    """
    gap, strip = max(8, size // 14), max(18, size // 8)
    columns = max(1, min(columns, len(tiles)))
    head = strip + 2 * gap if title or legend else gap
    rows = ceil(len(tiles) / columns)
    sheet = Image.new("RGB", (gap + columns * (size + gap), head + rows * (size + strip + gap)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    _head(pen, sheet.width, title, legend, gap, strip)
    font = font_for("".join(each.caption + each.detail for each in tiles) + "…", round(strip * 0.62))
    for index, each in enumerate(tiles):
        row, column = divmod(index, columns)
        corner = (gap + column * (size + gap), head + row * (size + strip + gap))
        _cell(sheet, pen, each, corner, size, strip, font)
    return sheet


def _cell(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, cell: Tile, corner: tuple[int, int], size: int, strip: int, font: Font
) -> None:
    x, y = corner
    picture = cell.image.copy()
    picture.thumbnail((size, size))
    sheet.paste(picture, (x + (size - picture.width) // 2, y + (size - picture.height) // 2))
    text = _fitted(pen, cell.caption, font, size, cell.detail)
    pen.text((x + size / 2, y + size + strip / 2), text, fill=_WRONG if cell.wrong else _INK, font=font, anchor="mm")


def _head(pen: ImageDraw.ImageDraw, width: int, title: str, legend: bool, gap: int, strip: int) -> None:
    middle = gap + strip / 2
    end = float(width - gap)
    if legend:
        font = font_for("predicted", round(strip * 0.62))
        for text, colour, dashed in (("true box", TRUE, True), ("predicted box", PREDICTED, False)):
            end -= pen.textlength(text, font=font)
            pen.text((end, middle), text, fill=_INK, font=font, anchor="lm")
            end -= strip * 1.6
            _rectangle(pen, (end, middle - strip * 0.32, end + strip * 1.2, middle + strip * 0.32), colour, 2, dashed)
            end -= gap * 1.5
    font = font_for(title, round(strip * 0.78))
    pen.text((gap, middle), _fitted(pen, title, font, end - gap), fill=_INK, font=font, anchor="lm")


def heat(level: Image.Image) -> Image.Image:
    """A map, as a grey image, in colours that are the warmer and the less clear the higher it is; clear at 0."""
    steps = np.linspace(0, 1, 256)
    tables = [
        np.interp(steps, np.linspace(0, 1, len(_HEAT)), channel).astype(int) for channel in zip(*_HEAT, strict=True)
    ]
    alpha = level.point([round(value * _STRONGEST_TINT) for value in range(256)])
    return Image.merge("RGBA", [*(level.point(table.tolist()) for table in tables), alpha])


def _tint(image: Image.Image, values: NDArray[np.float32]) -> Image.Image:
    """The stronger the map, the stronger and the warmer the tint; where it is 0 the image stays as it is."""
    level = Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))
    colours = heat(level.resize(image.size, Image.Resampling.BILINEAR))
    return Image.composite(colours.convert("RGB"), image, colours.getchannel("A"))


def _scaled(corners: Sequence[float], scale: tuple[float, float]) -> Corners:
    x0, y0, x1, y1 = corners
    return x0 * scale[0], y0 * scale[1], x1 * scale[0], y1 * scale[1]


def _rectangle(pen: ImageDraw.ImageDraw, corners: Corners, colour: Colour, width: int, dashed: bool = False) -> None:
    """The outline lies inside the box, on a dark one that sets it off from any background."""
    x0, y0 = round(corners[0]), round(corners[1])
    x1, y1 = max(x0, round(corners[2]) - 1), max(y0, round(corners[3]) - 1)  # Pillow's corners are inclusive
    if not dashed:
        pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=_DARK, width=width + 2)
        pen.rectangle((x0, y0, x1, y1), outline=colour, width=width)
        return
    inner = max(x0, x1 - width + 1), max(y0, y1 - width + 1)
    for side in (x0, y0, x1, y0 + width - 1), (x0, inner[1], x1, y1):
        _dashes(pen, side, colour, 4 * width, across=False)
    for side in (x0, y0, x0 + width - 1, y1), (inner[0], y0, x1, y1):
        _dashes(pen, side, colour, 4 * width, across=True)


def _dashes(
    pen: ImageDraw.ImageDraw, side: tuple[int, int, int, int], colour: Colour, length: int, *, across: bool
) -> None:
    """Dashes and dark gaps of about ``length``, so chosen that each side begins and ends with a dash."""
    x0, y0, x1, y1 = side
    whole = (y1 - y0 if across else x1 - x0) + 1
    pen.rectangle((x0, y0, max(x0, x1), max(y0, y1)), fill=_DARK)
    pieces = 2 * max(0, round(whole / length / 2)) + 1
    for piece in range(0, pieces, 2):
        start, end = round(piece * whole / pieces), max(round((piece + 1) * whole / pieces) - 1, 0)
        if across:
            pen.rectangle((x0, y0 + start, max(x0, x1), y0 + end), fill=colour)
        else:
            pen.rectangle((x0 + start, y0, x0 + end, max(y0, y1)), fill=colour)


def _label(pen: ImageDraw.ImageDraw, size: tuple[int, int], box: Corners, text: str, tail: str, width: int) -> None:
    """Text on a dark strip above the box, or in its top if there is no room above; always inside the image."""
    font = font_for(f"{text}{tail}…", max(11, round(max(size) / 36)))
    padding = max(2, width)
    text = _fitted(pen, text, font, size[0] - 2 * padding, tail)
    ascent, descent = font.getmetrics()
    height = ascent + descent + padding
    length = pen.textlength(text, font=font) + 2 * padding
    x = min(max(0.0, box[0] - 1), max(0.0, size[0] - length))
    y = box[1] - height if box[1] >= height else min(box[1] + width, max(0.0, size[1] - height))
    pen.rectangle((x, y, x + length, y + height - 1), fill=_DARK)
    pen.text((x + padding, y + padding / 2), text, fill=(255, 255, 255), font=font)


def _fitted(pen: ImageDraw.ImageDraw, text: str, font: Font, room: float, tail: str = "") -> str:
    """The text and its tail, the text cut with an ellipsis if both are longer than ``room`` pixels."""
    if pen.textlength(text + tail, font=font) <= room:
        return text + tail
    for keep in range(len(text) - 1, 0, -1):
        shorter = f"{text[:keep].rstrip()}…{tail}"
        if pen.textlength(shorter, font=font) <= room:
            return shorter
    return tail.strip()
