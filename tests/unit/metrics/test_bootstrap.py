import dataclasses
import math
import pickle

import numpy as np
import pytest
from scipy import stats

from boxless.errors import DataError
from boxless.metrics import bootstrap
from boxless.metrics.bootstrap import Difference, Estimate, Tally, paired, poisson_weights


def named(count, start=0):
    return [f"val/{i}.jpg" for i in range(start, start + count)]


def tally(replicates=1000, seed=0, names=None, **values):
    made = Tally(replicates, seed)
    made.update(names or named(len(next(iter(values.values())))), values)
    return made


def mean(means):
    return means["x"]


# Weights


def test_weights_depend_on_name_and_seed_alone():
    names = named(20)
    weights = poisson_weights(names, 50, seed=3)
    assert (poisson_weights(names[::-1], 50, seed=3) == weights[::-1]).all()
    assert (poisson_weights([names[7]], 50, seed=3)[0] == weights[7]).all()
    assert (poisson_weights(names, 10, seed=np.int64(3)) == weights[:, :10]).all()
    assert (poisson_weights(names, 50, seed=4) != weights).mean() > 0.5
    assert (weights[0] != weights[1]).any()


def test_weights_stay_what_they_were_in_earlier_versions():
    assert poisson_weights(["a.jpg", "ä\udcff.jpg"], 12).tolist() == [
        [0, 0, 0, 0, 1, 1, 4, 1, 0, 1, 1, 0],
        [1, 2, 0, 0, 1, 0, 1, 0, 0, 0, 2, 1],
    ]


def test_weights_are_poisson_of_mean_1():
    weights = poisson_weights(named(400), 1000)
    shares = np.bincount(weights.astype(int).ravel(), minlength=9) / weights.size
    expected = [math.exp(-1) / math.factorial(k) for k in range(9)]
    np.testing.assert_allclose(shares, expected, atol=4 * 0.5 / math.sqrt(weights.size))
    assert weights.dtype == np.float32
    assert weights.var() == pytest.approx(1, abs=0.02)
    assert np.abs(np.corrcoef(weights[:50]) - np.eye(50)).max() < 0.16  # 5 / sqrt(1000): images are independent


def test_the_table_of_weights_has_a_mean_of_just_1():
    table = bootstrap._POISSON.astype(float)
    assert table.mean() == 1
    assert table.var() == pytest.approx(1, abs=1e-4)


def test_no_name_gives_no_weight():
    assert poisson_weights([], 5).shape == (0, 5)
    assert poisson_weights(["a"], 0).shape == (1, 0)


# What a tally computes


def test_means_are_those_of_the_images_that_take_part():
    nan = np.nan
    got = tally(x=[1, 2, 6.0], box=[[1, 0], [nan, nan], [0, 0]], none=[nan] * 3)
    means = got.means()
    assert set(means) == {"x", "box", "none"}
    assert means["x"] == 3
    assert means["box"].tolist() == [0.5, 0]
    assert np.isnan(means["none"])
    assert got.count == 3


def test_each_replicate_is_the_mean_with_the_weights_of_the_images():
    rng = np.random.default_rng(0)
    x, box = rng.random(9), rng.random((9, 2, 3))
    box[4] = np.nan
    weights = poisson_weights(named(9), 40, seed=5)
    made = tally(40, 5, x=x, box=box)
    _, drawn = made.replicate(mean)
    np.testing.assert_allclose(drawn, [np.average(x, weights=w) for w in weights.T], rtol=1e-6)
    _, drawn = made.replicate(lambda means: means["box"][..., 1, :].max(-1))
    kept = np.arange(9) != 4
    expected = [np.average(box[kept, 1], axis=0, weights=w[kept]).max() for w in weights.T]
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)


def test_the_maximum_over_columns_is_taken_of_the_means():
    right = np.array([[[1, 1, 0], [1, 0, 0]], [[0, 1, 1], [0, 0, 0]]], dtype=bool)
    got = tally(right=right).estimate(lambda means: means["right"][..., 0, :].max(-1))
    assert got.value == 1
    assert got.low == got.high == 1  # the middle column is 1 in each image
    assert tally(right=right).estimate(lambda means: means["right"][..., 1, :].max(-1)).value == 0.5


def test_batches_give_what_the_whole_gives_across_flushes(monkeypatch):
    rng = np.random.default_rng(1)
    x = rng.random((70, 5))
    whole = tally(60, x=x)
    monkeypatch.setattr(bootstrap, "PENDING_IMAGES", 8)
    monkeypatch.setattr(bootstrap, "COLUMNS", 2)
    parts = Tally(60)
    for i in range(0, 70, 3):
        parts.update(named(len(x[i : i + 3]), i), {"x": x[i : i + 3]})
    assert sum(len(each) for each, _ in parts._pending) < 8
    assert_same(parts, whole)


