"""MaxBoxAcc and MaxBoxAccV2 by hand, and the metric's life: batches, processes, copies, bad input."""

import copy
import multiprocessing
import pickle
import warnings

import numpy as np
import pytest
import torch
import torch.distributed as group

from boxless.errors import ConfigError, DataError
from boxless.metrics import BoxAccuracy, iou_curves

EARLY = "ignore:The ``compute`` method of metric BoxAccuracy was called before:UserWarning"  # torchmetrics' own word
THRESHOLDS = [0.0, 0.3, 0.6]
SIZE = (10, 10)
WHOLE, STRIPE, HALF = (0, 0, 10, 10), (0, 0, 2, 10), (0, 0, 5, 10)

# Ten columns. Boxes at the thresholds: all, the left half, the left fifth.
STEPS = np.tile(np.repeat([1.0, 0.5, 0.2], [2, 3, 5]), (10, 1))
# IoU with STRIPE: 0.2, 0.4, 1. With HALF: 0.5, 1, 0.4. With WHOLE: 1, 0.5, 0.2.


def scores_of(boxes, maps=STEPS, **options):
    metric = BoxAccuracy(**{"thresholds": THRESHOLDS, **options})
    metric.update(np.stack([maps] * len(boxes)), boxes, [SIZE] * len(boxes))
    return metric.compute()


def test_every_figure_of_the_record_is_that_worked_out_by_hand():
    scores = scores_of([[STRIPE], [HALF], [], [WHOLE], [HALF]])
    assert (scores.images, scores.without_box) == (4, 1)
    assert scores.iou == (0.3, 0.5, 0.7)
    assert scores.thresholds.tolist() == THRESHOLDS
    assert scores.accuracy.tolist() == [[75, 100, 75], [75, 75, 25], [25, 50, 25]]
    assert scores.mean_iou == pytest.approx([2.2 / 4, 2.9 / 4, 2 / 4])
    assert scores.best_thresholds == (0.3, 0.0, 0.3)  # each level has its own; of equal ones the lowest
    assert (scores.max_box_acc, scores.best_threshold) == (75, 0.0)
    assert scores.max_box_acc_v2 == 75  # (100 + 75 + 50) / 3
    assert scores.max_mean_iou == pytest.approx(2.9 / 4)


def test_an_image_counts_once_whichever_of_its_true_boxes_fits():
    scores = scores_of([[STRIPE, WHOLE]], iou=(0.9,))
    assert scores.accuracy.tolist() == [[100, 0, 100]]
    assert scores.images == 1


def test_all_contours_find_what_the_largest_alone_does_not():
    apart = STEPS.copy()
    apart[:, 2] = 0  # the left fifth stands apart from the rest: larger at first, then as large, but not the first
    assert scores_of([[STRIPE]], apart, iou=(0.5,)).accuracy.tolist() == [[0, 100, 100]]
    assert scores_of([[STRIPE]], apart, iou=(0.5,), contours="all").accuracy.tolist() == [[100, 100, 100]]


def test_an_iou_of_just_the_level_is_right_and_levels_need_not_hold_one_half():
    scores = scores_of([[HALF]], iou=(0.4,))
    assert scores.accuracy.tolist() == [[100, 100, 100]]
    assert np.isnan([scores.max_box_acc, scores.best_threshold]).all()
    assert scores.max_box_acc_v2 == 100


@pytest.mark.filterwarnings(EARLY)
def test_figures_of_no_image_are_nan():
    for scores in (BoxAccuracy(thresholds=4).compute(), scores_of([[], []])):
        assert scores.images == 0
        assert np.isnan(scores.accuracy).all()
        assert np.isnan(scores.mean_iou).all()
        assert np.isnan(scores.best_thresholds).all()
        assert np.isnan([scores.max_box_acc, scores.max_box_acc_v2, scores.best_threshold, scores.max_mean_iou]).all()


