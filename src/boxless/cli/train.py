"""boxless train."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxless.cli.options import Device, Format, Images, Json, Trust

if TYPE_CHECKING:
    from boxless.training.session import Trained


def train(
    out: Annotated[str, typer.Option("--out", metavar="RUN", help="The run folder to write.", show_default=False)],
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Folder with one folder per class, CSV, COCO ..., or 'sample'.")
    ] = None,
    method: Annotated[str | None, typer.Option("--method", metavar="NAME", help="See 'boxless list methods'.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", metavar="NAME", help="Of timm or open_clip: 'boxless list backbones'."),
    ] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", metavar="FILE", help="Settings to start from.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting, such as training.batch_size=16; repeat it."),
    ] = None,
    freeze: Annotated[
        bool | None,
        typer.Option("--freeze/--no-freeze", help="Keep the backbone as it is: quick, and apt for little data."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", metavar="N", help="Passes over the images.")] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", metavar="N", help="Side of the network's input, in pixels.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Decides all random numbers.")] = None,
    select_by: Annotated[
        str | None,
        typer.Option("--select-by", metavar="NAME", help="What keeps weights: pseudo, classification, oracle, last."),
    ] = None,
    pseudo_boxes: Annotated[
        str | None,
        typer.Option("--pseudo-boxes", metavar="LIST", help="Of val: annotators or files; the first one selects."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the unfinished run in --out; takes no other setting.")
    ] = False,
    format: Format = None,  # noqa: A002
    images: Images = None,
    trust: Trust = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    r"""Learn to find objects from images sorted by class. No boxes are needed.

    \b
      boxless train photos --out runs/photos
      boxless train photos --out runs/photos --backbone resnet50 --set training.learning_rate=3e-4
      boxless train --resume --out runs/photos

    What is not said has a default that suits the data and the machine ('boxless show recipe' lists all settings). Of
    --recipe, the options and --set, the last one counts.
    """
    from boxless import api
    from boxless.cli.options import parse_settings
    from boxless.cli.output import Output

    with Output(as_json=as_json) as output:
        trained = api.train(
            data,
            out,
            method=method,
            backbone=backbone,
            recipe=recipe,
            settings=parse_settings(settings or ()),
            freeze=freeze,
            epochs=epochs,
            image_size=image_size,
            seed=seed,
            select_by=select_by,
            pseudo_boxes=pseudo_boxes,
            format=format,
            images=images,
            resume=resume,
            trust=trust,
            device=device,
            listener=output.listener,
        )
        output.listener.end()
        if int(os.environ.get("RANK", 0)) == 0:  # of several processes that torchrun started, one speaks
            _report(output, trained)


def _report(output: Any, trained: Trained) -> None:
    from boxless.cli.show import run_rows
    from boxless.recipe import read_recipe
    from boxless.runs import RECIPE, read_card
    from boxless.trust import flag

    card = read_card(trained.folder)
    run, trust = shlex.quote(str(trained.folder)), flag(read_recipe(trained.folder / RECIPE))
    output.table(run_rows(trained.folder, card))
    output.say("\nNext:")
    output.say(f"  boxless predict {run} IMAGES --out boxes{trust}")
    output.say(f"  boxless evaluate {run}{trust}")
    output.finish({"run": str(trained.folder), "card": card}, trained.refused)
