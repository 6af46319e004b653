"""A seeded suite of maps with true boxes, for comparing evaluators; the same bits on every machine.

Only numpy, and of it only what is exact everywhere: the raw stream of PCG64, which numpy promises to keep, and + - * /
(no exponentials, whose last bit differs between processors, and no sums by matrix products). Maps are 224 x 224,
float64 in [0, 1], as wsolevaluation takes them; true boxes are integers in pixels of an image of another size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

SIDE = 224
MAPS_OF_A_KIND = 20
SIZES = (
    *((224, 224), (224, 224), (224, 224), (500, 375), (333, 251), (97, 131), (1600, 1201), (223, 225), (640, 480)),
    *((41, 37), (224, 448), (3000, 17)),
)
# Many true boxes, so that they show which shape was chosen; few, so that thousands of contours do not take gigabytes.
SPARSE = ("points", "lines", "diamonds", "rings", "equals")
CROWDED = ("cubic_noise", "plateaus", "salt_and_pepper", "white_noise", "checkerboards")


class Case(NamedTuple):
    kind: str
    name: str
    values: np.ndarray  # (224, 224)
    size: tuple[int, int]  # width, height of the original image
    boxes: np.ndarray  # (n, 4) int64, x0 <= x1 <= width and y0 <= y1 <= height; corners may be equal


class Draws:
    """Uniform numbers of one seed."""

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(list(seed))

    def array(self, *shape: int) -> np.ndarray:
        return (self._bits.random_raw(shape) >> np.uint64(11)) * 2.0**-53

    def real(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(self.array(1)[0])

    def integer(self, low: int, high: int) -> int:
        """One of low, ..., high - 1."""
        return low + int(self.real() * (high - low))

    def level(self) -> float:
        """A value above 0; often one that others have too, so that plateaus and ties come up."""
        return (1 + self.integer(0, 4)) / 4 if self.real() < 0.5 else self.real(0.02, 1)

    def pixel(self) -> tuple[int, int]:
        return self.integer(0, SIDE), self.integer(0, SIDE)


def suite() -> Iterator[Case]:
    """Every case, kind by kind."""
    for kind in KINDS:
        yield from cases(kind)


def cases(kind: str) -> Iterator[Case]:
    for index in range(MAPS_OF_A_KIND):
        draws = Draws(list(KINDS).index(kind), index)
        if kind == "exact_overlaps":
            yield exact_overlap(index, draws)
            continue
        values = KINDS[kind](draws, index)
        size = SIZES[draws.integer(0, len(SIZES))]
        density = "sparse" if kind in SPARSE else "crowded" if kind in CROWDED else ""
        yield Case(kind, f"{kind}_{index:02}", values, size, true_boxes(draws, values, size, density))


def suite_digest(every: Iterable[Case]) -> str:
    """Of every bit of the suite: figures of another suite are not comparable."""
    summed = hashlib.sha256()
    for case in every:
        summed.update(case.values.astype("<f8").tobytes())
        summed.update(f"{case.name} {case.size} {case.boxes.tolist()}".encode())
    return summed.hexdigest()


def curve_digest(curve: np.ndarray) -> str:
    """Of one map's best IoU at each threshold, the same if every value is the same to 12 decimals.

    The shift keeps quotients of small integers, which IoUs are, off the edges at which they would be rounded two ways.
    """
    rounded = np.floor(np.asarray(curve, dtype=np.float64) * 1e12 + 1 / np.pi).astype("<i8")
    return hashlib.sha256(rounded.tobytes()).hexdigest()[:16]


def true_boxes(draws: Draws, values: np.ndarray, size: tuple[int, int], density: str) -> np.ndarray:
    """One box, several, or many: mostly near something bright, so that accuracies lie between 0 and 100 %."""
    several, many = {"sparse": ((4, 10), (20, 41)), "crowded": ((2, 4), (2, 4)), "": ((2, 6), (20, 41))}[density]
    choice = draws.real() - 0.25 * (density != "sparse")
    count = 1 if choice < 0.25 else draws.integer(*several) if choice < 0.7 else draws.integer(*many)
    boxes = [true_box(draws, values, size) for _ in range(count)]
    if not values.any() or values.all():  # an empty map's box lies in the corner
        boxes.append((0, 0, draws.integer(0, size[0]), draws.integer(0, size[1])))
    return np.array(boxes, dtype=np.int64)


def true_box(draws: Draws, values: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    width, height = size
    choice = draws.real()
    if choice < 0.7:
        return bright_box(draws, values, size)
    if choice < 0.8:
        inset = draws.integer(0, 2)
        return inset * (width // 3), inset * (height // 3), width - draws.integer(0, 2), height - draws.integer(0, 2)
    x, y = draws.integer(0, width), draws.integer(0, height)
    if choice < 0.84:
        return x, y, x + 1, y + 1
    if choice < 0.87:
        return x, y, x, y
    if choice < 0.9:
        return 0, 0, 0, 0
    return x, y, draws.integer(x, width + 1), draws.integer(y, height + 1)


def bright_box(draws: Draws, values: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Round what exceeds a random level, everywhere or near one such pixel, in original pixels, moved a little."""
    bright = values > draws.real(0, 0.9) * values.max()
    pixels = np.argwhere(bright) if bright.any() else np.array([draws.pixel()])
    y, x = pixels[draws.integer(0, len(pixels))].tolist()
    reach = (1, 5, 20, 60, SIDE, SIDE)[draws.integer(0, 6)]
    near = pixels[(np.abs(pixels - (y, x)) < reach).all(axis=1)]
    edges = (*near.min(axis=0)[::-1].tolist(), *(near.max(axis=0)[::-1] + 1).tolist())
    shift = draws.real() < 0.6
    moved = []
    for side, edge in enumerate(edges):
        extent = edges[side % 2 + 2] - edges[side % 2]
        place = edge + shift * draws.real(-0.15, 0.15) * extent
        moved.append(min(max(int(place * size[side % 2] / SIDE), 0), size[side % 2]))
    return min(moved[0], moved[2]), min(moved[1], moved[3]), max(moved[0], moved[2]), max(moved[1], moved[3])


