from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from boxless.backbones.base import Backbone
from boxless.methods.bas import BAS, background_part, one_class
from boxless.types import Batch


def by_hand(pyramid: Callable[..., Backbone], **settings: Any) -> BAS:
    """One channel x, three classes: the classifier's maps are x + 1, 2x and -x, the generator's see ``GENERATOR``."""
    method = BAS(pyramid(1), 3, stride=1, fuse=False, hidden=1, **settings)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.zero_()
        for layer in (0, 2):
            method.classifier[layer].weight[0, 0, 1, 1] = 1
        method.classifier[4].weight.copy_(torch.tensor([1.0, 2.0, -1.0])[:, None, None, None])
        method.classifier[4].bias[0] = 1
        method.generator.weight[:, 0, 1, 1] = torch.tensor(GENERATOR)
    return method


# Sigmoid makes of 0 always 1/2, of 1 in turn 3/4, 1/5 and 9/10.
GENERATOR = (math.log(3), -math.log(4), math.log(9))
IMAGES = torch.tensor([[[[0.0, 1.0], [1.0, 1.0]]], [[[1.0, 0.0], [0.0, 1.0]]]])


def labelled(*labels: int) -> Batch:
    found = torch.tensor(labels)
    return Batch(IMAGES[: len(labels)], found, F.one_hot(found, 3).float(), torch.arange(len(labels)))


def test_the_four_losses_are_those_worked_by_hand(pyramid: Callable[..., Backbone]) -> None:
    losses = by_hand(pyramid, foreground_weight=0.5, area_weight=1.2).losses(labelled(0, 1), 0.0)

    def entropy(scores: tuple[float, ...], label: int) -> float:
        return math.log(sum(math.exp(score) for score in scores)) - scores[label]

    # Image 0 has three 1 and a 0, and is of class 0; image 1 has two of each, and is of class 1.
    whole = (7 / 4, 6 / 4, -3 / 4), (6 / 4, 4 / 4, -2 / 4)
    expected = (entropy(whole[0], 0) + entropy(whole[1], 1)) / 2
    assert losses["classification"].item() == pytest.approx(expected)
    # The maps, not the grid, are multiplied: with the 1 that is added to x, (x + 1) * M is not x * M + 1.
    first = (3 * 2 * 0.75 + 1 * 0.5) / 4, 3 * 2 * 0.75 / 4, -3 * 0.75 / 4
    second = (2 * 2 * 0.2 + 2 * 1 * 0.5) / 4, 2 * 2 * 0.2 / 4, -2 * 0.2 / 4
    assert losses["foreground"].item() == pytest.approx(0.5 * (entropy(first, 0) + entropy(second, 1)) / 2)
    # Here the grid is: 1 - M leaves 1/4 of each 1 in image 0, and 4/5 in image 1.
    parts = (3 * 0.25 / 4 + 1) / (7 / 4), (2 * 2 * 0.8 / 4) / (4 / 4)
    assert losses["background"].item() == pytest.approx(sum(parts) / 2)
    areas = (3 * 0.75 + 0.5) / 4, (2 * 0.2 + 2 * 0.5) / 4
    assert losses["area"].item() == pytest.approx(1.2 * sum(areas) / 2)


def test_the_weights_weigh_their_losses_and_no_other(pyramid: Callable[..., Backbone]) -> None:
    one = by_hand(pyramid, foreground_weight=1.0, area_weight=1.0).losses(labelled(0, 1), 0.0)
    other = by_hand(pyramid, foreground_weight=0.0, area_weight=3.0).losses(labelled(0, 1), 0.0)
    ratios = {name: other[name].item() / one[name].item() for name in one}
    assert ratios == pytest.approx({"classification": 1, "foreground": 0, "background": 1, "area": 3})


def test_a_background_that_reaches_the_whole_score_counts_as_none_and_teaches_nothing() -> None:
    background = torch.tensor([1.0, -2.0, 4.0, 5.0, 1.0, 0.0], requires_grad=True)
    whole = torch.tensor([4.0, 4.0, 4.0, 4.0, -3.0, 0.0], requires_grad=True)
    part = background_part(background, whole)
    assert part.tolist() == pytest.approx([0.25, 0, 0, 0, 0, 0])
    part.sum().backward()
    assert background.grad is not None
    assert background.grad.tolist() == pytest.approx([0.25, 0, 0, 0, 0, 0])
    assert whole.grad is None


def test_half_precision_does_not_divide_by_nothing() -> None:
    scores = torch.ones(1, dtype=torch.float16, requires_grad=True)
    part = background_part(scores, torch.zeros(1, dtype=torch.float16))
    part.sum().backward()
    assert part.tolist() == [0]
    assert scores.grad is not None
    assert scores.grad.tolist() == [0]


def learners(method: BAS, batch: Batch) -> dict[str, set[str]]:
    """Which parts a loss reaches; what is below the grid is stood for by the images."""
    batch.images.requires_grad_()
    parts = {"classifier": list(method.classifier.parameters()), "generator": list(method.generator.parameters())}
    parts["below"] = [batch.images]
    reached: dict[str, set[str]] = {}
    for name, loss in method.losses(batch, 0.0).items():
        reached[name] = set()
        for part, tensors in parts.items():
            gradients = torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)
            if any(each is not None and each.abs().sum() > 0 for each in gradients):
                reached[name].add(part)
    return reached


def trainable(pyramid: Callable[..., Backbone], classes: int = 4) -> BAS:
    torch.manual_seed(2)
    method = BAS(pyramid(), classes, stride=1, fuse=False, hidden=5)
    with torch.no_grad():
        method.classifier[4].bias += 1  # scores above 0, so that the background has a part in them
    return method


