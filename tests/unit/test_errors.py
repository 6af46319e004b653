from __future__ import annotations

import pytest

from boxless import errors
from boxless.errors import BoxlessError, MissingExtraError, UnknownNameError, nearest


def test_near_names_are_offered() -> None:
    assert nearest("resnet5O", ["resnet50", "vgg16"]) == "did you mean 'resnet50'?"


def test_known_names_are_listed_where_none_is_near() -> None:
    assert nearest("xyz", ["one", "two"]) == "known: one, two."


def test_a_long_list_says_how_many_more_there_are() -> None:
    assert nearest("?", map(str, range(100)), limit=2) == "known: 0, 1 and 98 more."


def test_nothing_known_is_said() -> None:
    assert nearest("x", []) == "none are known."


def test_an_unknown_name_says_its_kind() -> None:
    error = UnknownNameError("method", "camm", ["cam"])
    assert str(error) == "unknown method 'camm'; did you mean 'cam'?"
    assert (error.kind, error.name, error.known) == ("method", "camm", ("cam",))


def test_a_missing_extra_says_how_to_get_it() -> None:
    assert "pip install 'boxless[video]'" in str(MissingExtraError("reading video", "av", "video"))


@pytest.mark.parametrize("name", [name for name in dir(errors) if name.endswith("Error")])
def test_every_error_is_the_users_to_mend(name: str) -> None:
    assert issubclass(getattr(errors, name), BoxlessError)
