"""The trainings of a benchmark: which are done, which are not, and doing these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from boxless.benchmark.plan import Job, Plan
from boxless.errors import BoxlessError, ConfigError, InterruptedRunError
from boxless.files import atomic_write
from boxless.listener import Listener
from boxless.recipe import Recipe, read_recipe

State = Literal["finished", "unfinished", "new"]
AUTO = "auto"
_ABSENT = object()


class JobListener(Listener):
    """Passes on what a training tells, with the job's name before each stretch of work."""

    def __init__(self, listener: Listener, name: str) -> None:
        self.listener, self.name = listener, name

    def note(self, text: str) -> None:
        """Pass on the sentence."""
        self.listener.note(f"{self.name}: {text}")

    def begin(self, task: str, total: int, done: int = 0) -> None:
        """Pass on the stretch."""
        self.listener.begin(f"{self.name}: {task}", total, done)

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Pass on the steps."""
        self.listener.advance(steps, **figures)

    def end(self) -> None:
        """Pass on the end."""
        self.listener.end()

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Pass on the record."""
        self.listener.epoch(record)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The jobs whose runs are finished, and why the others are not."""

    finished: tuple[Job, ...]
    failed: tuple[tuple[str, str], ...]  # name of the job, reason


def state_of(job: Job) -> State:
    """How far a job is.

    Raises:
        ConfigError: Its folder holds a run by other settings, or a recipe that cannot be read.
    """
    from boxless.runs import CARD, RECIPE

    if not (job.folder / RECIPE).exists():
        return "new"
    if changes := differences(job.recipe, read_recipe(job.folder / RECIPE)):
        raise ConfigError(
            f"{job.folder}: it holds a run by other settings than the benchmark now asks for: {'; '.join(changes)}. "
            "Put them back, or move the folder away, or choose another with --out."
        )
    return "finished" if (job.folder / CARD).exists() else "unfinished"


def differences(asked: Recipe, kept: Recipe) -> list[str]:
    """What a recipe asks for and the one kept with a run does not have, in words.

    A kept recipe is more definite: every ``auto`` is settled, paths are whole, and what the method takes from its text
    model is added.
    """
    from boxless.training.naming import DIMENSIONS

    wanted, there = (dict(_leaves(each.to_dict(whole=True))) for each in (asked, kept))
    added = {f"method.{DIMENSIONS}"} - wanted.keys()
    if asked.pseudo.source == AUTO:
        wanted = {name: value for name, value in wanted.items() if name != "pseudo.source"}
        added |= {"pseudo.source"}
    found = []
    for name in [*wanted, *(there.keys() - wanted.keys() - added)]:
        one, other = wanted.get(name, _ABSENT), there.get(name, _ABSENT)
        if not _agree(one, other):
            found.append(f"{name} is {_shown(one)}, the run has {_shown(other)}")
    return found


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        if isinstance(each, Mapping):
            yield from _leaves(each, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", each


def _agree(asked: Any, kept: Any) -> bool:
    """Whether a kept value is the one asked for, or what came of it."""
    from boxless.training.naming import whole

    if asked == AUTO and kept is not _ABSENT:
        return True
    if isinstance(asked, str) and isinstance(kept, str):
        return kept in (asked, whole(asked), str(Path(asked).absolute()))
    if isinstance(kept, list | tuple) and isinstance(asked, str):
        asked = [each.strip() for each in asked.split(",") if each.strip()]  # of a list that may be written as one text
    if isinstance(kept, list | tuple) and isinstance(asked, list | tuple):
        return len(asked) == len(kept) and all(map(_agree, asked, kept))
    return bool(asked == kept)


def _shown(value: Any) -> str:
    return "not set" if value is _ABSENT else repr(value)


def share_pseudo_boxes(job: Job, others: Sequence[Job]) -> None:
    """Give a job the pseudo-boxes of val that another one of the same data and backbone made: they cost minutes.

    An annotator looks at the backbone before anything is learnt, so they would come out the same; and methods are
    compared by the same boxes.
    """
    from boxless.pseudo.table import ANNOTATORS
    from boxless.training.val_boxes import FOLDER

    for other in others:
        made = [path for path in sorted((other.folder / FOLDER).glob("*.csv")) if path.stem in ANNOTATORS]
        if other.folder == job.folder or not made or _annotated_by(other.recipe) != _annotated_by(job.recipe):
            continue
        for path in made:
            if not (job.folder / FOLDER / path.name).exists():
                with atomic_write(job.folder / FOLDER / path.name) as file:
                    file.write(path.read_text(encoding="utf-8"))
        return


def _annotated_by(recipe: Recipe) -> tuple[object, ...]:
    """All of a recipe that pseudo-boxes of val depend on: texts matter to CLIP alone, seeds to random weights alone."""
    from boxless.pseudo.table import ANNOTATORS
    from boxless.pseudo.teacher import is_zero_shot

    protocol, backbone = recipe.protocol, replace(recipe.backbone, freeze=False)
    boxes = protocol.boxes.split(",") if isinstance(protocol.boxes, str) else protocol.boxes
    classifiers = [protocol.classifier]
    for each in map(str.strip, boxes):
        if each in ANNOTATORS:
            classifiers.append(str(getattr(ANNOTATORS.load(each), "classifier", "")))
    text = recipe.text if AUTO in boxes or any(map(is_zero_shot, classifiers)) else None
    seed = recipe.training.seed if backbone.weights == "random" else None
    data = replace(recipe.data, augment=False)
    return data, backbone, text, tuple(boxes), protocol.classifier, protocol.measure, protocol.absent, seed


def do_all(plan: Plan, *, device: str, listener: Listener) -> Outcome:
    """Train what is not trained yet; one that fails is noted and the rest goes on.

    Raises:
        InterruptedRunError: The user stopped it; called again, it goes on from there.
    """
    finished: list[Job] = []
    failed: list[tuple[str, str]] = []
    for number, job in enumerate(plan.jobs, 1):
        try:
            how = _do(job, plan.jobs, device, JobListener(listener, f"{number} of {len(plan.jobs)} {job.name}"))
        except InterruptedRunError:
            raise InterruptedRunError("stopped; all that was done is saved. Give the same command again.") from None
        except BoxlessError as error:
            listener.end()
            failed.append((job.name, str(error)))
            how = f"failed: {error}"
        else:
            finished.append(job)
        if how:
            listener.note(f"{number} of {len(plan.jobs)} {job.name}: {how}")
    return Outcome(tuple(finished), tuple(failed))


def _do(job: Job, others: Sequence[Job], device: str, listener: Listener) -> str:
    """Train, if it is not done yet; what to say of it."""
    from boxless.training.session import train

    state = state_of(job)
    if state == "finished":
        return ""
    share_pseudo_boxes(job, others)
    trained = train(job.recipe, job.folder, resume=state == "unfinished", device=device, listener=listener)
    listener.end()
    return f"trained in {trained.progress.seconds / 60:.1f} minutes"