def test_each_loss_teaches_its_parts(pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]) -> None:
    reached = learners(trainable(pyramid), some_batch())
    assert reached == {
        "classification": {"classifier", "below"},
        "foreground": {"classifier", "generator", "below"},
        "background": {"generator", "below"},
        "area": {"generator", "below"},
    }


def test_what_judges_the_background_does_not_learn_from_it(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]
) -> None:
    """With a generator that does not look at the grid, the background loss cannot reach what is below it."""
    method = trainable(pyramid)
    torch.nn.init.zeros_(method.generator.weight)
    assert learners(method, some_batch())["background"] == {"generator"}


def test_of_several_classes_one_that_is_shown_stands_for_the_image(pyramid: Callable[..., Backbone]) -> None:
    """The image of three 1 and a 0 shows classes 0 and 1; of class 2 the area would be (3 * .9 + .5) / 4."""
    targets = torch.tensor([[1.0, 1.0, 0.0]])
    batch = Batch(IMAGES[:1], torch.tensor([0]), targets, torch.tensor([0]), multi_label=True)
    method = by_hand(pyramid, foreground_weight=1.0, area_weight=1.0)
    # The background's part in class 1, of score 2 * 3 / 4, is 4/5 of it.
    known = {(3 * 0.75 + 0.5) / 4: (3 * 0.25 / 4 + 1) / (7 / 4), (3 * 0.2 + 0.5) / 4: 0.8}
    drawn = set()
    for seed in range(20):
        torch.manual_seed(seed)
        losses = method.losses(batch, 0.0)
        area = round(losses["area"].item(), 5)
        assert losses["background"].item() == pytest.approx(known[area])
        expected = F.binary_cross_entropy_with_logits(torch.tensor([[7 / 4, 6 / 4, -3 / 4]]), targets)
        assert losses["classification"].item() == pytest.approx(expected.item())
        drawn.add(area)
    assert drawn == set(known)


def test_of_several_classes_the_foreground_teaches_the_generator_alone(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]
) -> None:
    method, batch = trainable(pyramid), some_batch(several=True)
    assert learners(method, batch)["foreground"] == {"generator", "below"}
    torch.nn.init.zeros_(method.generator.weight)
    assert learners(method, batch)["foreground"] == {"generator"}


def test_an_image_that_shows_no_class_counts_in_the_classification_only(pyramid: Callable[..., Backbone]) -> None:
    method = by_hand(pyramid)
    losses = []
    for targets in ([[1.0, 0, 0], [0, 0, 0]], [[1.0, 0, 0]]):
        count = len(targets)
        batch = Batch(IMAGES[:count], torch.zeros(count).long(), torch.tensor(targets), torch.arange(count), True)
        losses.append(method.losses(batch, 0.0))
    both, alone = losses
    for name in ("foreground", "background", "area"):
        assert both[name].item() == pytest.approx(alone[name].item() / 2)
    assert one_class(batch)[0].tolist() == [[0]]


@pytest.mark.parametrize(("top", "counted"), [(1, ((2,), (1,))), (2, ((2, 0), (1, 0))), (9, ((0, 1, 2), (0, 1, 2)))])
def test_a_map_is_the_mean_of_that_of_the_class_asked_for_and_of_the_likeliest_others(
    top: int, counted: tuple[tuple[int, ...], ...], pyramid: Callable[..., Backbone]
) -> None:
    """Class 0 is the likeliest here, then 1, then 2; where more are averaged than there are, all of them are."""
    image = torch.tensor([[[[0.0, 1.0], [0.5, 0.5]]]])
    said = by_hand(pyramid, top=top).localize(image, torch.tensor([[2, 1]]))
    assert said.logits.tolist() == [pytest.approx([1.5, 1.0, -0.5])]
    for got, classes in zip(said.maps[0], counted, strict=True):
        mean = [
            sum(1 / (1 + math.exp(-GENERATOR[each] * value)) for each in classes) / len(classes)
            for value in image.flatten().tolist()
        ]
        expected = [(value - min(mean)) / (max(mean) - min(mean)) for value in mean]
        assert got.flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_it_learns_where_the_object_is(pyramid: Callable[..., Backbone]) -> None:
    """Squares of two colours on clutter of a third: most of the map of the class comes to lie on the square."""
    generator = torch.Generator().manual_seed(4)
    images, inside = torch.zeros(16, 3, 12, 12), torch.zeros(16, 12, 12)
    labels = torch.arange(16) % 2
    images[:, 2] = torch.rand(16, 12, 12, generator=generator)
    for index, (top, left) in enumerate(torch.randint(0, 7, (16, 2), generator=generator).tolist()):
        images[index, labels[index], top : top + 5, left : left + 5] = 1
        inside[index, top : top + 5, left : left + 5] = 1
    batch = Batch(images, labels, F.one_hot(labels, 2).float(), torch.arange(16))
    torch.manual_seed(0)
    method = BAS(pyramid(), 2, stride=1, fuse=False, hidden=8)
    optimizer = torch.optim.Adam(method.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        torch.stack(list(method.losses(batch, 0.0).values())).sum().backward()
        optimizer.step()
    maps: Tensor = method.localize(images, labels[:, None]).maps[:, 0].detach()
    share = ((maps * inside).sum((1, 2)) / maps.sum((1, 2))).mean().item()
    assert share > 0.5  # of a map that says nothing 25 / 144 lie there