def assert_same(got, expected):
    assert (got.count, got.digest) == (expected.count, expected.digest)
    for field, value in expected.means().items():
        np.testing.assert_allclose(got.means()[field], value, rtol=1e-12)
    for i in range(5):
        _, one = got.replicate(lambda means, i=i: means["x"][..., i])
        _, other = expected.replicate(lambda means, i=i: means["x"][..., i])
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_parts_merge_in_any_order_to_the_whole(order):
    rng = np.random.default_rng(2)
    x, few = rng.random((40, 5)), np.where(rng.random(40) < 0.5, np.nan, rng.random(40))
    whole = tally(50, x=x, few=few)
    parts = [Tally(50) for _ in range(4)]  # the last stays empty
    for part, rows in enumerate([range(0, 40, 2), range(1, 20, 2), range(21, 40, 2)]):
        values = {"few": few[list(rows)], "x": x[list(rows)]}
        # Fields in another order, as another process may give them.
        parts[part].update([named(40)[i] for i in rows], dict(sorted(values.items(), reverse=part == 1)))
    merged = parts[order[0]]
    for each in order[1:]:
        merged.merge(pickle.loads(pickle.dumps(parts[each])))
    assert_same(merged, whole)


# Intervals


def test_interval_of_a_mean_is_that_of_the_closed_form():
    x = np.random.default_rng(3).normal(10, 2, 400)
    got = tally(4000, x=x).estimate(mean)
    half = 1.959964 * x.std() / math.sqrt(len(x))
    assert got.value == pytest.approx(x.mean(), rel=1e-12)
    assert (got.low, got.high) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.1 * half)
    narrower = tally(4000, x=x).estimate(mean, level=0.5)
    assert narrower.high - narrower.low == pytest.approx(2 * half * 0.674490 / 1.959964, rel=0.1)


