"""The training loop: it knows a method by its contract only, and can be stopped and resumed at any step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from boxless.errors import TrainingError
from boxless.listener import Listener
from boxless.methods.base import Method, Stage
from boxless.pseudo.records import Proposals
from boxless.recipe import Training
from boxless.training import optim
from boxless.training.checkpoints import (
    Progress,
    load_checkpoint,
    read_progress,
    save_checkpoint,
)
from boxless.training.events import MetricsLog
from boxless.training.feeding import Feeder, Part
from boxless.training.kept import Kept
from boxless.training.randomness import derive
from boxless.training.tracking import LAST, Look, Tracker
from boxless.types import Batch

Plan = Sequence[tuple[Stage, Training]]  # the stages and the settings of each
CHECKPOINT = "checkpoint.safetensors"


class Step(nn.Module):
    """One forward pass of a method's losses, as a module, so that it can be wrapped for several devices."""

    def __init__(self, method: Method, *, multi_label: bool) -> None:
        super().__init__()
        self.method, self.multi_label = method, multi_label
        self.pseudo: Proposals | None = None  # of the next batch: a record, which what wraps a module does not pass on

    def forward(
        self, images: Tensor, labels: Tensor, targets: Tensor, index: Tensor, progress: float, *cached: Tensor
    ) -> dict[str, Tensor]:
        """The named losses of a batch; ``cached`` are the backbone's features where they were computed before."""
        batch = Batch(images, labels, targets, index, self.multi_label, self.pseudo)
        if not cached:
            return self.method.losses(batch, progress)
        with self.method.backbone.replay(images, self.method.backbone.regrouped(cached)):
            return self.method.losses(batch, progress)


