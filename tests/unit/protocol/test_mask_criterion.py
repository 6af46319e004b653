"""PxAP as a figure to select by: sums that add up, and thresholds worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxless.data.masks import MaskFiles, Masks
from boxless.errors import DataError
from boxless.metrics.pixel_metric import PixelAveragePrecision
from boxless.protocol.mask_criterion import MaskFigure

GENERATOR = np.random.default_rng(0)
MAPS = np.rint(GENERATOR.random((6, 8, 12)) * 50) / 50
MASKS = {f"{i}.png": GENERATOR.random((8, 12)) < 0.4 for i in range(6)}
NAMES = list(MASKS)
SIZE = (12, 8)


def test_the_figure_is_that_of_the_metric_and_shares_add_up() -> None:
    metric = PixelAveragePrecision()
    metric.update(MAPS, list(MASKS.values()))
    wanted = metric.compute()
    one, other = MaskFigure(MASKS, SIZE), MaskFigure(MASKS, SIZE)
    one.update(NAMES[:2], MAPS[:2])
    one.update(NAMES[2:3], MAPS[2:3])
    other.update(NAMES[3:], MAPS[3:])
    value, threshold = MaskFigure.figure(one.sums() + other.sums())
    assert value == pytest.approx(wanted.pxap)
    assert threshold == wanted.max_piou_threshold


def test_the_threshold_is_where_pixels_fit_best() -> None:
    figure = MaskFigure({"a": np.array([[True, True, False, False]])}, (4, 1))
    figure.update(["a"], np.array([[[0.9, 0.6, 0.3, 0.1]]]))
    assert figure.figure(figure.sums()) == (100.0, 0.301)  # above the 0.3 beside the object, IoU 1


def test_an_empty_mask_counts_and_an_image_without_a_mask_does_not() -> None:
    masks = {"on": np.array([[True, False]]), "empty": np.zeros((1, 2), dtype=bool)}
    figure = MaskFigure(masks, (2, 1))
    figure.update(["on", "unknown"], np.array([[[0.5, 0.2]], [[1.0, 1.0]]]))
    assert figure.figure(figure.sums())[0] == 100
    figure.update(["empty"], np.array([[[0.8, 0.1]]]))
    assert figure.figure(figure.sums())[0] == 50  # the one true pixel is the second highest
    assert "empty" in figure
    assert "unknown" not in figure


def test_sums_begin_anew_after_each_epoch() -> None:
    figure = MaskFigure(MASKS, SIZE)
    figure.update(NAMES, MAPS)
    first = figure.sums(reset=True)
    assert not figure.sums().any()
    figure.update(NAMES, MAPS)
    assert (figure.sums() == first).all()


def test_without_foreground_there_is_no_figure() -> None:
    assert np.isnan(MaskFigure.figure(MaskFigure(MASKS, SIZE).sums())).all()


def test_masks_come_from_files_at_the_size_of_maps_once(tmp_path: Path) -> None:
    Image.new("RGB", (24, 16)).save(tmp_path / "a.png")
    whole = np.zeros((16, 24), dtype=np.uint8)
    whole[:, :12] = 255
    Image.fromarray(whole).save(tmp_path / "mask.png")
    masks = Masks("here", {"a.png": MaskFiles(tmp_path / "a.png", (tmp_path / "mask.png",))})
    figure, maps = MaskFigure(masks, SIZE), np.zeros((1, 8, 12))
    maps[:, :, :6] = 0.7
    figure.update(["a.png"], maps)
    (tmp_path / "mask.png").unlink()
    figure.update(["a.png"], maps)
    assert figure.sums().sum() == 2 * 96
    assert figure.figure(figure.sums())[0] == 100


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(DataError, match="resize"):
        MaskFigure(MASKS, SIZE).update(["0.png"], np.zeros((1, 12, 8)))
