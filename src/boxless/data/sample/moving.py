"""One clip of the sample: a garment that moves, amid clutter that moves too, before a camera that pans."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxless.data.sample.assets import Assets, BoolArray, FloatArray
from boxless.data.sample.pixels import FINENESS, Pose, Window, sample
from boxless.data.sample.scene import BEFORE, BEHIND, MOST_COVERED, TURN, Layer, Scene, Shadow, _extent, _Painter

Points = NDArray[np.float64]  # (3, 2) x and y, at the start, in the middle and at the end of a clip

SIDES = (0.36, 0.66)  # the longer side of the object's box, as a share of the image
GROWTH = 1.5  # at most, from the clip's one end to its other
SWING = math.radians(20)  # at most so much it turns, to the one side and the other
PAN = 0.2  # how far the camera may get from the middle of the scene, as a share of the image
AWAY = 0.3  # of the clips, in which the object is out of sight at the start, in the middle or at the end
LEAST_SEEN = 0.2  # share of the object inside the frame below which it counts as gone
STEP = (0.1, 0.5)  # how far the object, and each piece of clutter, goes in half a clip, as a share of the image
MOVING = (1, 4)  # how many pieces of clutter move behind the object, half-open


@dataclass(frozen=True, slots=True)
class Course:
    """How something moves: at constant acceleration, turning and growing evenly."""

    points: Points
    scales: tuple[float, float] = (1, 1)  # at the start and at the end
    angles: tuple[float, float] = (0, 0)

    def pose(self, time: float) -> Pose:
        """Where it is at a time from 0 to 1."""
        shares = (2 * time - 1) * (time - 1), 4 * time * (1 - time), time * (2 * time - 1)
        x, y = (float(each) for each in shares @ self.points)
        scale = self.scales[0] * (self.scales[1] / self.scales[0]) ** time
        return Pose(x, y, scale, self.angles[0] + (self.angles[1] - self.angles[0]) * time)


@dataclass(frozen=True, slots=True)
class Mover:
    """Something that moves over the scene."""

    picture: FloatArray  # (h, w, 4): colour, and alpha
    shadow: Shadow
    course: Course

    def layers(self, times: Sequence[float], painter: _Painter) -> list[Layer]:
        """What it adds to the image at times from 0 to 1."""
        return [self._layer(self.course.pose(time), painter) for time in times]

    def _layer(self, pose: Pose, painter: _Painter) -> Layer:
        radius = max(self.picture.shape[:2]) / 2 * pose.scale
        window = Window.around(pose.x, pose.y, radius + painter.reach, painter.size)
        seen = sample(self.picture, *pose.picture_points(window))
        return Layer(window, seen[..., :3], seen[..., 3])


def render_clip(
    assets: Assets, split: str, label: int, index: int, *, seed: int, size: int, frames: int
) -> Iterator[Scene]:
    """The frames of one item's clip; the mask of a frame without the object is empty.

    A clip is a function of the arguments alone, whatever was rendered before. The object counts as gone from a frame
    that shows less than ``LEAST_SEEN`` of it; what clutter hides, 12 % at most, is not counted for that.
    """
    painter = _Painter(assets, split, size, np.random.default_rng([seed, *b"clips", *split.encode(), label, index]))
    stage = _Stage(assets, split, painter)
    times = np.linspace(0, 1, frames).tolist()
    thing = stage.thing(label, index)
    layers = thing.layers(times, painter)
    solids = _covered(layers, size, 0.5)
    behind = [stage.clutter() for _ in range(painter.random.integers(*MOVING))]
    laid = [(piece.shadow, piece.layers(times, painter)) for piece in behind] + [(thing.shadow, layers)]
    hidden = np.zeros_like(solids)
    for _ in range(painter.random.integers(*BEFORE)):
        piece = stage.clutter()
        layers = piece.layers(times, painter)
        covered = hidden | _covered(layers, size, 0.1)
        if ((covered & solids).sum((1, 2)) <= MOST_COVERED * solids.sum((1, 2))).all():
            laid.append((piece.shadow, layers))
            hidden = covered
    look, area = painter.look(), (thing.picture[..., 3] >= 0.5).sum()
    for place, time in enumerate(times):
        canvas = stage.ground(time)
        for shadow, layers in laid:
            painter.lay(canvas, layers[place], shadow)
        gone = solids[place].sum() < LEAST_SEEN * area * thing.course.pose(time).scale ** 2
        yield Scene(painter.develop(canvas, look), (solids[place] & ~hidden[place]) & ~gone)


def _covered(layers: Sequence[Layer], size: int, alpha: float) -> BoolArray:
    """The pixels (n, size, size) that each of n layers covers at least so much."""
    masks = np.zeros((len(layers), size, size), np.bool_)
    for mask, layer in zip(masks, layers, strict=True):
        mask[layer.window.slices] = layer.alpha >= alpha
    return masks


class _Cutter(_Painter):
    """Draws each piece in the middle of its canvas, wholly."""

    def anywhere(self) -> tuple[float, float]:
        return self.extent / 2, self.extent / 2


class _Stage:
    """The scene that the camera pans over, and what moves before it; all from the painter's random numbers."""

    def __init__(self, assets: Assets, split: str, painter: _Painter) -> None:
        self.random, self.size = painter.random, painter.size
        reach = 1.2 * PAN * self.size  # of the camera, with the bend of its course
        wide = _Painter(assets, split, self.size, self.random, extent=2 * math.ceil(self.size / 2 + reach + 1))
        self.cutter = _Cutter(assets, split, self.size, self.random, extent=2 * math.ceil(0.7 * self.size))
        self.scene = wide.background()
        for _ in range(round((wide.extent / self.size) ** 2 * self.random.integers(*BEHIND))):
            wide.lay(self.scene, wide.clutter())
        first, last = self.random.uniform(-PAN, PAN, (2, 2)) * self.size + wide.extent / 2
        bend = self.random.uniform(-0.2, 0.2, 2) * PAN * self.size
        self.camera = Course(np.stack([first, (first + last) / 2 + bend, last]))

    def ground(self, time: float) -> FloatArray:
        """What the camera sees of the scene at a time from 0 to 1, (size, size, 3)."""
        eye = self.camera.pose(time)
        left, top = eye.x - self.size / 2, eye.y - self.size / 2
        column, row = int(left), int(top)
        right, down = np.float32(left - column), np.float32(top - row)
        part = self.scene[row : row + self.size + 1, column : column + self.size + 1]
        part = part[:, :-1] * (1 - right) + part[:, 1:] * right
        seen: FloatArray = part[:-1] * (1 - down) + part[1:] * down
        return seen

    def thing(self, label: int, index: int) -> Mover:
        """The garment, in a tint that can be told from what lies behind it."""
        cutter = self.cutter
        gray, coverage, flip = cutter.gray[label, index], cutter.coverage[label, index], cutter.coin()
        turn = cutter.uniform(SWING - TURN, TURN - SWING)
        angles = (turn + cutter.uniform(-SWING, SWING), turn + cutter.uniform(-SWING, SWING))
        low, high = _extent(coverage, sum(angles) / 2, flip)
        scale = cutter.uniform(*SIDES) * self.size / max(high - low)
        change = cutter.uniform(1 / GROWTH, 1)
        scales = (1, change) if cutter.coin() else (change, 1)
        course = Course(np.zeros((3, 2)), scales, angles)
        bounds = np.array([_extent(coverage, pose.angle, flip) for pose in map(course.pose, (0, 0.5, 1))])
        bounds *= scale * np.array([course.pose(time).scale for time in (0, 0.5, 1)])[:, None, None]
        course.points[:] = self._walk(1 - bounds[:, 0], self.size - 1 - bounds[:, 1])
        away = self._leave(course.points, bounds) if self.random.random() < AWAY else None
        middle = cutter.extent / 2
        _, cloth, alpha = cutter.cloth(gray, coverage, Pose(middle, middle, scale / FINENESS, 0, flip))
        seen = course.pose(0 if away == 1 else 0.5)
        around = Window.around(seen.x, seen.y, 0.2 * self.size, self.size)
        behind = self.ground(0 if away == 1 else 0.5)[around.slices].mean(axis=(0, 1))
        colour = np.clip(cloth[..., None] * cutter.tint_against(behind, cloth[alpha >= 0.5].mean()), 0, 1)
        return Mover(np.dstack([colour, alpha]), cutter.shadow(), course)

    def clutter(self) -> Mover:
        """A piece as those of the sample's images, on a way of its own."""
        piece = self.cutter.clutter()
        points = self._walk(np.zeros((3, 2)), np.full((3, 2), self.size))
        scales, angles = self.random.uniform(0.75, 1.2, 2), self.random.uniform(-SWING, SWING, 2)
        course = Course(points, (scales[0], scales[1]), (angles[0], angles[1]))
        return Mover(np.dstack([piece.colour, piece.alpha]), self.cutter.shadow(), course)

    def _walk(self, least: Points, most: Points) -> Points:
        """Three points, each between its bounds."""
        points = [self.random.uniform(least[0], most[0])]
        heading = self.random.uniform(-math.pi, math.pi)
        for low, high in zip(least[1:], most[1:], strict=True):
            heading += self.random.uniform(-1, 1)
            step = self.random.uniform(*STEP) * self.size * np.array([math.cos(heading), math.sin(heading)])
            points.append(np.clip(points[-1] + step, low, high))
        return np.stack(points)

    def _leave(self, points: Points, bounds: NDArray[np.float64]) -> int:
        """Move one of three points out of the frame; which one.

        Args:
            points: (3, 2), changed.
            bounds: (3, 2, 2) the object's least and greatest x and y around each of them.
        """
        place, axis = (int(self.random.integers(each)) for each in (3, 2))
        low, high = bounds[place, :, axis]
        beyond = self.random.uniform(0.02, 0.12) * self.size
        points[place, axis] = -high - beyond if self.random.integers(2) else self.size - low + beyond
        return place
