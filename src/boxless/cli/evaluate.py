"""boxless evaluate."""

from __future__ import annotations

from typing import Annotated

import typer

from boxless.cli.options import BatchSize, Device, Format, Images, Json


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder that 'boxless train' wrote.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="Labelled images that have boxes, or 'sample'.")],
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="train, val or test.")] = "test",
    format: Format = None,  # noqa: A002
    images: Images = None,
    batch_size: BatchSize = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    r"""Measure a run: how often the class and the box are right.

    \b
      boxless evaluate runs/photos photos
      boxless evaluate runs/photos photos --split val --json
    """
    from boxless.cli.output import Output

    with Output(as_json=as_json) as output:
        from boxless.protocol.evaluate import evaluate as measure

        report = measure(
            run,
            data,
            split=split,
            format=format or "auto",
            images=images,
            device=device,
            batch_size=batch_size,
            listener=output.listener,
        )
        output.listener.end()
        output.table(report.rows())
        output.finish(report.to_dict(), report.refused)
