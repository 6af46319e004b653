"""Draws docs/images/explain.jpg: photographs of the sample, each beside what ``boxless explain`` makes of it.

    boxless explain src/boxless/data/sample/assets/cat.jpg src/boxless/data/sample/assets/coffee.jpg --out explained
    python scripts/draw_explain.py explained

Both photographs are CC0-1.0; src/boxless/data/sample/NOTICE.md names their authors.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
PHOTOGRAPHS = ("cat.jpg", "coffee.jpg")
HEIGHT, GAP = 240, 8


def main() -> None:
    """Join the pictures side by side."""
    explained = Path(sys.argv[1])
    files = [
        path
        for name in PHOTOGRAPHS
        for path in (ROOT / "src/boxless/data/sample/assets" / name, explained / f"{name}.png")
    ]
    pictures = [Image.open(path).convert("RGB") for path in files]
    small = [each.resize((round(each.width * HEIGHT / each.height), HEIGHT)) for each in pictures]
    joined = Image.new("RGB", (sum(each.width + GAP for each in small) - GAP, HEIGHT), "white")
    left = 0
    for each in small:
        joined.paste(each, (left, 0))
        left += each.width + GAP
    joined.save(ROOT / "docs/images/explain.jpg", quality=88)


if __name__ == "__main__":
    main()
