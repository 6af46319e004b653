from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxless.errors import DataError
from boxless.ops.components import components
from boxless.ops.run_lengths import decode, encode
from boxless.predict import masks
from boxless.predict.masks import cells_of, class_colour, mask_of, write_mask
from boxless.types import Box, Prediction


def blobs(side: int = 40) -> np.ndarray:
    """Some smooth blobs, two of them near each other."""
    y, x = np.mgrid[:side, :side]
    places = ((8, 9, 4), (8, 21, 4), (30, 12, 6), (28, 33, 3))
    return np.max([np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * s * s)) for a, b, s in places], 0).astype(np.float32)


def test_cells_are_those_of_the_component_with_this_box():
    values = np.zeros((5, 7), np.float32)
    ring = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 4), (3, 2), (3, 3), (1, 5)]
    for y, x in [*ring, (4, 0), (4, 6)]:
        values[y, x] = 0.8
    cells = cells_of(values, 0.5, (1, 1, 6, 4))
    assert sorted(zip(*map(list, np.nonzero(cells)), strict=True)) == sorted(ring)
    assert not cells_of(values, 0.9, (1, 1, 6, 4)).any()
    assert not cells_of(values, 0.5, (0, 0, 0, 0)).any()
    assert not cells_of(values, 0.5, (1, 1, 6, 5)).any()  # no component has this box


def test_cells_of_every_component_are_as_many_as_its_area():
    values = np.random.default_rng(3).random((30, 41)).astype(np.float32)
    found = components(values, 0.7)
    cut = 0.7 * values.astype(float).max()
    cells = [cells_of(values, cut, box) for box in found.boxes]
    assert [int(each.sum()) for each in cells] == found.areas.tolist()
    assert np.sum(cells, 0).max() == 1


def test_at_the_size_of_the_map_the_mask_is_the_component():
    values = blobs()
    cells = cells_of(values, 0.5, components(values, 0.5).boxes[0])
    assert mask_of(values, 0.5, cells, (40, 40)) == encode(cells)


@pytest.mark.parametrize("size", [(400, 300), (57, 93), (13, 11), (1000, 40)])
def test_the_mask_lies_in_the_box_and_off_the_cells_of_others(size):
    values = blobs()
    found = components(values, 0.4)
    assert len(found.boxes) == 4
    scale = np.array(size) / 40
    for box in found.boxes:
        cells = cells_of(values, 0.4, box)
        mask = decode(mask_of(values, 0.4, cells, size), size)
        y, x = np.nonzero(mask)
        assert (x + 0.5 >= box[0] * scale[0]).all()
        assert (x + 0.5 <= box[2] * scale[0]).all()
        assert (y + 0.5 >= box[1] * scale[1]).all()
        assert (y + 0.5 <= box[3] * scale[1]).all()
        if min(size) > 50:  # an edge lies less than a cell inside the box's
            assert x.min() < (box[0] + 1) * scale[0]
            assert x.max() > (box[2] - 1) * scale[0] - 1
        others = (values > 0.4) & ~cells
        down, across = ((y + 0.5) / scale[1]).astype(int), ((x + 0.5) / scale[0]).astype(int)
        assert not others[down, across].any()


def test_edges_are_where_the_resized_map_crosses_the_cut():
    # A ramp of values 1, 3/4, 1/2, 1/4 at cell centres 0.5 to 3.5: it crosses 0.6 at x = 2.1, but the cells above the
    # cut end at 2, and so does the box. It crosses 0.4 at 2.9, within the cell that is above.
    values = np.array([[1, 0.75, 0.5, 0.25]], np.float32)
    for cut, ends in ((0.6, 200), (0.4, 290)):
        mask = decode(mask_of(values, cut, values > cut, (400, 1)), (400, 1))
        assert mask[0].tolist() == [True] * ends + [False] * (400 - ends)


def test_strips_change_nothing(monkeypatch):
    values = blobs()
    cells = cells_of(values, 0.3, components(values, 0.3).boxes[0])
    whole = mask_of(values, 0.3, cells, (211, 103))
    for pixels in (1, 103 * 7, 103 * 50):
        monkeypatch.setattr(masks, "_STRIP", pixels)
        assert mask_of(values, 0.3, cells, (211, 103)) == whole


def test_a_large_image_is_never_whole_in_memory():
    import tracemalloc

    values = blobs()
    cells = cells_of(values, 0.3, components(values, 0.3).boxes[0])
    tracemalloc.start()
    counts = mask_of(values, 0.3, cells, (1000, 20_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # a strip of 4 million pixels, in float32 and in between
    assert decode(counts, (1000, 20_000)).sum() / 2e7 == pytest.approx(cells.sum() / 1600, rel=0.05)


def test_a_mask_is_never_empty():
    values = np.zeros((40, 40), np.float32)
    values[39, 20] = 1
    counts = mask_of(values, 0.5, values > 0, (4, 3))
    assert np.argwhere(decode(counts, (4, 3))).tolist() == [[2, 2]]
    values[:] = 0.49
    values[0, 0] = 0.51  # resized, it falls below the cut at once
    assert decode(mask_of(values, 0.505, values > 0.5, (37, 37)), (37, 37)).sum() >= 1
    with pytest.raises(DataError, match="no cell"):
        mask_of(values, 0.5, values > 1, (4, 3))


def predicted(*boxes: Box) -> Prediction:
    return Prediction(Path("a.jpg"), "a.jpg", (3, 2), "a", 0, 0.9, boxes, 0.5)


def box(mask: str | None, index: int, score: float) -> Box:
    return Box((0, 0, 1, 1), "abc"[index % 3], index, score, mask)


@pytest.mark.parametrize(("classes", "mode", "index"), [(3, "P", 2), (400, "I;16", 399)])
def test_a_png_holds_classes_from_one_with_the_surest_on_top(classes, mode, index, tmp_path):
    sure, unsure = np.array([[0, 1, 1], [0, 0, 0]], dtype=bool), np.array([[1, 1, 0], [1, 0, 0]], dtype=bool)
    path = tmp_path / "masks" / "a.jpg.png"
    write_mask(predicted(box(encode(sure), index, 0.9), box(encode(unsure), 0, 0.2)), path, classes)
    with Image.open(path) as picture:
        assert picture.mode == mode
        assert np.asarray(picture).tolist() == [[1, index + 1, index + 1], [1, 0, 0]]
        if mode == "P":
            assert picture.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]


def test_without_a_box_the_png_is_empty_and_without_a_mask_it_is_refused(tmp_path):
    write_mask(predicted(), tmp_path / "none.png", 3)
    with Image.open(tmp_path / "none.png") as picture:
        assert picture.size == (3, 2)
        assert not np.asarray(picture).any()
    with pytest.raises(DataError, match="with masks"):
        write_mask(predicted(box(None, 0, 0.5)), tmp_path / "other.png", 3)
    assert not (tmp_path / "other.png").exists()


def test_colours_are_those_of_pascal_voc():
    assert [class_colour(index) for index in (0, 1, 2, 15, 255)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (192, 128, 128), (224, 224, 192),
    ]  # fmt: skip
