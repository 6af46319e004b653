"""Large images in tiles, by a network that is known by hand: class and map are the strongest colour's."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxless.ops.boxes import iou
from boxless.ops.run_lengths import decode
from boxless.predict.decoding import Refused
from boxless.predict.engine import Engine, Said
from boxless.predict.options import Options
from boxless.predict.sources import Source
from boxless.predict.tiles import predict_tiles, wants_tiles
from boxless.types import Prediction

tifffile = pytest.importorskip("tifffile")

SIZE = (1500, 1100)
SQUARES = {  # (x0, y0, x1, y1) -> class; tiles of 400 pixels begin every 275 or so, so that borders cut all of them
    (330, 330, 470, 480): 0,
    (900, 120, 1020, 260): 1,
    (1250, 800, 1420, 960): 2,
    (90, 850, 200, 990): 1,
}


class Colours(Engine):
    """Maps are how much redder (greener, bluer) a place is than gray, in part of the highest; scores are its mean."""

    classes = ("red", "green", "blue")
    threshold, multi_label, size, any_size = 0.5, False, 40, False
    digest, selected_by, threshold_from, presence = "d", "", "", None
    batch_size, beside = 5, False

    def __init__(self) -> None:
        self.looks = 0

    def forward(self, images: np.ndarray, classes: np.ndarray | None = None) -> Said:
        self.looks += len(images)
        excess = (images.astype(np.float32) - images.min(3, keepdims=True)) / 255
        logits = 40 * excess.mean((1, 2)).astype(np.float64)
        chosen = logits.argmax(1)[:, None] if classes is None else classes
        maps = np.take_along_axis(excess.transpose(0, 3, 1, 2), chosen[:, :, None, None], 1)
        return Said(logits, chosen, maps / np.maximum(maps.max((2, 3), keepdims=True), 0.1), np.ones(len(images), bool))


def picture(size: tuple[int, int] = SIZE, squares: dict = SQUARES) -> np.ndarray:
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    for (x0, y0, x1, y1), label in squares.items():
        image[y0:y1, x0:x1, label] = 240
    return image


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return saved(tmp_path / "large.tif", picture())


def saved(path: Path, image: np.ndarray) -> Source:
    tifffile.imwrite(path, image, photometric="rgb", tile=(128, 128), compression="zlib")
    return Source(path, path.name)


def predicted(source: Source, options: Options) -> Prediction:
    found = predict_tiles(Colours(), source, options)
    assert isinstance(found, Prediction), found
    return found


@pytest.mark.parametrize("rescore", [False, True])
def test_each_object_gets_one_box_at_its_place(source: Source, rescore: bool) -> None:
    found = predicted(source, Options(tile=400, multi=True, rescore=rescore))
    assert (found.name, found.size) == ("large.tif", SIZE)
    overlaps = iou(list(SQUARES), [each.xyxy for each in found.boxes])
    assert len(found.boxes) == len(SQUARES)
    assert overlaps.max(1).min() > 0.8
    assert [found.boxes[each].label_index for each in overlaps.argmax(1)] == list(SQUARES.values())
    assert found.map is not None
    assert found.map.shape == (110, 150)  # 40 cells a tile of 400 pixels


def test_without_multi_it_is_the_largest_of_the_surest_class(source: Source) -> None:
    found = predicted(source, Options(tile=400))
    assert (found.label, len(found.boxes)) == ("blue", 1)
    assert iou([(1250, 800, 1420, 960)], [found.boxes[0].xyxy])[0, 0] > 0.8
    assert not predicted(source, Options(tile=400, min_score=1.0)).boxes


def test_a_tile_as_large_as_the_image_is_the_whole_image(tmp_path: Path) -> None:
    one = {(330, 330, 670, 780): 0}
    source = saved(tmp_path / "one.tif", picture(squares=one))
    whole, tiled = predicted(source, Options(tile=1500)), predicted(source, Options(tile=800))
    assert iou([whole.boxes[0].xyxy], [tiled.boxes[0].xyxy])[0, 0] > 0.85
    assert whole.label == tiled.label == "red"


def test_masks_are_of_the_image_and_of_one_object_each(source: Source) -> None:
    for box in predicted(source, Options(tile=400, multi=True, masks=True)).boxes:
        assert box.mask is not None
        mask = decode(box.mask, SIZE)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        bounds = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        assert iou([bounds], [box.xyxy])[0, 0] > 0.85


def test_limits_are_of_one_tile(source: Source) -> None:
    assert len(predicted(source, Options(tile=400, multi=True, min_area=0.2, rescore=False)).boxes) == 0
    assert len(predicted(source, Options(tile=400, multi=True, min_area=0.05, rescore=False)).boxes) == 4
    assert len(predicted(source, Options(tile=400, multi=True, max_boxes=1, rescore=False)).boxes) == 4


def test_other_formats_and_names_of_classes(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    found = predicted(Source(tmp_path / "a.png", "a.png"), Options(tile=400, multi=True, label_map=(("red", "warm"),)))
    assert sorted(each.label for each in found.boxes) == ["blue", "green", "green", "warm"]


def test_only_what_is_larger_than_a_tile_wants_tiles(source: Source, tmp_path: Path) -> None:
    assert wants_tiles(source, Options(tile=1499))
    assert not wants_tiles(source, Options(tile=1500))
    assert not wants_tiles(source, Options())
    (tmp_path / "rubbish.tif").write_bytes(b"II*\0rubbish")
    assert not wants_tiles(Source(tmp_path / "rubbish.tif", "r"), Options(tile=64))
    assert not wants_tiles(Source(tmp_path / "missing.jpg", "m"), Options(tile=64))


def test_damaged_images_and_broken_networks_are_refused(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Colours):
        def forward(self, images: np.ndarray, classes: np.ndarray | None = None) -> Said:
            said = super().forward(images, classes)
            said.finite[0] = False
            return said

    found = predict_tiles(Broken(), source, Options(tile=400))
    assert isinstance(found, Refused)
    assert "large.tif: the network's output for" in str(found.error)
    source.path.write_bytes(source.path.read_bytes()[:3000])
    found = predict_tiles(Colours(), source, Options(tile=400))
    assert isinstance(found, Refused)
    assert "large.tif" in str(found.error)


def test_memory_is_that_of_a_tile_and_not_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxless.data.tiff._KEPT", 1 << 18)
    monkeypatch.setattr("boxless.predict.mosaic.MOST_CELLS", 1 << 12)
    monkeypatch.setattr("boxless.predict.mosaic._IN_MEMORY", 1 << 12)
    predicted(saved(tmp_path / "first.tif", picture((300, 300), {(50, 50, 150, 150): 0})), Options(tile=200))
    peaks, looks = [], []
    for side in (700, 1400):
        source = saved(tmp_path / f"{side}.tif", picture((side, side), {(50, 50, 150, 150): 0}))
        engine = Colours()
        tracemalloc.start()
        predict_tiles(engine, source, Options(tile=200, multi=True))
        peaks.append(tracemalloc.get_traced_memory()[1])
        looks.append(engine.looks)
        tracemalloc.stop()
    assert looks[1] > 3 * looks[0]
    assert peaks[1] < 1.3 * peaks[0]
    assert peaks[1] < 1400 * 1400 * 3
