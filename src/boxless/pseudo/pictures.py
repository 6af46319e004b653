"""Pictures of how an image came to its proposals: the image, the maps, the proposals, the pixels drawn about one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from boxless.losses.partial import BACKGROUND, FOREGROUND
from boxless.ops.maps import resize
from boxless.predict.fonts import font_for
from boxless.predict.overlay import Colour, draw
from boxless.pseudo.pixels import choose_boxes, sample_pixels
from boxless.pseudo.proposals import ProposalSettings, candidates
from boxless.pseudo.records import Proposals
from boxless.types import Box, Prediction

HEIGHT, WIDEST = 240, 420  # of a panel, in pixels
_LONGEST = 24  # characters of a class's name
OBJECT: Colour = (255, 140, 0)  # discs; squares for the background, for eyes that do not tell the two colours apart
OTHER: Colour = (40, 130, 255)
_SCORES = {
    "posterior": "probability of {}, rest blurred",
    "size": "how usual a size",
    "product": "probability of {} x usual size",
}
_REGION: Colour = (255, 255, 255)
_DARK: Colour = (24, 26, 30)
_PAPER: Colour = (250, 250, 248)
_INK: Colour = (40, 42, 46)
_PALE: Colour = (110, 112, 118)
_GAP, _TILE_GAP = 16, 4
_TITLE, _DETAIL, _LABEL = 16, 13, 12  # sizes of text


@dataclass(frozen=True, slots=True)
class _Panel:
    image: Image.Image
    title: str
    detail: str


def picture(
    image: Image.Image,
    proposals: Proposals,
    maps: Tensor | None = None,
    *,
    label: str,
    settings: ProposalSettings,
    scored: str = "",
    sampling: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Image.Image:
    """One picture of four parts, from left to right.

    Args:
        image: The upright image, at any scale.
        proposals: Of this image alone.
        maps: (m, h', w') in [0, 1], on which regions are looked for again; None leaves this part out.
        label: The image's class.
        settings: That the proposals were made with.
        scored: What their scores are, with ``{}`` for the class; empty: what ``settings.score`` says.
        sampling: Settings of `sample_pixels`, of which one draw is shown; None leaves this part out.
        seed: Of this draw.
    """
    size = _fitted(image.size, HEIGHT)
    small = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)  # before drawing, so that lines stay sharp
    boxes, grid = _boxes(proposals), (proposals.grid[1], proposals.grid[0])
    name = label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
    panels = [_Panel(small, "Image", name)]
    if maps is not None:
        said = "map; white: boxes of its regions" if len(maps) == 1 else "maps; white: boxes of their regions"
        panels.append(
            _Panel(_tiles(small, maps, proposals, boxes, settings.min_size), "Maps and regions", f"{len(maps)} {said}")
        )
    if boxes:
        panels.append(
            _Panel(_marked(small, boxes, grid), "Proposals", (scored or _SCORES[settings.score]).format(name))
        )
        if sampling is not None:
            panels.append(_pixels(small, proposals, boxes, sampling, seed))
    else:
        panels.append(_Panel(small, "No proposal", "nothing stands out in the maps"))
    return _joined(panels)


def _fitted(size: tuple[int, int], height: int) -> tuple[int, int]:
    """The size that an image of this shape has in a panel or a tile of that height."""
    factor = min(height / size[1], WIDEST * height / HEIGHT / size[0])
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _boxes(proposals: Proposals) -> list[Box]:
    """The boxes numbered from 1, in pixels of their grid."""
    count = int(proposals.valid[0].sum())
    rows = zip(proposals.boxes[0, :count].tolist(), proposals.scores[0, :count].tolist(), strict=True)
    return [Box((x0, y0, x1, y1), str(number), 0, score) for number, ((x0, y0, x1, y1), score) in enumerate(rows, 1)]


def _marked(image: Image.Image, boxes: Sequence[Box], grid: tuple[int, int], values: Any = None) -> Image.Image:
    """The image with boxes that lie on a grid of (width, height), their numbers and scores, and a map."""
    canvas = draw(image, Prediction(Path(), "", grid, "", 0, 0.0, tuple(boxes), 0.0, map=values), labels=False)
    pen = ImageDraw.Draw(canvas)
    taken: list[tuple[float, float, float, float]] = []
    for box in boxes:
        text = f"{box.label}  {box.score:.0%}"
        font = font_for(text, _LABEL)
        width, height = pen.textlength(text, font=font) + 4, sum(font.getmetrics()) + 2
        x = min(max(0.0, box.xyxy[0] * image.width / grid[0]), max(0.0, image.width - width))
        top = box.xyxy[1] * image.height / grid[1]
        y = top - height if top >= height else top
        while any(x < x1 and x0 < x + width and y < y1 and y0 < y + height for x0, y0, x1, y1 in taken):
            y += height  # below the label that is there; of many, the last may leave the image
        taken.append((x, y, x + width, y + height))
        pen.rectangle((x, y, x + width - 1, y + height - 1), fill=_DARK)
        pen.text((x + 2, y + 1), text, fill=_REGION, font=font)
    return canvas


def _tiles(image: Image.Image, maps: Tensor, proposals: Proposals, boxes: list[Box], min_size: float) -> Image.Image:
    """Each map over the image, with the boxes of its regions, and those that were kept."""
    rows = 1 if len(maps) == 1 else 2 if len(maps) <= 10 else 3
    columns = ceil(len(maps) / rows)
    size = _fitted(image.size, (HEIGHT - _TILE_GAP * (rows - 1)) // rows)
    levels = resize(maps[None].float().cpu(), proposals.grid)[0].clamp(0, 1).numpy()
    pool, kept = candidates(levels, min_size), proposals.maps[0].tolist()
    grid = (proposals.grid[1], proposals.grid[0])
    sheet = Image.new(
        "RGB", (columns * (size[0] + _TILE_GAP) - _TILE_GAP, rows * (size[1] + _TILE_GAP) - _TILE_GAP), _PAPER
    )
    for number, values in enumerate(levels):
        tile = _marked(image.resize(size, Image.Resampling.BICUBIC), [], grid, values)
        _outline(tile, pool.boxes[pool.maps == number], grid)
        tile = _marked(tile, [box for box, of in zip(boxes, kept, strict=False) if of == number], grid)
        row, column = divmod(number, columns)
        sheet.paste(tile, (column * (size[0] + _TILE_GAP), row * (size[1] + _TILE_GAP)))
    return sheet


def _outline(image: Image.Image, boxes: NDArray[np.float64], grid: tuple[int, int]) -> None:
    pen = ImageDraw.Draw(image)
    for x0, y0, x1, y1 in boxes * np.tile(np.array(image.size) / np.array(grid), 2):
        corners = (round(x0), round(y0), max(round(x0), round(x1) - 1), max(round(y0), round(y1) - 1))
        pen.rectangle(corners, outline=_REGION)


def _pixels(
    image: Image.Image, proposals: Proposals, boxes: list[Box], sampling: Mapping[str, Any], seed: int
) -> _Panel:
    """What one training step might learn from; the same each time."""
    generator = torch.Generator().manual_seed(seed)
    own = proposals.to("cpu")
    chosen = choose_boxes(own.boxes, own.valid, own.grid, generator=generator)
    drawn = sample_pixels(
        own.levels(chosen), own.boxes, own.valid, chosen=chosen, generator=generator, **{**sampling, "dilation": 1}
    )[0].numpy()
    number = int(chosen)
    grid = (own.grid[1], own.grid[0])
    canvas = draw(
        Image.blend(image, Image.new("RGB", image.size, _DARK), 0.35),
        Prediction(Path(), "", grid, "", 0, 0.0, (boxes[number],), 0.0),
        labels=False,
    )
    pen = ImageDraw.Draw(canvas)
    scale = np.array(image.size) / np.array(grid)
    for value, colour in ((BACKGROUND, OTHER), (FOREGROUND, OBJECT)):
        for row, column in np.argwhere(drawn == value):
            x, y = (np.array((column, row)) + 0.5) * scale
            shape = pen.ellipse if value == FOREGROUND else pen.rectangle
            shape((x - 3, y - 3, x + 2, y + 2), fill=colour, outline=_DARK)
    counts = [int((drawn == value).sum()) for value in (FOREGROUND, BACKGROUND)]
    return _Panel(canvas, "Pixels of one draw", f"box {number + 1}: {counts[0]} of the object, {counts[1]} of the rest")


def _joined(panels: list[_Panel]) -> Image.Image:
    """The panels side by side, with their titles above."""
    head = _TITLE + _DETAIL + 18
    texts = [(f"{number}  {panel.title}", panel.detail) for number, panel in enumerate(panels, 1)]
    fonts = [(font_for(title, _TITLE), font_for(detail, _DETAIL)) for title, detail in texts]
    widths = [
        max(panel.image.width, *(round(font.getlength(text)) for text, font in zip(said, sizes, strict=True)))
        for panel, said, sizes in zip(panels, texts, fonts, strict=True)
    ]
    sheet = Image.new("RGB", (sum(widths) + _GAP * (len(panels) + 1), head + HEIGHT + _GAP), _PAPER)
    pen, left = ImageDraw.Draw(sheet), _GAP
    for panel, (title, detail), (large, small), width in zip(panels, texts, fonts, widths, strict=True):
        pen.text((left, 8), title, fill=_INK, font=large)
        pen.text((left, 12 + _TITLE), detail, fill=_PALE, font=small)
        sheet.paste(panel.image, (left, head + (HEIGHT - panel.image.height) // 2))
        left += width + _GAP
    return sheet
