"""What noisy boxes and eroded masks select, where it is known by hand; and a run's epochs, kept and looked at."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from boxless.data.masks import MaskFiles, Masks
from boxless.data.transforms import Preprocess
from boxless.errors import ConfigError, DataError, RunError
from boxless.protocol.epochs import EpochMaps, KeepEpochs, look, read_epochs
from boxless.protocol.mask_study import PSEUDO, ROWS, MaskTracer, PixelTracer
from boxless.protocol.noise_study import THRESHOLDS, Trace, Tracer, around, chosen, fits, study, truths_of
from boxless.report.noise import draw_noise
from boxless.training.checkpoints import save_tensors
from boxless.types import Item, Localization

COUNT = 40
TRUTHS = truths_of([np.array([[20.0, 30.0, 60.0, 90.0]])] * COUNT, [(100.0, 120.0)] * COUNT)
SHARES = (0.4, 0.9, 0.6)  # of the true box's width that each epoch's boxes have, at the best threshold
WORTHS = (50.0, 80.0, 70.0)  # MaxBoxAcc on test of each epoch


def made_trace(shares: tuple[float, ...] = SHARES, worths: tuple[float, ...] = WORTHS, name: str = "made") -> Trace:
    """At the threshold 0.3 a share of the true box, elsewhere less; test's best threshold is 0.5."""
    boxes = np.zeros((len(shares), COUNT, len(THRESHOLDS), 4), dtype=np.float32)
    for epoch, share in enumerate(shares):
        wide = share * (1 - np.abs(THRESHOLDS - 0.3))
        boxes[epoch] = np.stack([0 * wide + 20, 0 * wide + 30, 20 + 40 * wide, 0 * wide + 90], axis=1)
    peak = 1 - np.abs(THRESHOLDS - 0.5)
    right = np.outer(worths, peak)
    return Trace(name, boxes, np.array([3.0, 1.0, 3.0])[: len(shares)], right, right / 100)


def test_maps_boxes_are_measured_against_whatever_boxes_are_given() -> None:
    overlap, right = fits(made_trace(), TRUTHS, TRUTHS.boxes)
    assert overlap.shape == right.shape == (3, len(THRESHOLDS))
    assert overlap[:, 30] == pytest.approx(SHARES)
    assert right[:, 30].tolist() == [0, 100, 100]
    assert chosen(overlap) == (1, 30)
    moved = TRUTHS.boxes + np.array([40.0, 0, 40, 0])
    assert not fits(made_trace(), TRUTHS, moved)[0].any()


def test_an_image_with_several_boxes_counts_once_by_the_best() -> None:
    truths = truths_of([np.array([[0.0, 0, 5, 5], [20, 30, 60, 90]]), np.array([[20.0, 30, 60, 90]])], [(100, 120)] * 2)
    trace = made_trace()
    part = Trace("two", trace.boxes[:, :2], trace.class_accuracy, trace.right, trace.overlap)
    assert fits(part, truths, truths.boxes)[0][:, 30] == pytest.approx(SHARES)


def test_of_equal_epochs_the_latest_is_chosen_and_of_thresholds_the_lowest() -> None:
    assert chosen(np.array([[1.0, 3, 3], [3, 2, 3], [1, 1, 1]])) == (1, 0)


def test_without_noise_the_known_epoch_is_selected_and_worth_what_test_says() -> None:
    row = study([made_trace()], TRUTHS, levels=(), measure="iou")[0]
    assert (row.level, row.overlap, row.accuracy, row.distances) == (0.0, 1.0, 100.0, (0,))
    assert row.figures["box_accuracy"].mean == pytest.approx(80 * 0.8)  # at the threshold of val, 0.3
    assert row.figures["max_box_accuracy"].mean == pytest.approx(80)  # at that of test, 0.5
    assert row.figures["mean_iou"].mean == pytest.approx(0.8 * 0.8)


def test_noise_that_is_alike_for_all_epochs_leaves_the_selection_as_it_is() -> None:
    rows = study([made_trace()], TRUTHS, levels=(0.05, 0.2), replicates=10)
    for row in rows[1:]:
        assert row.overlap < 1
        assert set(row.distances) == {0}
        assert row.figures["max_box_accuracy"].low == pytest.approx(80)
        assert row.figures["max_box_accuracy"].deviation == 0
    assert rows[2].overlap < rows[1].overlap


