"""Every error that boxless raises on purpose: it says what is wrong, what was got, what is known and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BoxlessError(Exception):
    """Base of all errors that are the user's to mend; the command line prints it without a traceback, exit code 2."""


class ConfigError(BoxlessError, ValueError):
    """A setting that does not exist, has the wrong type, or does not fit what it is meant for."""


class DataError(BoxlessError, ValueError):
    """Data that cannot be used as it is; the message names the file."""


class MissingTruthError(DataError):
    """Data without the true boxes that were asked for; evaluation then tells of classes alone."""


class RunError(BoxlessError):
    """A run folder or an output folder that is missing, incomplete, in the way, or of another version."""


class TrainingError(BoxlessError):
    """Training that cannot go on, such as a loss that is not finite."""


class InterruptedRunError(BoxlessError):
    """The user stopped the work; what was done is saved, and the message says how to go on."""


class WeightsError(BoxlessError):
    """Pretrained weights that cannot be had here."""


class UnknownNameError(BoxlessError, LookupError):
    """A name that no table lists; the message shows the nearest names."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        super().__init__(f"unknown {kind} {name!r}; {nearest(name, self.known)}")


class MissingExtraError(BoxlessError, ImportError):
    """An optional package that is not installed; the message gives the install command."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs the package {package}; install it with: pip install 'boxless[{extra}]'")


def shown(value: object, limit: int = 200) -> str:
    """A value of a file for a message: never longer than a user reads, and of a number with too many digits too."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__} that is too large to be shown"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def nearest(name: str, known: Iterable[str], limit: int = 12) -> str:
    """The part of an error message that helps: the nearest known names, or the known ones."""
    names = [str(each) for each in known]
    close = difflib.get_close_matches(str(name)[:100], names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    if not names:
        return "none are known."
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"known: {', '.join(names[:limit])}{more}."
