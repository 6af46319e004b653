from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from boxless.data.transforms import Augment, Preprocess
from boxless.errors import ConfigError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pixels_are_normalised_by_channel() -> None:
    tensor = Preprocess(2, MEAN, STD)(Image.new("RGB", (2, 2), (255, 0, 51)))
    assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == ((3, 2, 2), torch.float32, True)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(tensor[:, 1, 0], torch.tensor(expected))


def test_rows_and_columns_stay_in_place() -> None:
    pixels = np.arange(18, dtype=np.uint8).reshape(3, 2, 3)[:2]  # two rows of two pixels
    tensor = Preprocess(2, *PLAIN)(Image.fromarray(pixels))
    assert (tensor * 255).round().permute(1, 2, 0).tolist() == pixels.tolist()


def test_resize_is_plain_bilinear_and_antialiased() -> None:
    torch.testing.assert_close(
        Preprocess(24, *PLAIN)(noise(50, 40)),  # below six times the size nothing is reduced beforehand
        torch.nn.functional.interpolate(
            torch.from_numpy(np.array(noise(50, 40))).permute(2, 0, 1)[None] / 255.0,
            size=(24, 24),
            mode="bilinear",
            antialias=True,
        )[0],
        atol=1.01 / 255,  # rounded to 8 bits after each direction
        rtol=0,
    )


def test_large_images_are_averaged_and_not_sampled() -> None:
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    tensor = Preprocess(16, *PLAIN)(Image.fromarray(stripes))
    assert torch.allclose(tensor, torch.full_like(tensor, 0.5), atol=0.03)  # the last column has odd pixels


def test_result_may_be_written_to() -> None:
    Preprocess(4, MEAN, STD)(noise(4, 4)).add_(1)


def test_whole_crop_without_mirror_is_the_plain_image() -> None:
    image = noise(50, 40)
    augment = Augment(24, MEAN, STD, crop_scale=(1.0, 1.0), flip=0)
    augment._crop = lambda *draws: (0, 0, 1, 1)  # type: ignore[method-assign]
    assert torch.equal(augment(image, seeded(0)), Preprocess(24, MEAN, STD)(image))


def test_mirror_turns_left_and_right_only() -> None:
    image = noise(50, 40)
    plain, mirrored = (Augment(24, MEAN, STD, flip=flip)(image, seeded(3)) for flip in (0, 1))
    assert torch.equal(mirrored, plain.flip(-1))


def test_same_generator_state_gives_the_same_picture() -> None:
    augment, image = Augment(24, MEAN, STD), noise(50, 40)
    first, again, other = augment(image, seeded(1)), augment(image, seeded(1)), augment(image, seeded(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_global_random_state_is_left_alone_and_each_call_draws_equally_much() -> None:
    before = torch.random.get_rng_state()
    small, large = seeded(5), seeded(5)
    Augment(8, MEAN, STD)(noise(9, 9), small)
    Augment(8, MEAN, STD, crop_scale=(0.1, 0.2), flip=0)(noise(90, 30), large)
    assert torch.equal(small.get_state(), large.get_state())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_crops_lie_inside_and_cover_what_was_asked_for() -> None:
    augment = Augment(8, MEAN, STD, crop_scale=(0.25, 0.5))
    for area, aspect, left, top in torch.rand(300, 4, generator=seeded(0), dtype=torch.float64).tolist():
        x0, y0, x1, y1 = (
            part * side for part, side in zip(augment._crop(area, aspect, left, top), (200, 50) * 2, strict=True)
        )
        assert 0 <= x0 < x1 <= 200
        assert 0 <= y0 < y1 <= 50
        assert 0.2499 <= (x1 - x0) * (y1 - y0) / 10_000 <= 0.5001
        assert 0.7499 <= ((x1 - x0) / 200) / ((y1 - y0) / 50) <= 1.3334
    assert augment._crop(0, 0.5, 0, 1) == pytest.approx((0, 0.5, 0.5, 1))  # a quarter, in the image's aspect


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_slivers_are_no_trouble(size: tuple[int, int]) -> None:
    for seed in range(20):
        assert Augment(8, MEAN, STD)(noise(*size), seeded(seed)).shape == (3, 8, 8)


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"crop_scale": (0.0, 1.0)}, {"crop_scale": (0.9, 0.5)}, {"flip": 1.5}):
        with pytest.raises(ConfigError, match="expected"):
            Augment(8, MEAN, STD, **wrong)
    with pytest.raises(ConfigError, match="expected at least 1 pixel"):
        Preprocess(0, MEAN, STD)
    with pytest.raises(ConfigError, match="three numbers each"):
        Preprocess(8, (0.5,), (0.5,))
    with pytest.raises(ConfigError, match=r"mode 'L'.*read_image"):
        Preprocess(8, MEAN, STD)(Image.new("L", (8, 8)))
