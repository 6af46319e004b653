from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from boxless.backbones.base import Backbone
from boxless.methods.bcam import BCAM, Attention, pool
from boxless.types import Batch

TERMS = ("classification", "exclusion", "background", "suppression")
IMAGE = torch.tensor([[[[0.0, 1.0, 2.0]]]])  # one channel, one row of three places


def softplus(value: float) -> float:
    return math.log(1 + math.exp(value))


def by_hand(pyramid: Callable[..., Backbone], **settings: object) -> BCAM:
    """One channel x: attentions are 2 ** x and 2 ** -x, object scores x and 3 - x, background scores 1 - 2x and x."""
    method = BCAM(pyramid(1), 2, stride=1, fuse=False, hidden=0, **{"pace": 1.0, **settings})  # type: ignore[arg-type]
    with torch.no_grad():
        method.object_attention.score.weight.fill_(math.log(2))
        method.background_attention.score.weight.fill_(-math.log(2))
        for classifier, weight, bias in (
            (method.object_classifier, (1.0, -1.0), (0.0, 3.0)),
            (method.background_classifier, (-2.0, 1.0), (1.0, 0.0)),
        ):
            classifier.weight.copy_(torch.tensor(weight)[:, None])
            classifier.bias.copy_(torch.tensor(bias))
    return method


def one_image(targets: tuple[float, float], *, several: bool = False) -> Batch:
    return Batch(IMAGE, torch.tensor([targets.index(1)]), torch.tensor([targets]), torch.tensor([0]), several)


# Of the values 0, 1 and 2 the object attention takes 1, 2 and 4 sevenths, the background attention 4, 2 and 1.
SHOWN, SURROUNDINGS = (1 * 2 + 2 * 4) / 7, (1 * 2 + 2 * 1) / 7


def test_attentions_pool_an_object_feature_and_a_background_feature(pyramid: Callable[..., Backbone]) -> None:
    method = by_hand(pyramid)
    assert pool(method.object_attention(IMAGE), IMAGE).item() == pytest.approx(SHOWN)
    assert pool(method.background_attention(IMAGE), IMAGE).item() == pytest.approx(SURROUNDINGS)
    assert method.localize(IMAGE).logits.tolist() == [pytest.approx([SHOWN, 3 - SHOWN])]


def test_the_four_terms_of_an_image_of_one_class(pyramid: Callable[..., Backbone]) -> None:
    losses = by_hand(pyramid).losses(one_image((0.0, 1.0)), 0.0)
    assert tuple(losses) == TERMS
    # Object classifier, object feature: cross-entropy of class 1.
    assert losses["classification"].item() == pytest.approx(softplus(SHOWN - (3 - SHOWN)))
    # Background classifier, object feature: background of class 0, not of class 1.
    assert losses["exclusion"].item() == pytest.approx((softplus(-(1 - 2 * SHOWN)) + softplus(SHOWN)) / 2)
    # Background classifier, background feature: background of both.
    expected = (softplus(-(1 - 2 * SURROUNDINGS)) + softplus(-SURROUNDINGS)) / 2
    assert losses["background"].item() == pytest.approx(expected)
    # Object classifier, background feature: neither class.
    expected = (softplus(SURROUNDINGS) + softplus(3 - SURROUNDINGS)) / 2
    assert losses["suppression"].item() == pytest.approx(expected)


def test_an_object_feature_is_background_of_none_of_several_classes(pyramid: Callable[..., Backbone]) -> None:
    method = by_hand(pyramid)
    losses = method.losses(one_image((1.0, 1.0), several=True), 0.0)
    assert losses["classification"].item() == pytest.approx((softplus(-SHOWN) + softplus(-(3 - SHOWN))) / 2)
    assert losses["exclusion"].item() == pytest.approx((softplus(1 - 2 * SHOWN) + softplus(SHOWN)) / 2)
    alone = method.losses(one_image((1.0, 0.0)), 0.0)
    for term in ("background", "suppression"):  # these ask for no class at all
        assert torch.equal(losses[term], alone[term])


