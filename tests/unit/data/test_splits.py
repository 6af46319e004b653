from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from boxless.data.splits import complete_splits, hashed, split_of
from boxless.types import Item


def items(count: int, label: int = 0, prefix: str = "a") -> list[Item]:
    return [Item(Path(f"{prefix}/{index}.jpg"), f"{prefix}/{index}.jpg", (label,)) for index in range(count)]


def places(splits: dict[str, tuple[Item, ...]]) -> dict[str, str]:
    return {item.name: split for split, chosen in splits.items() for item in chosen}


def test_hash_is_the_same_on_every_machine_and_in_every_release() -> None:
    # b2sum -l 48 of the name, as a big-endian number over 2 ** 48
    assert hashed("cat/1.jpg") == 0xF885D4C8BC69 / 2**48


def test_made_splits_are_80_10_10_in_every_class() -> None:
    splits, rule = complete_splits({None: items(1000, 0, "a") + items(1000, 1, "b")})
    assert "80, 10 and 10 %" in rule
    for split, expected in (("train", 800), ("val", 100), ("test", 100)):
        counts = Counter(item.labels[0] for item in splits[split])
        assert all(abs(counts[label] - expected) < 40 for label in (0, 1)), (split, counts)


def test_new_images_move_no_other() -> None:
    before, _ = complete_splits({None: items(100, 0, "a") + items(100, 1, "b")})
    after, _ = complete_splits({None: items(150, 0, "a") + items(100, 1, "b") + items(40, 2, "c")})
    known = places(before)
    assert {name: split for name, split in places(after).items() if name in known} == known


def test_order_of_the_items_does_not_matter() -> None:
    every = items(30, 0, "a") + items(30, 1, "b")
    assert complete_splits({None: every}) == complete_splits({None: every[::-1]})


@given(st.lists(st.integers(1, 25), min_size=2, max_size=6))
def test_small_data_keep_a_training_image_of_each_class_and_lose_none(counts: list[int]) -> None:
    every = [item for label, count in enumerate(counts) for item in items(count, label, f"c{label}")]
    splits, _ = complete_splits({None: every})
    assert sorted(places(splits)) == sorted(item.name for item in every)
    assert sum(map(len, splits.values())) == len(every)
    labels = {split: {label for item in chosen for label in item.labels} for split, chosen in splits.items()}
    assert labels["train"] == set(range(len(counts)))
    large = {label for label, count in enumerate(counts) if count >= 10}
    assert labels["val"] >= large
    assert labels["test"] >= large
    if max(counts) >= 3:
        assert splits["val"]
        assert splits["test"]


@given(st.lists(st.sets(st.integers(0, 4), min_size=1, max_size=3), min_size=5, max_size=40))
def test_every_label_of_several_stays_in_train(labels: list[set[int]]) -> None:
    every = [Item(Path(str(i)), str(i), tuple(sorted(each))) for i, each in enumerate(labels)]
    splits, _ = complete_splits({None: every})
    assert {label for item in splits["train"] for label in item.labels} == set().union(*labels)


def test_val_is_carved_out_of_train_and_test_is_left_alone() -> None:
    given_test = items(50, 0, "t")
    splits, rule = complete_splits({"train": items(1000), "test": given_test})
    assert rule == "train and test as given; val is 10 % of train, by a hash of each name"
    assert splits["test"] == tuple(given_test)
    assert 70 < len(splits["val"]) < 130
    assert all(hashed(item.name) >= 0.9 for item in splits["val"])


def test_test_is_carved_out_of_train_and_never_out_of_val() -> None:
    given_val = items(50, 0, "v")
    splits, rule = complete_splits({"train": items(1000), "val": given_val})
    assert rule == "train and val as given; test is 10 % of train, by a hash of each name"
    assert splits["val"] == tuple(given_val)
    assert len(splits["train"]) + len(splits["test"]) == 1000


def test_given_splits_are_kept() -> None:
    given_splits = {"train": items(3, 0, "a"), "val": items(2, 0, "b"), "test": items(1, 0, "c")}
    splits, rule = complete_splits(given_splits)
    assert splits == {split: tuple(chosen) for split, chosen in given_splits.items()}
    assert rule == "train, val and test as given"


def test_train_alone_is_divided_as_if_there_were_no_splits() -> None:
    assert complete_splits({"train": items(100)})[0] == complete_splits({None: items(100)})[0]


def test_data_without_train_are_not_divided() -> None:
    splits, rule = complete_splits({"test": items(20)})
    assert [len(splits[split]) for split in ("train", "val", "test")] == [0, 0, 20]
    assert "evaluated on, not trained on" in rule


def test_usual_names_of_splits_are_known() -> None:
    assert [split_of(name) for name in ("Train", "valid", "validation", "val", "dev", " TEST ", "cat")] == [
        "train", "val", "val", "val", "val", "test", None,
    ]  # fmt: skip
    assert (split_of("train-weaksup"), split_of("train-fullsup")) == ("train", "val")
