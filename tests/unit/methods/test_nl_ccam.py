from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from boxless.backbones.base import Backbone
from boxless.methods.cam import CAM
from boxless.methods.nl_ccam import NLCCAM, NonLocal, rank_weights, ranks
from boxless.types import Batch


def test_a_new_block_changes_nothing_and_learns() -> None:
    block, grid = NonLocal(3).train(), torch.rand(2, 3, 2, 2)
    after = block(grid)
    assert torch.equal(after, grid)
    torch.manual_seed(0)
    (after * torch.rand_like(after)).sum().backward()
    assert block.norm.weight.grad is not None
    assert block.norm.weight.grad.abs().min() > 0


def block_by_hand(block: NonLocal, grid: Tensor) -> Tensor:
    """Loops over images, places and pairs of places; batch statistics over all places of all images."""
    count, channels, height, width = grid.shape
    places = [(y, x) for y in range(height) for x in range(width)]

    def at(part: torch.nn.Conv2d, vector: Tensor) -> Tensor:
        bias = part.bias
        assert bias is not None
        return torch.stack([(row.flatten() * vector).sum() + b for row, b in zip(part.weight, bias, strict=True)])

    heard = {}
    for image in range(count):
        for y, x in places:
            query = at(block.query, grid[image, :, y, x])
            alike = [torch.exp((query * at(block.key, grid[image, :, v, u])).sum()) for v, u in places]
            said = [a * at(block.value, grid[image, :, v, u]) for a, (v, u) in zip(alike, places, strict=True)]
            heard[image, y, x] = at(block.out, torch.stack(said).sum(0) / torch.stack(alike).sum())
    every = torch.stack(list(heard.values()))
    mean = every.sum(0) / len(every)
    variance = ((every - mean) ** 2).sum(0) / len(every)
    rows = []
    for image in range(count):
        for y, x in places:
            scaled = (heard[image, y, x] - mean) / (variance + block.norm.eps).sqrt()
            rows.append(grid[image, :, y, x] + block.norm.weight * scaled + block.norm.bias)
    return torch.stack(rows).reshape(count, height, width, channels).permute(0, 3, 1, 2)


def awake(pyramid: Callable[..., Backbone], classes: int = 4, blocks: int = 1) -> NLCCAM:
    """Its blocks are no longer the identity."""
    torch.manual_seed(3)
    method = NLCCAM(pyramid(), classes, blocks=blocks, stride=1, fuse=False, hidden=0).double()
    with torch.no_grad():
        for block in method.blocks:
            assert isinstance(block, NonLocal)
            block.norm.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
            block.norm.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
    return method


def double(batch: Batch) -> Batch:
    return Batch(batch.images.double(), batch.labels, batch.targets.double(), batch.index, batch.multi_label)


def test_a_step_is_that_worked_out_place_by_place(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]
) -> None:
    method, batch = awake(pyramid, blocks=2).train(), double(some_batch(3, 2))
    (loss,) = method.losses(batch, 0.0).values()
    grid = batch.images
    for block in method.blocks:
        assert isinstance(block, NonLocal)
        grid = block_by_hand(block, grid)
    terms = []
    for image, label in zip(grid, batch.labels, strict=True):
        pooled = image.flatten(1).sum(1) / 4
        scores = (method.classifier.weight * pooled).sum(1) + method.classifier.bias
        terms.append(scores.exp().sum().log() - scores[label])
    expected = torch.stack(terms).sum() / 3
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    got, hand = (torch.autograd.grad(total, parameters) for total in (loss, expected))
    for one, other in zip(got, hand, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)


def test_without_blocks_it_learns_as_cam(pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]) -> None:
    batch, losses = some_batch(), []
    for kind, settings in ((NLCCAM, {"blocks": 0}), (CAM, {})):
        torch.manual_seed(0)
        losses.append(kind(pyramid(), 4, stride=1, fuse=False, **settings).losses(batch, 0.0))
    assert losses[0].keys() == losses[1].keys()
    assert all(torch.equal(value, losses[1][name]) for name, value in losses[0].items())


