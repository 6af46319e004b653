"""One image of the sample: a garment amid clutter on a crop of a photograph, with the garment's exact mask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from boxless.data.sample.assets import Assets, BoolArray, FloatArray
from boxless.data.sample.pixels import FINENESS, Pose, Window, blur, enlarge, rgb, sample

SIDES = (0.48, 0.78)  # the longer side of the object's box, as a share of the image
BEHIND, BEFORE = (1, 5), (0, 2)  # how many pieces of clutter, half-open
KINDS = (0.4, 0.3, 0.3)  # how often clutter is a fragment of a garment, a blob, a scrap of a photograph
TURN = math.radians(30)
MOST_COVERED = 0.12  # share of the object that clutter may hide
MOST_KEPT = 0.5  # share of a garment that may be left in a fragment: never enough to be an object of its own
_LEAST_CONTRAST = 0.25  # between the object's and its surroundings' mean colour, in [0, 1] RGB
_TRIES = 8


@dataclass(frozen=True, slots=True)
class Scene:
    """A finished image."""

    image: NDArray[np.uint8]  # (size, size, 3)
    mask: BoolArray  # (size, size): pixels whose object alpha is at least one half and that no clutter hides

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The mask's bounds, xyxy and half-open."""
        columns, rows = np.flatnonzero(self.mask.any(axis=0)), np.flatnonzero(self.mask.any(axis=1))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True, slots=True)
class Layer:
    """Something to lay over the scene."""

    window: Window  # the part of the scene that it and its shadow may touch, (h, w)
    colour: FloatArray  # (h, w, 3)
    alpha: FloatArray  # (h, w)


class Shadow(NamedTuple):
    """Where a layer's shadow falls, in rows and columns from its highest and leftmost place, and how dark it is."""

    down: int
    right: int
    depth: np.float32


class Look(NamedTuple):
    """The light and the lens of an image."""

    slope: FloatArray  # (2,) of the light, to the right and down
    contrast: np.float32
    middle: np.float32  # what middle gray becomes
    softness: float  # sigma of the blur, in pixels


def render(assets: Assets, split: str, label: int, index: int, *, seed: int, size: int) -> Scene:
    """The image of one item: a function of its arguments alone, whatever was rendered before."""
    return _Painter(assets, split, size, np.random.default_rng([seed, *split.encode(), label, index])).paint(
        label, index
    )


