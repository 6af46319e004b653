"""Maps of tiles become one, without seams and without the whole in memory."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from boxless.errors import ConfigError
from boxless.predict import mosaic
from boxless.predict.mosaic import CUT, Axis, Grid, Mosaic, reduced, stretched


def blended(values: np.ndarray, grid: Grid) -> np.ndarray:
    """A map cut into tiles that count differently, and blended again."""
    pieces = Mosaic(grid)
    for number, (row, column) in enumerate(grid.tiles()):
        top, left = grid.down.starts[row], grid.across.starts[column]
        part = values[top : top + grid.down.side, left : left + grid.across.side]
        pieces.add(row, column, 0, 0.1 + number % 5, part.astype(np.float32))
    result = pieces.blend([0])
    pieces.close()
    return result


@pytest.mark.parametrize(("size", "overlap"), [((1000, 450), 0.25), ((700, 701), 0.0), ((260, 2000), 0.6)])
def test_constant_and_linear_maps_stay_so(size: tuple[int, int], overlap: float) -> None:
    grid = Grid.of(size, 200, overlap, 32)
    rows, columns = np.indices(grid.shape) / np.array(grid.shape)[:, None, None]
    for values in (np.full(grid.shape, 0.7), (rows + 2 * columns) / 3):
        assert np.abs(blended(values, grid) - values).max() < 5e-4  # tiles are kept in half precision


def test_tiles_cover_the_image_and_overlap_as_asked() -> None:
    axis = Axis.of(1000, 300, 0.25, 60)
    spans = [axis.span(place) for place in range(len(axis.starts))]
    assert (spans[0][0], spans[-1][1]) == (0, 1000)
    assert all(before[1] - after[0] >= 0.2 * 300 for before, after in pairwise(spans))
    assert [end - start for start, end in spans] == pytest.approx([300] * len(spans))
    assert Axis.of(200, 300, 0.25, 60).span(0) == (0, 200)  # a side that is smaller than a tile is one tile


def test_a_tile_without_the_class_does_not_change_how_it_looks_beside_it() -> None:
    grid = Grid.of((350, 200), 200, 0.25, 40)
    pieces = Mosaic(grid)
    pieces.add(0, 0, 4, 0.9, np.full((40, 40), 0.8, np.float32))
    pieces.add(0, 1, 2, 0.3, np.full((40, 40), 1.0, np.float32))
    assert pieces.classes == [2, 4]
    np.testing.assert_allclose(pieces.blend([4])[:, :40], 0.8, atol=1e-3)
    assert not pieces.blend([4])[:, 40:].any()
    weights = pieces.weights([4])
    np.testing.assert_allclose(weights[:, :30], 0.9, rtol=1e-5)  # the other tile begins at cell 30
    assert (np.diff(weights[0, 30:41]) < 0).all()
    np.testing.assert_allclose(pieces.weights([2, 4]), pieces.weights([2]) + pieces.weights([4]), rtol=1e-5)


def test_a_map_of_the_whole_has_a_bounded_number_of_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosaic, "MOST_CELLS", 5000)
    small, large = Grid.of((400, 400), 200, 0.25, 32), Grid.of((4000, 4000), 200, 0.25, 32)
    assert small.shape == (64, 64)
    assert large.shape == (60, 60)
    assert large.across.side == 3
    assert max(Grid.of((10**6, 50), 200, 0.25, 32).shape) <= 1 << 14
    with pytest.raises(ConfigError, match="tiles of 200 pixels are too many for 10000000 x 50 pixels"):
        Grid.of((10**7, 50), 200, 0.25, 32)
    assert Grid.of((10**7, 50), 2001, 0.25, 32).across.side == 1  # as the error advises
    pieces = Mosaic(large)
    pieces.add(0, 0, 0, 1.0, np.arange(1024, dtype=np.float32).reshape(32, 32) / 1024)
    assert pieces.blend([0])[:3, :3].mean() == pytest.approx(0.5, abs=0.01)  # the tile's own map, averaged


def test_much_is_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosaic, "_IN_MEMORY", 1000)
    grid = Grid.of((1000, 1000), 200, 0.25, 32)
    values = np.random.default_rng(0).random(grid.shape)
    assert np.abs(blended(values, grid) - values).max() < 5e-4


def test_a_stretched_map_has_its_threshold_at_the_cut() -> None:
    values = np.array([[0.0, 0.1, 0.2, 0.3, 0.4]], np.float32)
    np.testing.assert_allclose(stretched(values, 0.25), [[0, 0.5, 2 / 3, 5 / 6, 1]], rtol=1e-5)
    assert ((stretched(values, 0.6) > CUT) == (values > 0.6 * 0.4)).all()
    assert not stretched(np.zeros((3, 3), np.float32), 0.5).any()
    assert (stretched(np.full((3, 3), 0.2, np.float32), 0.0) > CUT).all()


def test_a_reduced_map_is_averaged() -> None:
    assert reduced(np.ones((4, 6), np.float32), 8).shape == (4, 6)
    small = reduced(np.arange(32, dtype=np.float32).reshape(4, 8), 4)
    np.testing.assert_allclose(small, [[4.5, 6.5, 8.5, 10.5], [20.5, 22.5, 24.5, 26.5]])
