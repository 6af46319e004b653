"""How fast a map's boxes at 1,000 thresholds are found, in one thread, beside labelling the map at each threshold.

Run: ``python benchmarks/ops.py``. The peer is ``scipy.ndimage.label`` with the same rules (float64 cut, 8-connected,
largest area, first pixel); that both give the same boxes is checked before anything is printed. Times are the median
over maps of the best of three runs; the ratio is of the peer's total time to ours on the same maps.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import ndimage

from boxless.ops import default_thresholds, largest_boxes, otsu_thresholds, sweep_batch

SIDE = 224


def blobs(count: int, random: np.random.Generator) -> np.ndarray:
    """One to four smooth bumps."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    maps = np.zeros((count, SIDE, SIDE))
    for each in maps:
        for _ in range(random.integers(1, 5)):
            y, x, width = random.uniform(0, SIDE), random.uniform(0, SIDE), random.uniform(12, 50)
            each += random.uniform(0.3, 1) * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * width**2))
    return stretch(maps)


def noise(count: int, random: np.random.Generator) -> np.ndarray:
    """Random 14 x 14 maps, enlarged by cubic splines: as rough as a class activation map gets."""
    return stretch(np.stack([ndimage.zoom(random.random((14, 14)), SIDE / 14, order=3) for _ in range(count)]))


def stretch(maps: np.ndarray) -> np.ndarray:
    maps = maps - maps.min((1, 2), keepdims=True)
    return (maps / maps.max((1, 2), keepdims=True)).astype(np.float32)


def by_labelling(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    exact = values.astype(np.float64)
    boxes = np.zeros((len(thresholds), 4))
    for i, threshold in enumerate(thresholds):
        labels, count = ndimage.label(exact > threshold * exact.max(), structure=np.ones((3, 3)))
        if count:
            largest = np.bincount(labels.ravel())[1:].argmax()
            rows, columns = ndimage.find_objects(labels)[largest]
            boxes[i] = columns.start, rows.start, columns.stop, rows.stop
    return boxes


def seconds(function, *arguments) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=40, help="maps of each kind that we are timed on")
    parser.add_argument("--peer-maps", type=int, default=3, help="of these, maps that the peer is timed on too")
    chosen = parser.parse_args()
    thresholds = default_thresholds()
    sweep_batch(np.ones((1, 2, 2)))  # compiles, or reads what was compiled before
    largest_boxes(np.ones((1, 2, 2)), [0.5])
    for name, make in (("smooth blobs", blobs), ("cubic noise", noise)):
        maps = make(chosen.maps, np.random.default_rng(0))
        shared = maps[: chosen.peer_maps]
        expected = np.stack([by_labelling(each, thresholds) for each in shared])
        if not (sweep_batch(shared, thresholds)[0] == expected).all():
            raise SystemExit(f"{name}: the boxes are not those of the peer")
        ours = np.median([seconds(sweep_batch, each[None], thresholds) for each in maps])
        ratio = sum(seconds(by_labelling, each, thresholds) for each in shared) / sum(
            seconds(sweep_batch, each[None], thresholds) for each in shared
        )
        single = np.median([seconds(largest_boxes, each[None], [0.5]) for each in maps])
        otsu = np.median([seconds(otsu_thresholds, each[None]) for each in maps])
        print(f"{name}, {SIDE} x {SIDE}, {len(thresholds)} thresholds: {1 / ours:.0f} images/s ({1e3 * ours:.2f} ms)")
        print(f"  {ratio:.0f} times as fast as labelling at each threshold (scipy.ndimage)")
        print(f"  one threshold: {1 / single:.0f} images/s; Otsu's threshold: {1 / otsu:.0f} images/s")


if __name__ == "__main__":
    main()
