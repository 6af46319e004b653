"""One box of many: each stage of the choice on proposals whose winner is known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from boxless.pseudo.records import Floats
from boxless.pseudo.selection import Pool, best_share, select, shortlist

BRIGHT = (0.0, 0.0, 8.0, 16.0)
LABELS = torch.tensor([0])


def boxes(*corners: tuple[float, ...]) -> Floats:
    return np.array(corners, dtype=np.float64).reshape(-1, 4)


def image() -> Tensor:
    """Black and white by columns on the left half, which a blur makes grey, and grey on the right."""
    pixels = torch.zeros(1, 3, 16, 16)
    pixels[..., 0:8:2], pixels[..., 1:8:2] = 1.0, -1.0
    return pixels


def contrast(images: Tensor) -> Tensor:
    """The surer of class 0 the more contrast is left."""
    score = images[:, 0].abs().sum((1, 2)) / 32
    return torch.stack([score, torch.zeros_like(score)], 1)


def peak(row: int, column: int) -> Tensor:
    maps = torch.zeros(1, 4, 4)
    maps[0, row, column] = 1
    return maps


def chosen(pool: Pool, maps: Tensor, **options: object) -> tuple[float, ...]:
    (found,) = select([pool], maps, image(), LABELS, contrast, num_classes=2, score="posterior", **options)  # type: ignore[arg-type]
    return tuple(found.boxes[found.chosen].tolist())


def test_by_objectness_then_the_peak_then_the_score() -> None:
    found = boxes((0, 0, 8, 16), (0, 0, 4, 16), (8, 0, 16, 16), (0, 0, 6, 16), (0, 8, 16, 16))
    pool = Pool(found, np.array([0.1, 0.9, 0.8, 0.7, 0.6]))
    (said,) = select([pool], peak(0, 0), image(), LABELS, contrast, num_classes=2, share=0.6, score="posterior")
    assert said.top.tolist() == [False, True, True, True, False]
    assert said.hit.tolist() == [True, True, False, True, False]  # the peak is at 2, 2
    assert np.isfinite(said.scores).tolist() == [False, True, False, True, False]  # asked of those alone
    assert said.scores[3] > said.scores[1]
    assert said.chosen == 3
    assert said.objectness is pool.objectness


def test_without_objectness_the_first_stage_goes_by_score() -> None:
    found = boxes((0, 0, 4, 16), (0, 0, 8, 16), (8, 0, 16, 16), (2, 0, 8, 16), (12, 0, 16, 16))
    (said,) = select([Pool(found)], peak(0, 0), image(), LABELS, contrast, num_classes=2, share=0.4, score="posterior")
    assert said.top.tolist() == [False, True, False, True, False]
    assert said.hit.tolist() == [True, True, False, True, False]
    assert said.chosen == 1
    assert np.isfinite(said.scores).all()
    assert said.objectness is None


def test_a_stage_that_leaves_nothing_is_passed_over() -> None:
    left, right = (0.0, 0.0, 8.0, 16.0), (8.0, 0.0, 16.0, 16.0)
    pool = Pool(boxes(right, left))
    assert chosen(pool, peak(0, 3), share=0.5) == left  # in the best half, though the peak lies in the other
    assert chosen(pool, peak(0, 3), share=1.0) == right
    assert chosen(pool, torch.full((1, 4, 4), 0.5), share=1.0) == left  # a flat map has no peak


def test_an_image_without_a_proposal_has_none_chosen() -> None:
    many = select(
        [Pool(boxes()), Pool(boxes(BRIGHT)), Pool(boxes(), np.zeros(0))],
        peak(0, 0).expand(3, 4, 4),
        image().expand(3, 3, 16, 16),
        LABELS.expand(3),
        contrast,
        num_classes=2,
    )
    assert [each.chosen for each in many] == [-1, 0, -1]
    assert len(many[0].boxes) == len(many[0].scores) == 0


def test_of_equal_scores_the_larger_box_wins_then_the_earlier() -> None:
    grey = [(8.0, 0.0, 12.0, 8.0), (8.0, 0.0, 16.0, 8.0), (8.0, 8.0, 16.0, 16.0)]
    flat = torch.zeros(1, 4, 4)
    (found,) = select(
        [Pool(boxes(*grey))], flat, torch.zeros(1, 3, 16, 16), LABELS, contrast, num_classes=2, score="posterior"
    )
    assert found.scores.tolist() == [0.5, 0.5, 0.5]
    assert found.chosen == 1


def test_the_product_weighs_the_posterior_with_how_usual_the_size_is() -> None:
    found = boxes((0, 0, 16, 16), (0, 0, 8, 16), (0, 0, 6, 16))
    options = {"num_classes": 2, "share": 1.0}
    striped = torch.cat([image()[..., :8], image()[..., :8]], 3)  # the more is seen the surer it is
    said = [
        select([Pool(found)], peak(0, 0), striped, LABELS, contrast, score=score, **options)[0]  # type: ignore[arg-type]
        for score in ("posterior", "product")
    ]
    areas = np.array([256.0, 128, 96])
    density = np.exp(-0.5 * ((areas - areas.mean()) / areas.std()) ** 2)
    np.testing.assert_allclose(said[1].scores, said[0].scores * density)
    assert [each.chosen for each in said] == [0, 1]


def test_batch_mates_and_the_size_of_passes_have_no_say() -> None:
    random = np.random.default_rng(0)
    corners = [np.sort(random.uniform(0, 16, (n, 2, 2)), axis=1).reshape(n, 4) for n in (3, 7, 1)]
    pools = [Pool(each) for each in corners]
    pixels = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    maps = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 0])
    together = select(pools, maps, pixels, labels, contrast, num_classes=2, chunk=2)
    for place in range(3):
        one = slice(place, place + 1)
        (alone,) = select(pools[one], maps[one], pixels[one], labels[one], contrast, num_classes=2)
        np.testing.assert_allclose(together[place].scores, alone.scores, atol=1e-6)
        assert together[place].chosen == alone.chosen
        assert together[place].hit.tolist() == alone.hit.tolist()


def test_a_share_is_rounded_up() -> None:
    same = boxes(*[(0, 0, 1, 1)] * 6)
    for share, count in ((0.2, 2), (0.01, 1), (1.0, 6)):
        assert best_share(np.arange(6.0), same, share).sum() == count
    assert best_share(np.arange(6.0), same, 0.2).tolist() == [False] * 4 + [True] * 2


def test_the_shortlist_leaves_out_small_ones_and_near_duplicates() -> None:
    given = boxes((0, 0, 1, 1), (0, 0, 10, 10), (0, 0, 10, 9.5), (5, 5, 9, 9), (0, 0, 5, 10), (5, 0, 10, 10))
    options = {"min_size": 0.02, "overlap": 0.8, "most": 9}
    kept = shortlist(given, (10, 10), **options)  # type: ignore[arg-type]
    assert kept.tolist() == [1, 4, 5, 3]
    assert shortlist(given, (10, 10), **{**options, "most": 2}).tolist() == [1, 4]  # type: ignore[arg-type]
    turned = given[::-1]
    again = shortlist(turned, (10, 10), **options)  # type: ignore[arg-type]
    assert turned[again].tolist() == given[kept].tolist()
    assert shortlist(given[:1], (10, 10), **options).tolist() == [0]  # type: ignore[arg-type]
    assert shortlist(boxes(), (10, 10), **options).tolist() == []  # type: ignore[arg-type]


def test_the_peak_is_the_middle_of_a_cell() -> None:
    found = boxes((0, 0, 2, 2), (2, 2, 4, 4), (0, 0, 4, 4))
    (said,) = select([Pool(found)], peak(0, 0), image(), LABELS, contrast, num_classes=2)
    assert said.hit.tolist() == [False, True, True]  # at 2, 2: boxes are half-open
    assert not math.isnan(said.scores[0])


@pytest.mark.parametrize("score", ["posterior", "product"])
def test_scores_are_shares(score: str) -> None:
    found = boxes((0, 0, 8, 16), (0, 0, 4, 16))
    (said,) = select([Pool(found)], peak(0, 0), image(), LABELS, contrast, num_classes=2, score=score)  # type: ignore[arg-type]
    assert ((said.scores >= 0) & (said.scores <= 1)).all()
