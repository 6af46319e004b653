"""Scenes of several garments, or none."""

from __future__ import annotations

import pytest

from boxless.data.sample.assets import load_assets
from boxless.data.sample.crowded import MOST, crowded
from boxless.data.sample.scene import MOST_COVERED
from boxless.errors import ConfigError, UnknownNameError


def test_a_scene_has_as_many_objects_as_asked_for_each_with_its_class_and_box() -> None:
    for objects in range(MOST + 1):
        scene = crowded(objects, 0, split="val", size=96)
        assert scene.image.shape == (96, 96, 3)
        assert len(scene.labels) == len(scene.masks) == len(scene.boxes) == objects
        assert set(scene.labels) <= set(load_assets().classes)
        for mask, (x0, y0, x1, y1) in zip(scene.masks, scene.boxes.astype(int).tolist(), strict=True):
            assert mask[y0:y1, x0:x1].sum() == mask.sum() > 100
            assert all(edge.any() for edge in (mask[y0], mask[y1 - 1], mask[:, x0], mask[:, x1 - 1]))


def test_objects_do_not_share_a_pixel_and_are_seen_nearly_whole() -> None:
    for index in range(3):
        scene, alone = crowded(3, index, size=96), crowded(1, index, size=96)
        assert scene.masks.sum(0).max() == 1
        assert alone.masks.sum() > 100
        for mask in scene.masks:  # what hides an object leaves most of it
            assert mask.sum() > (1 - MOST_COVERED) * 100


def test_a_scene_follows_from_its_arguments() -> None:
    one = crowded(2, 5, size=96)
    assert (one.image == crowded(2, 5, size=96).image).all()
    others = [crowded(2, 6, size=96), crowded(2, 5, size=96, seed=1), crowded(2, 5, size=96, split="val")]
    assert all((one.image != other.image).any() for other in others)


def test_what_cannot_be_had_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 to 4"):
        crowded(5, 0)
    with pytest.raises(UnknownNameError, match="split"):
        crowded(1, 0, split="valid")
