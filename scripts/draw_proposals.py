r"""Draws docs/images/proposals.jpg: how some test images of the bundled sample come to their proposals.

    boxless train sample --out runs/sample
    boxless annotate sample --split test --classifier runs/sample --out proposals --overlays \
        --set pseudo.score=posterior --set pseudo.visible=box
    python scripts/draw_proposals.py proposals

src/boxless/data/sample/NOTICE.md names the authors of what the images are made of, and their licences.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
SHOWN = ("bag/0003.jpg", "pullover/0003.jpg", "ankle-boot/0003.jpg")
WIDTH = 1200


def main() -> None:
    """Put the pictures one below the other."""
    read = []
    for name in SHOWN:
        with Image.open(Path(sys.argv[1]) / "overlays" / f"{name}.jpg") as image:
            read.append(image.convert("RGB"))
    sheet = Image.new("RGB", (max(each.width for each in read), sum(each.height for each in read)), "white")
    top = 0
    for each in read:
        sheet.paste(each, (0, top))
        top += each.height
    small = sheet.resize((WIDTH, round(sheet.height * WIDTH / sheet.width)), Image.Resampling.LANCZOS)
    small.save(ROOT / "docs/images/proposals.jpg", quality=82, optimize=True)


if __name__ == "__main__":
    main()
