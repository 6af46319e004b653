"""Each pixel with the number of its component, by both ways of finding it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import label
from torch import Tensor

from boxless.ops.labels_of_tensors import joined, labels_of_tensors

both = pytest.mark.parametrize("find", [labels_of_tensors, joined])


def drawn(*pictures: str) -> Tensor:
    """Masks in which an x is True."""
    return torch.tensor([[[sign == "x" for sign in row] for row in each.split()] for each in pictures])


@both
def test_a_number_is_one_plus_the_place_of_the_components_first_pixel(find: Callable[[Tensor], Tensor]) -> None:
    found = find(drawn("..xx. x..x. .x..x ....x", "xx..x ..... x.x.x ....."))
    assert found[0].tolist() == [[0, 0, 3, 3, 0], [6, 0, 0, 3, 0], [0, 6, 0, 0, 3], [0, 0, 0, 0, 3]]  # corners connect
    assert found[1].tolist() == [[1, 1, 0, 0, 5], [0] * 5, [11, 0, 13, 0, 15], [0] * 5]


@both
def test_components_are_those_of_scipy_at_any_density(find: Callable[[Tensor], Tensor]) -> None:
    density = torch.linspace(0, 1, 40)[:, None, None]
    masks = torch.rand(40, 23, 31, generator=torch.Generator().manual_seed(2)) < density
    for mask, found in zip(masks.numpy(), find(masks).numpy(), strict=True):
        numbered, count = label(mask, np.ones((3, 3)))
        pairs = np.unique(np.stack([numbered.ravel(), found.ravel()]), axis=1)
        assert pairs.shape[1] == count + (not mask.all())  # each number of one kind meets one of the other
        assert ((found > 0) == mask).all()


@both
def test_a_winding_line_is_one_component(find: Callable[[Tensor], Tensor]) -> None:
    mask = torch.zeros(1, 25, 24, dtype=torch.bool)
    mask[:, ::2] = True
    mask[:, 1::4, -1] = mask[:, 3::4, 0] = True
    assert find(mask).unique().tolist() == [0, 1]
    mask[:, 13] = False  # cut in two
    assert find(mask).unique().tolist() == [0, 1, 14 * 24 + 1]
