"""The networks of an annotation job for a user who names no classifier: a backbone, and a probe fitted to the data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from boxless.backbones import weights
from boxless.backbones.base import Backbone
from boxless.backbones.build import build_backbone, preprocessing_of
from boxless.data.catalog import Catalog
from boxless.data.transforms import Preprocess
from boxless.errors import DataError
from boxless.files import atomic_write
from boxless.listener import Listener
from boxless.pseudo.probe import build_probe, fit_probe
from boxless.pseudo.store import network_digest
from boxless.pseudo.teacher import Teacher
from boxless.training.examples import Examples
from boxless.training.resolve import pick_image_size
from boxless.types import Item


@dataclass(frozen=True, slots=True)
class Probed:
    """A frozen backbone, a probe on it, and how both take images."""

    backbone: Backbone
    teacher: Teacher
    preprocess: Preprocess


def open_probed(
    catalog: Catalog,
    device: torch.device,
    *,
    backbone: str | None,
    image_size: int | None,
    folder: Path | None,
    listener: Listener,
) -> Probed:
    """A frozen backbone and a probe on it that learnt the classes of the train split.

    The probe is kept in ``folder`` by what it was fitted to: proposals are found again by the weights of their
    classifier, and a job that goes on must not depend on the last digits of another fit.

    Args:
        catalog: The data.
        device: Where all goes.
        backbone: A name; None takes that of a training where none is named.
        image_size: Side of the square input; None takes that of such a training.
        folder: For the probe; None keeps none.
        listener: Hears of the progress, and of the backbone's choice.

    Raises:
        DataError: The data have no train split, or none of its images can be read.
        UnknownNameError, ConfigError, WeightsError: Of the backbone.
    """
    items = catalog.splits["train"]
    if not items:
        raise DataError(
            f"{catalog.root}: there is no train split, from whose class labels a classifier could be fitted; name one "
            "with --classifier: a finished run, a timm model of these classes, or a CLIP model."
        )
    name = backbone
    if name is None:
        name, reason = weights.choose()
        listener.note(reason)
    side = image_size or pick_image_size(items, accelerator=device.type != "cpu")
    preprocess = Preprocess(side, *preprocessing_of(name)[1:])
    network = build_backbone(name, image_size=side).to(device).eval().requires_grad_(requires_grad=False)
    count = len(catalog.classes)
    path = None if folder is None else folder / f"probe-{_digest(network, items, preprocess)}.safetensors"
    probe = None if path is None else _kept(path, network, count)
    if probe is None:
        probe = fit_probe(network, Examples(items, count, preprocess), device, listener=listener)
        if path is not None:
            with atomic_write(path, "wb") as file:
                state: dict[str, torch.Tensor] = probe.get_submodule("fc").state_dict()
                file.write(safetensors.torch.save({name: tensor.cpu() for name, tensor in state.items()}))
    return Probed(network, Teacher(probe.eval(), lambda images: images), preprocess)


def _kept(path: Path, backbone: Backbone, num_classes: int) -> nn.Module | None:
    """The probe that an earlier call fitted; None where there is none that can be read."""
    probe = build_probe(backbone, num_classes)
    try:
        probe.get_submodule("fc").load_state_dict(safetensors.torch.load_file(path))
    except (OSError, SafetensorError, RuntimeError):
        return None
    return probe


def _digest(backbone: Backbone, items: tuple[Item, ...], preprocess: Preprocess) -> str:
    """Of all that a probe follows from; images count by name, size and time, since there may be a million of them."""
    digest = hashlib.blake2b(digest_size=16)
    about = [network_digest(backbone), preprocess.size, *preprocess.mean, *preprocess.std]
    digest.update(json.dumps(about).encode())
    for item in items:
        try:
            status = item.path.stat()
            stated = (status.st_size, status.st_mtime_ns)
        except OSError:
            stated = (0, 0)
        digest.update(json.dumps([item.name, item.labels, stated]).encode())
    return digest.hexdigest()
