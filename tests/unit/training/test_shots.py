"""Frames of videos in training: one of each shot an epoch, each in its turn, and maps of those before laid over."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tools import Heard

from boxless.backbones.base import Backbone
from boxless.data.transforms import Preprocess
from boxless.methods.base import Stage
from boxless.pseudo.records import of_maps
from boxless.training.examples import Examples
from boxless.training.labelling import Labelling
from boxless.training.shots import before, draw, in_shots, looked_at, rounds
from boxless.types import Item, Shot

LENGTHS = {"a": 5, "b": 1, "c": 3}


def frames(*, images: int = 2) -> list[Item]:
    of_videos = [
        Item(Path(f"{video}/{i}.jpg"), f"{video}/{i}.jpg", (0,), Shot(video))
        for video, length in LENGTHS.items()
        for i in range(length)
    ]
    return [*of_videos, *(Item(Path(f"{i}.jpg"), f"{i}.jpg", (1,)) for i in range(images))]


def test_an_epoch_shows_one_frame_of_each_shot_and_every_image_that_is_none() -> None:
    items = frames()
    groups = in_shots(items)
    assert [len(each) for each in groups] == [5, 1, 3, 1, 1]
    for epoch in range(6):
        shown = [items[place] for place in draw(items, groups, epoch, seed=0)]
        assert [item.shot.video for item in shown if item.shot] == ["a", "b", "c"]
        assert [item.name for item in shown if not item.shot] == ["0.jpg", "1.jpg"]


def test_each_frame_comes_once_before_any_comes_again_in_an_order_that_changes() -> None:
    items = frames()
    groups = in_shots(items)
    drawn = [[items[place].name for place in draw(items, groups, epoch, seed=3)] for epoch in range(15)]
    of_a = [names[0] for names in drawn]
    rounds_of_a = [of_a[:5], of_a[5:10], of_a[10:]]
    assert all(sorted(each) == [f"a/{i}.jpg" for i in range(5)] for each in rounds_of_a)
    assert len(set(map(tuple, rounds_of_a))) > 1
    assert drawn == [[items[place].name for place in draw(items, groups, epoch, seed=3)] for epoch in range(15)]
    assert drawn != [[items[place].name for place in draw(items, groups, epoch, seed=4)] for epoch in range(15)]


def test_frames_that_no_epoch_would_show_are_left_out() -> None:
    items = frames()
    kept = rounds(items, 2, seed=0)
    assert Counter(item.shot.video for item in kept if item.shot) == {"a": 2, "b": 1, "c": 2}
    assert list(kept) == [item for item in items if item in kept]  # in their order
    assert rounds(items, 99, seed=0) == tuple(items)
    firsts = Counter(rounds(items, 1, seed=seed)[0].name for seed in range(200))
    assert len(firsts) == 5
    assert min(firsts.values()) > 20  # each is as likely


def test_of_val_four_frames_of_each_shot_are_looked_at_and_all_images() -> None:
    items = frames()
    kept = [item.name for item in looked_at(items)]
    of_shots = [*(f"a/{i}.jpg" for i in (0, 1, 3, 4)), "b/0.jpg", *(f"c/{i}.jpg" for i in range(3))]
    assert kept == [*of_shots, "0.jpg", "1.jpg"]


def test_the_frames_before_are_of_the_same_shot_and_the_nearest_comes_first() -> None:
    items = frames()
    find = before(items)
    assert [item.name for item in find(items[3], 2)] == ["a/2.jpg", "a/1.jpg"]
    assert [item.name for item in find(items[1], 3)] == ["a/0.jpg"]
    assert find(items[0], 2) == ()
    assert find(items[6], 1) == ()  # the first of c, after all of b
    assert find(items[-1], 2) == ()  # images that are no frames have none


def test_maps_of_one_image_are_fused_by_their_maximum() -> None:
    maps = torch.rand(5, 1, 3, 4)
    maps[3] = 0.5  # flat: shows nothing
    made = of_maps(maps, (30, 40)).fused(torch.tensor([0, 1, 2, 2, 0]), 3)
    half = maps.half()
    assert torch.equal(made.activations[0], torch.maximum(half[0], half[4]))
    assert torch.equal(made.activations[1], half[1])
    assert torch.equal(made.activations[2], half[2])
    assert made.valid.all()
    assert made.boxes[:, 0].tolist() == [[0, 0, 40, 30]] * 3


@pytest.fixture
def clip(tmp_path: Path) -> list[Item]:
    """A bright square that moves to the right by ten pixels a frame."""
    items = []
    for number in range(4):
        pixels = np.zeros((64, 64, 3), dtype=np.uint8)
        pixels[20:40, 10 * number : 10 * number + 10] = 255
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        items.append(Item(tmp_path / f"{number}.png", f"{number}.png", (0,), Shot("clip")))
    return items


class Fabric:
    global_rank, world_size, device, is_global_zero = 0, 1, torch.device("cpu"), True

    def barrier(self) -> None:
        pass


@pytest.mark.parametrize("neighbours", [0, 1, 2])
def test_pseudo_labels_of_a_frame_hold_those_of_the_frames_before_it(
    clip: list[Item], neighbours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of frames that are not trained on themselves: here only the last one is."""
    from boxless.training import labelling

    class Method(torch.nn.Module):
        backbone: Backbone = torch.nn.Identity()  # type: ignore[assignment]

    method = Method()
    method.neighbours = neighbours  # type: ignore[assignment]
    examples = Examples(clip[3:], 2, Preprocess(64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    recipe = labelling.Recipe().override(pseudo={"folder": str(tmp_path / "kept")})
    label = Labelling(recipe, method, examples, ["a", "b"], tmp_path, Fabric(), Heard(), lambda: None, before(clip))  # type: ignore[arg-type]
    monkeypatch.setattr(labelling, "check_source", lambda *_, **__: lambda *given: given[2].mean(1, keepdim=True))
    monkeypatch.setattr(Labelling, "_teacher", lambda _: labelling.Teacher(torch.nn.Identity(), lambda images: images))
    found = label(Stage("localization", pseudo="maps"))
    assert found is not None
    bright = (found.activations[0, 0, 30] > 0.5).nonzero().flatten().tolist()
    assert bright == list(range(30 - 10 * neighbours, 40))
