"""Non-maximum suppression, beside torchvision's."""

from __future__ import annotations

import numpy as np
import pytest

from boxless.errors import DataError
from boxless.ops.boxes import suppress


def test_the_lower_scored_of_two_that_overlap_too_much_is_left_out() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 8], [20, 0, 30, 10]]  # the first two have an IoU of 0.8
    assert suppress(boxes, [0.5, 0.9, 0.7], 0.5).tolist() == [1, 2]
    assert suppress(boxes, [0.5, 0.9, 0.7], 0.8).tolist() == [1, 2, 0]  # not above the limit
    assert suppress(boxes, [0.5, 0.9, 0.7], 0.5, groups=[0, 1, 0]).tolist() == [1, 2, 0]
    assert suppress(boxes, [0.5, 0.5, 0.5], 0.5).tolist() == [0, 2]  # of equals the first


def test_it_chooses_as_torchvision_does() -> None:
    torch = pytest.importorskip("torch")
    from torchvision.ops import batched_nms

    random = np.random.default_rng(0)
    corners = random.random((200, 2)) * 60
    boxes = np.hstack([corners, corners + 5 + 30 * random.random((200, 2))])
    scores, groups = random.permutation(200) / 200, random.integers(3, size=200)
    for limit in (0.3, 0.5, 0.7):
        known = batched_nms(torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(groups), limit)
        assert suppress(boxes, scores, limit, groups).tolist() == known.tolist()


def test_nothing_in_nothing_out_and_other_lengths_are_refused() -> None:
    assert suppress([], [], 0.5).tolist() == []
    with pytest.raises(DataError, match="2 boxes"):
        suppress([[0, 0, 1, 1]] * 2, [0.5], 0.5)
