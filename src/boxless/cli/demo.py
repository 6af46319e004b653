"""boxless demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from boxless.cli.options import Device, Json


def demo(
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder for everything written.")] = "boxless-demo",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Decides all random numbers.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the page in a browser at the end.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """See the whole job done on the bundled sample, with pictures.

    It trains, predicts and evaluates, and ends with a page that it opens, if there is a screen. It takes some minutes
    on a CPU, and needs no connection and no data of yours.
    """
    from boxless.cli.opening import is_watched, open_page
    from boxless.cli.output import Output

    with Output(as_json=as_json) as output:
        from boxless.demo import run_demo

        result = run_demo(Path(out), device=device, seed=seed, listener=output.listener)
        output.listener.end()
        output.table(result.rows(), result.header())
        output.say(f"\nPictures   {result.contact_sheet}")
        output.say(f"Open       {result.page.resolve().as_uri()}")
        output.say(f"The run    {result.run}")
        if not (no_open or as_json) and is_watched():
            open_page(result.page)
        output.finish(
            {
                "evaluation": result.report.to_dict(),
                "images_per_second": result.images_per_second,
                "contact_sheet": str(result.contact_sheet),
                "page": str(result.page),
                "run": str(result.run),
            },
            result.refused,
        )
