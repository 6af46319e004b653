"""The state of a review: which image is next, what was decided, and what is exported. Nothing here knows a page."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from boxless import formats as files
from boxless.app.decision import ACCEPTED, Decision, decided, entry_of, from_entry
from boxless.app.record import Record
from boxless.errors import DataError, RunError
from boxless.types import Prediction

if TYPE_CHECKING:
    from boxless.predict.sources import Source

FILE_NAME = "review.jsonl"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a review is, in images."""

    images: int
    seen: int  # by the network
    accepted: int
    corrected: int  # of the accepted
    rejected: int
    refused: int  # cannot be read

    @property
    def left(self) -> int:
        """Images that nobody decided about yet."""
        return self.images - self.accepted - self.rejected - self.refused


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    files: dict[str, Path]  # format -> its main file
    images: int
    boxes: int
    missing: int  # accepted images that are not there any more, and are left out


@final
class Review:
    """A review, as its file has it so far.

    Args:
        path: Its file; every decision is in it before `decide` returns.
        classes: Of the run.
        folder: Which names are relative to; empty if there is none.
        by: Digest of the run: another run sees the images with another confidence, and decisions stay.

    Raises:
        RunError: The file cannot be used; see `Record`.
    """

    def __init__(self, path: Path, classes: Sequence[str], folder: str, by: str) -> None:
        self.file = path
        self.classes = tuple(classes)
        self.refused: dict[str, str] = {}  # name -> reason
        self._by = by
        self._paths: dict[str, Path] = {}
        self._confidence: dict[str, float] = {}
        self._decisions: dict[str, Decision] = {}
        self._history: list[tuple[str, Decision | None]] = []  # what a decision took the place of
        self._record = Record(path, classes, folder)
        for number, entry in enumerate(self._record.entries, start=2):
            self._replay(entry, f"{path}, line {number}")

    def add(self, sources: Iterable[Source]) -> None:
        """Put images into the review."""
        self._paths.update((each.name, each.path) for each in sources)

    def path(self, name: str) -> Path:
        """The file of an image.

        Raises:
            DataError: The review has no such image.
        """
        if name not in self._paths:
            raise DataError(f"{name!r}: no image of this review; choose one of its images.")
        return self._paths[name]

    def unseen(self) -> list[Source]:
        """The images that the network has still to look at; those that were decided on need no look."""
        from boxless.predict.sources import Source

        done = (self._confidence, self._decisions, self.refused)
        return [Source(path, name) for name, path in self._paths.items() if not any(name in each for each in done)]

    def saw(self, confidences: Mapping[str, float]) -> None:
        """Note how sure the network is of images."""
        self._record.append({"seen": dict(confidences), "by": self._by})
        self._confidence.update(confidences)

    def refuse(self, name: str, reason: str) -> None:
        """Note that an image cannot be used; this is found out anew each time."""
        self.refused[name] = reason

    def next(self, passed: Collection[str] = ()) -> str | None:
        """Of the images without a decision the one that the network is least sure of; ``passed`` ones come last."""
        open_names = [name for name in self._confidence if name in self._paths and not self._is_closed(name)]
        later = frozenset(passed)
        return min(open_names, key=lambda name: (name in later, self._confidence[name], name), default=None)

    def confidence(self, name: str) -> float | None:
        """How sure the network is of an image; None if it was not asked yet."""
        return self._confidence.get(name)

    def decision(self, name: str) -> Decision | None:
        """What was decided about an image."""
        return self._decisions.get(name)

    def decide(self, shown: Prediction, verdict: str, boxes: Any = None) -> Decision:
        """Keep a decision.

        Args:
            shown: What the person saw.
            verdict: One of `VERDICTS`.
            boxes: The boxes as the person left them, a list of ``{"xyxy": [x0, y0, x1, y1], "label": index}``; None if
                they are as they were shown. One that was shown keeps its score and mask; any other has the score 1.

        Raises:
            DataError: A verdict or box that cannot be, or an image that the review does not have.
            RunError: The decision cannot be written; it does not count.
        """
        self.path(shown.name)
        decision = decided(shown, verdict, boxes, self.classes)
        self._record.append(entry_of(decision))
        self._take(shown.name, decision)
        return decision

    def undo(self) -> str | None:
        """Take the latest decision back and name its image; None if there is none."""
        while self._history:
            name = self._history[-1][0]
            self._record.append({"undo": name})
            self._undo()
            if name in self._paths:  # else nobody sees that anything happened
                return name
        return None

    def progress(self) -> Progress:
        """How far the review is."""
        decided = [decision for name, decision in self._decisions.items() if name in self._paths]
        accepted = [each for each in decided if each.verdict == ACCEPTED]
        refused = [name for name in self.refused if name not in self._decisions]
        seen = sum(name in self._confidence or name in self._decisions for name in self._paths)
        return Progress(
            images=len({*self._paths, *refused}),
            seen=seen,
            accepted=len(accepted),
            corrected=sum(each.corrected for each in accepted),
            rejected=len(decided) - len(accepted),
            refused=len(refused),
        )

    def accepted(self) -> Iterator[Prediction]:
        """What was accepted, by name, of the images that are there."""
        for name, decision in sorted(self._decisions.items()):
            if decision.verdict == ACCEPTED and name in self._paths and self._paths[name].is_file():
                yield replace(decision.prediction, path=self._paths[name])

    def missing(self) -> int:
        """How many accepted images are not there any more."""
        return sum(each.verdict == ACCEPTED for each in self._decisions.values()) - sum(1 for _ in self.accepted())

    def _is_closed(self, name: str) -> bool:
        return name in self._decisions or name in self.refused

    def _take(self, name: str, decision: Decision) -> None:
        self._history.append((name, self._decisions.get(name)))
        self._decisions[name] = decision

    def _undo(self) -> None:
        name, before = self._history.pop()
        if before is None:
            del self._decisions[name]
        else:
            self._decisions[name] = before

    def _replay(self, entry: dict[str, Any], where: str) -> None:
        try:
            if "seen" in entry:
                if entry["by"] == self._by:
                    self._confidence.update((str(name), float(value)) for name, value in entry["seen"].items())
            elif "undo" in entry:
                self._undo()
            else:
                self._take(entry["name"], from_entry(entry, self.classes))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise RunError(f"{where}: not a line of a review; delete it, or choose another --save-to.") from error


def export(review: Review, formats: Sequence[str], folder: Path) -> Exported:
    """Write what was accepted, and nothing else, under ``folder`` in each of ``formats``.

    Raises:
        DataError: Nothing was accepted yet, or no format is named.
        UnknownNameError: A format that no table lists.
        RunError: The folder cannot be written to.
    """
    accepted = list(review.accepted())
    if not formats:
        raise DataError(f"no format was chosen; choose some of {', '.join(files.FORMATS)}.")
    if not accepted:
        raise DataError("nothing was accepted yet, so there is nothing to export; accept an image first.")
    written = {name: files.write(name, accepted, review.classes, folder) for name in formats}
    return Exported(written, len(accepted), sum(len(each.boxes) for each in accepted), review.missing())


def confidence_of(prediction: Prediction) -> float:
    """How sure a network is of what it says of an image: the least of its class's score and its boxes' scores.

    Where it says that there is nothing, it is the probability of that. Where it found no box although it looked for
    one, or its map is not to be trusted, it is 0: a person should see that first.
    """
    if prediction.absent and prediction.presence is not None:
        return 1 - prediction.presence
    if prediction.warning is not None or not prediction.boxes:
        return 0.0
    return min(prediction.score, *(box.score for box in prediction.boxes))