def test_the_weights_of_200_classes_are_the_authors() -> None:
    weights = rank_weights(200)
    for rank in range(100):
        assert weights[rank].item() == pytest.approx((1 - rank / 99) ** 2, abs=1e-6)
        assert weights[100 + rank].item() == pytest.approx(-((rank / 99) ** 2), abs=1e-6)


@pytest.mark.parametrize(
    ("power", "expected"),
    [
        (2.0, [1.0]),
        (2.0, [1.0, -1.0]),
        (2.0, [1.0, 0.0, -1.0]),
        (2.0, [1.0, 0.0, 0.0, -1.0]),
        (2.0, [1.0, 0.25, 0.0, 0.0, -0.25, -1.0]),
        (2.0, [1.0, 0.25, 0.0, 0.0, 0.0, -0.25, -1.0]),
        (1.0, [1.0, 0.5, 0.0, 0.0, -0.5, -1.0]),
    ],
)
def test_any_number_of_classes_is_split_in_halves_that_mirror_each_other(power: float, expected: list[float]) -> None:
    assert rank_weights(len(expected), power).tolist() == expected


def test_the_class_asked_for_is_ranked_first_and_the_others_by_score() -> None:
    logits = torch.tensor([[0.1, 3.0, -2.0, 1.0], [5.0, 5.0, 6.0, 4.0]])
    got = ranks(logits, torch.tensor([[1, 2], [2, 0]]))
    assert got[0].tolist() == [[2, 0, 3, 1], [3, 1, 0, 2]]
    assert got[1].tolist() == [[1, 2, 0, 3], [0, 2, 1, 3]]  # of equal scores the first class comes first


@pytest.mark.parametrize("classes", [4, 5, 7])
def test_a_map_adds_the_maps_of_likely_classes_and_subtracts_those_of_unlikely_ones(
    classes: int, pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]
) -> None:
    method = awake(pyramid, classes).eval()
    images = some_batch(2, 3).images.double()
    asked = torch.tensor([[0, 2], [3, 1]])
    said = method.localize(images, asked)
    (block,) = method.blocks
    grid, weight = block(images), method.classifier.weight
    half = classes // 2
    for image in range(2):
        scores = (weight * grid[image].mean((1, 2))).sum(1) + method.classifier.bias
        for position, first in enumerate(asked[image].tolist()):
            others = sorted((c for c in range(classes) if c != first), key=lambda c: -scores[c].item())
            combined = torch.zeros(3, 3, dtype=torch.float64)
            for rank, of in enumerate([first, *others]):
                mirrored = classes - 1 - rank
                near = min(rank, mirrored)
                size = (1 - near / (half - 1)) ** 2 if near < half else 0.0
                own = sum(weight[of, channel] * grid[image, channel] for channel in range(3))
                combined += math.copysign(size, mirrored - rank) * own
            expected = (combined - combined.min()) / (combined.max() - combined.min())
            torch.testing.assert_close(said.maps[image, position], expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(said.logits[image], scores)


def test_of_two_classes_a_map_is_the_difference_of_theirs(pyramid: Callable[..., Backbone]) -> None:
    method = NLCCAM(pyramid(1), 2, stride=1, fuse=False, hidden=0).eval()
    with torch.no_grad():
        method.classifier.weight.copy_(torch.tensor([[3.0], [1.0]]))
    image = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]]]])
    maps = method.localize(image, torch.tensor([[0, 1]])).maps
    assert maps[0, 0].tolist() == [[0.0, 0.25], [0.5, 1.0]]  # (3 - 1) x
    assert maps[0, 1].tolist() == [[1.0, 0.75], [0.5, 0.0]]  # (1 - 3) x


def test_images_with_several_classes_are_taught_each(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]
) -> None:
    method, batch = awake(pyramid).eval(), double(some_batch(several=True))
    (loss,) = method.losses(batch, 0.0).values()
    expected = F.binary_cross_entropy_with_logits(method.scores(batch.images), batch.targets)
    assert loss.item() == pytest.approx(expected.item())
