from __future__ import annotations

from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Lt

from boxless.errors import ConfigError
from boxless.settings import Setting, build, check, settings_of


class Toy:
    def __init__(
        self,
        given: object,
        *,
        size: Annotated[int, Ge(1)] = 3,
        rate: Annotated[float, Ge(0), Lt(1)] = 0.5,
        mode: Literal["fast", "16"] = "fast",
        names: tuple[str, ...] = (),
        limit: float | None = None,
        needed: bool,
    ) -> None:
        self.given, self.size, self.rate, self.mode, self.names, self.limit = given, size, rate, mode, names, limit
        self.needed = needed


class Nothing:
    def __init__(self) -> None:
        pass


def test_settings_are_the_keyword_only_parameters_in_order() -> None:
    listed = settings_of(Toy)
    assert [each.name for each in listed] == ["size", "rate", "mode", "names", "limit", "needed"]
    assert listed[2] == Setting("mode", "fast or 16", "fast", required=False)
    assert listed[-1] == Setting("needed", "bool", None, required=True)


def test_values_are_converted_as_a_command_line_needs_it() -> None:
    assert check(Toy, {"size": "4", "rate": "1e-1", "needed": "true", "names": ["a"], "limit": None}, "toy") == {
        "size": 4, "rate": 0.1, "needed": True, "names": ("a",), "limit": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sizes": 1}, r"toy\.sizes: there is no such setting; did you mean 'size'\?"),
        ({"size": 0}, r"toy\.size: expected int .*got 0"),
        ({"size": 1.5}, r"toy\.size: expected int .*got 1\.5"),
        ({"rate": 1}, r"toy\.rate: .*got 1"),
        ({"rate": float("nan")}, r"toy\.rate: .*got nan"),
        ({"rate": float("inf")}, r"toy\.rate: .*got inf"),
        ({"mode": "slow"}, r"toy\.mode: expected fast or 16, got 'slow'"),
        ({"size": 2}, r"toy: needed must be given"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(Toy, settings, "toy")


def test_something_without_settings_says_so() -> None:
    with pytest.raises(ConfigError, match="it takes none"):
        check(Nothing, {"size": 1}, "nothing")


def test_building_hands_over_what_is_given_and_the_defaults() -> None:
    made = build(Toy, {"needed": False, "size": 2}, "toy", "given")
    assert (made.given, made.size, made.rate, made.needed) == ("given", 2, 0.5, False)


def test_a_number_does_for_a_choice_that_is_spelled_like_it() -> None:
    """YAML reads 16 as a number, whoever writes training.precision=16."""
    assert check(Toy, {"mode": 16, "needed": True}, "toy")["mode"] == "16"


def test_bounds_are_shown_as_people_write_them() -> None:
    shown = {each.name: each.type for each in settings_of(Toy)}
    assert ">= 1" in shown["size"]