def test_a_number_of_thresholds_means_that_many_from_0_on():
    assert BoxAccuracy(thresholds=4).thresholds.tolist() == [0, 0.25, 0.5, 0.75]
    assert (BoxAccuracy().thresholds == np.arange(0, 1, 0.001)).all()
    assert BoxAccuracy(thresholds=np.int64(1)).thresholds.tolist() == [0]
    assert BoxAccuracy(thresholds=(0.1, 0.9)).thresholds.tolist() == [0.1, 0.9]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tensors_of_any_float_type_are_taken(dtype):
    maps = torch.tensor(STEPS, dtype=dtype, requires_grad=True)[None]
    metric = BoxAccuracy(iou=(0.5,), thresholds=THRESHOLDS)
    metric.update(maps, [torch.tensor([HALF])], torch.tensor([SIZE]))
    assert metric.compute().accuracy.tolist() == [[100, 100, 0]]


def maps_of(count, seed=0):
    random = np.random.default_rng(seed)
    maps = np.round(random.random((count, 9, 7)), 1)
    larger = np.array([0, 0, 5, 5])
    boxes = [larger + random.integers(0, 4, (random.integers(0, 3), 4)) for _ in range(count)]
    return maps, boxes, [(9, 9)] * count


def equal(a, b):
    return all(np.array_equal(one, other, equal_nan=True) for one, other in zip(a, b, strict=True))


@pytest.mark.parametrize("contours", ["largest", "all"])
@pytest.mark.parametrize("compat", [None, "wsolevaluation"])
def test_the_counts_are_those_of_the_curves(contours, compat):
    maps, boxes, sizes = maps_of(12)
    metric = BoxAccuracy(thresholds=50, contours=contours, compat=compat)
    for part in (slice(0, 5), slice(5, 5), slice(5, 12)):  # the second batch is empty
        metric.update(maps[part], boxes[part], sizes[part])
    curves = iou_curves(maps, boxes, sizes, metric.thresholds, contours=contours, compat=compat)
    known = curves[[bool(len(each)) for each in boxes]]
    scores = metric.compute()
    assert scores.images == len(known)
    assert scores.accuracy.tolist() == [((known >= level).sum(0) * 100 / len(known)).tolist() for level in scores.iou]
    np.testing.assert_allclose(scores.mean_iou, known.mean(0), rtol=1e-12)


def test_forward_gives_the_batchs_figures_and_adds_them_up():
    maps, boxes, sizes = maps_of(6)
    metric, whole, second = BoxAccuracy(thresholds=20), BoxAccuracy(thresholds=20), BoxAccuracy(thresholds=20)
    metric(maps[:2], boxes[:2], sizes[:2])
    of_batch = metric(maps[2:], boxes[2:], sizes[2:])
    second.update(maps[2:], boxes[2:], sizes[2:])
    whole.update(maps, boxes, sizes)
    assert equal(of_batch, second.compute())
    assert equal(metric.compute()[:5], whole.compute()[:5])


@pytest.mark.filterwarnings(EARLY)
def test_reset_forgets_and_copies_live_on():
    maps, boxes, sizes = maps_of(6)
    metric = BoxAccuracy(thresholds=20)
    metric.update(maps, boxes, sizes)
    before = metric.compute()
    copies = [pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric), metric.clone()]
    metric.reset()
    assert metric.compute().images == 0
    for each in copies:
        assert equal(each.compute(), before)
        each.update(maps, boxes, sizes)
        assert each.compute().images == 2 * before.images


def test_states_do_not_grow_with_images():
    maps, boxes, sizes = maps_of(40)
    metric = BoxAccuracy(thresholds=20)
    metric.update(maps[:1], boxes[:1], sizes[:1])
    before = {name: getattr(metric, name).shape for name in metric._defaults}
    metric.update(maps, boxes, sizes)
    assert {name: getattr(metric, name).shape for name in metric._defaults} == before
    assert sum(shape.numel() for shape in before.values()) == 3 * 20 + 20 + 2
    assert {name for name, value in vars(metric).items() if isinstance(value, list) and value} == set()


