"""boxless demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from boxless.cli.options import Device, Json


def demo(
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder for everything written.")] = "boxless-demo",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Decides all random numbers.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """See the whole job done on the bundled sample, with pictures.

    It trains, predicts and evaluates, and ends with a page to open. It takes some minutes on a CPU, and needs no
    connection and no data of yours.
    """
    from boxless.cli.output import Output

    with Output(as_json=as_json) as output:
        from boxless.demo import run_demo

        result = run_demo(Path(out), device=device, seed=seed, listener=output.listener)
        output.listener.end()
        output.table(result.rows(), result.header())
        output.say(f"\nPictures   {result.contact_sheet}")
        output.say(f"Open       {result.page.resolve().as_uri()}")
        output.say(f"The run    {result.run}")
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