@pytest.mark.parametrize("setting", TERMS[1:])
def test_a_weight_scales_its_own_term(setting: str, pyramid: Callable[..., Backbone]) -> None:
    batch = one_image((1.0, 0.0))
    plain = by_hand(pyramid).losses(batch, 0.0)
    weighed = by_hand(pyramid, **{setting: 0.4}).losses(batch, 0.0)
    for term in TERMS:
        factor = 0.4 if term == setting else 1.0
        assert weighed[term].item() == pytest.approx(factor * plain[term].item())


def pooled_by_hand(attention: Attention, grid: Tensor, values: Tensor) -> Tensor:
    """Loops over the images and places of a grid that decides how much its places' values count."""
    features = []
    for image, each in zip(grid, values, strict=True):
        places = [(y, x) for y in range(image.shape[1]) for x in range(image.shape[2])]
        weight = attention.score.weight.flatten()
        counts = [torch.exp(0.1 * (weight * image[:, y, x]).sum()) for y, x in places]
        total = torch.stack(counts).sum()
        features.append(sum(count / total * each[:, y, x] for count, (y, x) in zip(counts, places, strict=True)))
    return torch.stack(features)  # type: ignore[arg-type]


def losses_by_hand(method: BCAM, batch: Batch) -> dict[str, Tensor]:
    grid = method.neck((batch.images,))
    sums = dict.fromkeys(TERMS, torch.zeros((), dtype=torch.float64))

    def scores(classifier: torch.nn.Linear, feature: Tensor) -> list[Tensor]:
        return [(row * feature).sum() + bias for row, bias in zip(classifier.weight, classifier.bias, strict=True)]

    def add(term: str, said: list[Tensor], wanted: list[float]) -> None:
        for score, yes in zip(said, wanted, strict=True):
            probability = 1 / (1 + torch.exp(-score))
            of_truth = probability if yes else 1 - probability
            sums[term] = sums[term] - torch.log(of_truth) / (len(said) * len(grid))

    features = {}
    for name, attention in (("object", method.object_attention), ("background", method.background_attention)):
        features[name] = pooled_by_hand(attention, grid, grid)
        features[name, "still"] = pooled_by_hand(attention, grid, grid.detach())
    for index, label in enumerate(batch.labels.tolist()):
        own = scores(method.object_classifier, features["object"][index])
        log_sum = torch.stack(own).exp().sum().log()
        sums["classification"] = sums["classification"] + (log_sum - own[label]) / len(grid)
        others = [float(index != label) for index in range(len(own))]
        add("exclusion", scores(method.background_classifier, features["object", "still"][index]), others)
        still = features["background", "still"][index]
        add("background", scores(method.background_classifier, still), [1.0] * len(own))
        add("suppression", scores(method.object_classifier, features["background"][index]), [0.0] * len(own))
    return sums


def awake(pyramid: Callable[..., Backbone], classes: int = 4) -> BCAM:
    """Its attentions no longer count all places alike."""
    torch.manual_seed(3)
    method = BCAM(pyramid(), classes, pace=0.1, stride=1, fuse=False, hidden=5).double()
    with torch.no_grad():
        for attention in (method.object_attention, method.background_attention):
            attention.score.weight.normal_(0, 30)
    return method


def double(batch: Batch) -> Batch:
    return Batch(batch.images.double(), batch.labels, batch.targets.double(), batch.index, batch.multi_label)


def test_a_step_is_that_worked_out_place_by_place(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]
) -> None:
    method, batch = awake(pyramid), double(some_batch(3, 3))
    got, hand = method.losses(batch, 0.0), losses_by_hand(method, batch)
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    for term in TERMS:
        assert got[term].item() == pytest.approx(hand[term].item(), rel=1e-9)
        one, other = (
            torch.autograd.grad(each[term], parameters, retain_graph=True, allow_unused=True) for each in (got, hand)
        )
        for mine, theirs in zip(one, other, strict=True):
            assert (mine is None) == (theirs is None)
            if mine is not None and theirs is not None:
                torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-10)