def stretch(values: np.ndarray) -> np.ndarray:
    values = values - values.min()
    return values / values.max()


def grid() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    return rows, columns


def distances(draws: Draws, norm: int, y: float, x: float) -> np.ndarray:
    """From (y, x): city blocks, straight lines or chessboard moves."""
    rows, columns = grid()
    down, right = np.abs(rows - y), np.abs(columns - x)
    return (down + right, np.sqrt(down * down + right * right), np.maximum(down, right))[norm]


def bells(draws: Draws, index: int) -> np.ndarray:
    """One to four bumps, nearly Gaussian."""
    rows, columns = grid()
    values = np.zeros((SIDE, SIDE))
    for _ in range(1 + index % 4):
        y, x, width = draws.real(0, SIDE), draws.real(0, SIDE), draws.real(10, 55)
        bell = 1 / (1 + ((rows - y) * (rows - y) + (columns - x) * (columns - x)) / (32 * width * width))
        for _ in range(4):
            bell = bell * bell
        values += draws.real(0.3, 1) * bell
    return stretch(values)


def enlarge(small: np.ndarray, side: int) -> np.ndarray:
    """Bicubic along the first axis, with overshoot (a = -0.75), half-pixel centres and repeated edges."""
    place = (np.arange(side) + 0.5) * len(small) / side - 0.5
    first = np.floor(place)
    values = np.zeros((side, small.shape[1]))
    for tap in range(-1, 3):
        distance = np.abs(place - first - tap)
        near = (1.25 * distance - 2.25) * distance * distance + 1
        far = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
        weight = np.where(distance <= 1, near, far)
        values += weight[:, None] * small[np.clip(first + tap, 0, len(small) - 1).astype(np.int64)]
    return values


def cubic_noise(draws: Draws, index: int) -> np.ndarray:
    """A 14 x 14 map (7 x 7 and 28 x 28 now and then) of noise, enlarged: as rough as a class activation map gets."""
    side = (14, 14, 14, 7, 28)[index % 5]
    return stretch(enlarge(enlarge(draws.array(side, side), SIDE).T, SIDE))


def rings(draws: Draws, index: int) -> np.ndarray:
    """Bands of random levels round up to three centres: holes, islands in holes, holes in those, at several levels."""
    values = np.zeros((SIDE, SIDE))
    for _ in range(1 + index % 3):
        distance = distances(draws, draws.integer(0, 3), draws.real(20, 204), draws.real(20, 204))
        width, count = draws.real(1, 12), draws.integer(2, 9)
        band = np.floor(distance / width).astype(np.int64)
        levels = np.array([draws.level() * (draws.real() < 0.6) for _ in range(count)] + [0.0])
        values = np.maximum(values, levels[np.minimum(band, count)])
    for _ in range(draws.integer(0, 12)):
        y, x = draws.pixel()
        values[y : y + draws.integer(1, 6), x : x + draws.integer(1, 6)] = draws.level() * (draws.real() < 0.6)
    return values


