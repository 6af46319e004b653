"""boxless show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxless.cli.options import Json
from boxless.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from boxless.cli.output import Output
    from boxless.methods.base import Stage


def show(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="method, backbone, run or recipe.")],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Its name, or the run's folder.")] = None,
    as_json: Json = False,
) -> None:
    r"""Say everything of one method, backbone, run or recipe.

    \b
      boxless show method NAME         its paper, what it needs, its settings
      boxless show backbone resnet50   its stages, licence and weights
      boxless show run runs/photos     how it came about
      boxless show recipe              every setting of train, with its default and meaning
    """
    from boxless.cli.output import Output

    if kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    if name is None and kind != "recipe":
        raise ConfigError(f"show {kind}: which one? Give its name, as in: boxless show {kind} NAME")
    with Output(as_json=as_json) as output:
        output.finish(KINDS[kind](name or "", output))


def _method(name: str, output: Output) -> dict[str, Any]:
    from dataclasses import asdict

    from boxless.cli.prose import argument_docs
    from boxless.methods import METHODS
    from boxless.settings import settings_of

    kind = METHODS.load(name)
    paper, needs, docs = kind.paper, asdict(kind.needs), argument_docs(kind)
    settings = [{**asdict(each), "meaning": docs.get(each.name, "")} for each in settings_of(kind)]
    space = {key: asdict(value) for key, value in kind.search_space.items()}
    output.say(f"{name}: {' '.join((kind.__doc__ or '').partition(chr(10) * 2)[0].split())}")
    output.say(f"\n{paper.authors}: {paper.title}. {paper.venue} {paper.year}. {paper.url}")
    told = [_NEEDS[key] for key in _NEEDS if needs.get(key) and (kind.needs.trains or key != "own_forward")]
    told += [_TEXT[kind.needs.text]] if kind.needs.text else []
    output.say(f"\nNeeds: {', '.join(told) or 'any backbone'}{'' if kind.needs.trains else '; no training'}")
    if len(kind.stages) > 1:
        output.say(f"Stages: {', then '.join(map(_stage, kind.stages))}")
    if not kind.class_specific:
        output.say("Map: one of the object, the same for every class")
    output.say("\nSettings (--set method.NAME=VALUE)")
    rows = [(s["name"], s["type"], _short(s["default"]), _range(space.get(s["name"])), s["meaning"]) for s in settings]
    output.table(rows, ("name", "type", "default", "search", "meaning"))
    return {
        "name": name,
        "paper": asdict(paper),
        "needs": needs,
        "stages": [asdict(stage) for stage in kind.stages],
        "class_specific": kind.class_specific,
        "settings": settings,
        "search_space": space,
    }


SHOWN = 4  # of a default that is a list
_NEEDS = {
    "prefix_tokens": "a backbone with a class token",
    "steering": "a plain vision transformer of timm",
    "images": "the images in its losses",
    "own_forward": "a forward pass of its own (features are not cached)",
}
_TEXT = {
    "required": "a backbone with a text tower (open_clip:..., clipseg:...)",
    "optional": "any backbone, and class names if there is a text tower for them (text.model)",
}


def _backbone(name: str, output: Output) -> dict[str, Any]:
    from boxless.backbones.build import build_backbone, whereabouts

    network = build_backbone(name, weights="random")
    parameters = sum(each.numel() for each in network.parameters()) / 1e6
    facts = {
        "name": name,
        "parameters": f"{parameters:.1f} million",
        "licence of the weights": network.licence,
        "weights": whereabouts(name),
        "class and register tokens": network.prefix_tokens,
        "dimensions shared with texts": network.text_dimensions,
        "mean": network.mean,
        "std": network.std,
    }
    output.table([(key, _value(value)) for key, value in facts.items()])
    output.say("\nStages, from fine to coarse")
    rows = [(str(i), s.name, str(s.stride), str(s.channels)) for i, s in enumerate(network.stages)]
    output.table(rows, ("index", "name", "stride", "channels"))
    stages = [{"name": s.name, "stride": s.stride, "channels": s.channels} for s in network.stages]
    return {**facts, "stages": stages}


def _run(name: str, output: Output) -> dict[str, Any]:
    from boxless.recipe import read_recipe
    from boxless.runs import RECIPE, read_card

    folder = Path(name)
    card = read_card(folder)
    output.table(run_rows(folder, card))
    output.say(f"\nSettings: {folder / RECIPE}")
    return {"run": name, "card": card, "recipe": read_recipe(folder / RECIPE).to_dict()}


def run_rows(folder: Path, card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What people want to know of a finished run."""
    from boxless.cli.output import duration
    from boxless.protocol.provenance import selected_by, threshold_from

    data, backbone, selection = card["data"], card["backbone"], card["selection"]
    counts = ", ".join(f"{count:,} {split}" for split, count in data["images"].items())
    classes = card["classes"]
    chosen = selected_by(card)
    if selection["value"] is not None:
        by_iou = selection.get("measure") == "iou" and selection["by"] not in ("classification", "last")
        chosen += f": {selection['value']:.3f}" if by_iou else f": {selection['value']:.1f} %"
    if selection["epoch"] is not None:
        chosen += f" (epoch {selection['epoch'] + 1})"
    rows = [
        ("run", str(folder)),
        ("method", card["method"]),
        ("backbone", f"{backbone['name']}{', frozen' if backbone['frozen'] else ''} (weights: {backbone['licence']})"),
        ("data", f"{data['source']} ({data['format']}; {counts})"),
        ("classes", f"{len(classes)}: {', '.join(classes[:8])}{' ...' if len(classes) > 8 else ''}"),
        ("supervision", card["supervision"]),
        ("selected by", chosen),
        ("box", card["box_rule"]),
        ("threshold", str(card["threshold"]["rule"])),
        ("threshold from", threshold_from(card)),
        ("input", f"{card['resolution']} px"),
        ("seed", str(card["seed"])),
        ("trained", f"{duration(card['training_seconds'])}, ended {card['date']} with boxless {card['boxless']}"),
    ]
    if card["refused"]:
        rows.append(("refused", f"{len(card['refused']):,} images could not be read"))
    return rows


