"""What annotators of val ask before a run has learnt anything: a copy of its backbone, and a classifier."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from boxless.backbones.base import Backbone
from boxless.data.transforms import Preprocess
from boxless.listener import Listener
from boxless.methods.base import Method
from boxless.pseudo.annotators import Material
from boxless.pseudo.probe import fit_probe
from boxless.pseudo.teacher import AS_NAMED, PROBE, Teacher, is_zero_shot, open_teacher
from boxless.recipe import Recipe
from boxless.training.examples import Examples


@dataclass(frozen=True, slots=True)
class Materials:
    """Networks for annotators; a classifier that several of them ask is made once.

    Args:
        recipe: All settings; ``protocol.classifier`` names the classifier of annotators that have none of their own.
        method: What will learn.
        classes: Of the data.
        train_set: The images that a probe learns from.
        preprocess: How images are prepared for the backbone.
        device: Where all goes.
        listener: Hears of the progress.
        stop: Called between passes; it may raise to end the work.
    """

    recipe: Recipe
    method: Method
    classes: Sequence[str]
    train_set: Examples
    preprocess: Preprocess
    device: torch.device
    listener: Listener
    stop: Callable[[], None]
    _teachers: dict[str, Teacher] = field(default_factory=dict)

    def __call__(self, own: str) -> Material:
        """For an annotator with a classifier of its ``own``, or an empty name for the one that the recipe names.

        Raises:
            BoxlessError: The classifier cannot be had; see `boxless.pseudo.teacher.open_teacher`.
        """
        name = own or self.recipe.protocol.classifier
        if name not in self._teachers:
            self._teachers[name] = self._probe() if name == PROBE else self._opened(name)
        return Material(self._backbone(), self._teachers[name], len(self.classes), self.preprocess)

    def _backbone(self) -> Backbone:
        return copy.deepcopy(self.method.backbone).eval().requires_grad_(requires_grad=False)

    def _probe(self) -> Teacher:
        network = fit_probe(self._backbone(), self.train_set, self.device, listener=self.listener, stop=self.stop)
        return Teacher(network, lambda images: images)

    def _opened(self, name: str) -> Teacher:
        text = self.recipe.text if is_zero_shot(name) else AS_NAMED
        return open_teacher(name, self.classes, self.preprocess, self.device, text=text, note=self.listener.note)
