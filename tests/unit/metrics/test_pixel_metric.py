import json
import pickle
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
import torch

from boxless.errors import DataError
from boxless.metrics.masks import piou_of, pixel_counts, pxap_of
from boxless.metrics.pixel_metric import PixelAveragePrecision

DRAWS = np.random.default_rng(5)
MAPS = DRAWS.random((7, 6, 5))
MASKS = DRAWS.random((7, 6, 5)) < 0.5 * MAPS + 0.2
MASKS[3] = False
IGNORE = DRAWS.random((7, 6, 5)) < 0.2


def scored(*parts, **options):
    metric = PixelAveragePrecision(**options)
    for part in parts:
        metric.update(MAPS[part], MASKS[part], IGNORE[part])
    return metric


def same(one, other):
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


ALL = scored(slice(None)).compute()


def test_figures_are_those_of_the_functions_over_all_images():
    counts = pixel_counts(MAPS, MASKS, IGNORE)
    pooled = counts.foreground.sum(axis=0), counts.background.sum(axis=0)
    assert (ALL.images, ALL.without_foreground) == (7, 1)
    assert ALL.pxap == pxap_of(*pooled)
    assert ALL.piou.tolist() == piou_of(*pooled).tolist()
    assert ALL.max_piou == ALL.piou.max()
    assert ALL.max_piou_threshold == ALL.thresholds[ALL.piou.argmax()]
    assert ALL.mean_image_ap == pytest.approx(np.nanmean(pxap_of(*counts)), abs=1e-9)
    assert (ALL.foreground.tolist(), ALL.background.tolist()) == tuple(each.tolist() for each in pooled)


def test_the_order_and_the_size_of_batches_do_not_matter_to_the_last_bit():
    assert same(ALL, scored(slice(0, 0), slice(4, 7), slice(0, 1), slice(1, 4)).compute())


def test_tensors_and_lists_of_masks_are_taken_as_arrays_are():
    metric = PixelAveragePrecision()
    metric.update(
        torch.from_numpy(MAPS[:4]).requires_grad_(),
        [torch.from_numpy(each) for each in MASKS[:4]],
        torch.from_numpy(IGNORE[:4]),
    )
    metric.update(MAPS[4:], torch.from_numpy(MASKS[4:]), list(IGNORE[4:]))
    assert same(ALL, metric.compute())


def test_half_precision_maps_keep_their_values():
    metric = PixelAveragePrecision()
    metric.update(torch.tensor([[[0.5, 0.25]]], dtype=torch.bfloat16), [[[True, False]]])
    assert (metric.compute().pxap, metric.compute().max_piou_threshold) == (100, 0.251)


def test_thresholds_are_a_number_of_them_or_a_row():
    assert PixelAveragePrecision(10).thresholds.tolist() == np.arange(0, 1, 0.1).tolist()
    row = scored(slice(None), thresholds=[0, 0.5]).compute()
    assert (row.thresholds.tolist(), row.piou.shape, row.foreground.shape) == ([0, 0.5], (2,), (4,))
    with pytest.raises(DataError, match="strictly ascending"):
        PixelAveragePrecision([0.5, 0.5])


def test_without_a_foreground_pixel_all_figures_are_nan():
    metric = PixelAveragePrecision(4)
    metric.update(MAPS[:2], MASKS[:2] & False)
    scores = metric.compute()
    assert (scores.images, scores.without_foreground) == (2, 2)
    for figure in (scores.pxap, scores.mean_image_ap, scores.max_piou, scores.max_piou_threshold):
        assert np.isnan(figure)


def test_a_batch_that_is_refused_adds_nothing():
    metric = scored(slice(None))
    with pytest.raises(DataError, match=r"maps\[1\]"):
        metric.update([MAPS[0], MAPS[1] + 1], MASKS[:2])
    assert same(ALL, metric.compute())


def test_forward_gives_the_figures_of_the_batch_and_adds_it():
    metric = scored(slice(0, 4))
    assert same(metric(MAPS[4:], MASKS[4:], IGNORE[4:]), scored(slice(4, 7)).compute())
    assert same(ALL, metric.compute())


def test_copies_saved_states_and_merged_metrics_give_the_same():
    half, rest = scored(slice(0, 3)), scored(slice(3, 7))
    for copy in (pickle.loads(pickle.dumps(half)), half.clone()):
        copy.merge_state(rest)
        assert same(ALL, copy.compute())
    half.persistent(True)
    loaded = scored(slice(3, 7))
    loaded.load_state_dict(half.state_dict())
    loaded.update(MAPS[3:], MASKS[3:], IGNORE[3:])
    assert same(ALL, loaded.compute())


def test_reset_forgets_everything_and_what_was_computed_stays():
    metric = scored(slice(0, 3))
    before = metric.compute()
    kept = before.foreground.copy()
    metric.reset()
    metric.update(MAPS, MASKS, IGNORE)
    assert same(ALL, metric.compute())
    assert before.foreground.tolist() == kept.tolist()


SHARES = (  # of the images, by process; in the last the second process is never given any, not even an empty batch
    (range(0, 2), range(2, 7)),
    (range(0, 7), range(0)),
)


def scored_in_company(folder, rank):
    """The figures of both processes together, for each way to share the images out, as one of the two has them."""
    meeting = f"file://{folder}/meeting"
    patience = timedelta(seconds=90)
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=patience)
    found = []
    for shares in SHARES:
        metric = scored(*(slice(row, row + 1) for row in shares[rank]))
        found.append([np.asarray(each).tolist() for each in metric.compute()])
        assert int(metric.images) == len(shares[rank])  # after compute a process has its own share again
    torch.distributed.destroy_process_group()
    return found


def test_two_processes_with_unequal_shares_give_just_what_one_does(tmp_path):
    code = "import json, runpy, sys; run = runpy.run_path(sys.argv[1]); "
    code += "print(json.dumps(run['scored_in_company'](sys.argv[2], 1)))"
    command = [sys.executable, "-W", "ignore", "-c", code, __file__, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as other:
        first = scored_in_company(tmp_path, 0)
        out, errors = other.communicate(timeout=90)
    assert other.returncode == 0, errors
    for found in (*first, *json.loads(out.splitlines()[-1])):
        assert same(ALL, found)