class _Painter:
    """Draws the parts of one scene from one stream of random numbers; the canvas may be larger than the image."""

    def __init__(
        self, assets: Assets, split: str, size: int, random: np.random.Generator, extent: int | None = None
    ) -> None:
        self.gray, self.coverage = assets.gray[split], assets.coverage[split]
        self.photographs, self.grains = assets.photographs[split], assets.grains[split]
        self.size, self.random = size, random
        self.extent = extent or size  # side of the canvas
        self.whole = Window(0, 0, self.extent, self.extent)
        self.reach = 8 * size / 128  # how far a shadow may fall
        self._shift = 3 * size // 128  # of its middle

    def paint(self, label: int, index: int) -> Scene:
        canvas = self.background()
        for _ in range(self.random.integers(*BEHIND)):
            self.lay(canvas, self.clutter())
        thing = self.object(label, index, canvas)
        self.lay(canvas, thing)
        solid = np.zeros((self.size, self.size), dtype=np.bool_)
        solid[thing.window.slices] = thing.alpha >= 0.5
        hidden = np.zeros_like(solid)
        for _ in range(self.random.integers(*BEFORE)):
            piece = self.clutter()
            covered = hidden.copy()
            covered[piece.window.slices] |= piece.alpha >= 0.1
            if (covered & solid).sum() <= MOST_COVERED * solid.sum():
                self.lay(canvas, piece)
                hidden = covered
        return Scene(self.develop(canvas), solid & ~hidden)

    def background(self) -> FloatArray:
        picture = self.photograph()
        height, width = picture.shape[:2]
        side = self.uniform(0.45, 0.95) * min(height, width)
        middle = self.extent / 2
        pose = Pose(middle, middle, self.extent / side, self.uniform(-0.15, 0.15), self.coin())
        u, v = pose.picture_points(self.whole)
        shift_x, shift_y = (max(length - side, 0) / 2 * self.uniform(-1, 1) for length in (width, height))
        return sample(picture, u + np.float32(shift_x), v + np.float32(shift_y), mirror=True) * self.cast()

    def object(self, label: int, index: int, canvas: FloatArray, sides: tuple[float, float] = SIDES) -> Layer:
        """The garment, wholly inside the image, in a tint that can be told from what lies behind it.

        Args:
            label: Its class.
            index: Which of the class.
            canvas: The scene so far.
            sides: Least and greatest longer side of its box, as a share of the image.
        """
        gray, coverage = self.gray[label, index], self.coverage[label, index]
        angle, flip = self.uniform(-TURN, TURN), self.coin()
        low, high = _extent(coverage, angle, flip)
        scale = self.uniform(*sides) * self.size / max(high - low)
        first, last = 1 - low * scale, self.size - 1 - high * scale
        x, y = self.uniform(first[0], last[0]), self.uniform(first[1], last[1])
        pose = Pose(x, y, scale / FINENESS, angle, flip)
        window, cloth, alpha = self.cloth(gray, coverage, pose)
        solid = alpha >= 0.5
        tint = self.tint_against(canvas[window.slices][solid].mean(axis=0), cloth[solid].mean())
        return Layer(window, np.clip(cloth[..., None] * tint, 0, 1), alpha)

    def clutter(self) -> Layer:
        kind = self.random.choice(3, p=KINDS)
        return (self.fragment, self.blob, self.scrap)[kind]()

    def fragment(self) -> Layer:
        """A part of some garment of this split, cut off by one to three straight cuts, tinted as objects are."""
        label, index = self.random.integers(len(self.gray)), self.random.integers(self.gray.shape[1])
        coverage = self.coverage[label, index]
        part = self.cut(coverage)
        scale = self.uniform(0.35, 0.8) * self.size / 28
        turn = self.uniform(-math.pi, math.pi)
        pose = Pose(*self.anywhere(), scale / FINENESS, turn, self.coin())
        window, cloth, alpha = self.cloth(self.gray[label, index], part, pose)
        return Layer(window, np.clip(cloth[..., None] * self.tint(), 0, 1), alpha)

    def cut(self, coverage: FloatArray) -> FloatArray:
        """The coverage left by straight cuts: between 15 % and ``MOST_KEPT`` of the garment."""
        rows, columns = np.nonzero(coverage >= 0.5)
        y, x = (np.indices(coverage.shape, dtype=np.float32) - 13.5)[:]
        left = coverage
        for _ in range(3):
            turn = self.uniform(-math.pi, math.pi)
            distance = x * np.float32(math.cos(turn)) + y * np.float32(math.sin(turn))
            inside = left[rows, columns]
            along = distance[rows, columns][inside >= 0.5]
            if along.size < 0.3 * rows.size:
                break
            edge = np.quantile(along, self.uniform(0.5, 0.65))
            left = left * np.clip(distance - np.float32(edge) + 0.5, 0, 1)
        return left

    def blob(self) -> Layer:
        """A smooth closed shape filled with a photograph's texture."""
        x, y = self.anywhere()
        mean_radius = self.uniform(0.08, 0.2) * self.size
        window = Window.around(x, y, 1.25**3 * mean_radius + self.reach, self.extent)
        across, down = window.offsets(x, y)
        direction = np.arctan2(down, across)
        radius = np.full_like(direction, mean_radius)
        for waves in (2, 3, 5):
            phase = np.float32(self.uniform(0, 2 * math.pi))
            radius *= 1 + np.float32(self.uniform(0, 0.25)) * np.sin(waves * direction + phase)
        alpha: FloatArray = np.clip(radius - np.hypot(across, down) + 0.5, 0, 1)
        texture = self.texture(window, 0.5)[..., None]
        return Layer(window, self.tint() * (0.75 + texture), alpha)

    def scrap(self) -> Layer:
        """A rectangle out of another photograph of this split."""
        pose = Pose(*self.anywhere(), self.uniform(0.25, 0.6) * self.size / 128, self.uniform(-math.pi, math.pi))
        half = self.pair(0.08, 0.2) * np.float32(self.size)
        window = Window.around(pose.x, pose.y, math.hypot(*half) + self.reach, self.size)
        u, v = pose.picture_points(window)
        edges = np.minimum(half[0] - np.abs(u) * pose.scale, half[1] - np.abs(v) * pose.scale)
        picture = self.photograph()
        height, width = picture.shape[:2]
        u = u + np.float32(self.uniform(-0.3, 0.3) * width)
        v = v + np.float32(self.uniform(-0.3, 0.3) * height)
        return Layer(window, sample(picture, u, v, mirror=True) * self.cast(), np.clip(edges + 0.5, 0, 1))

    def cloth(self, gray: FloatArray, coverage: FloatArray, pose: Pose) -> tuple[Window, FloatArray, FloatArray]:
        """A garment without its tint: where it is, its brightness (h, w) and its alpha (h, w)."""
        fine = np.stack([enlarge(gray * (coverage > 0)), enlarge(coverage)], axis=-1)
        rows, columns = np.nonzero(coverage)
        radius = FINENESS * (float(np.hypot(rows - 13.5, columns - 13.5).max()) + 1.5) * pose.scale
        window = Window.around(pose.x, pose.y, radius + self.reach, self.extent)
        u, v = pose.picture_points(window)
        brightness, covered = np.moveaxis(sample(fine, u, v), -1, 0)
        alpha = np.clip((covered - 0.5) * np.float32(3 * pose.scale) + 0.5, 0, 1)
        brightness = np.clip(brightness / np.maximum(covered, 0.35), 0, 1) ** np.float32(self.uniform(0.7, 1.5))
        shade = np.float32(self.uniform(0.1, 0.3))
        cloth = (shade + (1 - shade) * brightness) * (1 + self.texture(window, self.uniform(0, 0.15)))
        return window, cloth, alpha

    def shadow(self) -> Shadow:
        down, right = (int(each) for each in self.random.integers(0, 2 * self._shift + 1, 2))
        return Shadow(down, right, np.float32(self.uniform(0, 0.5)))

    def lay(self, canvas: FloatArray, layer: Layer, cast: Shadow | None = None) -> None:
        """Put a soft shadow, if not this one a new one, and the layer onto the canvas."""
        down, right, depth = cast or self.shadow()
        height, width = layer.alpha.shape
        shifted = np.pad(layer.alpha, self._shift, mode="edge")[down : down + height, right : right + width]
        shadow = blur(shifted, 1.6 * self.size / 128)[..., None]
        alpha = layer.alpha[..., None]
        part = canvas[layer.window.slices] * (1 - depth * shadow)
        canvas[layer.window.slices] = part + (layer.colour - part) * alpha

    def look(self) -> Look:
        slope, contrast, shift = self.pair(-0.35, 0.35), self.uniform(0.75, 1.1), self.uniform(-0.08, 0.08)
        return Look(slope, np.float32(contrast), np.float32(0.5 + shift), self.uniform(0.25, 0.5) * self.size / 128)

    def develop(self, canvas: FloatArray, look: Look | None = None) -> NDArray[np.uint8]:
        """Light from one side, contrast and a slight blur, if not this look a new one, and sensor noise over all."""
        slope, contrast, middle, softness = look or self.look()
        ramp = np.linspace(-0.5, 0.5, self.size, dtype=np.float32)
        canvas = canvas * (1 + ramp[None, :, None] * slope[0] + ramp[:, None, None] * slope[1])
        canvas = blur((canvas - 0.5) * contrast + middle, softness)
        noise = self.random.standard_normal(canvas.shape, dtype=np.float32) * np.float32(self.uniform(0.003, 0.012))
        return np.round(np.clip(canvas + noise, 0, 1) * 255).astype(np.uint8)

    def texture(self, window: Window, strength: float) -> FloatArray:
        """A piece of a photograph as brightness around 0, as large as the window."""
        grain = self.grains[self.random.integers(len(self.grains))]
        if self.coin():
            grain = grain.T
        top, left = self.random.integers(0, grain.shape)
        rows = np.arange(top, top + window.y1 - window.y0) % grain.shape[0]
        columns = np.arange(left, left + window.x1 - window.x0) % grain.shape[1]
        grain = grain[rows[:, None], columns[None, :]]
        around: FloatArray = (grain - grain.mean()) * np.float32(strength)
        return around

    def photograph(self) -> FloatArray:
        return self.photographs[self.random.integers(len(self.photographs))]

    def tint_against(self, behind: FloatArray, brightness: np.float32) -> FloatArray:
        """A tint in which cloth of this mean brightness can be told from a mean colour (3,) behind it."""
        for _ in range(_TRIES):
            tint = self.tint()
            if np.abs(brightness * tint - behind).max() >= _LEAST_CONTRAST:
                break
        return tint

    def tint(self) -> FloatArray:
        return rgb(self.uniform(0, 1), self.uniform(0, 0.5), self.uniform(0.55, 1))

    def cast(self) -> FloatArray:
        """A weak colour to multiply a photograph with, since half of them are gray."""
        return rgb(self.uniform(0, 1), self.uniform(0, 0.35), self.uniform(0.75, 1.05))

    def anywhere(self) -> tuple[float, float]:
        x, y = self.pair(0, self.extent)
        return float(x), float(y)

    def uniform(self, low: float, high: float) -> float:
        return float(self.random.uniform(low, high))

    def pair(self, low: float, high: float) -> FloatArray:
        return self.random.uniform(low, high, 2).astype(np.float32)

    def coin(self) -> bool:
        return bool(self.random.integers(2))


def _extent(coverage: FloatArray, angle: float, flip: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The bounds (x, y) of the turned silhouette around the picture's middle, in pixels of the picture."""
    rows, columns = np.nonzero(coverage >= 0.5)
    u, v = columns - 13.5, rows - 13.5
    u = -u if flip else u
    cosine, sine = math.cos(angle), math.sin(angle)
    points = np.stack([u * cosine - v * sine, u * sine + v * cosine])
    return points.min(axis=1) - 0.6, points.max(axis=1) + 0.6
