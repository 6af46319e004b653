"""Draws docs/images/overview.jpg, what boxless does in one picture: labelled images of the sample, and boxes of a run.

python scripts/draw_overview.py RUN

Images are the first ones of each class shown: neither the best nor the worst.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw

from boxless import Localizer
from boxless.data.catalog import sample_folder
from boxless.predict.fonts import font_for
from boxless.predict.overlay import tile

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "overview.jpg"
CLASSES = ("ankle-boot", "bag", "coat")
SIDE, GAP, MARGIN, SCALE = 132, 8, 18, 2  # drawn at twice the size at which it is shown
INK, PAPER, ACCENT = (40, 42, 46), (250, 250, 248), (0, 150, 136)


def main() -> None:
    """Draw it."""
    localizer, sample = Localizer.load(sys.argv[1]), sample_folder()
    side, gap, margin = SIDE * SCALE, GAP * SCALE, MARGIN * SCALE
    left, middle, right = 3 * (side + gap), 190 * SCALE, 3 * (side + gap)
    row = side + 30 * SCALE
    sheet = Image.new("RGB", (2 * margin + left + middle + right, 2 * margin + 30 * SCALE + 3 * row), PAPER)
    pen = ImageDraw.Draw(sheet)

    def write(text: str, x: int, y: int, size: int = 15, colour: tuple[int, int, int] = INK) -> None:
        pen.text((x, y), text, colour, font_for(text, size * SCALE))

    top, start = margin + 34 * SCALE, margin + left + middle
    write("you have: images by class, and no box", margin, margin)
    write("you get: class, box, map, confidence", start, margin)
    for line, label in enumerate(CLASSES):
        y = top + line * row
        known = sorted((sample / "train" / label).iterdir())[:3]
        new = sorted((sample / "test" / label).iterdir())[:3]
        for column, path in enumerate(known):
            sheet.paste(Image.open(path).convert("RGB").resize((side, side)), (margin + column * (side + gap), y))
        write(f"photos/{label}/", margin, y + side + 4 * SCALE, 13)
        for column, found in enumerate(localizer.predict(new, maps=True)):
            cell = tile(Image.open(found.path), found, true_label=label, size=side)
            x = start + column * (side + gap)
            sheet.paste(cell.image, (x, y))
            write(cell.caption + cell.detail, x, y + side + 4 * SCALE, 11, (200, 40, 40) if cell.wrong else INK)
    _arrow(pen, margin + left, top + 3 * row // 2 - 40 * SCALE, middle - 20 * SCALE)
    for number, text in enumerate(("boxless train photos", "boxless predict")):
        write(text, margin + left + 6 * SCALE, top + 3 * row // 2 + (number * 22 - 12) * SCALE, 14)
    sheet.save(PICTURE, quality=86, optimize=True)


def _arrow(pen: ImageDraw.ImageDraw, x: int, y: int, length: int) -> None:
    head, half = 16 * SCALE, 3 * SCALE
    pen.rectangle((x, y - half, x + length - head, y + half), ACCENT)
    pen.polygon([(x + length - head, y - 4 * half), (x + length, y), (x + length - head, y + 4 * half)], ACCENT)


if __name__ == "__main__":
    main()
