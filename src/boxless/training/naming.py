"""What a method is told of class names: which text model a recipe means, and the embeddings that it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from boxless.backbones.base import Backbone
from boxless.backbones.open_clip_models import FAMILY, FOLDER
from boxless.errors import ConfigError
from boxless.methods import METHODS
from boxless.methods.base import Method
from boxless.recipe import Recipe, Text
from boxless.settings import settings_of
from boxless.text.classes import ClassTexts, class_texts
from boxless.text.towers import SUFFIX, FileText, TextTower, dimensions, open_text

AUTO, NONE = "auto", "none"
DIMENSIONS = "dimensions"


def settle_text(recipe: Recipe, *, note: Callable[[str], None]) -> Recipe:
    """The recipe with the text model that is meant, and with a method's ``dimensions`` as wide as its embeddings.

    Files and folders of models and names are given whole, so that a run can be resumed from any folder.

    Raises:
        ConfigError: The method needs text and the recipe names none, or it takes none and the recipe names some.
        UnknownNameError, DataError: There is no such text model, or its file cannot be read.
    """
    kind: type[Method] = METHODS.load(recipe.method.name)
    recipe = _with_whole_paths(recipe)
    if not kind.needs.text:
        if recipe.text != Text() and not _is_model(recipe.pseudo.classifier):
            raise ConfigError(
                f"text: neither method {recipe.method.name} nor the classifier of its pseudo-labels reads class names; "
                "leave this section out."
            )
        return recipe
    model = _settled_model(recipe, kind.needs.text, note)
    templates = recipe.text.templates
    if templates == AUTO and not _is_model(recipe.pseudo.classifier):
        templates = kind.needs.templates  # else that of each of the two papers
    settled = {"model": model, "templates": templates} if model != NONE else {"model": model}
    recipe = recipe.override(text=settled)
    declared = {each.name for each in settings_of(kind)}
    if model != NONE and DIMENSIONS in declared and DIMENSIONS not in recipe.method.settings:
        recipe = recipe.override(method={DIMENSIONS: dimensions(model)})
    return recipe


def _settled_model(recipe: Recipe, wanted: str, note: Callable[[str], None]) -> str:
    method, backbone, model = recipe.method.name, recipe.backbone.name, recipe.text.model
    if model == AUTO:
        model = backbone if _is_model(backbone) else NONE
        if model == NONE and wanted == "optional":
            note(
                f"text: backbone {backbone} has no text tower and the recipe names none, so class names mean nothing "
                "to this run; name one as text.model, such as open_clip:ViT-B-16/openai."
            )
    if wanted == "required" and model == NONE:
        mend = f"backbone {backbone} has no text tower; take one that has, such as open_clip:ViT-B-16/openai."
        if _is_model(backbone):
            mend = f"none are asked for; leave this setting out, for the text tower of {backbone}."
        raise ConfigError(f"text.model: method {method} reads class names, and {mend}")
    if wanted == "required" and _is_model(model) and model != backbone:
        note(
            f"text.model: {model} is not the model of backbone {backbone}; method {method} compares images with texts, "
            "which means nothing unless both towers were trained together."
        )
    return model


def name_classes(recipe: Recipe, method: Method, classes: Sequence[str], *, note: Callable[[str], None]) -> None:
    """Tell a method the embeddings of its classes' names, if it reads any.

    Raises:
        ConfigError, DataError: As `boxless.text.class_texts`.
        WeightsError: The text tower's weights cannot be had.
    """
    if not method.needs.text:
        return
    if recipe.text.model == NONE:
        method.leave_unnamed()
        return
    tower = _tower(recipe, method.backbone)
    method.name_classes(texts_of(tower, recipe.text, classes, default=method.needs.templates, note=note))


def texts_of(
    tower: TextTower | FileText, text: Text, classes: Sequence[str], *, default: str, note: Callable[[str], None]
) -> ClassTexts:
    """The embeddings of classes as a recipe's section says; ``default`` templates where it says none."""
    names = Path(text.names) if text.names else None
    return class_texts(
        tower, classes, names=names, templates=default if text.templates == AUTO else text.templates, note=note
    )


def whole(name: str) -> str:
    """The name of a network or a text model with its folder or file, if it has one, from the root."""
    for prefix in (f"{FAMILY}{FOLDER}", "clipseg:", ""):
        place = Path(name.removeprefix(prefix))
        if name.startswith(prefix) and (place.is_dir() if prefix else place.suffix == SUFFIX):
            return f"{prefix}{place.absolute()}"
    return name


def _with_whole_paths(recipe: Recipe) -> Recipe:
    text = recipe.text
    names = None if text.names is None else str(Path(text.names).absolute())
    return recipe.override(
        backbone={"name": whole(recipe.backbone.name)}, text={"model": whole(text.model), "names": names}
    )


def _tower(recipe: Recipe, backbone: Backbone) -> TextTower | FileText:
    if recipe.text.model == recipe.backbone.name:
        return backbone.text_tower()
    return open_text(recipe.text.model)


def _is_model(name: str) -> bool:
    """Whether it is the name of a network with a text tower, as against one of timm or a folder of a run."""
    return ":" in name and not Path(name).exists()