def test_what_the_background_classifier_learns_moves_attention_but_no_feature(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]
) -> None:
    """While attentions are new they do not depend on features: all that reaches these comes through what is pooled."""
    method = BCAM(pyramid(), 4, stride=1, fuse=False, hidden=5)
    losses = method.losses(some_batch(), 0.0)
    features = method.neck.convolution[0].weight  # type: ignore[index]
    for term, attention, moves in (
        ("classification", method.object_attention, True),
        ("exclusion", method.object_attention, False),
        ("background", method.background_attention, False),
        ("suppression", method.background_attention, True),
    ):
        on_features, on_attention = torch.autograd.grad(
            losses[term], [features, attention.score.weight], retain_graph=True
        )
        assert bool(on_features.abs().max() > 0) == moves, term
        assert on_attention.abs().max() > 0, term


def test_a_new_attention_counts_all_places_alike() -> None:
    attention, grid = Attention(4, 1.0), torch.rand(2, 4, 3, 5)
    torch.testing.assert_close(attention(grid), torch.full((2, 1, 3, 5), 1 / 15))
    torch.testing.assert_close(pool(attention(grid), grid), grid.mean((2, 3)))
    with torch.no_grad():
        attention.score.weight.normal_()
    torch.testing.assert_close(attention(grid).sum((1, 2, 3)), torch.ones(2))


def test_a_map_by_score_is_the_object_classifiers_score_of_each_place(pyramid: Callable[..., Backbone]) -> None:
    image = torch.tensor([[[[0.0, 1.0, 2.0], [4.0, 1.0, 3.0]]]])
    said = by_hand(pyramid, rule="score").localize(image, torch.tensor([[0, 1]]))
    torch.testing.assert_close(said.maps[0, 0], image[0, 0] / 4)  # x
    torch.testing.assert_close(said.maps[0, 1], 1 - image[0, 0] / 4)  # 3 - x


