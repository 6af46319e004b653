from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxless.predict import fonts
from boxless.predict.overlay import PREDICTED, TRUE, Tile, contact_sheet, draw, tile
from boxless.types import Box, Prediction


def prediction(*, label: str = "cat", box: tuple[float, float, float, float] | None = (40, 80, 120, 160)) -> Prediction:
    boxes = () if box is None else (Box(box, label, 0, 0.9),)
    return Prediction(Path("a"), "a", (200, 200), label, 0, 0.9, boxes, 0.5)


GRAY = Image.new("RGB", (200, 200), (128, 128, 128))


def extent(image: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The half-open box of the pixels of a colour."""
    rows, columns = np.nonzero((np.asarray(image) == colour).all(2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_outline_lies_on_the_inner_edge_of_the_box() -> None:
    assert extent(draw(GRAY, prediction()), PREDICTED) == (40, 80, 120, 160)


def test_box_is_scaled_to_an_image_of_another_size() -> None:
    assert extent(draw(GRAY.resize((100, 400)), prediction(), labels=False), PREDICTED) == (20, 160, 60, 320)


def test_true_box_is_drawn_dashed_in_its_own_colour() -> None:
    picture = draw(GRAY, prediction(box=None), truth=[[20, 60, 180, 190]], labels=False)
    assert extent(picture, TRUE) == (20, 60, 180, 190)
    row = (np.asarray(picture)[60, 20:180] == TRUE).all(1)
    assert 0.3 < row.mean() < 0.8


def test_the_given_image_is_not_drawn_on() -> None:
    before = GRAY.copy()
    draw(GRAY, prediction())
    assert GRAY.tobytes() == before.tobytes()


def test_map_tints_only_where_it_is_above_zero() -> None:
    values = np.zeros((20, 20), np.float32)
    values[10:, :] = 1
    picture = np.asarray(draw(GRAY, replace(prediction(box=None), map=values), labels=False))
    assert (picture[:80] == 128).all()
    assert (picture[120:, :, 0] > picture[120:, :, 2]).all()  # warm: more red than blue
    assert (np.asarray(draw(GRAY, replace(prediction(box=None), map=values), heat=False, labels=False)) == 128).all()


@pytest.mark.parametrize("box", [(0, 0, 200, 200), (190, 190, 200, 200), (0, 199, 1, 200), None])
@pytest.mark.parametrize("label", ["cat", "a label that is far too long for the image it is on", "Ж", ""])
def test_label_is_readable_wherever_the_box_is(label: str, box: tuple[float, float, float, float] | None) -> None:
    picture = np.asarray(draw(GRAY, prediction(label=label, box=box)))
    assert (picture > 200).all(2).sum() > 20  # white letters inside the image


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2000, 3)])
def test_extreme_sizes_can_be_drawn_on(size: tuple[int, int]) -> None:
    given = Prediction(Path("a"), "a", size, "cat", 0, 0.9, (Box((0, 0, *size), "cat", 0, 0.9),), 0.5)
    assert draw(Image.new("RGB", size), given, truth=[[0, 0, *size]]).size == size


def test_font_with_the_glyphs_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fonts.font_for("cat", 12).getname()[0] == fonts._font(None, 12).getname()[0]
    monkeypatch.setattr(fonts, "_CANDIDATES", ("none-such-font.ttf",))
    fonts._best.cache_clear()
    assert fonts.font_for("宇", 12).getname()[0] == fonts._font(None, 12).getname()[0]  # the best there is
    fonts._best.cache_clear()


def test_sheet_holds_every_tile_in_reading_order() -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    sheet = contact_sheet([Tile(Image.new("RGB", (50, 50), each), "x") for each in colours], columns=2, size=50)
    red, green, blue = (extent(sheet, each) for each in colours)
    assert red[1] == green[1] < blue[1]
    assert red[0] == blue[0] < green[0]
    assert (red[2] - red[0], red[3] - red[1]) == (50, 50)


def test_tile_with_a_wrong_class_says_which_is_right() -> None:
    wrong = tile(GRAY, prediction(), true_label="dog", size=100)
    assert wrong.wrong
    assert "is dog" in wrong.caption
    right = tile(GRAY, prediction(), true_label="cat", size=100)
    assert (right.wrong, right.caption, right.detail) == (False, "cat", "  90%")
    assert right.image.size == (100, 100)
