"""boxless report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from boxless.cli.options import BatchSize, Device, Format, Json, Trust

if TYPE_CHECKING:
    from boxless.report.writing import Written


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder that 'boxless train' wrote.")],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]", help="Labelled images, or a folder of any; by default what the run learnt from."
        ),
    ] = None,
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="train, val or test.")] = "test",
    compare: Annotated[
        str | None, typer.Option("--compare", metavar="RUN", help="A second run, measured and shown beside the first.")
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="The page; by default report.html in RUN.")
    ] = None,
    shown: Annotated[
        int | None, typer.Option("--images", metavar="N", min=1, help="How many images the page may show: 1000.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    format: Format = None,  # noqa: A002
    folder: Annotated[
        str | None, typer.Option("--pictures", metavar="DIR", help="Where the pictures are, if DATA only lists them.")
    ] = None,
    batch_size: BatchSize = None,
    device: Device = "auto",
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    r"""Look at a run: its figures, its images, and a threshold slider.

    \b
      boxless report runs/photos --open
      boxless report runs/photos new-photos --out look.html
      boxless report runs/photos --compare runs/other

    The page is one file that needs no other and no network, so it can be mailed.
    """
    from boxless.cli.opening import open_page
    from boxless.cli.output import Output

    with Output(as_json=as_json) as output:
        from boxless.report.writing import IMAGES, write_report

        written = write_report(
            run,
            data,
            split=split,
            compare_with=compare,
            out=out,
            images=shown or IMAGES,
            format=format or "auto",
            folder=folder,
            device=device,
            batch_size=batch_size,
            trust=trust,
            listener=output.listener,
        )
        output.listener.end()
        output.say(_told(written))
        output.say(f"Open  {written.path.resolve().as_uri()}")
        if open_it:
            open_page(written.path)
        output.finish(
            {
                "page": str(written.path),
                "bytes": written.size,
                "images": written.images,
                "shown": written.shown,
                "evaluation": written.report.to_dict() if written.report else None,
                "comparison": written.comparison.to_dict() if written.comparison else None,
            },
            written.refused,
        )


def _told(written: Written) -> str:
    shown = "all" if written.shown == written.images else f"{written.shown:,}"
    return f"{written.images:,} images, {shown} of them in the page, of {written.size / 1e6:.1f} MB"
