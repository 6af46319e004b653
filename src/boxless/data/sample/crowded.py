"""Scenes of the sample's garments with several objects, or none: to measure what finds more than one box, or abstains.

They are made as the sample's images are, of a split's own garments and photographs, amid the same clutter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxless.data.sample.assets import Assets, BoolArray, load_assets
from boxless.data.sample.scene import BEFORE, BEHIND, MOST_COVERED, Layer, _Painter
from boxless.errors import ConfigError, UnknownNameError

SIDES = (0.3, 0.5)  # the longer side of an object's box, as a share of the image: so that three have room
MOST = 4  # objects in a scene
_SHRINK = 0.97  # of these sides, each time an object has found no room


@dataclass(frozen=True, slots=True)
class Crowd:
    """A finished scene."""

    image: NDArray[np.uint8]  # (size, size, 3)
    labels: tuple[str, ...]  # the class of each object; the same one may be there twice
    masks: BoolArray  # (n, size, size): what is seen of each

    @property
    def boxes(self) -> NDArray[np.float64]:
        """The bounds of each mask, (n, 4) xyxy and half-open."""
        found = np.zeros((len(self.masks), 4))
        for box, mask in zip(found, self.masks, strict=True):
            columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        return found


def crowded(objects: int, index: int, *, split: str = "test", seed: int = 0, size: int = 160) -> Crowd:
    """A scene with so many objects, of which other objects and clutter hide at most 12 % each.

    Args:
        objects: How many, 0 to 4; without any there is clutter alone.
        index: Which of these scenes; each is a function of the arguments alone.
        split: Whose garments and photographs: ``train``, ``val`` or ``test``.
        seed: Another one gives other scenes.
        size: Side of the image, in pixels.

    Raises:
        ConfigError: More objects than that, or a negative number.
        UnknownNameError: No such split.
    """
    assets = load_assets()
    if not 0 <= objects <= MOST:
        raise ConfigError(f"crowded: {objects} objects were asked for; give 0 to {MOST}.")
    if split not in assets.counts:
        raise UnknownNameError("split", split, assets.counts)
    random = np.random.default_rng([seed, *b"crowded", *split.encode(), objects, index])
    return _paint(assets, _Painter(assets, split, size, random), objects)


def _paint(assets: Assets, painter: _Painter, objects: int) -> Crowd:
    random, canvas = painter.random, painter.background()
    for _ in range(random.integers(*BEHIND)):
        painter.lay(canvas, painter.clutter())
    labels = random.integers(len(assets.classes), size=objects)
    solids = np.zeros((objects, painter.size, painter.size), np.bool_)
    covered = np.zeros_like(solids)
    for place, label in enumerate(labels.tolist()):
        sides = SIDES
        while True:
            thing = painter.object(label, int(random.integers(painter.gray.shape[1])), canvas, sides)
            if _lay(painter, canvas, thing, solids[:place], covered[:place], 0.5):
                break
            sides = (_SHRINK * sides[0], _SHRINK * sides[1])
        solids[place, *thing.window.slices] = thing.alpha >= 0.5
    for _ in range(random.integers(*BEFORE)):
        _lay(painter, canvas, painter.clutter(), solids, covered, 0.1)
    return Crowd(painter.develop(canvas), tuple(assets.classes[each] for each in labels), solids & ~covered)


def _lay(
    painter: _Painter, canvas: NDArray[np.float32], layer: Layer, solids: BoolArray, covered: BoolArray, alpha: float
) -> bool:
    """Lay something over a scene, unless too much of an object would be hidden; whether it was laid.

    Args:
        painter: Of the scene.
        canvas: The scene so far.
        layer: What is laid over it.
        solids: (n, h, w) the objects there.
        covered: (n, h, w) what is hidden of each; this is brought up to date.
        alpha: From which opacity on the layer hides.
    """
    hidden = covered.copy()
    hidden[:, *layer.window.slices] |= layer.alpha >= alpha
    areas, lost = solids.sum((1, 2)), (solids & hidden).sum((1, 2))
    if (lost > MOST_COVERED * areas).any():
        return False
    painter.lay(canvas, layer)
    covered[:] = hidden
    return True
