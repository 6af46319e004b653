from __future__ import annotations

import pytest

from boxless.errors import ConfigError, UnknownNameError
from boxless.text.prompts import TEMPLATES, prompts, templates


def test_each_name_of_templates_gives_templates_with_one_place() -> None:
    assert templates("photo") == ("a photo of a {}.",)
    assert templates("origami") == ("a clean origami {}.",)
    assert templates("plain") == ("{}",)
    for name in TEMPLATES:
        assert all(template.count("{}") == 1 for template in templates(name))


def test_the_templates_of_imagenet_are_those_of_the_library() -> None:
    open_clip = pytest.importorskip("open_clip")
    found = templates("imagenet")
    assert len(found) == len(set(found)) == 80
    assert prompts(["tench"], found) == tuple(fill("tench") for fill in open_clip.OPENAI_IMAGENET_TEMPLATES)


def test_a_user_writes_one_template_or_several() -> None:
    assert templates("a drawing of a {}") == ("a drawing of a {}",)
    assert templates(["the {}", "{x} {}"]) == ("the {}", "{x} {}")


def test_a_name_that_is_filled_in_is_never_read_as_a_template() -> None:
    assert prompts(["{}", "cat"], ["a {}.", "{} on {x}"]) == ("a {}.", "{} on {x}", "a cat.", "cat on {x}")


@pytest.mark.parametrize("wrong", [["a photo"], ["{} and {}"], "{} and {}", [3], ["a {}", ""]])
def test_a_template_without_one_place_is_refused(wrong: list[str] | str) -> None:
    with pytest.raises(ConfigError, match=r"expected text with \{\} in it once"):
        templates(wrong)


def test_no_template_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="none are given"):
        templates([])


def test_an_unknown_name_of_templates_shows_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'imagenet'"):
        templates("imagnet")
