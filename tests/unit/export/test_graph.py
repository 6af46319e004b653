from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from boxless.export import OnnxEngine
from boxless.ops.otsu import otsu_thresholds
from boxless.ops.otsu_of_tensors import otsu_of_tensors

from .conftest import SIZE, painted


@pytest.mark.parametrize("levels", [2, 5, 256, 100_000])
@pytest.mark.parametrize("lowest", [0.0, 0.3])
def test_otsu_in_torch_is_otsu_to_the_last_digit(levels: int, lowest: float) -> None:
    draws = np.random.default_rng(levels)
    maps = draws.integers(0, levels, (20, 3, 17, 13)) / (levels - 1) * (1 - lowest) + lowest
    maps = (maps ** draws.uniform(0.2, 5, (20, 3, 1, 1))).astype(np.float32)
    maps[0], maps[1] = 0, 0.7
    maps[2, :, :, :6] = 0
    expected = [otsu_thresholds(each) for each in maps]
    np.testing.assert_array_equal(otsu_of_tensors(torch.from_numpy(maps)).numpy(), expected)


def test_otsu_in_torch_takes_the_lowest_of_equal_cuts_and_stays_below_one() -> None:
    two = torch.tensor([[0.0, 1.0]] * 2)
    neighbours = torch.tensor([[0.5, float(np.nextafter(np.float32(0.5), 1))]] * 2)
    found = otsu_of_tensors(torch.stack([two, neighbours])).numpy()
    np.testing.assert_array_equal(found, otsu_thresholds(torch.stack([two, neighbours]).numpy()))
    assert found.max() < 1


def test_otsu_in_torch_passes_over_what_is_not_finite() -> None:
    assert otsu_of_tensors(torch.full((1, 2, 2), torch.nan)).tolist() == [0.0]


def test_the_outputs_are_those_worked_out_by_hand(models: Callable[[str], Path]) -> None:
    engine = OnnxEngine(models("predicted"))
    image = painted((1, 4, 8, 20, 16), (1, 30, 30, 32, 32), (0, 0, 0, 2, 2))
    found = engine.outputs(image[None])
    np.testing.assert_allclose(found["logits"], [[4 / 64, (16 * 8 + 4) / 64, 0]], atol=1e-5)
    powers = np.exp(found["logits"])
    np.testing.assert_allclose(found["scores"], powers / powers.sum(), atol=1e-6)
    assert found["label"].tolist() == [1]
    np.testing.assert_allclose(found["maps"][0, 0], image[:, :, 1] / 255, atol=1e-5)
    assert found["threshold"].tolist() == [[0.5]]
    np.testing.assert_array_equal(found["mask"][0, 0], image[:, :, 1] // 255)
    assert found["mask"].dtype == np.uint8


def test_thresholds_and_masks_are_of_each_class(models: Callable[[str], Path]) -> None:
    image = painted((0, 0, 0, 10, 10), (1, 4, 8, 20, 16))
    found = OnnxEngine(models("all")).outputs(image[None])
    np.testing.assert_array_equal(found["threshold"], otsu_thresholds(found["maps"][0])[None])
    assert found["mask"].sum((2, 3)).tolist() == [[100, 128, 0]]


def test_images_of_the_networks_size_are_not_touched_by_the_resizing(models: Callable[[str], Path]) -> None:
    image = np.random.default_rng(0).integers(0, 250, (1, SIZE, SIZE, 3), dtype=np.uint8)
    found = OnnxEngine(models("all")).outputs(image)
    np.testing.assert_allclose(found["maps"][0], image[0].transpose(2, 0, 1) / 255, atol=1e-6)


@pytest.mark.parametrize("size", [(32, 64), (100, 40), (20, 90), (7, 5), (33, 31)])
def test_other_sizes_are_resized_as_torch_does_with_antialiasing(
    size: tuple[int, int], models: Callable[[str], Path]
) -> None:
    width, height = size
    rough = np.random.default_rng(1).integers(0, 240, (2, height, width, 3), dtype=np.uint8)
    maps = OnnxEngine(models("all")).raw({"images": rough})["maps"]
    planes = torch.from_numpy(rough).permute(0, 3, 1, 2).float()
    expected = F.interpolate(planes, (SIZE, SIZE), mode="bilinear", antialias=True) / 255
    np.testing.assert_allclose(maps, expected.numpy(), atol=1e-4)


def test_the_graphs_resizing_is_within_a_grey_level_of_pillows(models: Callable[[str], Path]) -> None:
    """Pillow rounds to whole grey levels, once a direction; the graph does not round."""
    rough = np.random.default_rng(2).integers(0, 240, (50, 70, 3), dtype=np.uint8)
    maps = OnnxEngine(models("all")).raw({"images": rough[None]})["maps"][0]
    pillows = Image.fromarray(rough).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    difference = np.abs(255 * maps - np.asarray(pillows, np.float64).transpose(2, 0, 1))
    assert 0.1 < difference.max() < 1.1
