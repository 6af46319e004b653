"""boxless export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxless.cli.options import Format, Json, Trust
from boxless.errors import ConfigError

if TYPE_CHECKING:
    from boxless.export.session import Exported


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder that 'boxless train' wrote.")],
    onnx: Annotated[str, typer.Option("--onnx", metavar="FILE", help="The model file, NAME.onnx.", show_default=False)],
    check: Annotated[
        str | None, typer.Option("--check", metavar="DATA", help="Compare with the run on these; else on noise.")
    ] = None,
    images: Annotated[int, typer.Option("--images", metavar="N", min=1, help="How many of them.")] = 32,
    int8: Annotated[
        bool, typer.Option("--int8", help="Also write 8-bit weights; measure on DATA what that costs.")
    ] = False,
    maps: Annotated[
        str | None,
        typer.Option("--maps", metavar="WHICH", help="Maps of the predicted class, or of all (for several labels)."),
    ] = None,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Let the network's own size be chosen at each pass; slower to make.")
    ] = False,
    format: Format = None,  # noqa: A002
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    r"""Write a run as one ONNX file that gives the same answers.

    \b
      boxless export runs/photos --onnx photos.onnx --check photos
      boxless export runs/photos --onnx photos.onnx --check photos --int8
      boxless predict photos.onnx new-photos --out boxes

    Images of any size go in; class scores, maps, thresholds and masks come out. Where onnxruntime does not give the
    run's class, box and map (to 1e-4) on each image of DATA, no file is written.
    """
    from boxless.cli.output import Output

    if maps not in (None, "predicted", "all"):
        raise ConfigError(f"--maps: {maps!r} is not known; it is predicted or all.")
    with Output(as_json=as_json) as output:
        from boxless.export.session import export_onnx

        done = export_onnx(
            run,
            onnx,
            check=check,
            images=images,
            maps=maps,  # type: ignore[arg-type]  # seen above
            any_size=any_size,
            int8=int8,
            format=format or "auto",
            trust=trust,
            listener=output.listener,
        )
        output.listener.end()
        _show(done, output)
        output.finish(done.to_dict(), done.refused)


def _show(done: Exported, output: Any) -> None:
    facts, found = done.facts, done.parity.to_dict()
    network = f"{facts.size} x {facts.size}" + (" or any other" if facts.any_size else "")
    count = found["images"]
    output.table(
        [
            ("file", f"{done.file}, {done.file.stat().st_size / 1e6:.1f} MB"),
            ("takes", f"images: uint8 RGB (batch, height, width, 3) of any size; the network sees {network}"),
            ("gives", f"logits, scores, label, maps ({facts.maps}), threshold ({facts.threshold}), mask"),
            ("checked on", done.checked_on),
            ("same class", f"{found['same_class']} of {count}"),
            ("same box", f"{found['same_box']} of {count}, {found['same_box_to_the_pixel']} to the pixel"),
            ("maps differ by", f"{found['largest_map_difference']:.1e} at most"),
        ]
    )
    if done.int8_file is not None:
        output.say()
        output.table([("8 bits", f"{done.int8_file}, {done.int8_file.stat().st_size / 1e6:.1f} MB")])
    if done.int8_cost is not None:
        output.table(done.int8_cost.rows(), (f"on {done.int8_cost.images:,} images", *done.int8_cost.HEADER[1:]))
    elif done.int8_file is not None:
        output.say("What 8 bits cost was not measured: name labelled images with --check.")
    output.say(f"selected by {facts.selected_by}; threshold from {facts.threshold_from}")
