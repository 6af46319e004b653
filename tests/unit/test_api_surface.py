"""What users build on: public names, their arguments, the verbs and their options. It may grow, not just shrink.

``python tests/unit/test_api_surface.py`` writes tests/api_surface.json anew; look at the difference before committing.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import boxless

FILE = Path(__file__).parents[1] / "api_surface.json"
POLICY = (
    "These public things are gone or changed: {gone}. What is public is deprecated for one minor release before it "
    "goes: keep it, warn with DeprecationWarning, say so in CHANGELOG.md, and take it out of tests/api_surface.json "
    "in the release after that."
)
UNLISTED = (
    "These are public and not in tests/api_surface.json: {new}. Add them with: python tests/unit/test_api_surface.py"
)


def surface() -> dict[str, list[str]]:
    """Each public thing, and what it offers."""
    found = {f"boxless.{name}": offers(getattr(boxless, name)) for name in boxless.__all__}
    return dict(sorted({**found, **verbs()}.items()))


def offers(thing: Any) -> list[str]:
    """Arguments of a function; of a class those of its constructor, and its public attributes."""
    if not callable(thing):
        return []
    listed = [f"{name}=" for name in arguments(thing)]
    if inspect.isclass(thing):
        listed += [f".{name}" for name in dir(thing) if not name.startswith("_") and not hasattr(Exception, name)]
    return sorted(listed)


def arguments(thing: Any) -> list[str]:
    try:
        return [name for name in inspect.signature(thing).parameters if name not in ("self", "args", "kwargs")]
    except ValueError:  # exceptions of the standard library have none
        return []


def verbs() -> dict[str, list[str]]:
    """The command line's verbs with their options and arguments."""
    from typer.main import get_command

    from boxless.cli.app import app

    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    return {
        f"$ boxless {name}": sorted(
            option
            for parameter in command.params
            for option in (
                [*parameter.opts, *parameter.secondary_opts] if parameter.opts[0][0] == "-" else [parameter.metavar]
            )
        )
        for name, command in commands.items()
    }


def flat(listed: dict[str, list[str]]) -> set[str]:
    return {*listed, *(f"{thing} {offer}" for thing, every in listed.items() for offer in every)}


def test_nothing_public_goes_without_warning() -> None:
    gone = flat(json.loads(FILE.read_text())) - flat(surface())
    assert not gone, POLICY.format(gone=", ".join(sorted(gone)))


def test_everything_public_is_listed() -> None:
    new = flat(surface()) - flat(json.loads(FILE.read_text()))
    assert not new, UNLISTED.format(new=", ".join(sorted(new)))


def test_every_public_name_can_be_imported_and_others_are_refused() -> None:
    for name in boxless.__all__:
        assert getattr(boxless, name) is not None
    try:
        boxless.no_such_name  # noqa: B018
    except AttributeError as error:
        assert "no_such_name" in str(error)  # noqa: PT017
    else:
        raise AssertionError("a name that is not public was given")


if __name__ == "__main__":
    FILE.write_text(json.dumps(surface(), indent=1) + "\n")