@dataclass(slots=True)
class Loop:
    """A run in progress."""

    fabric: Fabric
    plan: Plan
    method: Method
    multi_label: bool
    feeder: Feeder
    tracker: Tracker  # the figures that weights are selected by
    label: Callable[[Stage], Proposals | None]  # the pseudo-labels of all training images
    folder: Path
    listener: Listener
    stop: Callable[[], bool]  # whether the user wants to end the run
    settings: Training = field(init=False)  # of the present stage
    step: Step = field(init=False)
    module: Any = field(init=False)  # the same as Fabric runs it
    wrapped: Any = field(init=False)  # the optimiser as Fabric steps it
    optimizer: torch.optim.Optimizer = field(init=False)
    progress: Progress = field(init=False)
    log: MetricsLog | None = field(init=False, default=None)

    def run(self) -> Progress:
        """Train from where the checkpoint stands; in the end the method holds the selected weights.

        Raises:
            TrainingError: A loss is not finite.
            KeyboardInterrupt: ``stop`` said so; a checkpoint was written.
        """
        path = self.folder / CHECKPOINT
        self.progress = read_progress(path) if path.exists() else Progress()
        if self.fabric.is_global_zero:
            self.log = MetricsLog(self.folder, keep_epochs=self._epochs_before + self.progress.epoch)
        try:
            resumed = path.exists()
            while self.progress.stage < len(self.plan):
                self._stage(resumed=resumed)
                resumed = False
        finally:
            if self.log is not None:
                self.log.close()
        return self.progress

    @property
    def _epochs(self) -> int:
        """Epochs of the present stage."""
        return int(self.settings.epochs)

    @property
    def _epochs_before(self) -> int:
        """Epochs of the stages before it: random numbers and the order of images go on from there."""
        return sum(int(settings.epochs) for _, settings in self.plan[: self.progress.stage])

    @property
    def _batches(self) -> int:
        return ceil(self.feeder.examples.per_epoch / self.settings.batch_size)

    def _stage(self, *, resumed: bool) -> None:
        stage, self.settings = self.plan[self.progress.stage]
        self._start(stage, resumed=resumed)
        self.feeder.pseudo = self.label(stage)
        self.feeder.needs_images = stage.images or self.method.needs.images
        self.listener.begin(
            stage.name if len(self.plan) == 1 else f"training {stage.name}",
            self._epochs * self._batches,
            self.progress.epoch * self._batches + self.progress.batch,
        )
        while self.progress.epoch < self._epochs:
            self._epoch()
            record = self._close_epoch(stage)
            if self.log is not None:
                self.log.write(record)
            self._save()
            if self.fabric.is_global_zero:
                self._kept.only(_chosen(self.progress))
            self.listener.epoch(record)
        self.listener.end()
        self._select(stage)

    def _select(self, stage: Stage) -> None:
        """End a stage with the weights that its criterion chose; those of the last epoch are kept too."""
        ruling, last = self.tracker.ruling(stage), self._epochs_before + self._epochs - 1
        if ruling not in self.progress.best:  # no image of val could tell
            ruling = LAST
        if self.fabric.is_global_zero and last not in self._kept:
            self._kept.save(last, self.method)
        self.fabric.barrier()
        chosen = self.progress.best[ruling]
        if chosen["epoch"] != last:
            self._kept.load(chosen["epoch"], self.method)
        done = {"stage": stage.name, "by": ruling, **chosen, "best": self.progress.best}
        self.progress = self.progress.after(stage=self.progress.stage + 1, epoch=0, past=(*self.progress.past, done))

    @property
    def _kept(self) -> Kept:
        return Kept(self.folder)

    def _start(self, stage: Stage, *, resumed: bool) -> None:
        self.method.enter(stage)
        self.optimizer = optim.build_optimizer(self.method, self.settings)
        if resumed:
            self.progress = load_checkpoint(self.folder / CHECKPOINT, self.method, self.optimizer)
        else:
            self.progress = self.progress.after(best={})
        self.step = Step(self.method, multi_label=self.multi_label)
        self.module, self.wrapped = self.fabric.setup(self.step, self.optimizer)
        if not resumed and self.progress.stage:
            self._save()
            if self.fabric.is_global_zero:
                self._kept.only(())  # of the stage before, whose weights are in the checkpoint now

    def _epoch(self) -> None:
        """The batches of this epoch that are left."""
        self.method.train()
        session, saved, spent = time.monotonic(), time.monotonic(), self.progress.seconds
        for parts in self.feeder.steps(self._epochs_before + self.progress.epoch, self.progress.batch):
            self._step(parts)
            now = time.monotonic()
            self.progress = self.progress.after(batch=self.progress.batch + 1, seconds=spent + now - session)
            if self.stop():
                self._save()
                raise KeyboardInterrupt
            if now - saved > self.settings.checkpoint_minutes * 60:
                self._save()
                saved = now

    def _step(self, parts: list[Part]) -> None:
        """One step of the optimiser over the parts of a batch."""
        step = self.progress.epoch * self._batches + self.progress.batch
        total = self._epochs * self._batches
        optim.set_rate(self.optimizer, self._rate(step))
        seen = self._epochs_before * self._batches + step
        torch.manual_seed(derive(self.settings.seed, "step", seen, self.fabric.global_rank))
        self.wrapped.zero_grad(set_to_none=True)
        sums = dict(self.progress.sums)
        for number, part in enumerate(parts):
            with self.fabric.no_backward_sync(self.module, enabled=number + 1 < len(parts)):
                losses = self._losses(part, step / total)
                self._check_finite(losses, part)
                self.fabric.backward(torch.stack(list(losses.values())).sum() * part.weight)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.item() * part.weight
        if self.settings.clip is not None:
            self.fabric.clip_gradients(self.module, self.wrapped, max_norm=self.settings.clip)
        self.wrapped.step()
        self.progress = self.progress.after(sums=sums)
        self.listener.advance(1, **{name: value / (self.progress.batch + 1) for name, value in sums.items()})

    def _losses(self, part: Part, progress: float) -> dict[str, Tensor]:
        self.step.pseudo = part.pseudo
        losses: dict[str, Tensor] = self.module(
            part.images, part.labels, part.targets, part.index, progress, *part.cached
        )
        return losses

    def _rate(self, step: int) -> float:
        total = self._epochs * self._batches
        return self.settings.learning_rate * optim.rate_factor(self.settings, step, total, self._batches)

    def _check_finite(self, losses: dict[str, Tensor], part: Part) -> None:
        bad = {name: value.item() for name, value in losses.items() if not torch.isfinite(value)}
        if not bad:
            return
        terms = ", ".join(f"{name} is {value}" for name, value in bad.items())
        names = ", ".join(self.feeder.examples.items[i].name for i in part.index[:4].tolist())
        raise TrainingError(
            f"the loss is not finite: {terms} in epoch {self.progress.epoch + 1}, batch {self.progress.batch + 1} "
            f"(images {names}, ...). What was learnt up to the last checkpoint is kept. Lower training.learning_rate, "
            "or set training.clip=1 or training.precision=32, and train into another folder."
        )

    def _close_epoch(self, stage: Stage) -> dict[str, Any]:
        """Select weights at the end of an epoch, and give the epoch's record."""
        batches, epoch = self._batches, self._epochs_before + self.progress.epoch
        self.feeder.examples.check_readable()
        means = {name: self._over_devices(value / batches) for name, value in self.progress.sums.items()}
        look = self.tracker.look(stage)
        self._track(look, stage, epoch)
        rate = self._rate((self.progress.epoch + 1) * batches - 1)  # of the epoch's last step
        record: dict[str, Any] = {"epoch": epoch, "step": (epoch + 1) * batches, "learning_rate": rate}
        if len(self.plan) > 1:
            record["stage"] = stage.name
        record |= {f"loss/{name}": value for name, value in means.items()}
        record |= look.record()
        value = look.value(self.tracker.ruling(stage))
        if value is not None:
            record["select"] = value
        self.progress = self.progress.after(epoch=self.progress.epoch + 1, batch=0, sums={})
        return record

    def _track(self, look: Look, stage: Stage, epoch: int) -> None:
        """Keep the weights of this epoch if a criterion says that they are the best, and those of no epoch else."""
        best = self.tracker.better(self.progress.best, look, stage, epoch)
        self.progress = self.progress.after(best=best)
        if self.fabric.is_global_zero and epoch in _chosen(self.progress):
            self._kept.save(epoch, self.method)

    def _over_devices(self, value: float) -> float:
        reduced = self.fabric.all_reduce(torch.tensor(value, device=self.fabric.device), reduce_op="mean")
        return float(reduced)  # type: ignore[arg-type]

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            save_checkpoint(self.folder / CHECKPOINT, self.method, self.optimizer, self.progress)


def _chosen(progress: Progress) -> set[int]:
    """The epochs of this stage that are the best by some figure."""
    return {int(each["epoch"]) for criterion, each in progress.best.items() if criterion != LAST}
