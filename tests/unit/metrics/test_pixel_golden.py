"""PxAP as wsolevaluation has it; tests/golden/pixel_average_precision.json says how its numbers were made."""

import importlib.util
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from boxless.data.masks import resize_nearest
from boxless.metrics.masks import pixel_counts, pxap_of

FOLDER = Path(__file__).parents[2] / "golden"
GOLDEN = json.loads((FOLDER / "pixel_average_precision.json").read_text(encoding="utf-8"))

specification = importlib.util.spec_from_file_location("golden_pixel_cases", FOLDER / "pixel_cases.py")
pixel_cases = importlib.util.module_from_spec(specification)
specification.loader.exec_module(pixel_cases)
GRID = (pixel_cases.SIDE, pixel_cases.SIDE)


@cache
def cases(kind):
    return pixel_cases.cases(kind)


@cache
def truth(kind):
    """Masks and what to ignore at the size of the maps."""
    masks = [np.any([resize_nearest(mask, GRID) for mask in case.masks], axis=0) for case in cases(kind)]
    return masks, [resize_nearest(case.ignore, GRID) for case in cases(kind)]


@cache
def pooled(kind, interval):
    maps = np.stack([case.values for case in cases(kind)])
    counts = pixel_counts(maps, *truth(kind), np.arange(0, 1, interval))
    return counts.foreground.sum(axis=0), counts.background.sum(axis=0)


def test_the_maps_are_those_that_the_golden_numbers_are_of():
    every = [case.values for kind in pixel_cases.KINDS for case in cases(kind)]
    assert pixel_cases.digest(every) == GOLDEN["maps_sha256"]


@pytest.mark.parametrize("kind", pixel_cases.KINDS)
def test_masks_at_the_size_of_the_maps_are_the_same_pixel_by_pixel(kind):
    masks, ignored = truth(kind)
    labels = [pixel_cases.label(mask, ignore & ~mask) for mask, ignore in zip(masks, ignored, strict=True)]
    assert pixel_cases.digest(labels) == GOLDEN["labels_sha256"][kind]


@pytest.mark.parametrize("interval", pixel_cases.INTERVALS)
@pytest.mark.parametrize("kind", pixel_cases.KINDS)
def test_each_data_set_has_the_same_pxap(kind, interval):
    expected = GOLDEN["pxap"][str(interval)][kind]
    assert pxap_of(*pooled(kind, interval)) == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize("interval", pixel_cases.INTERVALS)
def test_all_of_them_together_have_the_same_pxap(interval):
    counts = [pooled(kind, interval) for kind in pixel_cases.KINDS]
    total = [np.sum(each, axis=0) for each in zip(*counts, strict=True)]
    assert pxap_of(*total) == pytest.approx(GOLDEN["pxap"][str(interval)]["all together"], rel=0, abs=1e-9)
