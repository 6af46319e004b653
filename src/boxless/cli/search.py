"""boxless search."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxless.cli.options import Format, Images, Json, Trust, parse_settings
from boxless.errors import ConfigError

if TYPE_CHECKING:
    from boxless.cli.output import Output
    from boxless.search.session import Found

SHOWN = 10  # of the trials, in the table


def search(
    data: Annotated[str | None, typer.Argument(metavar="DATA", help="As for train, with images in val.")] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Folder of the search; a cluster has to share it.")
    ] = None,
    method: Annotated[str | None, typer.Option("--method", metavar="NAME", help="See 'boxless list methods'.")] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", help="Trials in all; 20 if not said.", min=1)
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option("--space", metavar="RANGE", help="NAME=LOW..HIGH, with :log; NAME=null; or a YAML file; repeat."),
    ] = None,
    show_space: Annotated[bool, typer.Option("--show-space", help="Print what would be searched, and end.")] = False,
    recipe: Annotated[str | None, typer.Option("--recipe", metavar="FILE", help="Settings to start from.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting that all trials have; repeat it.")
    ] = None,
    cpus: Annotated[float | None, typer.Option("--cpus", metavar="N", help="Processors of a trial; 1.")] = None,
    gpus: Annotated[
        float | None, typer.Option("--gpus", metavar="N", help="GPUs of a trial: 0.5 puts two on one.")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option("--concurrent", metavar="K", help="Trials at a time, at most.", min=1)
    ] = None,
    all_epochs: Annotated[bool, typer.Option("--all-epochs", help="Stop no trial early.")] = False,
    address: Annotated[
        str | None, typer.Option("--address", metavar="RAY", help="A Ray cluster: auto, or HOST:PORT.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Decides what is drawn.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in --out.")] = False,
    format: Format = None,  # noqa: A002
    images: Images = None,
    trust: Trust = False,
    device: Annotated[str | None, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or mps.")] = None,
    as_json: Json = False,
) -> None:
    r"""Try settings of a method; keep the best by pseudo-boxes. No true box is looked at.

    \b
      boxless search photos --trials 20 --out searches/photos
      boxless search photos --out searches/photos --space training.learning_rate=1e-4..1e-2:log
      boxless search --resume --out searches/photos
    """
    from boxless.cli.output import Output
    from boxless.trust import trusting

    run: dict[str, Any] = {"trials": trials, "cpus": cpus, "gpus": gpus, "concurrent": concurrent, "device": device}
    begun = {
        "the data": data, "--method": method, "--space": space, "--recipe": recipe, "--set": settings, "--seed": seed,
        "--format": format, "--images": images, "--all-epochs": all_epochs or None,
    }  # fmt: skip
    with Output(as_json=as_json) as output:
        if show_space:
            with trusting(trust):
                _show_space(output, method, recipe, settings or [], space or [])
            return
        if out is None:
            raise ConfigError("--out is missing: name the folder of the search.")
        if resume:
            from boxless.search import resume as go_on

            _refuse(out, [name for name, value in begun.items() if value is not None])
            found = go_on(Path(out), address=address, trust=trust, listener=output.listener, **run)
        else:
            from boxless import api

            given = {name: value for name, value in {**run, "seed": seed}.items() if value is not None}
            found = api.search(
                data,
                out,
                method=method,
                recipe=recipe,
                settings=parse_settings(settings or ()),
                space=space or (),
                address=address,
                format=format,
                images=images,
                trust=trust,
                stop_early=not all_epochs,
                listener=output.listener,
                **given,
            )
        _report(output, found)


def _refuse(out: str, given: list[str]) -> None:
    if given:
        raise ConfigError(
            f"{out}: a search that goes on has its own recipe and space, so it takes no {', '.join(given)}; leave that "
            "out, or start anew in another folder."
        )


def _show_space(
    output: Output, method: str | None, recipe: str | None, settings: list[str], entries: list[str]
) -> None:
    """Print the ranges; steps of the schedule as for 50 epochs, if the recipe leaves those to the data."""
    from boxless.api import with_settings
    from boxless.methods import METHODS
    from boxless.recipe import Recipe, read_recipe
    from boxless.search.space import check_space, default_space, merge, read_space, text_of
    from boxless.trust import refuse_code

    given = {**({} if method is None else {"method.name": method}), **parse_settings(settings)}
    chosen = with_settings(Recipe() if recipe is None else read_recipe(Path(recipe)), given)
    if recipe is not None:
        refuse_code(chosen, recipe, own=[str(value) for value in given.values()])
    kind, epochs = METHODS.load(chosen.method.name), chosen.training.epochs
    usual = default_space(chosen, kind, 50 if epochs == "auto" else int(epochs))
    space = merge(usual, {**dict.fromkeys(given), **read_space(entries)})
    whole = check_space(space, chosen, kind)
    texts = {name: text_of(each) for name, each in space.items()}
    rows = [(name, str(text), "whole numbers" if whole[name] else "") for name, text in texts.items()]
    output.table(rows, ("setting", "range", ""))
    output.finish({"method": chosen.method.name, "space": texts})


def _report(output: Output, found: Found) -> None:
    import json

    from boxless.recipe import read_recipe
    from boxless.search.results import BEST, JSON, PAGE, shown
    from boxless.trust import flag

    value: dict[str, Any] = json.loads((found.folder / JSON).read_text(encoding="utf-8"))
    measure, listed = value["measure"], value["trials"][:SHOWN]
    rows = [(str(e["number"]), e["state"], shown(e["value"], measure), e["folder"], e["reason"]) for e in listed]
    output.table(rows, ("trial", "state", measure, "folder", ""))
    output.say(f"\nSelected by {value['selected_by']}.")
    if value["threshold_source"]:
        output.say(f"Threshold of the best: {value['threshold_source']}.")
    output.say(f"All trials: {found.folder / PAGE}")
    if found.best is None:
        output.finish(value)
        raise ConfigError(f"{found.folder}: no trial is finished, so there is no best one; {_why(found)}")
    output.say("\nNext:")
    trust = flag(read_recipe(found.folder / BEST))
    output.say(f"  boxless evaluate {shlex.quote(str(found.best.folder))}{trust}")
    output.say(f"  boxless train --recipe {shlex.quote(str(found.folder / BEST))} --out RUN{trust}")
    output.finish(value)
    if found.failed:
        typer.echo(f"{len(found.failed)} of {len(found.trials)} trials failed; the page says why.", err=True)
        raise typer.Exit(1)


def _why(found: Found) -> str:
    return f"the first that failed: {found.failed[0].reason}" if found.failed else "give more --trials."
