"""Test-time flips and scales: what a network says of several views of an image, averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from boxless.errors import ConfigError
from boxless.predict.engine import Engine, Said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from boxless.predict.options import Options

    Squares = NDArray[np.uint8]  # (b, side, side, 3)
    Maps = NDArray[np.float32]  # (b, n, side, side)
    Indices = NDArray[np.int64]  # (b, n)
    Choose = Callable[[NDArray[np.float64]], Indices]

_STEP = 32  # pixels: sides that nearly all networks can halve as often as they do


def sides(engine: Engine, options: Options) -> tuple[int, ...]:
    """The sides of the squares that an image is looked at in, the engine's own first where it is among them.

    A scaled side is rounded to a multiple of 32 pixels; scales that round to the same one count once.

    Raises:
        ConfigError: Another size than the engine's own, for one that takes no other.
    """
    scaled = (
        engine.size if scale == 1 else _STEP * max(1, round(engine.size * scale / _STEP)) for scale in options.scales
    )
    wanted = tuple(sorted(dict.fromkeys(scaled), key=lambda side: side != engine.size))
    if wanted != (engine.size,) and not engine.any_size:
        raise ConfigError(
            f"scales {', '.join(f'{scale:g}' for scale in options.scales)}: this network takes images of "
            f"{engine.size} x {engine.size} pixels alone, so that it cannot look at others; leave scales at 1."
        )
    return wanted


def forward(engine: Engine, squares: Sequence[Squares], options: Options, choose: Choose | None = None) -> Said:
    """What an engine says of a batch, averaged over its views: each size, and its mirror image if ``options.flip``.

    Class scores are the mean of the views' logits. From these the classes are chosen; their maps are turned back,
    resized to the engine's own size and averaged. A view is looked at a second time only in those images of which it
    gave the map of another class.

    Args:
        engine: The network.
        squares: The same images (b, side, side, 3), once for each of `sides`, in that order.
        options: Of which ``flip`` counts here.
        choose: From logits (b, k) to the classes (b, n) whose maps are wanted; by default the one with the highest.
    """
    views = list(_views(squares, flip=options.flip))
    said = [engine.forward(images) for images, _ in views]
    logits = np.mean([each.logits for each in said], axis=0) if len(said) > 1 else said[0].logits
    wanted = logits.argmax(1)[:, None] if choose is None else choose(logits)
    if len(said) == 1 and squares[0].shape[1] == engine.size and np.array_equal(said[0].classes, wanted):
        return said[0]
    finite = np.logical_and.reduce([each.finite for each in said])
    maps = np.zeros((*wanted.shape, engine.size, engine.size), dtype=np.float32)
    for (images, mirrored), each in zip(views, said, strict=True):
        seen = _look_again(engine, images, each, wanted)
        finite &= seen.finite
        maps += _resized(seen.maps[..., ::-1] if mirrored else seen.maps, engine.size)
    maps /= len(views)
    maps[~finite] = 0
    return Said(np.where(finite[:, None], logits, 0), wanted, maps.clip(0, 1), finite)


def _views(squares: Sequence[Squares], *, flip: bool) -> Iterator[tuple[Squares, bool]]:
    """Images, and whether they are mirrored."""
    for images in squares:
        yield images, False
        if flip:
            yield np.ascontiguousarray(images[:, :, ::-1]), True


def _look_again(engine: Engine, images: Squares, said: Said, wanted: Indices) -> Said:
    """What was said of a view, with the maps of the wanted classes: from a second look where it had others."""
    maps = np.repeat(said.maps[:, :1], wanted.shape[1], axis=1)
    finite = said.finite.copy()
    others = np.flatnonzero((said.classes[:, :1] != wanted).any(1))
    if len(others):
        second = engine.forward(images[others], wanted[others])
        maps[others], finite[others] = second.maps, finite[others] & second.finite
    return Said(said.logits, wanted, maps, finite)


def _resized(maps: Maps, side: int) -> Maps:
    """Bilinear, with antialiasing where maps shrink."""
    if maps.shape[-2:] == (side, side):
        return maps
    flat = np.ascontiguousarray(maps.reshape(-1, *maps.shape[-2:]))
    resized = [np.asarray(Image.fromarray(each).resize((side, side), Image.Resampling.BILINEAR)) for each in flat]
    return np.stack(resized).reshape(*maps.shape[:2], side, side)
