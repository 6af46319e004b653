"""boxless explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxless.cli.options import BatchSize, Device, Json

if TYPE_CHECKING:
    from boxless.explain import Explanation


def explain(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Images, folders, or globs in quotes.")],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="A timm classifier; by default one whose weights are at hand."),
    ] = None,
    map_name: Annotated[str, typer.Option("--map", metavar="NAME", help="Of 'boxless list maps'.")] = "gradcam",
    layers: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="NAME", help="A layer to read, by dotted name; may be given several times."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="CLASS", help="Name or number; by default the predicted class."),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Write each image with its map and box, as PNG.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", metavar="N", min=32, help="Side of the network's square input.")
    ] = None,
    batch_size: BatchSize = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    r"""Show where a timm classifier sees its class: a map and a box.

    \b
      boxless explain cat.jpg --out explained
      boxless explain photos --model resnet50.tv_in1k --map layercam --layer layer3 --layer layer4

    The box is the largest part of the map above its Otsu threshold. A sentence warns of maps not to be trusted.
    """
    from boxless.cli.output import Output
    from boxless.protocol.provenance import AS_IT_IS, EACH_MAP

    with Output(as_json=as_json) as output:
        from boxless.explain import explain as run

        refused: list[tuple[str, str]] = []
        found = run(
            images,
            model=model,
            map=map_name,
            layers=layers or None,
            target=target,
            out=out,
            image_size=image_size,
            batch_size=batch_size or 8,
            device=device,
            on_error=lambda path, name, error: refused.append((name, str(error))),
            note=output.listener.note,
        )
        rows: list[dict[str, Any]] = []
        for each in found:
            rows.append(_row(each))
            if each.warning:
                output.listener.note(f"{each.prediction.name}: {each.warning}")
        output.table([_shown(row) for row in rows], ("image", "class", "probability", "box x0 y0 x1 y1", "overlay"))
        layers_read = rows[0]["layers"] if rows else []
        output.say(f"\nmap {map_name} of {', '.join(layers_read)}" if rows else "No image could be used.")
        said = {"selected_by": AS_IT_IS, "threshold_from": EACH_MAP}
        output.say("; ".join(f"{key.replace('_', ' ')} {value}" for key, value in said.items()))
        output.finish({"map": map_name, "layers": layers_read, **said, "images": rows}, refused)


def _row(found: Explanation) -> dict[str, Any]:
    said = found.prediction
    return {
        "image": said.name,
        "class": said.label,
        "class_index": said.label_index,
        "probability": said.score,
        "box": list(said.boxes[0].xyxy) if said.boxes else None,
        "threshold": said.threshold,
        "layers": list(found.layers),
        "warning": found.warning,
        "warning_kind": said.warning,
        "overlay": str(found.overlay) if found.overlay else None,
    }


def _shown(row: dict[str, Any]) -> tuple[str, ...]:
    box = " ".join(f"{each:.0f}" for each in row["box"]) if row["box"] else "none"
    return (row["image"], row["class"], f"{row['probability']:.1%}", box, row["overlay"] or "-")
