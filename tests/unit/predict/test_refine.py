from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from boxless.errors import ConfigError, DataError
from boxless.predict.refine import _window_means, refine

SIDE = 48


@pytest.fixture(scope="module")
def disc() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A blue disc on noisy green, its mask, and a smooth map that is too large and lies beside it."""
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = (y - 24) ** 2 + (x - 24) ** 2 < 11**2
    image = np.where(inside[..., None], (30, 60, 200), (40, 160, 60))
    image = (image + np.random.default_rng(0).normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
    blurred = np.exp(-((y - 26) ** 2 + (x - 21) ** 2) / (2 * 9**2))
    return image, inside, blurred.astype(np.float32)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize(("kind", "threshold"), [("guided", 0.5), ("crf", 0.5), ("crf", 0.3)])
def test_the_map_follows_the_edges(kind, threshold, disc):
    image, inside, given = disc
    refined = refine(given[None], image, kind, threshold)[0]
    assert refined.dtype == np.float32
    assert 0 <= refined.min() < refined.max() <= 1
    before, after = (overlap(each > threshold * each.max(), inside) for each in (given, refined))
    assert after > before + 0.1
    if kind == "crf":
        assert after > 0.95


def test_each_map_is_refined_alone(disc):
    image, _, given = disc
    other = np.ascontiguousarray(given.T)
    for kind in ("guided", "crf"):
        both = refine(np.stack([given, other]), image, kind)
        for one, alone in zip(both, (given, other), strict=True):
            np.testing.assert_allclose(one, refine(alone[None], image, kind)[0], atol=1e-4)


def test_constant_maps_stay_as_they_are(disc):
    maps = np.stack([np.zeros((SIDE, SIDE)), np.full((SIDE, SIDE), 0.4), disc[2]]).astype(np.float32)
    for kind in ("guided", "crf"):
        refined = refine(maps, disc[0], kind)
        np.testing.assert_array_equal(refined[:2], maps[:2])
        assert (refined[2] != maps[2]).any()
    np.testing.assert_array_equal(refine(maps, disc[0], "none"), maps)


def test_on_a_flat_image_the_guided_filter_is_two_windows_of_means(disc):
    flat = np.full((SIDE, SIDE, 3), 90, np.uint8)
    radius = SIDE // 16
    expected = _window_means(_window_means(disc[2].astype(float), radius), radius)
    np.testing.assert_allclose(refine(disc[2][None], flat, "guided")[0], expected, atol=1e-6)


def test_window_means_are_those_of_what_lies_inside():
    values = np.random.default_rng(1).random((2, 7, 5))
    found = _window_means(values, 2)
    for y in range(7):
        for x in range(5):
            window = values[:, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            np.testing.assert_allclose(found[:, y, x], window.mean((1, 2)))


def test_the_mean_field_is_that_of_the_exact_kernel(disc):
    """With the kernel as a matrix, over all pairs of pixels; the lattice is near it."""
    image, _, given = disc
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE / 8)
    points = np.concatenate([[y, x], image.transpose(2, 0, 1) / 13.0]).reshape(5, -1).T
    far = ((points[:, None] - points[None]) ** 2).sum(-1)
    kernel = np.exp(-far / 2)
    kernel /= kernel.sum(1, keepdims=True)
    share = (given.ravel().astype(float) / given.max()).clip(0.001, 0.999)
    own = np.log(share / (1 - share)) - np.log(0.3 / 0.7)
    belief = own
    for _ in range(5):
        belief = own + 3 * kernel @ (2 / (1 + np.exp(-belief)) - 1)
    expected = given.max() / (1 + np.exp(-belief - np.log(0.3 / 0.7)))
    found = refine(given[None], image, "crf", 0.3)[0].ravel()
    assert np.corrcoef(expected, found)[0, 1] > 0.99
    assert ((expected > 0.3) == (found > 0.3)).mean() > 0.99


def test_what_does_not_fit_is_refused(disc):
    with pytest.raises(ConfigError, match="guided or crf"):
        refine(disc[2][None], disc[0], "sharp")
    with pytest.raises(DataError, match="at the maps' size"):
        refine(disc[2][None], disc[0][:-1], "crf")


def test_it_needs_no_torch():
    code = (
        "import sys, numpy as np; from boxless.predict.refine import refine;"
        "ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 16, 16);"
        "[refine(ramp, np.zeros((16, 16, 3), np.uint8), kind) for kind in ('guided', 'crf')];"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