def test_a_batch_that_is_refused_leaves_nothing_behind():
    maps, boxes, sizes = maps_of(3)
    metric = BoxAccuracy(thresholds=20)
    metric.update(maps, boxes, sizes)
    before = metric.compute()
    maps[2, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"maps\[2\]: got nan"):
        metric.update(maps, boxes, sizes)
    assert equal(metric.compute(), before)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"iou": ()}, "iou: got no level"),
        ({"iou": (0.5, 0)}, "iou: got 0"),
        ({"iou": (1.1,)}, r"iou: got 1.1"),
        ({"thresholds": 0}, "thresholds: got 0"),
        ({"thresholds": True}, "thresholds: got"),
        ({"thresholds": 10.0}, "thresholds: got"),
        ({"thresholds": [0.5, 0.2]}, "0.5 and then 0.2"),
        ({"thresholds": [0.5, 1]}, "got 1.0"),
        ({"thresholds": 32_001}, "32,001"),
    ],
)
def test_levels_and_thresholds_that_make_no_metric_are_refused(options, named):
    with pytest.raises(DataError, match=named):
        BoxAccuracy(**options)


def test_rules_that_there_are_not_are_refused_at_once():
    with pytest.raises(ConfigError, match="largest, all"):
        BoxAccuracy(contours="every")
    with pytest.raises(ConfigError, match="wsolevaluation"):
        BoxAccuracy(compat="wsol")


@pytest.mark.parametrize(
    ("maps", "boxes", "sizes", "named"),
    [
        (STEPS, [[HALF]], [SIZE], r"maps: got shape \(10, 10\)"),
        (torch.full((1, 2, 2), torch.nan), [[HALF]], [SIZE], r"maps\[0\]: got nan"),
        ([STEPS * 1.5], [[HALF]], [SIZE], r"maps\[0\]: got 1.5"),
        ([STEPS], [[HALF], [HALF]], [SIZE], "got 2 and 1 for 1 maps"),
        ([STEPS], [[(5, 0, 0, 10)]], [SIZE], r"truth\[0\]"),
        ([STEPS], [[(20, 0, 30, 10)]], [SIZE], r"boxes\[0\].*no area inside"),
        ([STEPS], [[HALF]], [(10, -10)], r"sizes\[0\]"),
    ],
)
def test_bad_batches_are_refused_by_their_place(maps, boxes, sizes, named):
    with pytest.raises(DataError, match=named):
        BoxAccuracy().update(maps, boxes, sizes)


def share(place, rank, parts, results):
    """One of two processes: it adds up its own batches of each split and tells what it computes."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # torchmetrics: computed before the first update
    group.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
    for split in parts:
        metric = BoxAccuracy(thresholds=50)
        for batch in split[rank]:
            metric.update(*batch)
        own = int(metric.images)
        results.put((own, tuple(metric.compute())))
        assert int(metric.images) == own  # the sums of both are put away again
    group.destroy_process_group()


def test_two_processes_give_just_the_figures_of_one(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    maps, boxes, sizes = maps_of(11)

    def batch(first, last):
        return maps[first:last], boxes[first:last], sizes[first:last]

    unequal, one_has_none = ([batch(0, 3), batch(3, 4)], [batch(4, 11)]), ([batch(0, 11)], [])
    context = multiprocessing.get_context("fork")  # libraries are loaded already
    results = [context.SimpleQueue() for _ in range(2)]
    processes = [
        context.Process(target=share, args=(tmp_path / "meeting", rank, (unequal, one_has_none), results[rank]))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    alone = BoxAccuracy(thresholds=50)
    alone.update(maps, boxes, sizes)
    expected = alone.compute()
    shares = []
    for queue in results:
        for _ in range(2):
            own, found = queue.get()
            shares.append(own)
            scores = type(expected)(*found)
            np.testing.assert_allclose(scores.mean_iou, expected.mean_iou, rtol=1e-12)  # added up in another order
            rest = {"mean_iou": 0, "max_mean_iou": 0}
            assert equal(scores._replace(**rest), expected._replace(**rest))
    assert shares[0] + shares[2] == expected.images
    assert (shares[1], shares[3]) == (expected.images, 0)


def test_what_was_computed_before_a_merge_is_computed_anew() -> None:
    parts = [BoxAccuracy(thresholds=[0.5]) for _ in range(2)]
    for part, box in zip(parts, ([[0, 0, 4, 4]], [[0, 0, 1, 1]]), strict=True):
        part.update(np.ones((1, 4, 4)), [np.array(box, dtype=float)], [(4, 4)])
    assert parts[0].compute().max_box_acc == 100
    parts[0].merge_state(parts[1])
    assert parts[0].compute().max_box_acc == 50