def test_epochs_that_are_nearly_as_good_are_mistaken_under_noise_alone() -> None:
    shares, worths = (0.9, 0.8, 0.7), (90.0, 60.0, 30.0)
    traces = [made_trace(shares, worths), made_trace(shares[::-1], worths[::-1], "turned")]
    few = truths_of([TRUTHS.boxes[:1]] * 2, [(100.0, 120.0)] * 2)
    some = [Trace(t.name, t.boxes[:, :2], t.class_accuracy, t.right, t.overlap) for t in traces]
    rows = study(some, few, levels=(0.05, 0.5), replicates=40)
    assert rows[0].distances == (0, 0)
    spoiled = rows[2]
    assert len(spoiled.distances) == 2 * 40
    assert {-1, 0, 1} <= set(spoiled.distances)
    assert spoiled.figures["max_box_accuracy"].mean < 90
    assert spoiled.figures["max_box_accuracy"].low < rows[1].figures["max_box_accuracy"].mean
    assert study(some, few, levels=(0.05, 0.5), replicates=40) == rows  # the same seed
    assert study(some, few, levels=(0.05, 0.5), replicates=40, seed=1) != rows


def test_the_best_run_is_selected_by_the_boxes_too() -> None:
    weak = made_trace((0.3, 0.4, 0.5), (10.0, 20.0, 30.0), "weak")
    row = study([weak, made_trace()], TRUTHS, levels=())[0]
    assert row.best_run["max_box_accuracy"].mean == pytest.approx(80)
    assert row.figures["max_box_accuracy"].mean == pytest.approx((80 + 30) / 2)


def test_what_there_was_to_lose_is_told() -> None:
    found = around([made_trace()])
    assert found["worst epoch"] == 50
    assert found["ORACLE best epoch"] == 80
    assert found["last epoch"] == 70
    assert found["class accuracy"] == 70  # of equals the latest
    assert found["mean of epochs"] == pytest.approx(66.667)


def test_a_study_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 runs"):
        study([], TRUTHS)
    with pytest.raises(ConfigError, match="0 replicates"):
        study([made_trace()], TRUTHS, replicates=0)
    with pytest.raises(ConfigError, match="not looked at on the 1 images"):
        study([made_trace()], truths_of([TRUTHS.boxes[:1]], [(100, 120)]))
    with pytest.raises(DataError, match="val: no image"):
        truths_of([], [])


class Bright(nn.Module):
    """A method that has learnt how much of the picture it sees: brightness, up to a column."""

    needs = SimpleNamespace(own_forward=False)

    def __init__(self) -> None:
        super().__init__()
        self.backbone: Any = nn.Identity()
        self.column = nn.Parameter(torch.tensor(16.0))

    def localize(self, images: Tensor, classes: Tensor) -> Localization:
        maps = images.mean(1, keepdim=True) * (torch.arange(images.shape[3]) < self.column)
        return Localization(torch.tensor([[1.0, 0.0]]).repeat(len(images), 1), maps, classes)


