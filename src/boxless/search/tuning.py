"""Ray Tune with Optuna's sampler and ASHA, on a ledger of our own: so a search survives its driver and its workers.

Ray Tune keeps its state in snapshots, now and then; what it learnt since is lost when the driver is killed, and trials
with it. Here each trial is entered in the ledger before Ray hears of it, and its end as soon as it is known; what
Optuna and ASHA know is told to them anew from there.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from boxless.listener import Listener
from boxless.search.ledger import Ledger, Trial, close
from boxless.search.worker import EPOCHS, FIGURE, run_trial
from boxless.training.caching import FEATURES
from boxless.training.randomness import derive

RETRIES = 3  # of a trial whose worker died
REDUCTION = 3  # of those that reach a rung, a third goes on
STATE = ".ray"  # what Ray writes; of no use afterwards


class Suggestions(Searcher):  # type: ignore[misc]  # Ray is not typed
    """Gives Ray the trials of the ledger that are not at their end, then new ones that Optuna draws.

    Ray's own retries leave out a worker that dies as it starts, so a trial whose worker died is given again from here.

    Args:
        ledger: Of the search.
        target: Trials in all.
        optuna: Draws settings; trials that are not at their end stand first in its queue, in their order.
        scheduler: Stops trials early.
        listener: Hears of each trial that ends.
    """

    def __init__(self, ledger: Ledger, target: int, optuna: Any, scheduler: Any, listener: Listener) -> None:
        super().__init__(metric=FIGURE, mode="max")
        self.ledger, self.target, self.listener = ledger, target, listener
        self.optuna, self.scheduler = optuna, scheduler
        known = ledger.trials()
        self.entered = len(known)
        self.waiting = [trial for trial in known if trial.state == "waiting"]
        self.running: dict[str, Trial] = {}
        self.names: dict[int, str] = {}  # of trials, as Optuna knows them
        self.deaths: Counter[int] = Counter()  # of workers, by trial
        self.fatal: Trial | None = None  # it failed by what the next one would fail by too
        self.best = max((trial.value for trial in known if trial.value is not None), default=None)

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        """Take what Ray says of the search, of which all is known."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next trial; None if there may be one later, and ``FINISHED`` if there is none."""
        if self.fatal is not None:
            return Searcher.FINISHED
        if self.waiting:
            trial = self.waiting.pop(0)
            if trial.number not in self.names:
                self.optuna.suggest(trial_id)
        elif self.entered < self.target:
            trial = self.ledger.add(self.optuna.suggest(trial_id))
            self.entered += 1
        else:
            return None if self.running else Searcher.FINISHED
        self.names.setdefault(trial.number, trial_id)
        self.running[trial_id] = trial
        replay(self.scheduler, trial_id, trial.curve)
        return {"folder": str(trial.folder)}

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Show the best so far."""
        if FIGURE in result:
            self._show(result[FIGURE], 0)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Enter the end of a trial, and tell Optuna what it came to; one whose worker died has not come to its end."""
        trial = self.ledger.read(self.running.pop(trial_id).folder)
        if trial.state == "waiting":
            self.deaths[trial.number] += error
            if error and self.deaths[trial.number] <= RETRIES:
                self.listener.note(f"trial {trial.number}: its worker died; it goes on from its last checkpoint.")
                self.waiting.append(trial)
                return
            self._close(trial, error=error)
            trial = self.ledger.read(trial.folder)
        failed = trial.value is None or trial.state == "failed"
        self.optuna.on_trial_complete(self.names[trial.number], None if failed else {FIGURE: trial.value}, error=failed)
        if trial.hopeless and self.best is None:
            self.fatal = trial
        self._show(None if failed else trial.value, 1)

    def _close(self, trial: Trial, *, error: bool) -> None:
        if error:
            close(trial.folder, "failed", f"its worker died {RETRIES + 1} times; out of memory, perhaps.")
        else:
            close(trial.folder, "stopped")
        # Large; a stopped trial that is trained to its end makes them anew.
        shutil.rmtree(trial.folder / FEATURES, ignore_errors=True)

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the ledger has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing."""

    def _show(self, value: float | None, ended: int) -> None:
        if value is not None and (self.best is None or value > self.best):
            self.best = value
        self.listener.advance(ended, **({} if self.best is None else {"best": self.best}))


def make_sampler(space: Mapping[str, Any], trials: Sequence[Trial], seed: int) -> Any:
    """Optuna's sampler, which knows all trials that ended, with those that did not at the head of its queue."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # From the same seed a search that goes on would draw what it drew at its beginning.
    sampler = optuna.samplers.TPESampler(seed=derive(seed, "search", len(trials)) % 2**32)
    queue = [dict(trial.settings) for trial in trials if trial.state == "waiting"]
    search = OptunaSearch(space, metric=FIGURE, mode="max", sampler=sampler, points_to_evaluate=queue)
    for trial in trials:
        if trial.state != "waiting":
            failed = trial.value is None or trial.state == "failed"
            search.add_evaluated_point(dict(trial.settings), trial.value, error=failed)
    return search


