from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from boxless.errors import ConfigError, DataError
from boxless.text.sharpness import search_templates, sharpness


def test_sharpness_is_the_variance_by_the_mean_of_the_classes_of_each_image() -> None:
    scores = torch.tensor([[0.6, 0.2, 0.2], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.7, 0.1, 0.2]])
    targets = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 0, 1], [0, 1, 1]])
    # 0.04 / 0.4; (1/6)^2 + (1/30)^2 + (2/15)^2, a third of it, / (1/3); one class; 0.0025 / 0.15.
    expected = 0.1 + (1 / 36 + 1 / 900 + 4 / 225) + 0 + 0.0025 / 0.15
    assert math.isclose(sharpness(scores, targets), expected, rel_tol=1e-6)
    assert math.isclose(sharpness(scores, targets.bool()), expected, rel_tol=1e-6)


def test_classes_that_share_the_score_are_not_sharp() -> None:
    targets = torch.tensor([[True, True, False]])
    assert sharpness(torch.tensor([[0.4, 0.4, 0.2]]), targets) == 0
    assert sharpness(torch.tensor([[0.8, 0.0, 0.2]]), targets) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        ([[0.5, 0.5]], [[1], [1]], "expected"),
        ([[0.5, 0.5], [0.5, 0.5]], [[1, 1], [0, 0]], "image 1 has no class"),
        ([[0.5, 0.5], [0.5, 0.5]], [[1, 0], [0, 1]], "no image has several classes"),
        ([[1.5, -0.5]], [[1, 1]], "finite"),
        ([[math.nan, 0.5]], [[1, 1]], "finite"),
        ([[0.0, 0.0, 1.0]], [[1, 1, 0]], "some of each image's positive"),
    ],
)
def test_scores_that_have_no_sharpness_are_refused(
    scores: list[list[float]], targets: list[list[int]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        sharpness(torch.tensor(scores), torch.tensor(targets))


def test_the_search_puts_the_least_sharp_template_first(table: Any) -> None:
    # An image at (1, 0): by "the" the cosines of cat and puss are both 0; by "a" they are 1 and 0.6.
    images, targets = torch.tensor([[2.0, 0.0]]), torch.tensor([[1, 1, 0]])
    found = search_templates(table, ["cat", "puss", "dog"], ["a {}", "the {}"], images=images, targets=targets, scale=1)
    assert [template for template, _ in found] == ["the {}", "a {}"]
    weights = [math.exp(1), math.exp(0.6), math.exp(0)]
    first, second = weights[0] / sum(weights), weights[1] / sum(weights)
    mean = (first + second) / 2
    assert found[0][1] == pytest.approx(0, abs=1e-12)
    assert found[1][1] == pytest.approx((first - mean) ** 2 / mean, rel=1e-6)


def test_the_scale_of_logits_counts(table: Any) -> None:
    images, targets = torch.tensor([[2.0, 0.0]]), torch.tensor([[1, 1, 0]])
    sharp, blunt = (
        search_templates(table, ["cat", "puss", "dog"], ["a {}"], images=images, targets=targets, scale=scale)[0][1]
        for scale in (100, 1)
    )
    assert sharp == pytest.approx(0.5, rel=1e-6)  # 1 and 0: 0.25 / 0.5
    assert blunt < 0.1


def test_templates_or_images_that_do_not_fit_are_refused(table: Any) -> None:
    targets = torch.tensor([[1, 1]])
    with pytest.raises(DataError, match=r"images \(1, 3\): expected \(n, 2\), as a table embeds"):
        search_templates(table, ["cat", "dog"], ["a {}"], images=torch.ones(1, 3), targets=targets)
    with pytest.raises(ConfigError, match="once"):
        search_templates(table, ["cat", "dog"], ["a"], images=torch.ones(1, 2), targets=targets)
    with pytest.raises(DataError, match="no image has several classes"):
        search_templates(table, ["cat", "dog"], ["a {}"], images=torch.ones(1, 2), targets=torch.tensor([[0, 1]]))