SIDE = 16
BOX = (2, 4, 10, 12)  # of 16 x 16 images, white on black


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    picture = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    picture[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    found = []
    for number in range(3):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        Image.fromarray(picture[..., 0]).save(tmp_path / f"mask{number}.png")
        found.append(Item(tmp_path / f"{number}.png", f"{number}.png", (number % 2,)))
    return found


@pytest.fixture
def run() -> Any:
    preprocess = Preprocess(SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return SimpleNamespace(method=Bright(), preprocess=preprocess, device=torch.device("cpu"))


STATES = [{"column": torch.tensor(float(column))} for column in (6, 16, 4)]  # half of the object, all, a quarter


def test_a_run_is_looked_at_in_each_epoch_and_left_as_it_was(run: Any, items: list[Item]) -> None:
    with torch.no_grad():
        run.method.column.fill_(9.0)
    batches = list(look(run, STATES, items, batch_size=2))
    assert [len(batch.items) for batch in batches] == [2, 1]
    first = batches[0]
    assert first.maps.shape == (3, 2, SIDE, SIDE)
    assert first.maps.sum((2, 3))[:, 0].tolist() == [32, 64, 16]
    assert first.right.tolist() == [[True, False]] * 3
    assert run.method.column.item() == 9


def test_a_trace_has_the_boxes_of_val_and_the_worth_on_test(run: Any, items: list[Item]) -> None:
    truth = {item.name: np.array([BOX], dtype=np.float64) for item in items[:2]}
    trace, truths = Tracer("run", truth, truth).trace(look(run, STATES, items), look(run, STATES, items))
    assert trace.boxes.shape == (3, 2, len(THRESHOLDS), 4)
    assert trace.boxes[1, 0, 50].tolist() == list(BOX)
    assert trace.boxes[2, 0, 50].tolist() == [2, 4, 4, 12]
    assert trace.class_accuracy == pytest.approx([200 / 3] * 3)
    assert trace.overlap[:, 50].tolist() == [0.5, 1, 0.25]
    assert trace.right[:, 50].tolist() == [100, 100, 0]
    assert study([trace], truths, levels=(0.1,), replicates=5)[1].distances == (0,) * 5
    assert trace.part("late", slice(1, 3)).overlap[:, 50].tolist() == [1, 0.25]


def test_without_true_boxes_nothing_can_be_said(run: Any, items: list[Item]) -> None:
    with pytest.raises(DataError, match="test: no image"):
        Tracer("run", {}, {}).trace(look(run, STATES, items), look(run, STATES, items))


def test_eroded_masks_select_as_the_true_ones_until_a_smaller_object_fits_them(
    run: Any, items: list[Item], tmp_path: Path
) -> None:
    files = {item.name: MaskFiles(item.path, (tmp_path / f"mask{item.name[0]}.png",)) for item in items}
    tried, worth = MaskTracer(Masks("val", files), _left_quarter), PixelTracer(Masks("test", files))
    for batch in look(run, STATES, items):
        tried.update(batch)
        worth.update(batch)
    pxap = worth.pxap()
    assert pxap[1] == 100
    rows = tried.select(pxap)
    assert [row.masks for row in rows] == [*ROWS, PSEUDO]
    assert (rows[0].error, rows[0].epoch, rows[0].pxap) == (0, 1, 100)
    errors = [row.error for row in rows[:-1]]
    assert errors == sorted(errors)
    assert errors[-1] == pytest.approx(50 * (1 - 4 / 64))  # a dot of 2 x 2 is left of 8 x 8
    assert (rows[-1].epoch, rows[-1].distance, rows[-1].pxap) == (2, 1, pytest.approx(pxap[2]))
    assert rows[-1].error == pytest.approx(50 * 0.75)
    assert tried.select(pxap, slice(0, 1))[0].pxap == pytest.approx(pxap[0])


def _left_quarter(batch: EpochMaps) -> Any:
    masks = np.zeros((len(batch.items), SIDE, SIDE), dtype=bool)
    masks[:, 4:12, 2:4] = True
    return masks


def test_without_masks_nothing_can_be_said() -> None:
    with pytest.raises(DataError, match="no image of val"):
        MaskTracer(Masks("none", {})).select(np.zeros(2))
    with pytest.raises(DataError, match="no image"):
        PixelTracer(Masks("none", {})).pxap()


def test_every_epochs_weights_are_kept_without_the_optimisers_state(tmp_path: Path) -> None:
    keeper = KeepEpochs(tmp_path / "run", tmp_path / "kept")
    for epoch in range(2):
        tensors = {"model/column": torch.tensor(float(epoch)), "optimizer/0/step": torch.tensor(5.0)}
        save_tensors(tmp_path / "run" / "checkpoint.safetensors", tensors)
        keeper.epoch({"epoch": epoch})
    assert [{name: each.item() for name, each in state.items()} for state in read_epochs(tmp_path / "kept")] == [
        {"column": 0},
        {"column": 1},
    ]
    with pytest.raises(RunError, match="no weights of epochs"):
        read_epochs(tmp_path / "run")


def test_a_study_becomes_a_picture(tmp_path: Path, run: Any, items: list[Item]) -> None:
    rows = study([made_trace()], TRUTHS, levels=(0.1, 0.5), replicates=3)
    files = {item.name: MaskFiles(item.path, (tmp_path / f"mask{item.name[0]}.png",)) for item in items}
    tried = MaskTracer(Masks("val", files), _left_quarter)
    for batch in look(run, STATES, items):
        tried.update(batch)
    masks = {"run": tried.select(np.array([40.0, 100.0, 20.0]))}
    for name, given in (("boxes", None), ("both", masks)):
        path = draw_noise(tmp_path / f"{name}.png", rows, around([made_trace()]), given, "title")
        assert np.asarray(Image.open(path).convert("L")).std() > 10
    with pytest.raises(DataError, match="1 rows"):
        draw_noise(tmp_path / "none.png", rows[:1], {})