def make_scheduler(epochs: int, trials: Sequence[Trial], *, stop_early: bool) -> Any:
    """What stops trials early: ASHA, which knows the figures of all trials that ended; or nothing.

    Rungs stand at a fifth of the epochs, and at three and nine times as many.
    """
    if not stop_early or epochs < 2:
        return FIFOScheduler()
    scheduler = ASHAScheduler(
        time_attr=EPOCHS,
        metric=FIGURE,
        mode="max",
        max_t=epochs - 1,  # a trial at its end is not stopped
        grace_period=max(1, min(epochs - 1, round(epochs / 5))),
        reduction_factor=REDUCTION,
        stop_last_trials=False,
    )
    for trial in trials:
        if trial.state != "waiting":
            replay(scheduler, str(trial.folder), trial.curve)
    return scheduler


def replay(scheduler: Any, trial_id: str, curve: Sequence[float]) -> None:
    """Tell a scheduler of a trial's figures up to now."""
    known = SimpleNamespace(trial_id=trial_id)
    scheduler.on_trial_add(None, known)
    for epochs in range(1, len(curve) + 1):
        action = scheduler.on_trial_result(None, known, {FIGURE: max(curve[:epochs]), EPOCHS: epochs})
        if action == TrialScheduler.STOP:
            break


def run(
    suggestions: Suggestions,
    settings: Mapping[str, Any],
    *,
    concurrent: int | None,
    resources: Mapping[str, float],
    folder: Path,
) -> None:
    """Run trials until there are no more.

    Args:
        suggestions: Gives and takes them.
        settings: Of `run_trial`, the same for all.
        concurrent: Trials at a time; None for as many as the resources allow.
        resources: Of a trial, as Ray names them.
        folder: Where Ray may write.
    """
    shutil.rmtree(folder / STATE, ignore_errors=True)  # of a session that was killed
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_with, settings=dict(settings)), dict(resources)),
        tune_config=tune.TuneConfig(
            num_samples=-1,  # as many as there are suggestions
            max_concurrent_trials=concurrent,
            search_alg=suggestions,
            scheduler=suggestions.scheduler,
            reuse_actors=True,  # a process imports torch once; one whose trial does not end at once is not used again
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(folder / STATE),
            verbose=0,
            callbacks=[_Silent()],
        ),
    )
    tuner.fit()


class _Silent(TrialProgressCallback):  # type: ignore[misc]  # Ray is not typed
    """In place of Ray's own, which prints a line for a trial without a figure however quiet it is told to be."""

    def _print(self, msg: str) -> None:
        pass


def _with(config: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    run_trial({**settings, **config})


def _name(trial: Any) -> str:
    return str(Path(trial.config["folder"]).name)
