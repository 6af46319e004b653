"""Of several maps the one is given in which the classifier sees the class asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from skimage.filters import threshold_otsu
from torch import Tensor, nn
from torch.nn import functional as F

from boxless.backbones.base import Backbone
from boxless.backbones.timm_backbone import TimmBackbone
from boxless.errors import ConfigError
from boxless.methods import self_supervised
from boxless.methods.base import Paper
from boxless.methods.self_supervised import SelfSupervised, foregrounds
from boxless.pseudo.scoring import blurred
from boxless.pseudo.sources import Attention, MapSource, Spectral
from boxless.types import Features

LEFT, RIGHT, FLAT = (torch.zeros(4, 4) for _ in range(3))
LEFT[:, :2], RIGHT[:, 2:] = 1.0, 0.8


class Given(MapSource):
    """The same maps for each image."""

    paper = Paper("", "", "", 2026, "")

    def __init__(self, *maps: Tensor) -> None:
        self.maps = torch.stack(maps)

    def count(self, backbone: Backbone) -> int:
        return len(self.maps)

    def __call__(self, backbone: Backbone, images: Tensor) -> Tensor:
        return self.maps.expand(len(images), -1, -1, -1)


class Halves(nn.Module):
    """Scores by which halves of a chequered image are there: what is blurred is grey."""

    def __init__(self, left: list[float], right: list[float], whole: list[float], neither: list[float]) -> None:
        super().__init__()
        self.table = torch.tensor([neither, left, right, whole])
        self.batches: list[int] = []

    def forward(self, features: Features) -> Tensor:
        self.batches.append(len(features.grid))
        there = [half.abs().mean((1, 2, 3)) > 0.5 for half in features.grid.chunk(2, 3)]
        return self.table[there[0].long() + 2 * there[1].long()]


def chequered(count: int = 2) -> Tensor:
    places = torch.arange(8)
    return ((places[:, None] + places) % 2 * 2.0 - 1).expand(count, 3, 8, 8)


@pytest.fixture
def method(pyramid: Callable[..., Backbone]) -> SelfSupervised:
    """Left alone says class 0, right alone class 1; the whole says class 1 and nothing at all says class 0 aloud."""
    built = SelfSupervised(pyramid(), 2, stride=1, fuse=False, hidden=0).eval()
    built.head = Halves([5.0, 6.0], [4.0, 0.0], [0.0, 1.0], [9.0, 0.0])  # type: ignore[assignment]
    return built


def test_the_map_is_that_with_the_highest_posterior_of_the_class_asked_for(method: SelfSupervised) -> None:
    """Left has the higher score of class 0 (5 to 4), but right the higher posterior (0.98 to 0.27)."""
    method.source = Given(LEFT, RIGHT)
    said = method.localize(chequered(), torch.tensor([[0, 1], [1, 1]]))
    expected = torch.stack([torch.stack([RIGHT / 0.8, LEFT]), torch.stack([LEFT, LEFT])])
    torch.testing.assert_close(said.maps, expected)
    torch.testing.assert_close(said.logits, torch.tensor([[0.0, 1.0]] * 2))  # of the whole image
    assert torch.equal(method.localize(chequered()).classes, torch.tensor([[1], [1]]))


def test_a_flat_map_is_never_chosen_and_flat_maps_alone_give_zeros(method: SelfSupervised) -> None:
    """With all blurred the classifier is surest of class 0, and yet a map without a place is none."""
    method.source = Given(FLAT, LEFT, FLAT + 0.5)
    torch.testing.assert_close(method.localize(chequered(1), torch.tensor([[0]])).maps[0, 0], LEFT)
    method.source = Given(FLAT + 0.5, FLAT)
    assert method.localize(chequered(1), torch.tensor([[0]])).maps.eq(0).all()


def test_of_maps_with_equal_posteriors_the_first_is_taken(method: SelfSupervised) -> None:
    softer = LEFT.clone()
    softer[0, 0] = 0.9  # the same foreground
    for maps in ((LEFT, softer), (softer, LEFT)):
        method.source = Given(*maps)
        normalized = (maps[0] - maps[0].min()) / (maps[0].max() - maps[0].min())
        torch.testing.assert_close(method.localize(chequered(1), torch.tensor([[1]])).maps[0, 0], normalized)


def test_a_posterior_beside_which_float32_knows_no_other_decides(method: SelfSupervised) -> None:
    method.head = Halves([0.0, 30.0], [0.0, 31.0], [0.0, 1.0], [0.0, 0.0])  # type: ignore[assignment]
    method.source = Given(LEFT, RIGHT)
    torch.testing.assert_close(method.localize(chequered(1), torch.tensor([[1]])).maps[0, 0], RIGHT / 0.8)


def test_passes_are_cut_into_chunks_and_scores_take_one(
    method: SelfSupervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    method.source = Given(LEFT, RIGHT, FLAT)
    images, asked = chequered(3), torch.tensor([[0], [1], [0]])
    whole = method.localize(images, asked).maps
    assert method.head.batches == [3, 9]
    monkeypatch.setattr(self_supervised, "CHUNK", 4)
    torch.testing.assert_close(method.localize(images, asked).maps, whole)
    assert method.head.batches[2:] == [3, 4, 4, 1]
    method.scores(images)
    assert method.head.batches[6:] == [3]


def test_the_foreground_is_what_is_above_otsus_threshold_at_the_images_size() -> None:
    draws = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 5, 7, generator=draws) ** 2
    maps[1] = 0.7
    shown = foregrounds(maps, (40, 56))
    assert shown.shape == (3, 40, 56)
    for number in (0, 2):
        large = F.interpolate(maps[number, None, None], size=(40, 56), mode="bilinear", align_corners=False)[0, 0]
        assert torch.equal(shown[number], large > float(threshold_otsu(large.numpy())))
    assert not shown[1].any()


def test_on_a_transformer_it_is_attention_of_the_head_that_scores_best() -> None:
    torch.manual_seed(0)
    backbone = TimmBackbone("test_vit", weights="random", image_size=96)
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.2)
    method = SelfSupervised(backbone, 3).eval()
    images = torch.randn(4, 3, 96, 96)
    said = method.localize(images, torch.tensor([[0, 1, 2]] * 4))
    chosen = set()
    for image, given in zip(images, said.maps, strict=True):
        maps = Attention()(backbone, image[None])[0]
        posteriors = []
        for each in maps:
            large = F.interpolate(each[None, None], size=(96, 96), mode="bilinear", align_corners=False)[0, 0]
            shown = torch.where(large > float(threshold_otsu(large.numpy())), image, blurred(image))
            with torch.no_grad():
                posteriors.append(method.head(backbone(shown[None]))[0].softmax(0))
        for label, best in enumerate(torch.stack(posteriors).argmax(0).tolist()):
            expected = (maps[best] - maps[best].min()) / (maps[best].max() - maps[best].min())
            torch.testing.assert_close(given[label], expected)
            chosen.add(best)
    assert len(chosen) == 2  # neither of the two heads is always best


@pytest.mark.parametrize(
    ("name", "kind"),
    [("test_vit", Attention), ("test_vit2", Spectral), ("test_efficientnet", Spectral)],  # test_vit2: registers only
)
def test_the_source_is_attention_where_the_backbone_has_it(name: str, kind: type[MapSource]) -> None:
    assert type(SelfSupervised(TimmBackbone(name, weights="random", image_size=96), 2).source) is kind


def test_settings_reach_the_source_and_one_that_does_not_fit_is_refused() -> None:
    backbone = TimmBackbone("test_vit", weights="random", image_size=96)
    spectral = SelfSupervised(backbone, 2, source="spectral", vectors=3, similarity=0.5, stride=32).source
    assert isinstance(spectral, Spectral)
    assert (spectral.vectors, spectral.threshold, spectral.stride) == (3, 0.5, 32)
    with pytest.raises(ConfigError, match="test_vit has 2 heads"):  # and not spectral in silence
        SelfSupervised(backbone, 2, heads="first_four_and_mean")
    with pytest.raises(ConfigError, match="test_resnet gives no attention"):
        SelfSupervised(TimmBackbone("test_resnet", weights="random"), 2, source="attention")
