"""What is searched: table 4.4 of the thesis, what a method declares, and what a user says."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxless.errors import ConfigError
from boxless.methods import METHODS
from boxless.methods.base import Space
from boxless.recipe import Recipe
from boxless.search.space import (
    check_space,
    default_space,
    distributions,
    merge,
    parse,
    read_space,
    text_of,
)

UNIT = Space(0.0, 1.0)
WIDE = Space(1e-5, 1.0, log=True)


def recipe(**training: object) -> Recipe:
    return Recipe().override(training=training)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("has", {"method.drop_rate": UNIT, "method.area": UNIT}),
        ("acol", {"method.threshold": UNIT}),
        ("adl", {"method.drop_rate": UNIT, "method.threshold": UNIT}),
    ],
)
@pytest.mark.parametrize(("epochs", "steps"), [(50, Space(5, 45)), (10, Space(2, 9)), (20, Space(2, 18))])
def test_sgd_has_the_ranges_of_the_thesis(name: str, own: dict[str, Space], epochs: int, steps: Space) -> None:
    space = default_space(recipe(optimizer="sgd", schedule="step"), METHODS.load(name), epochs)
    shared = {f"training.{key}": WIDE for key in ("learning_rate", "weight_decay", "gamma")}
    assert space == {**shared, "training.step_epochs": steps, **own}


def test_a_schedule_without_steps_has_none_and_adamw_a_narrower_rate() -> None:
    space = default_space(recipe(optimizer="adamw", schedule="cosine"), METHODS.load("acol"), 50)
    assert set(space) == {"training.learning_rate", "training.weight_decay", "method.threshold"}
    assert space["training.learning_rate"] == Space(1e-4, 1e-2, log=True)


def test_too_few_epochs_for_a_drop_leave_steps_out() -> None:
    space = default_space(recipe(schedule="step"), METHODS.load("acol"), 2)
    assert not {"training.gamma", "training.step_epochs"} & set(space)


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_takes_all_of_its_own_space(name: str) -> None:
    kind = METHODS.load(name)
    start = Recipe().override(method={"name": name}, training={"optimizer": "sgd", "schedule": "step"})
    space = default_space(start, kind, 50)
    whole = check_space(space, start, kind)
    assert kind.needs.trains == ("training.learning_rate" in space)
    drawn = distributions(space, whole)
    for key, distribution in drawn.items():
        values = getattr(distribution, "choices", None) or (distribution.low, distribution.high)
        assert check_space({key: Space(choices=tuple(values))}, start, kind) == {key: False}


def test_whole_numbers_are_drawn_where_a_setting_takes_no_others() -> None:
    kind = METHODS.load("cam")
    space = {"method.hidden": Space(0, 512), "method.dropout": Space(0, 0.7)}
    whole = check_space(space, Recipe(), kind)
    assert whole == {"method.hidden": True, "method.dropout": False}
    drawn = distributions(space, whole)
    assert [type(each).__name__ for each in drawn.values()] == ["IntDistribution", "FloatDistribution"]


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("1e-4..1e-2:log", Space(1e-4, 1e-2, log=True)),
        ("0..0.5", Space(0, 0.5)),
        ("-1..3", Space(-1, 3)),
        ([16, 32], Space(choices=(16, 32))),
        (None, None),
        ("null", None),
    ],
)
def test_an_entry_is_read_and_written(text: object, space: Space | None) -> None:
    assert parse("training.learning_rate", text) == space
    if space is not None:
        assert parse("x", text_of(space)) == space


@pytest.mark.parametrize("text", ["0.1", "low..high", "0..1:logarithmic", "", [3], [[1], [2]], 5])
def test_an_entry_of_another_form_is_refused(text: object) -> None:
    with pytest.raises(ConfigError, match=r"expected low\.\.high"):
        parse("training.learning_rate", text)


def test_a_file_and_texts_replace_add_and_leave_out(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("training:\n  learning_rate: 1e-3..1e-2:log\n  weight_decay: null\nmethod.hidden: [0, 256]\n")
    changes = read_space([str(file), "training.gamma=0.1..0.5", "method.hidden=[0, 64]"])
    space = merge({"training.learning_rate": WIDE, "training.weight_decay": WIDE}, changes)
    assert space == {
        "training.learning_rate": Space(1e-3, 1e-2, log=True),
        "method.hidden": Space(choices=(0, 64)),
        "training.gamma": Space(0.1, 0.5),
    }


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("nowhere.yaml", "cannot be read"),
        ("training.learning_rat=0.1..0.2", "learning_rate"),
        ("method.dropouts=0..0.5", "dropout"),
        ("training.learning_rate=0..1:log", "Gt|greater"),
        ("method.dropout=0..1", "dropout"),
        ("method.dropout=0.5..0.2", "lower bound below"),
        ("training.seed=0..9", "has to be the same"),
        ("training.epochs=1..9", "has to be the same"),
        ("data.image_size=64..128", "has to be the same"),
        ("protocol.select=[pseudo, last]", "has to be the same"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(entry: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_space(merge({}, read_space([entry])), Recipe(), METHODS.load("cam"))


def test_a_space_with_nothing_in_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="no setting to search"):
        merge({"method.hidden": Space(0, 1)}, {"method.hidden": None})
