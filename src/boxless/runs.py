"""A run folder: the recipe, the weights, and the card that says how the run came about."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import torch

from boxless import __version__
from boxless.backbones.base import Backbone
from boxless.backbones.build import build_backbone
from boxless.cards import wrong
from boxless.data.transforms import Preprocess
from boxless.devices import pick_device
from boxless.errors import ConfigError, RunError, UnknownNameError, shown
from boxless.files import write_json
from boxless.methods import METHODS
from boxless.methods.base import Method
from boxless.parsing import parse_json
from boxless.recipe import Pseudo, Recipe, Text, read_recipe
from boxless.settings import build
from boxless.training.checkpoints import load_tensors, save_tensors
from boxless.trust import refuse_code, trusting

if TYPE_CHECKING:
    from boxless.data.catalog import Catalog

RUN_VERSION = 2
RECIPE, WEIGHTS, CARD = "recipe.yaml", "model.safetensors", "card.json"


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run, loaded and ready to localize."""

    folder: Path
    recipe: Recipe
    card: Mapping[str, Any]
    classes: tuple[str, ...]
    method: Method  # in evaluation mode, on the device
    preprocess: Preprocess
    threshold: str | float  # "otsu" for each map, or a fraction of each map's maximum
    multi_label: bool
    device: torch.device
    digest: str  # of the weights and what else decides a prediction
    criterion: str = ""  # what selected these weights


def build_method(recipe: Recipe, num_classes: int, *, pretrained: bool) -> Method:
    """The method of a resolved recipe on its backbone.

    Raises:
        ConfigError: The method does not have such a setting, or the backbone does not give what the method needs.
        UnknownNameError: No such method or backbone.
    """
    kind: type[Method] = METHODS.load(recipe.method.name)
    backbone = build_backbone(
        recipe.backbone.name,
        weights=recipe.backbone.weights if pretrained else "random",
        image_size=int(recipe.data.image_size),
        output_stride=recipe.backbone.output_stride,
        dilate=recipe.backbone.dilate,
    )
    check_fit(recipe.method.name, kind, recipe.backbone.name, backbone)
    if recipe.backbone.freeze is True:
        backbone.freeze()
    return build(kind, recipe.method.settings, "method", backbone, num_classes)


def check_fit(method: str, kind: type[Method], name: str, backbone: Backbone) -> None:
    """Refuse a backbone that does not give what a method needs, with the names of those that do.

    Raises:
        ConfigError: They do not fit.
    """
    if kind.needs.prefix_tokens and not backbone.prefix_tokens:
        from boxless.backbones.table import BACKBONES

        fitting = ", ".join(row.name for row in BACKBONES if row.prefix_tokens)
        raise ConfigError(
            f"method {method} needs a class token, which backbone {name} does not have; fitting: {fitting}."
        )


def save_run(folder: Path, method: Method, recipe: Recipe, catalog: Catalog, facts: Mapping[str, Any]) -> None:
    """Write weights and card; the card comes last, so that a folder with a card is a finished run."""
    save_tensors(folder / WEIGHTS, method.state_dict())
    card = {
        "run_version": RUN_VERSION,
        "boxless": __version__,
        "classes": list(catalog.classes),
        "multi_label": catalog.multi_label,
        "data": {
            "source": str(catalog.source or catalog.root),
            "format": catalog.format,
            "split_rule": catalog.split_rule,
            "images": {split: len(items) for split, items in catalog.splits.items()},
        },
        **({"pseudo_labels": recipe.to_dict()["pseudo"]} if recipe.pseudo != Pseudo() else {}),
        **({"text": recipe.to_dict()["text"]} if recipe.text != Text() else {}),
        "method": recipe.method.name,
        "backbone": {
            "name": recipe.backbone.name,
            "licence": method.backbone.licence if recipe.backbone.weights != "random" else "none (random)",
            "frozen": recipe.backbone.freeze,
        },
        "box_rule": "largest 8-connected component above the threshold",
        "resolution": int(recipe.data.image_size),
        "seed": recipe.training.seed,
        "versions": {name: version(name) for name in ("torch", "timm", "numpy", "pillow", *_extras(recipe))},
        "python": platform.python_version(),
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }
    write_json(folder / CARD, card)


