"""A search from a recipe to its results: begun, and gone on with after whatever ended it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

from annotated_types import Ge, Gt

from boxless import __version__
from boxless.errors import BoxlessError, ConfigError, InterruptedRunError, RunError
from boxless.files import write_json
from boxless.listener import Listener
from boxless.methods import METHODS
from boxless.methods.base import Space
from boxless.recipe import Recipe, from_dict
from boxless.search.cluster import check_address, check_fits, check_installed, check_shared, cluster
from boxless.search.ledger import OUTCOME, PLAN, SEARCH_VERSION, Ledger, Trial, begin, locked, read_plan
from boxless.search.prepare import Prepared, prepare, remove_features
from boxless.search.space import check_space, default_space, distributions, merge, parse, text_of
from boxless.settings import build
from boxless.trust import flag, is_trusting, refuse_code, trusting

BUSY = "another search is at work in this folder; wait for it, or choose another one with --out."


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a search is run."""

    trials: Annotated[int, Ge(1)] = 20  # in all, those of earlier sessions too
    cpus: Annotated[float, Gt(0)] = 1.0  # processors of a trial; it works in as many threads
    gpus: Annotated[float, Ge(0)] | None = None  # devices of a trial, 0.5 for two on one; None: one where there is one
    concurrent: Annotated[int, Ge(1)] | None = None  # trials at a time; None: as many as there is room for
    stop_early: bool = True  # end trials that fall behind
    seed: Annotated[int, Ge(0)] = 0  # of the sampler
    device: str = "auto"  # of a trial


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a search."""

    folder: Path
    trials: tuple[Trial, ...]
    best: Trial | None  # of those that are finished

    @property
    def failed(self) -> tuple[Trial, ...]:
        """Those that failed by themselves."""
        return tuple(trial for trial in self.trials if trial.state == "failed")


def search(
    recipe: Recipe,
    folder: Path,
    plan: Plan,
    *,
    space: Mapping[str, Space | None] | None = None,
    fixed: tuple[str, ...] = (),
    address: str | None = None,
    listener: Listener | None = None,
) -> Found:
    """Try settings of a method side by side, and keep each trial as a run.

    Args:
        recipe: What trials start from.
        folder: Of the search, made if need be; on a cluster all machines must see it.
        plan: How many trials, and on what.
        space: Entries that replace those of `default_space` or are added; None leaves one out.
        fixed: Settings that are as the recipe has them, also if `default_space` has a range for them.
        address: Of a Ray cluster; None works on this machine alone.
        listener: Hears of the progress.

    Raises:
        RunError: The folder holds a search already or is in use, or the address does not answer.
        ConfigError, DataError: As their names say.
        MissingExtraError: Ray or Optuna is not installed.
        InterruptedRunError: The user stopped it; `resume` goes on.
    """
    check_installed()
    listener, folder = listener or Listener(), folder.absolute()
    plan = build(Plan, asdict(plan), "search")
    changes = {**dict.fromkeys(fixed), **(space or {})}
    _space(recipe, changes, 10)  # what is wrong leaves no folder behind
    there = folder.exists()
    with locked(folder, wait=0, busy=BUSY):
        if (folder / PLAN).exists():
            begin(folder, {})
        try:
            check_address(address)
            prepared = prepare(recipe, folder, device=plan.device, listener=listener)
            chosen = _space(prepared.recipe, changes, prepared.epochs)
        except BoxlessError:
            if not there:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        texts = {name: text_of(each) for name, each in chosen.items()}
        whole = {"recipe": prepared.recipe.to_dict(), "stage": prepared.stage, "epochs": prepared.epochs}
        begin(folder, {"boxless": __version__, "plan": asdict(plan), "space": texts, **whole})
        return _run(folder, prepared, plan, chosen, address, listener)


def resume(
    folder: Path,
    *,
    trials: int | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    concurrent: int | None = None,
    device: str | None = None,
    address: str | None = None,
    trust: bool = False,
    listener: Listener | None = None,
) -> Found:
    """Go on with a search: trials that ended stay as they are, others go on from their last checkpoints.

    Args:
        folder: Of the search.
        trials: As many in all, if it is to be longer now.
        cpus: As in `Plan`, if it is to be another now; so are the next three.
        gpus: As in `Plan`.
        concurrent: As in `Plan`.
        device: As in `Plan`.
        address: Of a Ray cluster; None works on this machine alone.
        trust: Whether code that the search's recipe names may be loaded, see `boxless.trust`.
        listener: Hears of the progress.

    Raises:
        RunError: There is no search, or it is at work.
        ConfigError: More trials are entered than asked for, or the recipe names code.
    """
    check_installed()
    folder = folder.absolute()
    kept = read_plan(folder)
    given = {"trials": trials, "cpus": cpus, "gpus": gpus, "concurrent": concurrent, "device": device}
    changes = {name: value for name, value in given.items() if value is not None}
    plan = build(Plan, {**kept["plan"], **changes}, "search")
    space = {name: each for name, value in kept["space"].items() if (each := parse(name, value)) is not None}
    prepared = Prepared(from_dict(kept["recipe"], str(folder / PLAN)), kept["stage"], kept["epochs"])
    with trusting(trust), locked(folder, wait=0, busy=BUSY):
        refuse_code(prepared.recipe, folder / PLAN)
        entered = len(Ledger(folder, prepared.stage).trials())
        if entered > plan.trials:
            raise ConfigError(f"{folder}: {entered} trials are there already; ask for {entered} or more with --trials.")
        check_address(address)
        write_json(folder / PLAN, {**kept, "search_version": SEARCH_VERSION, "plan": asdict(plan)})
        return _run(folder, prepared, plan, space, address, listener or Listener())


def _space(recipe: Recipe, changes: Mapping[str, Space | None], epochs: int) -> dict[str, Space]:
    kind = METHODS.load(recipe.method.name)
    chosen = merge(default_space(recipe, kind, epochs), changes)
    check_space(chosen, recipe, kind)
    return chosen


def _run(
    folder: Path, prepared: Prepared, plan: Plan, space: Mapping[str, Space], address: str | None, listener: Listener
) -> Found:
    """Do what is left to do, and write the results."""
    from boxless.search.results import write_results

    ledger = Ledger(folder, prepared.stage)
    trials = ledger.trials()
    ended = sum(trial.state != "waiting" for trial in trials)
    fatal, again = None, f"boxless search --resume --out {quote(str(folder))}{flag(prepared.recipe)}"
    if ended < plan.trials:
        if ended or len(trials) > ended:
            listener.note(f"{ended} trials have ended, {len(trials) - ended} go on from their last checkpoints.")
        listener.begin("trials", plan.trials, ended)
        try:
            fatal = _tune(ledger, prepared, plan, space, address, listener)
        except KeyboardInterrupt:
            raise InterruptedRunError(f"stopped; all epochs that ended are saved. Go on with: {again}") from None
        finally:
            listener.end()
    found = tuple(ledger.trials())
    if fatal is not None:
        for trial in found:
            if trial.hopeless:
                (trial.folder / OUTCOME).unlink()  # once the reason is mended, it is tried again
        raise RunError(f"{fatal.folder}: no trial can work: {fatal.reason} Then go on with: {again}")
    best = max((t for t in found if t.state == "finished" and t.value is not None), key=_by_value, default=None)
    made = Found(folder, found, best)
    write_results(made, prepared, space)
    remove_features(prepared.recipe, folder)
    return made


def _by_value(trial: Trial) -> tuple[float, int]:
    """Of equals the earliest."""
    return float(trial.value or 0.0), -trial.number


def _tune(
    ledger: Ledger,
    prepared: Prepared,
    plan: Plan,
    space: Mapping[str, Space],
    address: str | None,
    listener: Listener,
) -> Trial | None:
    """Let Ray run the trials that are left; what comes back is one that shows that none can work."""
    import ray

    from boxless.search import tuning

    recipe, trials = prepared.recipe, ledger.trials()
    whole = check_space(space, recipe, METHODS.load(recipe.method.name))
    with cluster(address) as resources:
        if plan.gpus is None:
            wanted = plan.device == "cuda" or (plan.device == "auto" and resources.get("GPU", 0) > 0)
            plan = replace(plan, gpus=1.0 if wanted else 0.0)
        check_fits(ray.nodes(), plan.cpus, plan.gpus or 0.0)
        if len(ray.nodes()) > 1:
            check_shared(ledger.folder, ledger.folder / PLAN)
        sampler = tuning.make_sampler(distributions(space, whole), trials, plan.seed)
        scheduler = tuning.make_scheduler(prepared.epochs, trials, stop_early=plan.stop_early)
        suggestions = tuning.Suggestions(ledger, plan.trials, sampler, scheduler, listener)
        settings: dict[str, Any] = {
            "search": str(ledger.folder),
            "recipe": recipe.to_dict(),
            "stage": prepared.stage,
            "threads": max(1, int(plan.cpus)),
            "trust": is_trusting(),
            "device": "cpu" if plan.device == "auto" and not plan.gpus else plan.device,
        }
        tuning.run(
            suggestions,
            settings,
            concurrent=plan.concurrent,
            resources={"cpu": plan.cpus, "gpu": plan.gpus or 0.0},
            folder=ledger.folder,
        )
    shutil.rmtree(ledger.folder / tuning.STATE, ignore_errors=True)
    return suggestions.fatal
