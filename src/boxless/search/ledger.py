"""What a search has done, in files that a kill at any moment leaves sound: they alone are what it goes on from.

A folder for each trial, which is a run folder like any other::

    <folder>/search.json                what is searched
             trials/0001/trial.json     the settings that were drawn, written before anything else
                         outcome.json   that it was stopped early or failed, and why
                         card.json      that it is finished, as of every run
                         metrics.jsonl  its figures, as of every run
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Literal, final

from boxless.errors import RunError, shown
from boxless.files import unwritable, write_json
from boxless.parsing import parse_json
from boxless.runs import CARD, RECIPE

SEARCH_VERSION = 1
PLAN, TRIALS, TRIAL, OUTCOME, LOCK = "search.json", "trials", "trial.json", "outcome.json", ".lock"
State = Literal["waiting", "finished", "stopped", "failed"]  # waiting: drawn, and not yet at its end


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of the search and what came of it."""

    number: int
    settings: Mapping[str, Any]
    folder: Path
    state: State
    curve: tuple[float, ...] = ()  # the criterion after each epoch that it judged
    value: float | None = None  # of the weights that were kept, or the best so far
    seconds: float = 0.0  # of training
    reason: str = ""  # why it failed
    kind: str = ""  # the class of the error it failed by, if it is one of ours

    @property
    def hopeless(self) -> bool:
        """Whether it failed by what others would fail by too: data or a network, and not by the settings drawn."""
        return self.state == "failed" and self.kind not in ("", "TrainingError")


@final
class Ledger:
    """The folder of a search.

    Args:
        folder: Where it is.
        stage: The stage of training that is judged.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder, self.stage = folder, stage

    def add(self, settings: Mapping[str, Any]) -> Trial:
        """Enter a trial, under the next number."""
        number = max((trial.number for trial in self.trials()), default=0) + 1
        folder = self.folder / TRIALS / f"{number:04d}"
        write_json(folder / TRIAL, {"number": number, "settings": settings})
        return self.read(folder)

    def trials(self) -> list[Trial]:
        """All trials, by number."""
        found = sorted((self.folder / TRIALS).glob(f"*/{TRIAL}"))
        return [self.read(path.parent) for path in found]

    def read(self, folder: Path) -> Trial:
        """A trial as its folder has it.

        Raises:
            RunError: A file of it is damaged.
        """
        try:
            return self._read(folder)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RunError(f"{folder}: a file of the trial lacks what it has to say ({error!r}).") from error

    def _read(self, folder: Path) -> Trial:
        drawn, curve = _json(folder / TRIAL), read_curve(folder, self.stage)
        entry = {"number": drawn["number"], "settings": drawn["settings"], "folder": folder, "curve": curve}
        best = max(curve, default=None)
        if (folder / CARD).exists():
            card = _json(folder / CARD)
            return Trial(**entry, state="finished", value=_value(card, best), seconds=float(card["training_seconds"]))
        if (folder / OUTCOME).exists():
            outcome = _json(folder / OUTCOME)
            reason, kind = str(outcome.get("reason", "")), str(outcome.get("kind", ""))
            if outcome["state"] not in ("stopped", "failed"):
                raise ValueError(f"no trial ends as {shown(outcome['state'])}")
            return Trial(**entry, state=outcome["state"], value=best, reason=reason, kind=kind)
        return Trial(**entry, state="waiting", value=best)


def _value(card: Mapping[str, Any], best: float | None) -> float | None:
    """The figure of a finished run; one that was not trained has those of all criteria, and was selected by none."""
    selection = card["selection"]
    if selection["value"] is not None or selection.get("by") != "none":
        return best if selection["value"] is None else float(selection["value"])
    by_boxes = [each["value"] for name, each in card["criteria"].items() if name.startswith("pseudo:")]
    return next(iter(by_boxes), None)


def close(folder: Path, state: State, reason: str = "", kind: str = "") -> None:
    """Enter the end of a trial that is not finished."""
    write_json(folder / OUTCOME, {"state": state, "reason": reason, "kind": kind})


def read_curve(folder: Path, stage: str) -> tuple[float, ...]:
    """The figures of the criterion in a run, of the epochs of one stage that it judged."""
    found = {}
    path = folder / "metrics.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            record = parse_json(line)
        except ValueError:  # the line that a kill cut short; its epoch is run again
            break
        if "select" in record and record.get("stage", stage) == stage:
            found[record["epoch"]] = float(record["select"])
    return tuple(found[epoch] for epoch in sorted(found))


def begin(folder: Path, plan: Mapping[str, Any]) -> None:
    """Make the folder of a search.

    Raises:
        RunError: There is a search or a run in it already, or it cannot be written.
    """
    if (folder / PLAN).exists():
        raise RunError(
            f"{folder}: a search is already there; go on with: boxless search --resume --out {quote(str(folder))}; or "
            "choose another folder with --out."
        )
    if (folder / RECIPE).exists():
        raise RunError(f"{folder}: a run is already there; choose another folder with --out.")
    write_json(folder / PLAN, {"search_version": SEARCH_VERSION, **plan})


def read_plan(folder: Path) -> dict[str, Any]:
    """What is searched in a folder.

    Raises:
        RunError: There is no search, or another version began it.
    """
    if not (folder / PLAN).exists():
        raise RunError(
            f"{folder}: there is no search to resume; start one with: "
            f"boxless search DATA --trials N --out {quote(str(folder))}"
        )
    plan = _json(folder / PLAN)
    if plan.get("search_version") != SEARCH_VERSION:
        raise RunError(
            f"{folder}: a search of format {plan.get('search_version')!r}; this boxless reads {SEARCH_VERSION}. Use "
            "the version that began it, or start anew in another folder."
        )
    return plan


@contextmanager
def locked(folder: Path, *, wait: float, busy: str) -> Iterator[None]:
    """Have a folder alone; the lock falls with the process that holds it, also if that is killed.

    Raises:
        RunError: Another process has it, also after ``wait`` seconds: ``busy`` says what that means.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait)
    except Timeout:
        raise RunError(f"{folder}: {busy}") from None
    except OSError as error:
        raise RunError(unwritable(folder, error)) from error
    try:
        yield
    finally:
        lock.release()


def _json(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}); the search is damaged.") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: it holds no mapping of names to values; the search is damaged.")
    return value
