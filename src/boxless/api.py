"""The verbs in Python; the command line calls these very functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxless.errors import ConfigError

if TYPE_CHECKING:
    from boxless.data.checks import Inspection
    from boxless.listener import Listener
    from boxless.recipe import Recipe
    from boxless.search.session import Found
    from boxless.training.session import Trained


def train(
    source: str | Path | None,
    out: str | Path,
    *,
    method: str | None = None,
    backbone: str | None = None,
    recipe: Recipe | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    freeze: bool | None = None,
    epochs: int | None = None,
    image_size: int | None = None,
    seed: int | None = None,
    select_by: str | None = None,
    pseudo_boxes: str | Sequence[str] | None = None,
    format: str | None = None,  # noqa: A002
    images: str | Path | None = None,
    resume: bool = False,
    trust: bool = False,
    device: str = "auto",
    listener: Listener | None = None,
) -> Trained:
    """Train a localizer from labelled images into the run folder ``out``.

    What is None comes from the recipe, or else is the default. Where several say the same thing, the last of these
    counts: defaults, the recipe, the named arguments, ``settings``.

    Args:
        source: A folder, a file, or ``sample``; None with ``resume``, or if the recipe names it.
        out: The run folder, made if need be.
        method: A method of ``boxless list methods``, or ``module:Class``; of None the recipe decides, and without one
            the default, which is another where images show several classes.
        backbone: A timm model name, or ``auto``.
        recipe: A recipe, or the path of a recipe file.
        settings: Further settings, such as ``{"training.batch_size": 16}``.
        freeze: Keep the backbone as it is and train the head alone.
        epochs: Passes over the training images.
        image_size: Side of the square network input, in pixels.
        seed: Decides every random number of the run.
        select_by: Which weights are kept: the best on val by its ``pseudo``-boxes, by ``classification``, by true boxes
            (``oracle``), or the ``last``.
        pseudo_boxes: Where val's pseudo-boxes come from: annotators of ``boxless list annotators`` or files, in a
            sequence or a comma list. The first selects and gives the threshold.
        format: The format of ``source``, if it is not to be found out.
        images: Where the pictures are, for formats that list them.
        resume: Go on with the unfinished run in ``out``, by the recipe that is kept there; takes no other setting.
        trust: Whether code that a recipe's file or a run names, ``module:Class``, may be loaded, which runs it; what
            ``method`` and ``settings`` name is the caller's own.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        listener: Hears of the progress.

    Raises:
        BoxlessError: One of its kinds, whose message says what to do.
    """
    from boxless.recipe import Recipe
    from boxless.training.session import train as run
    from boxless.trust import trusting

    named = {
        "method.name": "auto" if method is None and recipe is None and not resume else method,
        "backbone.name": backbone,
        "backbone.freeze": freeze,
        "training.epochs": epochs,
        "training.seed": seed,
        "protocol.select": select_by,
        "protocol.boxes": pseudo_boxes if pseudo_boxes is None or isinstance(pseudo_boxes, str) else [*pseudo_boxes],
        "data.image_size": image_size,
        **_of_data(source, format, images),
    }
    given = {key: value for key, value in named.items() if value is not None} | dict(settings or {})
    folder = Path(out)
    if resume:
        _check_resume(folder, given, has_recipe=recipe is not None)
    with trusting(trust):
        if resume:
            own = with_settings(Recipe(), {key: given[key] for key in ("method.name",) if key in given})
            return run(own, folder, resume=True, device=device, listener=listener)
        return run(_chosen(recipe, given), folder, device=device, listener=listener)


def search(
    source: str | Path | None,
    out: str | Path,
    *,
    trials: int = 20,
    method: str | None = None,
    recipe: Recipe | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    space: Sequence[str] = (),
    address: str | None = None,
    format: str | None = None,  # noqa: A002
    images: str | Path | None = None,
    trust: bool = False,
    listener: Listener | None = None,
    **plan: Any,
) -> Found:
    """Try settings of a method side by side into the folder ``out``; each trial is a run.

    Args:
        source: As for `train`.
        out: The folder of the search; on a cluster all machines must see it.
        trials: How many settings are tried.
        method: As for `train`.
        recipe: What all trials start from.
        settings: Further settings that all trials have; they are not searched.
        space: Entries such as ``training.learning_rate=1e-4..1e-2:log``, ``method.NAME=null``, or YAML files, that
            replace the usual ones or are added.
        address: Of a Ray cluster; None works on this machine alone.
        format: As for `train`.
        images: As for `train`.
        trust: As for `train`.
        listener: Hears of the progress.
        plan: Further settings of `boxless.search.Plan`, such as ``gpus=0.5``.

    Raises:
        BoxlessError: One of its kinds, whose message says what to do.
    """
    from boxless.search.session import Plan
    from boxless.search.session import search as run
    from boxless.search.space import read_space
    from boxless.settings import build
    from boxless.trust import trusting

    named = {"method.name": method, **_of_data(source, format, images)}
    given = {key: value for key, value in named.items() if value is not None} | dict(settings or {})
    how, fixed = build(Plan, {"trials": trials, **plan}, "search"), tuple(settings or ())
    with trusting(trust):
        chosen, ranges = _chosen(recipe, given), read_space(space)
        return run(chosen, Path(out), how, space=ranges, fixed=fixed, address=address, listener=listener)


def inspect(
    source: str | Path,
    *,
    format: str = "auto",  # noqa: A002
    images: str | Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    listener: Listener | None = None,
) -> Inspection:
    """What data hold and what is wrong with them; see :func:`boxless.data.checks.inspect`.

    ``listener`` hears of what `read_catalog` may have to do first.
    """
    from boxless.data.catalog import read_catalog
    from boxless.data.checks import inspect as look

    catalog = read_catalog(source, format=format, images=images, listener=listener)
    return look(catalog, workers=workers, progress=progress)


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with ``{"section.setting": value}`` applied in order.

    Raises:
        ConfigError: There is no such section or setting, or a value does not fit.
    """
    for key, value in settings.items():
        section, dot, name = key.partition(".")
        if not (dot and name):
            raise ConfigError(f"setting {key!r}: expected section.setting, such as training.epochs.")
        if section == "training" and name.startswith("stages."):
            name, value = "stages", _of_stage(recipe, key, value)
        recipe = recipe.override(**{section: {name: value}})
    return recipe


