"""Selective Search: the same boxes each time, the box of what stands out, and a word where OpenCV lacks it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from boxless.errors import ConfigError, MissingExtraError
from boxless.methods.head import GridClassifier
from boxless.pseudo.annotators import Material, make_annotator
from boxless.pseudo.selective_search import SelectiveSearch, search
from boxless.pseudo.teacher import Teacher


class Plain(nn.Module):
    mean = std = (0.5, 0.5, 0.5)


def images() -> Tensor:
    """Grey noise with a red square at 16, 8, 40, 32 and one one with a green one; values as a network takes them."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 3, 64, 64, generator=random) * 0.1 + 0.4
    pixels[0, :, 8:32, 16:40] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    pixels[1, :, 24:48, 24:48] = torch.tensor([0.1, 0.8, 0.2])[:, None, None]
    return (pixels - 0.5) / 0.5


def material() -> Material:
    """Class 0 is red, class 1 green."""
    network = GridClassifier(lambda given: given[:, :, 2::4, 2::4].relu(), (), nn.Linear(3, 2))
    with torch.no_grad():
        network.fc.weight.copy_(torch.tensor([[9.0, -3, 0], [-3, 9.0, 0]]))
        network.fc.bias.zero_()
    return Material(Plain(), Teacher(network, lambda given: given), 2)  # type: ignore[arg-type]


LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize("mode", ["single", "fast", "quality"])
def test_the_same_image_has_the_same_boxes(mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    pixels[10:30, 20:50] //= 4
    first = search(pixels, mode)
    assert np.array_equal(first, search(pixels, mode))
    assert len(first) == len(np.unique(first, axis=0)) > 1
    assert (first[:, :2] >= 0).all()
    assert (first[:, 2:] <= [64, 48]).all()


def test_the_box_of_what_stands_out_is_found_alone_or_among_others() -> None:
    annotator, given = SelectiveSearch(score="product"), images()
    found = annotator(given, LABELS, material())
    assert found.valid.all()
    np.testing.assert_allclose(found.boxes[:, 0], [[16, 8, 40, 32], [24, 24, 48, 48]], atol=2)
    assert found.grid == (64, 64)
    assert ((found.scores > 0) & (found.scores <= 1)).all()
    for place in range(2):
        one = slice(place, place + 1)
        alone = annotator(given[one], LABELS[one], material())
        assert alone.boxes[0].equal(found.boxes[place])
        torch.testing.assert_close(alone.scores[0], found.scores[place])
    selections = annotator.selections(given, LABELS, material())
    assert [each.boxes[each.chosen].tolist() for each in selections] == found.boxes[:, 0].tolist()
    assert all(each.objectness is None for each in selections)


def test_an_image_of_one_colour_is_one_box() -> None:
    found = SelectiveSearch()(torch.zeros(1, 3, 64, 64), LABELS[:1], material())
    assert found.boxes.tolist() == [[[0, 0, 64, 64]]]


def test_all_that_decides_is_in_the_key() -> None:
    keys = []
    settings = [{}, {"mode": "fast"}, {"overlap": 0.7}, {"most": 9}, {"share": 0.3}, {"min_size": 0.1}]
    for each in [*settings, {"score": "posterior"}]:
        annotator = make_annotator("selective_search", each)
        keys.append((dict(annotator.made_from(material())), annotator.settings))
    assert all(first != second for i, first in enumerate(keys) for second in keys[:i])


def test_settings_that_do_not_fit_are_refused() -> None:
    for wrong in ({"share": 0}, {"mode": "slow"}, {"most": 0}, {"overlap": 1.5}, {"top_k": 2}):
        with pytest.raises(ConfigError, match=f"pseudo.{next(iter(wrong))}"):
            make_annotator("selective_search", wrong)


def test_without_opencv_s_extra_modules_the_install_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2.ximgproc", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'boxless\[selective-search\]'"):
        SelectiveSearch().made_from(material())
