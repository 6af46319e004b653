"""AUROC by hand, and by counting pairs."""

from __future__ import annotations

import numpy as np
import pytest

from boxless.errors import DataError
from boxless.metrics.ranking import auroc


def test_it_is_the_part_of_pairs_in_order_and_ties_count_half() -> None:
    assert auroc([0.9, 0.8, 0.3, 0.1], [True, True, False, False]) == 1
    assert auroc([0.1, 0.9], [True, False]) == 0
    assert auroc([0.5, 0.5, 0.5], [True, False, True]) == 0.5
    assert auroc([0.9, 0.4, 0.4, 0.2], [True, True, False, False]) == pytest.approx(3.5 / 4)


def test_one_kind_alone_or_none_is_nan() -> None:
    assert np.isnan(auroc([0.9, 0.1], [True, True]))
    assert np.isnan(auroc([], []))


def test_weights_count_images_as_if_they_were_there_so_often() -> None:
    generator = np.random.default_rng(1)
    scores, positive = generator.integers(0, 6, 40) / 5, generator.random(40) < 0.4
    weights = generator.integers(0, 3, (40, 150))
    found = auroc(scores, positive, weights)
    assert found.shape == (150,)
    for draw in (0, 63, 64, 149):
        copies = np.repeat(np.arange(40), weights[:, draw])
        high, low = scores[copies][positive[copies]], scores[copies][~positive[copies]]
        pairs = [(a > b) + 0.5 * (a == b) for a in high for b in low]
        assert found[draw] == pytest.approx(np.mean(pairs))
    assert np.isnan(auroc(scores, positive, weights * positive[:, None])).all()  # none of the other kind was drawn


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(DataError, match="not finite"):
        auroc([0.1, float("nan")], [True, False])
    with pytest.raises(DataError, match="one row each"):
        auroc([0.1, 0.2], [True])