def _of_stage(recipe: Recipe, key: str, value: object) -> dict[str, Any]:
    """The settings of all stages with ``training.stages.STAGE.SETTING`` set."""
    _, _, stage, *rest = key.split(".")
    if len(rest) != 1:
        raise ConfigError(f"setting {key!r}: expected training.stages.STAGE.SETTING.")
    kept = {name: dict(settings) for name, settings in recipe.training.stages.items()}
    kept.setdefault(stage, {})[rest[0]] = value
    return kept


def _chosen(recipe: Recipe | str | Path | None, given: Mapping[str, Any]) -> Recipe:
    """The recipe with what was given on top.

    Raises:
        ConfigError: No data was named, or the recipe's file names code; see `boxless.trust`.
    """
    from boxless.recipe import Recipe, read_recipe
    from boxless.trust import refuse_code

    base = recipe if isinstance(recipe, Recipe) else Recipe() if recipe is None else read_recipe(Path(recipe))
    chosen = with_settings(base, given)
    if isinstance(recipe, (str, Path)):
        refuse_code(chosen, recipe, own=[str(value) for value in given.values()])
    if not chosen.data.source:
        raise ConfigError("no data was named; give a folder of images sorted by class, a file, or 'sample'.")
    return chosen


def _of_data(source: str | Path | None, format_name: str | None, images: str | Path | None) -> dict[str, str | None]:
    return {
        "data.format": format_name,
        "data.images": None if images is None else str(Path(images).absolute()),
        "data.source": None if source is None else _lasting(source),
    }


def _lasting(source: str | Path) -> str:
    """The source as it can be found again from any folder; the names of bundled data are not paths."""
    from boxless.data.catalog import BUNDLED

    return str(source) if source in BUNDLED else str(Path(source).expanduser().absolute())


def _check_resume(folder: Path, given: Mapping[str, Any], *, has_recipe: bool) -> None:
    """Refuse settings that a resumed run would have to ignore; the run's own data and method may be named again."""
    from boxless.recipe import read_recipe
    from boxless.runs import RECIPE

    if not (folder / RECIPE).exists():
        return  # there is nothing to resume, which is said where that is found out
    kept = read_recipe(folder / RECIPE)
    source, own = kept.data.source, {"data.source": kept.data.source, "method.name": kept.method.name}
    if given.get("data.source", source) != source:
        raise ConfigError(f"{folder}: this run learns from {source}; leave out the data, or start in another folder.")
    refused = [*(["the recipe"] if has_recipe else []), *(key for key in given if own.get(key) != given[key])]
    if refused:
        raise ConfigError(
            f"{folder}: a resumed run goes on by its own recipe ({folder / RECIPE}), so it takes no "
            f"{', '.join(refused)}; leave that out, or start anew in another folder."
        )
