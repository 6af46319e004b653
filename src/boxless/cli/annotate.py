"""boxless annotate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxless.cli.options import Device, Images, Json, Trust, parse_formats, parse_settings
from boxless.errors import ConfigError
from boxless.pseudo.table import DEFAULT_ANNOTATOR

if TYPE_CHECKING:
    from boxless.pseudo.annotate import Annotated as Done

SECTION = "pseudo"


def annotate(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Folder with one folder per class, CSV, COCO ...")],
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Folder for all that is written.", show_default=False)
    ],
    classifier: Annotated[
        str | None,
        typer.Option("--classifier", metavar="NAME", help="A run, a timm or open_clip:... model, or probe."),
    ] = None,
    annotator: Annotated[
        str, typer.Option("--annotator", metavar="NAME", help="Of 'boxless list annotators'.")
    ] = DEFAULT_ANNOTATOR,
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="NAME", help="Of the maps: attention, spectral, run, or of 'list maps'."),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", metavar="K", min=1, help="Boxes of an image, at most; 2 if not said.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="More settings, such as pseudo.min_size=0.1; repeat it."),
    ] = None,
    names: Annotated[
        str | None, typer.Option("--names", metavar="FILE", help="Names and synonyms of classes, for open_clip.")
    ] = None,
    templates: Annotated[
        str, typer.Option("--templates", metavar="NAME", help="Prompts for open_clip, such as photo.")
    ] = "auto",
    backbone: Annotated[
        str | None, typer.Option("--backbone", metavar="NAME", help="Another network to take the maps from, of timm.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", metavar="N", min=32, help="Side of the network's square input.")
    ] = None,
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="train, val, test or all.")] = "train",
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="Of coco, yolo, voc, labelstudio, cvat, csv, wsol; or all.")
    ] = "csv,coco",
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Draw each image's maps, boxes and sampled pixels.")
    ] = False,
    quality: Annotated[
        bool, typer.Option("--quality", help="ORACLE: measure the boxes by stage against true ones.")
    ] = False,
    data_format: Annotated[
        str | None, typer.Option("--data-format", metavar="NAME", help="The data's format, if boxless mistakes it.")
    ] = None,
    images: Images = None,
    trust: Trust = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    r"""Give boxes to images whose class is known; train nothing.

    \b
      boxless annotate photos --classifier runs/photos --out boxes --format yolo --overlays
      boxless annotate photos --annotator selective_search --split val --out boxes

    Of val they are pseudo-boxes, by which runs are selected. What was found is kept in DIR/.proposals: stopped at any
    moment, the same command goes on where it was. An image without a box is marked, and never a box of zeros.
    """
    from boxless.cli.output import Output

    wanted = parse_formats(formats)
    given = _settings(settings or [], source=source, top_k=top_k)
    with Output(as_json=as_json) as output:
        from boxless.pseudo.annotate import annotate as run

        done = run(
            data,
            out,
            classifier=classifier,
            annotator=annotator,
            settings=given,
            names=names,
            templates=templates,
            backbone=backbone,
            image_size=image_size,
            split=split,
            formats=wanted,
            overlays=overlays,
            quality=quality,
            format=data_format or "auto",
            images=images,
            trust=trust,
            device=device,
            listener=output.listener,
        )
        output.listener.end()
        _report(output, done, wanted, annotator, Path(out))


def _settings(texts: list[str], **named: Any) -> dict[str, Any]:
    """The annotator's settings; of an option and --set, the last one counts."""
    chosen = {name: value for name, value in named.items() if value is not None}
    for key, value in parse_settings(texts).items():
        section, _, name = key.partition(".")
        if section != SECTION:
            raise ConfigError(f"--set {key}: expected {SECTION}.SETTING=VALUE, such as {SECTION}.min_size=0.1.")
        chosen[name] = value
    return chosen


def _report(output: Any, done: Done, formats: list[str], annotator: str, out: Path) -> None:
    files = dict(zip(formats, map(str, done.files), strict=True))
    output.say(_counted(done))
    warned = [done.guard and done.guard.warning, done.quality and done.quality.guard.warning]
    for remark in [*done.remarks, *filter(None, warned)]:
        output.listener.note(remark)
    drawn = [("overlays", str(done.overlays))] if done.overlays else []
    output.table([*files.items(), *drawn])
    if done.quality:
        output.say()
        output.table(done.quality.rows(), done.quality.header())
    output.finish(
        {
            "out": str(out),
            "annotator": annotator,
            "classifier": done.classifier,
            "supervision": done.supervision,
            **done.made_from,
            "files": files,
            "images": done.images,
            "boxes": done.boxes,
            "without_box": done.empty,
            "without_box_names": list(done.without),
            "before": done.before,
            "remarks": list(done.remarks),
            "guard": done.guard and done.guard.to_dict(),
            "quality": done.quality and done.quality.to_dict(),
        },
        done.refused,
    )


def _counted(done: Done) -> str:
    before = f"; {done.before:,} were done before" if done.before else ""
    without = f", {done.empty:,} of them without any" if done.empty else ""
    return f"{done.boxes:,} boxes on {done.images:,} images{without}{before}"