def diamonds(draws: Draws, index: int) -> np.ndarray:
    """Thin diamond rings with spikes: outer and inner outline are the same pixels and have the same area."""
    values = np.zeros((SIDE, SIDE))
    radius = draws.integer(2, 30)
    for _ in range(1 + index % 6):
        radius = radius if draws.real() < 0.5 else draws.integer(1, 40)
        y, x, level = draws.integer(radius, SIDE - radius), draws.integer(radius, SIDE - radius), draws.level()
        values[distances(draws, 0, y, x) == radius] = level
        for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            if draws.real() < 0.5:
                for step in range(radius, radius + draws.integer(1, 20)):
                    values[(y + step * down) % SIDE, (x + step * right) % SIDE] = level
                if draws.real() < 0.5:
                    values[y + (radius - 1) * down, x + (radius - 1) * right] = level
    return values


def points(draws: Draws, index: int) -> np.ndarray:
    values = np.zeros((SIDE, SIDE))
    for _ in range((1, 1, 2, 5, 30)[index % 5]):
        values[draws.pixel()] = draws.level()
    if index % 5 == 1:
        values[(0, -1, 0, -1)[index // 5], (0, -1, -1, 0)[index // 5]] = 1  # each corner
    return values


def lines(draws: Draws, index: int) -> np.ndarray:
    """One pixel wide, across, down and aslant; a line has no area as a polygon."""
    values = np.zeros((SIDE, SIDE))
    for _ in range(1 + index % 5):
        (y, x), level, length = draws.pixel(), draws.level(), draws.integer(2, 120)
        down, right = ((0, 1), (1, 0), (1, 1), (1, -1))[draws.integer(0, 4)]
        for step in range(length):
            row, column = y + step * down, x + step * right
            if 0 <= row < SIDE and 0 <= column < SIDE:
                values[row, column] = max(values[row, column], level)
    return values


def salt_and_pepper(draws: Draws, index: int) -> np.ndarray:
    """Bright and dark pixels on a grey disc or in a patch."""
    disc = distances(draws, 1, draws.real(60, 160), draws.real(60, 160)) < draws.real(10, 60)
    values = disc * draws.level()
    side = draws.integer(10, 45)
    y, x = draws.integer(0, SIDE - side), draws.integer(0, SIDE - side)
    patch = values[y : y + side, x : x + side]
    chance = draws.array(side, side)
    patch[chance < 0.1] = 0
    patch[chance > 0.9] = 1
    return values


def white_noise(draws: Draws, index: int) -> np.ndarray:
    """Of two to six levels, or of as many as there are, in a patch; one map is noise all over, of 4 x 4 pixels each."""
    if index == 0:
        return np.repeat(np.repeat(draws.array(SIDE // 4, SIDE // 4), 4, axis=0), 4, axis=1)
    side = draws.integer(6, 45)
    y, x = draws.integer(0, SIDE - side + 1), draws.integer(0, SIDE - side + 1)
    noise = draws.array(side, side)
    if index % 2:
        levels = draws.integer(2, 7)
        noise = np.floor(noise * levels) / (levels - 1)
    values = np.zeros((SIDE, SIDE))
    values[y : y + side, x : x + side] = noise
    return values


def plateaus(draws: Draws, index: int) -> np.ndarray:
    levels = draws.integer(2, 9)
    smooth = bells(draws, index) if index % 2 else cubic_noise(draws, index)
    return np.minimum(np.floor(smooth * levels) / (levels - 1), 1)


def borders(draws: Draws, index: int) -> np.ndarray:
    """Discs, squares and diamonds cut off by the border or a corner, and stripes along it."""
    values = np.zeros((SIDE, SIDE))
    for _ in range(1 + index % 3):
        y, x = draws.integer(0, 3) * (SIDE - 1) / 2, draws.integer(0, 2) * (SIDE - 1)
        centre = (y, x) if draws.real() < 0.5 else (x, y)
        distance, radius = distances(draws, draws.integer(0, 3), *centre), draws.real(1, 90)
        shape = np.where(distance < radius, 1 - distance / radius if draws.real() < 0.5 else 1, 0)
        values = np.maximum(values, draws.level() * shape)
    if draws.real() < 0.4:
        values[:, SIDE - draws.integer(1, 9) :] = draws.level()
    if draws.real() < 0.4:
        values[: draws.integer(1, 9)] = draws.level()
    return values


def checkerboards(draws: Draws, index: int) -> np.ndarray:
    """Of cells from one pixel on: corner to corner is connected, so the dark cells are holes."""
    cell = (1, 2, 3, 8, 16, 28)[index % 6]
    extent = min(SIDE, cell * draws.integer(5, 15))
    y, x = draws.integer(0, SIDE - extent + 1), draws.integer(0, SIDE - extent + 1)
    rows, columns = np.mgrid[:extent, :extent] // cell
    levels = draws.array(extent, extent) if draws.real() < 0.3 else np.full((extent, extent), draws.level())
    values = np.zeros((SIDE, SIDE))
    values[y : y + extent, x : x + extent] = np.where((rows + columns) % 2, levels[rows, columns], 0)
    return values


def flat(draws: Draws, index: int) -> np.ndarray:
    """All zero, all of one value, or so faint that quantisation to 8 bits leaves nothing."""
    if index < 6:
        return np.zeros((SIDE, SIDE))
    if index < 14:
        return np.full((SIDE, SIDE), (1.0, 0.5, 1 / 255, 0.5 / 255, 2 / 255, 254 / 255, 0.999999, 0.004)[index - 6])
    return bells(draws, index) * draws.real(0, 1 / 255)


def faint(draws: Draws, index: int) -> np.ndarray:
    """Highest value below 1: the cut is a fraction of the map's own maximum."""
    smooth = cubic_noise(draws, index) if index % 2 else bells(draws, index)
    return smooth * (1 / 255, 0.0079, 0.012, 0.02, 0.05, 0.1, 0.3, 0.5, 0.77, 0.999)[index // 2]


def frames(draws: Draws, index: int) -> np.ndarray:
    """One pixel wide, along the border or inside; nested; some with a gap."""
    values = np.zeros((SIDE, SIDE))
    inset = 0 if index % 2 else draws.integer(0, 5)
    for _ in range(1 + index % 5):
        level = draws.level()
        inside = slice(inset, SIDE - inset)
        for line in (np.s_[inset, inside], np.s_[SIDE - 1 - inset, inside], np.s_[inside, inset]):
            values[line] = level
        values[inside, SIDE - 1 - inset] = level
        if draws.real() < 0.3:
            values[draws.integer(inset, SIDE - inset), inset] = 0
        inset += draws.integer(1, 25)
    return values


def equals(draws: Draws, index: int) -> np.ndarray:
    """Shapes of the same area in several places, full or hollow: which of them counts is a matter of order."""
    values = np.zeros((SIDE, SIDE))
    side = draws.integer(3, 26)
    shape = np.ones((side, side))
    if index % 3 == 1:
        shape[1:-1, 1:-1] = 0
    if index % 3 == 2:
        centre = np.abs(np.arange(side) - (side - 1) / 2)
        shape = (centre[:, None] + centre <= (side - 1) / 2) * 1.0
    level = draws.level()
    for _ in range(draws.integer(2, 8)):
        y, x = draws.integer(0, SIDE // 28) * 28, draws.integer(0, SIDE // 28) * 28
        values[y : y + side, x : x + side] = shape * (level if draws.real() < 0.7 else draws.level())
    return values


def ramps(draws: Draws, index: int) -> np.ndarray:
    """Values that are multiples of 1/255, where truncation to 8 bits is decided by rounding."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    level = (
        columns, rows, rows + columns, (rows // 28 * 8 + columns // 28) * 37, np.maximum(abs(rows - 99), columns)
    )[index % 5]  # fmt: skip
    return (level * draws.integer(1, 4) + draws.integer(0, 256)) % 256 / 255


def exact_overlap(index: int, draws: Draws) -> Case:
    """A rectangle whose overlap with the true box is just 0.3, 0.5 or 0.7, where ``>=`` and ``>`` part."""
    values = np.zeros((SIDE, SIDE))
    y, x = draws.integer(0, 150), draws.integer(0, 150)
    factor, height = 1 + index % 3, draws.integer(2, 50)
    values[y : y + height, x : x + 20 * factor - 1] = draws.level()  # with its inclusive end 20 * factor wide
    width = (6, 10, 14)[index % 3] * factor + (index > 14)
    box = np.array([[x, y, x + width - 1, y + height]], dtype=np.int64)
    return Case("exact_overlaps", f"exact_overlaps_{index:02}", values, (SIDE, SIDE), box)


KINDS: dict[str, Callable[[Draws, int], np.ndarray]] = {
    "bells": bells,
    "cubic_noise": cubic_noise,
    "rings": rings,
    "diamonds": diamonds,
    "points": points,
    "lines": lines,
    "salt_and_pepper": salt_and_pepper,
    "white_noise": white_noise,
    "plateaus": plateaus,
    "borders": borders,
    "checkerboards": checkerboards,
    "flat": flat,
    "faint": faint,
    "frames": frames,
    "equals": equals,
    "ramps": ramps,
    "exact_overlaps": lambda draws, index: exact_overlap(index, draws).values,
}
