"""Picture arithmetic of the sample in numpy alone, so that it comes out the same everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from boxless.data.sample.assets import SIDE, FloatArray

FINENESS = 3  # garments are enlarged so many times, smoothly, before they are placed
_MARGIN = 2  # empty pixels around a garment


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the scene, in whole pixels and half-open; most pictures touch little of the scene."""

    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def around(cls, x: float, y: float, radius: float, size: int) -> Window:
        """What lies within ``radius`` of a point of the scene, inside the scene."""
        low_x, low_y = (min(max(math.floor(middle - radius), 0), size - 1) for middle in (x, y))
        high_x, high_y = (
            max(min(math.ceil(middle + radius), size), low + 1) for middle, low in ((x, low_x), (y, low_y))
        )
        return cls(low_x, low_y, high_x, high_y)

    @property
    def slices(self) -> tuple[slice, slice]:
        """To index the rows and columns of a scene."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def offsets(self, x: float, y: float) -> tuple[FloatArray, FloatArray]:
        """How far the centres of its columns, (1, w), and rows, (h, 1), lie from a point."""
        columns = np.arange(self.x0, self.x1, dtype=np.float32) + np.float32(0.5 - x)
        rows = np.arange(self.y0, self.y1, dtype=np.float32) + np.float32(0.5 - y)
        return columns[None, :], rows[:, None]


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a picture lies in the scene: its middle, scale and turn in radians, and whether it is flipped."""

    x: float
    y: float
    scale: float  # scene pixels for each pixel of the picture
    angle: float
    flip: bool = False

    def picture_points(self, window: Window) -> tuple[FloatArray, FloatArray]:
        """For the centre of each pixel of a window of the scene, the point of the picture relative to its middle."""
        across, down = window.offsets(self.x, self.y)
        cosine, sine = (np.float32(each(self.angle) / self.scale) for each in (math.cos, math.sin))
        u = across * cosine + down * sine
        return (-u if self.flip else u), down * cosine - across * sine


def sample(picture: FloatArray, u: FloatArray, v: FloatArray, *, mirror: bool = False) -> FloatArray:
    """Bilinear samples of an (h, w, c) picture at points relative to its middle; 0 outside, or its mirror image."""
    height, width = picture.shape[:2]
    x, y = u + np.float32(width / 2 - 0.5), v + np.float32(height / 2 - 0.5)
    if mirror:
        x, y = _reflect(x, width), _reflect(y, height)
    left, top = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
    right_share, low_share = (x - left)[..., None], (y - top)[..., None]
    x0, x1 = np.clip(left, 0, width - 1), np.clip(left + 1, 0, width - 1)
    y0, y1 = np.clip(top, 0, height - 1), np.clip(top + 1, 0, height - 1)
    flat, above, below = picture.reshape(height * width, -1), y0 * width, y1 * width
    corners = (flat.take(each, axis=0) for each in (above + x0, above + x1, below + x0, below + x1))
    upper_left, upper_right, lower_left, lower_right = corners
    upper = upper_left + (upper_right - upper_left) * right_share
    lower = lower_left + (lower_right - lower_left) * right_share
    values: FloatArray = upper + (lower - upper) * low_share
    if not mirror:
        values[(x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)] = 0
    return values


def enlarge(picture: FloatArray) -> FloatArray:
    """A 28 x 28 picture with an empty margin, ``FINENESS`` times finer by Catmull-Rom interpolation."""
    weights = _catmull_rom()
    fine: FloatArray = weights @ np.pad(picture, _MARGIN) @ weights.T
    return fine


def blur(picture: FloatArray, sigma: float) -> FloatArray:
    """A Gaussian blur of an (h, w) or (h, w, c) picture; the border is repeated."""
    radius = max(1, math.ceil(2.5 * sigma))
    kernel = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis in (0, 1):
        length = picture.shape[axis]
        edges = [(radius, radius) if each == axis else (0, 0) for each in range(picture.ndim)]
        padded = np.pad(picture, edges, mode="edge")
        picture = kernel[0] * padded[_span(axis, 0, length)]
        for start in range(1, 2 * radius + 1):
            picture += kernel[start] * padded[_span(axis, start, length)]
    return picture


def rgb(hue: float, saturation: float, value: float) -> FloatArray:
    """A colour given by hue, saturation and value in [0, 1], as (3,)."""
    wheel = np.clip(np.abs((6 * hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    colour: FloatArray = (value * (1 - saturation + saturation * wheel)).astype(np.float32)
    return colour


def _span(axis: int, start: int, length: int) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(start, start + length),)


def _reflect(points: FloatArray, length: int) -> FloatArray:
    last = np.float32(length - 1)
    folded: FloatArray = last - np.abs(np.mod(points, 2 * last) - last)
    return folded


@cache
def _catmull_rom() -> FloatArray:
    source = SIDE + 2 * _MARGIN
    centres = (np.arange(source * FINENESS) + 0.5) / FINENESS - 0.5
    distance = np.abs(centres[:, None] - np.arange(source)[None, :])
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    shares: FloatArray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
