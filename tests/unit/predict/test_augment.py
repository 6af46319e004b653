from __future__ import annotations

import numpy as np
import pytest

from boxless.errors import ConfigError
from boxless.predict.augment import forward, sides
from boxless.predict.engine import Engine, Said
from boxless.predict.options import Options

SIDE = 32


class Channels(Engine):
    """The map of a class is a channel; its logit is the channel's mean plus how much brighter the left half is."""

    classes = ("red", "green", "blue")
    multi_label = False
    size = SIDE

    def __init__(self, *, any_size: bool = True) -> None:
        self.any_size = any_size
        self.calls: list[tuple[int, int, bool]] = []  # images, side, whether classes were named

    def forward(self, images, classes=None):
        self.calls.append((len(images), images.shape[1], classes is not None))
        values = images.astype(np.float64) / 255
        half = images.shape[2] // 2
        logits = values.mean((1, 2)) + values[:, :, :half].mean((1, 2)) - values[:, :, half:].mean((1, 2))
        wanted = logits.argmax(1)[:, None] if classes is None else classes
        maps = np.take_along_axis(values.transpose(0, 3, 1, 2), wanted[:, :, None, None], 1).astype(np.float32)
        finite = images[:, 0, 0, 0] != 13
        return Said(logits, wanted, maps, finite)


def picture(side: int = SIDE) -> np.ndarray:
    """Red 40 on the left, green 60 on the right: each view sees the channel that is brighter on its left."""
    image = np.zeros((side, side, 3), np.uint8)
    image[:, : side // 2, 0] = 40
    image[:, side // 2 :, 1] = 60
    return image


def test_without_views_one_pass_is_all():
    engine, images = Channels(), picture()[None]
    said, plain = forward(engine, [images], Options()), Channels().forward(images)
    assert engine.calls == [(1, SIDE, False)]
    for name in ("logits", "classes", "maps", "finite"):
        np.testing.assert_array_equal(getattr(said, name), getattr(plain, name))


def test_a_mirrored_view_is_turned_back_and_asked_again_only_for_what_it_did_not_say():
    engine, plain = Channels(), np.full((SIDE, SIDE, 3), (0, 0, 200), np.uint8)
    said = forward(engine, [np.stack([plain, picture()])], Options(flip=True))
    # of the second image the view as it is says red, the mirrored one green; the mean of both says green: the first
    # view is asked again for that image alone
    assert engine.calls == [(2, SIDE, False), (2, SIDE, False), (1, SIDE, True)]
    assert said.classes.tolist() == [[2], [1]]
    # red: mean 20, more on one side by 40 and on the other by -40; green: mean 30, by -60 and 60
    np.testing.assert_allclose(said.logits[1], [20 / 255, 30 / 255, 0])
    np.testing.assert_allclose(said.maps[1, 0], picture()[..., 1] / 255, atol=1e-7)


def test_sizes_are_averaged_at_the_size_of_the_engine():
    engine = Channels()
    assert sides(engine, Options(scales=(2.0, 1.0, 1.9))) == (32, 64)
    small = np.full((1, 32, 32, 3), (0, 100, 0), np.uint8)
    large = np.full((1, 64, 64, 3), (0, 200, 0), np.uint8)
    large[:, :, 32:] = (0, 50, 0)
    said = forward(engine, [small, large], Options(scales=(1.0, 2.0)))
    assert engine.calls == [(1, 32, False), (1, 64, False)]
    np.testing.assert_allclose(said.logits[0], [0, (100 + 125 + 150) / 2 / 255, 0])
    assert said.maps.shape == (1, 1, 32, 32)
    np.testing.assert_allclose(said.maps[0, 0, 5, [0, 31]], [150 / 255, 75 / 255], rtol=1e-6)


def test_classes_are_chosen_from_the_mean_scores():
    engine, given = Channels(), []

    def choose(logits):
        given.append(logits)
        return np.array([[2, 0]])

    said = forward(engine, [picture()[None]], Options(flip=True), choose)
    np.testing.assert_allclose(given[0], said.logits)
    assert said.classes.tolist() == [[2, 0]]
    np.testing.assert_allclose(said.maps[0, 1], picture()[..., 0] / 255, atol=1e-7)
    assert not said.maps[0, 0].any()


def test_an_image_with_one_view_that_is_not_finite_is_not_finite():
    images = np.stack([picture(), picture()])
    images[0, 0, -1, 0] = 13  # the first pixel of the mirrored view
    said = forward(Channels(), [images], Options(flip=True))
    assert said.finite.tolist() == [False, True]
    assert not said.maps[0].any()
    assert np.isfinite(said.logits).all()


def test_an_engine_of_one_size_refuses_others_and_mirrors():
    engine = Channels(any_size=False)
    assert sides(engine, Options(flip=True)) == (SIDE,)
    assert sides(engine, Options(scales=(1.1, 1.0))) == (SIDE,)  # it rounds to the same
    with pytest.raises(ConfigError, match="32 x 32 pixels alone"):
        sides(engine, Options(scales=(1.0, 1.5)))