def open_run(
    folder: str | Path, device: str | torch.device = "auto", criterion: str | None = None, *, trust: bool = False
) -> Run:
    """Load a finished run.

    Args:
        folder: Of the run.
        device: Where it goes.
        criterion: Take the weights that another criterion selected, of those in the card's ``criteria``, with the
            threshold found for them, if that criterion gives one; None takes what the run predicts with.
        trust: Whether a recipe that names code, ``module:Class``, may have it loaded, which runs it.

    Raises:
        ConfigError: The recipe names code, and ``trust`` was not given.
        UnknownNameError: The run knows no such criterion.
        RunError: The folder is missing, is no run, is unfinished, or was written by another version.
    """
    folder = Path(folder)
    card = read_card(folder)
    try:
        recipe = read_recipe(folder / RECIPE)
    except ConfigError as error:
        raise RunError(f"{folder}: the run's recipe cannot be used: {error}") from error
    with trusting(trust):
        refuse_code(recipe, folder / RECIPE)
    classes, threshold = tuple(card["classes"]), card["threshold"]["rule"]
    method, weights = build_method(recipe, len(classes), pretrained=False), [WEIGHTS]
    if criterion is not None:
        if criterion not in card["criteria"]:
            raise UnknownNameError("selection criterion", criterion, card["criteria"])
        other = card["criteria"][criterion]
        weights += [other["weights"]] if other["weights"] != WEIGHTS else []
        threshold = threshold if other["threshold"] is None else other["threshold"]
    for number, name in enumerate(weights):
        _load(method, folder, name, partly=number > 0)  # what another criterion chose is without a frozen backbone
    chosen = pick_device(device)
    method = method.to(chosen).eval().requires_grad_(requires_grad=False)
    return Run(
        folder,
        recipe,
        card,
        classes,
        method,
        Preprocess(int(recipe.data.image_size), method.backbone.mean, method.backbone.std),
        threshold,
        bool(card["multi_label"]),
        chosen,
        _digest([folder / name for name in weights], recipe, threshold),
        criterion or str(card["selection"]["by"]),
    )


def _load(method: Method, folder: Path, name: str, *, partly: bool) -> None:
    tensors = load_tensors(folder / name)
    try:
        found = method.load_state_dict(tensors, strict=not partly)
    except RuntimeError as error:
        raise RunError(f"{folder / name}: its tensors do not fit {folder / RECIPE}; the run is damaged.") from error
    if found.unexpected_keys:
        raise RunError(f"{folder / name}: its tensors do not fit {folder / RECIPE}; the run is damaged.")


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a finished run.

    Raises:
        RunError: There is none, or another version wrote it.
    """
    if not folder.is_dir():
        raise RunError(
            f"{folder}: there is no such run folder; make one with: boxless train DATA --out {quote(str(folder))}"
        )
    if not (folder / CARD).exists():
        if (folder / RECIPE).exists():
            raise RunError(
                f"{folder}: the run is unfinished; go on with: boxless train --resume --out {quote(str(folder))}"
            )
        raise RunError(
            f"{folder}: this is no run folder (no {CARD} in it); give the folder that 'boxless train --out' wrote."
        )
    try:
        card: dict[str, Any] = parse_json((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder / CARD}: cannot be read ({error}); the run is damaged.") from error
    if not isinstance(card, dict):
        raise RunError(f"{folder / CARD}: it holds no mapping of names to values; the run is damaged.")
    if card.get("run_version") != RUN_VERSION:
        raise RunError(
            f"{folder}: run format {shown(card.get('run_version'))} of boxless {card.get('boxless', '?')}; this is "
            f"boxless {__version__}, which reads format {RUN_VERSION}. Use that version, or train again."
        )
    if reason := wrong(card):
        raise RunError(f"{folder / CARD}: it does not say what a card has to ({reason}); the run is damaged.")
    return card


def _extras(recipe: Recipe) -> tuple[str, ...]:
    named = (recipe.backbone.name, recipe.text.model, recipe.pseudo.classifier)
    families = {"open_clip:": "open_clip_torch", "clipseg:": "transformers"}
    return tuple(package for family, package in families.items() if any(name.startswith(family) for name in named))


def _digest(weights: Sequence[Path], recipe: Recipe, threshold: str | float) -> str:
    content = hashlib.sha256()
    for path in weights:
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    content.update(json.dumps([recipe.to_dict(), threshold], sort_keys=True).encode())
    return content.hexdigest()[:32]


def _commit() -> str | None:
    """The commit of boxless itself, when it runs from a checkout; not that of a project it is installed in."""
    if not (Path(__file__).parents[2] / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