def test_interval_is_near_that_of_scipy():
    x = np.random.default_rng(4).exponential(1, 200)
    got = tally(4000, x=x).estimate(mean)
    reference = stats.bootstrap((x,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    width = reference.high - reference.low
    assert (got.low, got.high) == pytest.approx((reference.low, reference.high), abs=0.05 * width)


def test_interval_of_a_ratio_counts_the_images_that_take_part_anew_in_each_replicate():
    rng = np.random.default_rng(5)
    x = rng.normal(10, 1, 300)
    few = np.where(rng.random(300) < 0.3, x, np.nan)
    got = tally(3000, few=few).estimate(lambda means: means["few"])
    kept = few[~np.isnan(few)]
    assert got.value == pytest.approx(kept.mean())
    # Had missing images counted as 0, or the count been fixed, the interval would be ten times as wide.
    assert got.high - got.low == pytest.approx(2 * 1.96 * kept.std() / math.sqrt(len(kept)), rel=0.1)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(6)
    runs = 400
    x = rng.random((80, runs)) < 0.7  # an accuracy of 70 %, of 80 images, in 400 worlds
    _, low, high = zip(
        *(
            dataclasses.astuple(tally(400, seed, x=x[:, seed]).estimate(mean))
            for seed in range(runs)  # a seed each: no two worlds share their weights
        ),
        strict=True,
    )
    covered = np.mean((np.array(low) <= 0.7) & (np.array(high) >= 0.7))
    assert 0.91 < covered < 0.98  # 0.95 less a little for n = 80, give or take three standard errors of 0.011


def test_images_of_one_name_are_drawn_together():
    x = np.repeat(np.random.default_rng(7).normal(0, 1, 100), 4)
    frames = [f"video{i // 4}" for i in range(400)]
    apart, together = tally(2000, x=x).estimate(mean), tally(2000, names=frames, x=x).estimate(mean)
    # Four equal frames tell no more than one: the interval is twice as wide as that of 400 images.
    assert together.high - together.low == pytest.approx(2 * (apart.high - apart.low), rel=0.12)


def test_without_replicates_intervals_are_nan():
    got = tally(0, x=[1.0, 3.0]).estimate(mean)
    assert got.value == 2
    assert np.isnan([got.low, got.high]).all()
    assert np.isnan(paired(tally(0, x=[1.0]), tally(0, x=[2.0]), mean).p_value)


def test_of_one_image_all_replicates_that_drew_it_are_equal():
    assert tally(x=[0.25]).estimate(mean) == Estimate(0.25, 0.25, 0.25)


def test_of_no_image_all_is_nan():
    empty = Tally(10)
    empty.update([], {"x": np.zeros((0, 3))})
    assert empty.means() == {}
    assert np.isnan(dataclasses.astuple(empty.estimate(mean))).all()
    assert np.isnan(dataclasses.astuple(paired(empty, Tally(10), mean))).all()
    empty.update(["a"], {"x": [1.0]})  # a batch without an image fixed no shape
    assert empty.count == 1


def test_a_field_without_an_image_is_nan_and_its_replicates_are_left_out():
    made = tally(200, x=[1.0, 2.0], few=[np.nan, 5.0], none=[np.nan, np.nan])
    assert np.isnan(dataclasses.astuple(made.estimate(lambda means: means["none"]))).all()
    assert made.estimate(lambda means: means["few"]) == Estimate(5, 5, 5)
    _, drawn = made.replicate(lambda means: means["few"])
    assert np.isnan(drawn).sum() == (poisson_weights(named(2), 200)[1] == 0).sum() > 0


# Pairs


def test_a_run_differs_from_itself_by_exactly_nothing():
    x = np.random.default_rng(8).random(50)
    assert paired(tally(x=x), tally(x=x), mean) == Difference(0, 0, 0, 1, x.mean(), x.mean())


def test_rounding_of_another_order_is_no_difference():
    x = np.random.default_rng(9).random(600)
    names = named(600)
    back = Tally(200)
    for i in reversed(range(0, 600, 100)):
        back.update(names[i : i + 100], {"x": x[i : i + 100]})
    got = paired(tally(200, x=x), back, mean)
    assert (got.low, got.high, got.p_value) == (0, 0, 1)
    assert got.value == pytest.approx(0, abs=1e-12)


def test_the_difference_is_b_less_a():
    x = np.random.default_rng(10).random(100)
    got = paired(tally(x=x), tally(x=x + 1), mean)
    expected = (1, 1, 1, 2 / 1001, x.mean(), x.mean() + 1)
    assert dataclasses.astuple(got) == pytest.approx(expected, rel=1e-5)
    assert paired(tally(x=x + 1), tally(x=x), mean).value == pytest.approx(-1)


def test_pairs_that_go_together_have_a_much_narrower_interval():
    rng = np.random.default_rng(11)
    x = rng.normal(0, 1, 300)
    better = x + rng.normal(0.05, 0.1, 300)
    got = paired(tally(x=x), tally(x=better), mean)
    apart = tally(x=x).estimate(mean), tally(x=better).estimate(mean)
    assert got.high - got.low < 0.15 * min(each.high - each.low for each in apart)
    half = 1.96 * (better - x).std() / math.sqrt(300)
    assert (got.low, got.high) == pytest.approx((got.value - half, got.value + half), abs=0.15 * half)
    assert got.p_value == pytest.approx(2 / 1001)
    assert apart[0].low < apart[1].value < apart[0].high  # unpaired they could not be told apart


@pytest.mark.parametrize("errors", [0.3, 1.2, -2.0])
def test_p_value_is_near_that_of_the_paired_t_test(errors):
    rng = np.random.default_rng(12)
    x, noise = rng.normal(0, 1, (2, 200))
    shift = stats.zscore(noise) + errors / math.sqrt(200)  # a mean of so many standard errors
    got = paired(tally(4000, x=x), tally(4000, x=x + shift), mean)
    expected = stats.ttest_1samp(shift, 0).pvalue
    assert got.p_value == pytest.approx(expected, abs=0.04 * math.sqrt(expected))
    assert (got.low <= 0 <= got.high) == (got.p_value > 0.05)


def test_pairs_leave_out_replicates_in_which_either_figure_is_none():
    weights = poisson_weights(named(2), 100)
    got = paired(tally(100, x=[1.0, np.nan]), tally(100, x=[np.nan, 2.0]), mean)
    kept = (weights > 0).all(axis=0).sum()
    assert 0 < kept < (weights[0] > 0).sum()
    assert got == Difference(1, 1, 1, 2 / (kept + 1), got.first, got.first + 1)


def test_pairs_are_compared_by_the_figure_at_the_best_of_each_run():
    a, b = [[1, 0], [1, 0], [0, 0]], [[0, 1], [0, 1], [0, 1]]
    assert paired(tally(x=a), tally(x=b), lambda means: means["x"].max(-1)).value == pytest.approx(1 / 3)


# Refusals


@pytest.mark.parametrize(
    ("names", "values", "named"),
    [
        ("ab", {"x": [1, 2]}, "the text 'ab'"),
        ([b"a", "b"], {"x": [1, 2]}, "got b'a'"),
        (["a", "b"], {}, "no field"),
        (["a", "b"], {"x": [1]}, r"values\['x'\]: got shape \(1,\) for 2 names"),
        (["a"], {"x": 1}, r"shape \(\) for 1 names"),
        (["a"], {"x": ["1"]}, "of type <U1"),
        (["a"], {"x": [[1, 2]]}, r"got the shapes {'x': \(2,\)}; the first batch had {'x': \(\)}"),
        (["a"], {"y": [1]}, "the first batch had"),
        (["a"], {"x": [1], "y": [1]}, "the first batch had"),
        (["a", "b"], {"x": [1, np.inf]}, "row 1 has numbers that are not finite"),
    ],
)
def test_batches_that_do_not_fit_are_refused_and_leave_no_trace(names, values, named):
    made = tally(20, x=[1.0, 2.0])
    digest = made.digest
    with pytest.raises(DataError, match=named):
        made.update(names, values)
    assert (made.count, made.digest, made.means()["x"]) == (2, digest, 1.5)


def test_an_image_is_nan_as_a_whole_or_not_at_all():
    with pytest.raises(DataError, match="row 1 has numbers that are not finite"):
        tally(x=[[1.0, 2.0], [np.nan, 2.0]])


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (tally(20, seed=1, x=[1.0]), "seeds 0 and 1"),
        (tally(21, x=[1.0]), "20 and 21 replicates"),
        (Tally(21), "20 and 21 replicates"),
        (tally(20, y=[1.0]), "fields {'y'"),
        (tally(20, x=[[1.0]]), r"fields {'x': \(1,\)}"),
    ],
)
def test_tallies_of_another_kind_are_not_merged(other, named):
    made = tally(20, x=[1.0])
    with pytest.raises(DataError, match=named):
        made.merge(other)
    assert made.count == 1


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (tally(20, names=["val/0.jpg", "val/2.jpg"], x=[1.0, 1.0]), "2 and 2 images that are not the same"),
        (tally(20, x=[1.0, 1.0, 1.0]), "2 and 3 images"),
        (tally(20, seed=1, x=[1.0, 1.0]), "seeds 0 and 1"),
        (tally(30, x=[1.0, 1.0]), "20 and 30 replicates"),
    ],
)
def test_tallies_of_other_images_are_not_paired(other, named):
    with pytest.raises(DataError, match=named):
        paired(tally(20, x=[1.0, 1.0]), other, mean)


