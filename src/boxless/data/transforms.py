"""Images to the tensors that a network takes: as they are, or cropped and mirrored at random for training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from boxless.data.resizing import squared
from boxless.errors import ConfigError

ASPECT = (3 / 4, 4 / 3)  # of a training crop, relative to the image's own (Szegedy et al., CVPR 2015)


class Preprocess:
    """Resize to a square, losing the aspect ratio as the WSOL protocol does, and normalise.

    Args:
        size: Side of the square, in pixels.
        mean: Mean of each channel, for values in [0, 1].
        std: Standard deviation of each channel.
    """

    def __init__(self, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        if size < 1:
            raise ConfigError(f"the image size is {size}; expected at least 1 pixel.")
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ConfigError(f"mean {tuple(mean)} and std {tuple(std)} must be three numbers each, std above zero.")
        self.size, self.mean, self.std = size, tuple(mean), tuple(std)
        deviations = np.array(std, np.float32).reshape(3, 1, 1)
        self._scale = 1 / (255 * deviations)
        self._shift = -np.array(mean, np.float32).reshape(3, 1, 1) / deviations

    def __call__(self, image: Image.Image) -> Tensor:
        """Float32 of shape (3, size, size), from an RGB image of any size."""
        return self.normalize(self.resize(image))

    def resize(self, image: Image.Image, box: tuple[float, float, float, float] | None = None) -> Image.Image:
        """The image, or a box of it, as a square: bilinear, with antialiasing."""
        if image.mode != "RGB":
            raise ConfigError(f"an image of mode {image.mode!r} cannot be preprocessed; read it with read_image.")
        return squared(image, self.size, box)

    def normalize(self, image: Image.Image) -> Tensor:
        """``(value / 255 - mean) / std``, channels first."""
        pixels = np.asarray(image).transpose(2, 0, 1)
        values = np.empty(pixels.shape, np.float32)
        np.multiply(pixels, self._scale, out=values)
        values += self._shift
        return torch.from_numpy(values)


class Augment:
    """A random crop, resized to the square and mirrored at random, then normalised.

    The crop's aspect ratio is drawn around the image's own, so that training stretches objects as prediction does.

    Args:
        size: Side of the square, in pixels.
        mean: Mean of each channel, for values in [0, 1].
        std: Standard deviation of each channel.
        crop_scale: Least and greatest fraction of the image's area that a crop covers.
        flip: Probability of mirroring left and right.
    """

    def __init__(
        self,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        crop_scale: tuple[float, float] = (0.5, 1.0),
        flip: float = 0.5,
    ) -> None:
        if not 0 < crop_scale[0] <= crop_scale[1] <= 1:
            raise ConfigError(
                f"crop_scale is {crop_scale}; expected two fractions of the area, 0 < least <= most <= 1."
            )
        if not 0 <= flip <= 1:
            raise ConfigError(f"flip is {flip}; expected a probability, 0 to 1.")
        self.preprocess, self.crop_scale, self.flip = Preprocess(size, mean, std), crop_scale, flip

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Tensor:
        """Float32 of shape (3, size, size); all that is random comes from the generator, always five draws."""
        (x0, y0, x1, y1), mirrored = self.draw(generator)
        width, height = image.size
        square = self.preprocess.resize(image, (x0 * width, y0 * height, x1 * width, y1 * height))
        if mirrored:
            square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return self.preprocess.normalize(square)

    def draw(self, generator: torch.Generator) -> tuple[tuple[float, float, float, float], bool]:
        """The crop x0, y0, x1, y1 as fractions of any image's width and height, and whether it is mirrored."""
        area, aspect, left, top, mirror = torch.rand(5, generator=generator, dtype=torch.float64).tolist()
        return self._crop(area, aspect, left, top), mirror < self.flip

    def _crop(self, area: float, aspect: float, left: float, top: float) -> tuple[float, float, float, float]:
        """The crop for four uniform draws: the aspect is log-uniform, sides are capped at the image's."""
        low, high = self.crop_scale
        scale = low + (high - low) * area
        ratio = ASPECT[0] * (ASPECT[1] / ASPECT[0]) ** aspect
        width, height = min(1.0, math.sqrt(scale * ratio)), min(1.0, math.sqrt(scale / ratio))
        x, y = (1 - width) * left, (1 - height) * top
        return x, y, min(x + width, 1.0), min(y + height, 1.0)


def normalized(colours: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Colours (b, 3, h, w) in [0, 1] as a network takes them."""
    return (colours - _column(mean, colours)) / _column(std, colours)


def colours(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalised images (b, 3, h, w) as colours in [0, 1] again."""
    return images * _column(std, images) + _column(mean, images)


def _column(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(values, device=images.device, dtype=images.dtype)[:, None, None]
