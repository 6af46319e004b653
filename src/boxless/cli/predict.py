"""boxless predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxless.cli.options import BatchSize, Device, Json, Trust, parse_formats, parse_options

if TYPE_CHECKING:
    from boxless.predict.writing import Outcome


def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a file that 'boxless export' wrote.")],
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE", help="Images, videos, folders, globs in quotes.")],
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Folder for all that is written.", show_default=False)
    ],
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="Of coco, yolo, voc, labelstudio, cvat, csv, wsol; or all.")
    ] = "csv,coco",
    maps: Annotated[bool, typer.Option("--maps", help="Write each image's map as .npy.")] = False,
    overlays: Annotated[bool, typer.Option("--overlays", help="Write each image with its map and boxes.")] = False,
    masks: Annotated[bool, typer.Option("--masks", help="Write masks: PNG, and run lengths in COCO.")] = False,
    multi: Annotated[bool, typer.Option("--multi", help="Several boxes, of one class or several.")] = False,
    abstain: Annotated[bool, typer.Option("--abstain", help="No box where nothing is to be found.")] = False,
    min_score: Annotated[
        float,
        typer.Option(
            "--min-score", metavar="X", min=0, max=1, help="Leave out boxes with a lower score.", show_default=False
        ),
    ] = 0.0,
    threshold: Annotated[
        str | None, typer.Option("--threshold", metavar="X", help="Of maps, in place of the run's: 0 to 1, or otsu.")
    ] = None,
    label_map: Annotated[
        str | None, typer.Option("--label-map", metavar="FILE", help="What classes are called: fine,coarse lines.")
    ] = None,
    tile: Annotated[
        int | None, typer.Option("--tile", metavar="PX", min=32, help="Look at larger images in tiles of this side.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Finer: refine, flip, scales, nms, min_area, overlap ..."),
    ] = None,
    every: Annotated[
        int, typer.Option("--every", metavar="N", min=1, help="Of videos, each Nth frame.", show_default=False)
    ] = 1,
    smooth: Annotated[
        float,
        typer.Option("--smooth", metavar="S", min=0, help="Of videos, average over S seconds.", show_default=False),
    ] = 0.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do everything again, and not only what is not done yet.")
    ] = False,
    batch_size: BatchSize = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=0, help="Threads that decode images.")
    ] = None,
    device: Device = "auto",
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    r"""Find objects in any number of images, or in videos; write annotations.

    \b
      boxless predict runs/photos new-photos --out boxes
      boxless predict runs/photos new-photos 'more/**/*.jpg' --out boxes --format all --overlays
      boxless predict runs/photos crowds --out boxes --multi --abstain --masks --set nms=0.3

    Stopped at any moment, the same command goes on where it was. At the end stand the images that cannot be read, and
    how many maps are not to be trusted.
    """
    from boxless.cli.output import Output
    from boxless.listener import counter

    wanted = parse_formats(formats)
    with Output(as_json=as_json) as output:
        from boxless.predict.label_map import read_label_map
        from boxless.predict.localizer import Localizer
        from boxless.predict.writing import predict_to
        from boxless.protocol.provenance import GIVEN

        localizer = Localizer.load(run, device=device, trust=trust)
        options = parse_options(
            settings or (),
            threshold=threshold,
            min_score=min_score,
            multi=multi,
            abstain=abstain,
            masks=masks,
            tile=tile,
            label_map=None if label_map is None else read_label_map(label_map, localizer.engine.classes),
        )
        outcome = predict_to(
            localizer,
            sources,
            Path(out),
            formats=wanted,
            options=options,
            maps=maps,
            overlays=overlays,
            overwrite=overwrite,
            batch_size=batch_size,
            workers=workers,
            progress=counter(output.listener, "images"),
        )
        output.listener.end()
        files = dict(zip(wanted, map(str, outcome.files), strict=True))
        output.say(_counted(outcome))
        extras = [name for name, asked in (("maps", maps), ("overlays", overlays), ("masks", masks)) if asked]
        for each in outcome.warnings:
            output.listener.note(each.sentence())
        output.table([*files.items(), *((name, str(Path(out) / name)) for name in extras)])
        selected_by = localizer.engine.selected_by
        threshold_from = localizer.engine.threshold_from if threshold is None else GIVEN
        output.say(f"selected by {selected_by}; threshold from {threshold_from}")
        output.finish(
            {
                "out": out,
                "selected_by": selected_by,
                "threshold_from": threshold_from,
                "files": files,
                "written": outcome.written,
                "skipped": outcome.skipped,
                "images_per_second": outcome.images_per_second,
                "warnings": {each.kind: {"count": each.count, "example": each.example} for each in outcome.warnings},
            },
            outcome.refused,
        )


def _counted(outcome: Outcome) -> str:
    from boxless.cli.output import duration

    before = f"{outcome.skipped:,} images were done before"
    if not outcome.written:
        return f"Nothing new to do; {before}." if outcome.skipped else "No image could be used."
    seconds = outcome.written / outcome.images_per_second
    now = f"{outcome.written:,} images in {duration(seconds)}, {outcome.images_per_second:.1f} a second"
    return f"{now}; {before}" if outcome.skipped else now
