"""Code that files name: a recipe may say ``module:Class``, and to load that is to run whatever the module holds.

A name on the command line, or in a `Recipe` made in Python, is its author's own. One in a file is not: a run folder, a
recipe or a benchmark may come from anybody, so there it is refused until the user says otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from boxless.errors import ConfigError

if TYPE_CHECKING:
    from boxless.recipe import Recipe

_TRUSTING = ContextVar("boxless_trusting", default=False)


def code_of(recipe: Recipe) -> dict[str, str]:
    """The settings of a recipe that name code outside of the tables and of installed packages' entry points."""
    named = {"method.name": recipe.method.name, "pseudo.source": recipe.pseudo.source}
    return {setting: name for setting, name in named.items() if ":" in name}


def refuse_code(recipe: Recipe, where: str | Path, *, own: Collection[str] = ()) -> None:
    """Refuse a recipe of a file that names code, unless this is called inside of `trusting`.

    Args:
        recipe: As it was read.
        where: What it was read from.
        own: Names that the user gave, and not the file.

    Raises:
        ConfigError: It names code; the message says which, and how to allow it.
    """
    for setting, name in code_of(recipe).items():
        refuse_name(setting, name, where, own=own)


def refuse_name(setting: str, name: str, where: str | Path, *, own: Collection[str] = ()) -> None:
    """Refuse one name as `refuse_code` does, if it is one of code."""
    if ":" in name and name not in own and not _TRUSTING.get():
        raise ConfigError(
            f"{where}: {setting} names code that is not boxless's own, {name!r}, and to load it is to run it. If you "
            "wrote it, or know and trust who did, say so with --trust (trust=True in Python)."
        )


def flag(recipe: Recipe) -> str:
    """What a command needs that is to load this recipe from a file: an option, or nothing."""
    return " --trust" if code_of(recipe) else ""


@contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """Within this, files may name code if ``trust`` says so, or if what is around it already did."""
    before = _TRUSTING.set(trust or _TRUSTING.get())
    try:
        yield
    finally:
        _TRUSTING.reset(before)


def is_trusting() -> bool:
    """Whether files may name code here, to say it to another process."""
    return _TRUSTING.get()