def _recipe(name: str, output: Output) -> dict[str, Any]:
    from dataclasses import asdict

    from boxless.cli.prose import field_docs
    from boxless.recipe import SECTIONS, Recipe, read_recipe
    from boxless.settings import settings_of

    recipe = read_recipe(Path(name)) if name else Recipe()
    values = recipe.to_dict(whole=True)
    listed: list[dict[str, Any]] = []
    for section, record in SECTIONS.items():
        docs = field_docs(record)
        for each in settings_of(record):
            if each.name in values[section]:
                key = f"{section}.{each.name}"
                found = {"name": key, "value": values[section][each.name], "meaning": docs.get(each.name, "")}
                listed.append({**asdict(each), **found})
    known = {each["name"] for each in listed}
    for section, where in (("method", "boxless show method NAME"), ("pseudo", "the source's documentation")):
        for setting, value in values[section].items():
            if f"{section}.{setting}" not in known:
                listed.append({"name": f"{section}.{setting}", "value": value, "meaning": f"see: {where}"})
    rows = [(s["name"], _value(s["value"]), s.get("type", ""), s["meaning"]) for s in listed]
    output.table(rows, ("setting", "value", "type", "meaning"))
    output.say("\nSet one with: boxless train ... --set training.batch_size=16")
    return {"recipe": values, "settings": listed}


def _stage(stage: Stage) -> str:
    learns = {"maps": "a map of each image", "boxes": "boxes of each image", "any": "maps or boxes of each image"}
    if not stage.pseudo:
        return stage.name
    return f"{stage.name} from {learns[stage.pseudo]} ({' or '.join(stage.sources)}; --set pseudo.source=...)"


def _value(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _short(value: object) -> str:
    """A long list by its first words and its length."""
    if isinstance(value, (list, tuple)) and len(value) > SHOWN:
        return f"{_value(value[:SHOWN])}, ... ({len(value)})"
    return _value(value)


def _range(space: Mapping[str, Any] | None) -> str:
    if space is None:
        return ""
    if space["choices"]:
        return f"one of {_value(space['choices'])}"
    return f"{_value(space['low'])} to {_value(space['high'])}{', log' if space['log'] else ''}"


KINDS: dict[str, Callable[[str, Output], dict[str, Any]]] = {
    "method": _method,
    "backbone": _backbone,
    "run": _run,
    "recipe": _recipe,
}
