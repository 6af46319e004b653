"""What a method is told of class names: which text model a recipe means, and the embeddings that it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from boxless.backbones.base import Backbone
from boxless.errors import ConfigError
from boxless.methods import METHODS
from boxless.methods.base import Method
from boxless.recipe import Recipe, Text
from boxless.settings import settings_of
from boxless.text.classes import ClassTexts, class_texts
from boxless.text.towers import FileText, TextTower, dimensions, open_text

AUTO, NONE = "auto", "none"
DIMENSIONS = "dimensions"


def settle_text(recipe: Recipe, *, note: Callable[[str], None]) -> Recipe:
    """The recipe with the text model that is meant, and with a method's ``dimensions`` as wide as its embeddings.

    Raises:
        ConfigError: The method needs text and the recipe names none, or it takes none and the recipe names some.
        UnknownNameError, DataError: There is no such text model, or its file cannot be read.
    """
    kind: type[Method] = METHODS.load(recipe.method.name)
    if not kind.needs.text:
        if recipe.text != Text() and not _is_model(recipe.pseudo.classifier):
            raise ConfigError(
                f"text: neither method {recipe.method.name} nor the classifier of its pseudo-labels reads class names; "
                "leave this section out."
            )
        return recipe
    model = recipe.text.model
    if model == AUTO:
        model = recipe.backbone.name if _is_model(recipe.backbone.name) else NONE
        if model == NONE and kind.needs.text == "optional":
            note(
                f"text: backbone {recipe.backbone.name} has no text tower and the recipe names none, so class names "
                "mean nothing to this run; name one as text.model, such as open_clip:ViT-B-16/openai."
            )
    if model == NONE and kind.needs.text == "required":
        raise ConfigError(
            f"text.model: method {recipe.method.name} reads class names, and backbone {recipe.backbone.name} has no "
            "text tower; take a backbone that has one, such as open_clip:ViT-B-16/openai."
        )
    templates = kind.needs.templates if recipe.text.templates == AUTO else recipe.text.templates
    names = recipe.text.names if recipe.text.names is None else str(Path(recipe.text.names).absolute())
    settled = {"model": model, "templates": templates, "names": names} if model != NONE else {"model": model}
    recipe = recipe.override(text=settled)
    declared = {each.name for each in settings_of(kind)}
    if model != NONE and DIMENSIONS in declared and DIMENSIONS not in recipe.method.settings:
        recipe = recipe.override(method={DIMENSIONS: dimensions(model)})
    return recipe


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


def _tower(recipe: Recipe, backbone: Backbone) -> TextTower | FileText:
    if recipe.text.model == recipe.backbone.name:
        return backbone.text_tower()
    return open_text(recipe.text.model)


def _is_model(name: str) -> bool:
    """Whether it is the name of a network with a text tower, as against one of timm or a folder of a run."""
    return ":" in name and not Path(name).exists()