def test_a_map_by_gradient_of_one_channel(pyramid: Callable[..., Backbone]) -> None:
    """The weights of class 0 are 1 and -2, so that d is 3x; those of class 1 are -1 and 1, so that it is -2x."""
    said = by_hand(pyramid).localize(IMAGE, torch.tensor([[0, 1]]))
    attention, slope = (1 / 7, 2 / 7, 4 / 7), math.log(2)
    for name, own, d in ((0, 1.0, 3.0), (1, -1.0, -2.0)):
        values = [a * (own * own + d * (x - SHOWN) * own * slope) for x, a in enumerate(attention)]
        low, high = min(values), max(values)
        expected = [(value - low) / (high - low) for value in values]
        assert said.maps[0, name, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_map_by_gradient_is_the_gradient_of_the_difference_along_its_mean(pyramid: Callable[..., Backbone]) -> None:
    """A rectangle, and the gradient by autograd, with what the background classifier pools held constant."""
    method, images = awake(pyramid), torch.rand(2, 3, 3, 7, dtype=torch.float64)
    asked = torch.tensor([[0, 2], [3, 3]])
    said = method.localize(images, asked)
    assert said.maps.shape == (2, 2, 3, 7)
    grid = method.neck((images,)).detach().requires_grad_()
    objects = method.object_classifier(pooled_by_hand(method.object_attention, grid, grid))
    backgrounds = method.background_classifier(pooled_by_hand(method.object_attention, grid, grid.detach()))
    torch.testing.assert_close(said.logits, objects)
    for image in range(2):
        for position, name in enumerate(asked[image].tolist()):
            score = objects[image, name] - backgrounds[image, name]
            (gradient,) = torch.autograd.grad(score, grid, retain_graph=True)
            mean = gradient[image].mean((1, 2))
            along = sum(mean[channel] * gradient[image, channel] for channel in range(5))
            expected = (along - along.min()) / (along.max() - along.min())
            torch.testing.assert_close(said.maps[image, position], expected)


def test_without_attention_there_is_no_map_by_gradient_and_one_by_score(pyramid: Callable[..., Backbone]) -> None:
    """A new attention takes all places alike, and a flat map is all zeros."""
    for rule, flat in (("gradient", True), ("score", False)):
        method = BCAM(pyramid(), 4, stride=1, rule=rule)  # type: ignore[arg-type]
        maps = method.localize(torch.rand(1, 3, 8, 4)).maps
        assert bool(maps.max() == 0) == flat
        assert maps.min() == 0


def test_one_attention_at_a_tenth_of_the_pace_learns_as_the_mean_of_a_hundred() -> None:
    """Three steps of gradient descent."""
    torch.manual_seed(2)
    grid, target = torch.rand(2, 3, 4, 5, dtype=torch.float64), torch.rand(2, 3, dtype=torch.float64)
    one = Attention(3, 0.1).double()
    many = torch.zeros(100, 3, dtype=torch.float64, requires_grad=True)
    for _ in range(3):
        pooled = torch.einsum("bmp,bcp->bc", (many @ grid.flatten(2)).softmax(2), grid.flatten(2)) / 100
        for parameter, feature in ((many, pooled), (one.score.weight, pool(one(grid), grid))):
            loss = ((feature - target) ** 2).sum()
            (gradient,) = torch.autograd.grad(loss, parameter)
            with torch.no_grad():
                parameter -= 100 * gradient
    assert many.abs().max() > 0.1
    torch.testing.assert_close(one.weight.expand(100, -1), many)


def squares(count: int, several: bool) -> tuple[Batch, Tensor]:
    """Images 6 x 8 of a common background (channel 2) with a square for each class shown (channel 0 or 1)."""
    torch.manual_seed(0)
    labels = torch.arange(count) % 2
    targets = F.one_hot(labels, 2).float()
    if several:
        targets[::3] = 1
    images, where = 0.3 * torch.rand(count, 3, 6, 8), torch.zeros(count, 2, 6, 8, dtype=torch.bool)
    images[:, 2] += 1
    for index in range(count):
        for name in targets[index].nonzero().flatten().tolist():
            y, x = int(torch.randint(4, ())), 4 * name + int(torch.randint(3, ()))  # apart, so that none hides another
            where[index, name, y : y + 2, x : x + 2] = True
        images[index, :2] += where[index]
        images[index, 2] *= ~where[index].any(0)
    return Batch(images, labels, targets, torch.arange(count), several), where


@pytest.mark.parametrize("several", [False, True])
def test_it_learns_where_objects_are(several: bool, pyramid: Callable[..., Backbone]) -> None:
    batch, where = squares(24, several)
    torch.manual_seed(0)
    method = BCAM(pyramid(), 2, pace=1.0, stride=1, fuse=False, hidden=8)
    optimizer = torch.optim.Adam(method.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.stack(list(method.losses(batch, 0.0).values())).sum().backward()
        optimizer.step()
    with torch.inference_mode():
        grid = method.neck((batch.images,))
        on_object, on_rest = (
            (attention(grid)[:, 0] * where.any(1)).sum((1, 2)).mean().item()
            for attention in (method.object_attention, method.background_attention)
        )
        asked, maps = torch.tensor([[0, 1]]).expand(24, -1), {}
        for method.rule in ("gradient", "score"):
            maps[method.rule] = method.localize(batch.images, asked).maps
    uniform = where.any(1).float().mean().item()
    assert on_object > 3 * uniform
    assert on_rest < uniform / 3
    shown = batch.targets.bool()[..., None, None]
    for rule, each in maps.items():
        assert each[where].mean() > 2 * each[~where & shown].mean(), rule