@pytest.mark.parametrize(
    "statistic",
    [
        lambda means: means["x"],  # two numbers
        lambda means: means["x"].max(),  # over all replicates at once
        lambda means: means["x"][0],  # the first replicate
    ],
)
def test_statistics_that_do_not_work_on_the_last_axes_are_refused(statistic):
    with pytest.raises(DataError, match="statistic: gave shape"):
        tally(20, x=[[1.0, 2.0]]).estimate(statistic)


def test_statistics_give_one_number_even_without_replicates():
    with pytest.raises(DataError, match=r"statistic: gave shape \(2,\)"):
        tally(0, x=[[1.0, 2.0]]).estimate(mean)


def test_statistics_know_the_fields():
    seen = {}
    tally(20, x=[[1.0, 2.0]], y=[1]).estimate(lambda means: seen.update(means) or means["y"])
    assert {field: array.shape for field, array in seen.items()} == {"x": (20, 2), "y": (20,)}
    with pytest.raises(KeyError, match="'z'"):
        tally(20, x=[1.0]).estimate(lambda means: means["z"])


@pytest.mark.parametrize("level", [0, 1, 95, float("nan")])
def test_a_level_is_a_share(level):
    with pytest.raises(DataError, match="level: got"):
        tally(20, x=[1.0]).estimate(mean, level=level)


@pytest.mark.parametrize("number", [-1, 1.0, "1", None])
def test_seeds_and_replicates_are_whole_numbers(number):
    with pytest.raises(DataError, match="seed: got"):
        Tally(seed=number)
    with pytest.raises(DataError, match="replicates: got"):
        Tally(number)
    with pytest.raises(DataError, match="seed: got"):
        poisson_weights(["a"], 5, number)


def test_images_of_a_cluster_draw_its_weight_and_keep_their_names() -> None:
    values = {"x": np.arange(4.0)}
    plain, clustered = Tally(30), Tally(30)
    plain.update(list("abcd"), values)
    clustered.update(list("abcd"), values, ["v", "v", "w", "w"])
    assert (clustered.count, clustered.digest) == (plain.count, plain.digest)
    weights = poisson_weights(["v", "v", "w", "w"], 30)
    with np.errstate(invalid="ignore"):
        expected = values["x"] @ weights / weights.sum(0)
    _, drawn = clustered.replicate(lambda means: means["x"])
    assert drawn == pytest.approx(expected, nan_ok=True)
    with pytest.raises(DataError, match="clusters: got 1 for 2 names"):
        plain.update(["e", "f"], {"x": np.zeros(2)}, ["v"])
