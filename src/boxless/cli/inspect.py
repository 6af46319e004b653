"""boxless inspect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from boxless.cli.options import Format, Images, Json

if TYPE_CHECKING:
    from boxless.cli.output import Output
    from boxless.data.checks import Inspection, Spread


def inspect(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder, a CSV, COCO ... file, or 'sample'.")],
    format: Format = None,  # noqa: A002
    images: Images = None,
    as_json: Json = False,
) -> None:
    """Say what data hold before anything learns from them.

    Classes, counts, sizes, files that cannot be read, images that are in two splits, and what format the data were
    taken for and why.
    """
    from boxless import api
    from boxless.cli.output import Output
    from boxless.listener import counter

    with Output(as_json=as_json) as output:
        found = api.inspect(
            data,
            format=format or "auto",
            images=images,
            progress=counter(output.listener, "images"),
            listener=output.listener,
        )
        output.listener.end()
        _say(found, output)
        output.finish(found.to_dict(), [(each.name, each.reason) for each in found.broken])


def _say(found: Inspection, output: Output) -> None:
    splits = list(next(iter(found.counts.values())))
    images = {split: sum(counts[split] for counts in found.counts.values()) for split in splits}
    modes = ", ".join(f"{count:,} {mode}" for mode, count in found.modes.items())
    output.table(
        [
            ("data", found.source),
            ("format", f"{found.format}: {found.reason}"),
            ("splits", found.split_rule),
            ("labels", "some images show several classes" if found.multi_label else "one class an image"),
            ("width", _spread(found.width)),
            ("height", _spread(found.height)),
            ("colour", modes or "no image can be read"),
        ]
    )
    output.say()
    rows = [(name, *(f"{counts[split]:,}" for split in splits)) for name, counts in found.counts.items()]
    what = "all labels" if found.multi_label else "all frames" if found.footage else "all"
    total = (what, *(f"{images[split]:,}" for split in splits))
    output.table([*rows, total, *_footage(found)], ("class", *splits))
    output.say("\nNothing looks wrong." if not found.warnings else "\nTo look at:")
    for warning in found.warnings:
        output.say(f"  - {warning}")


def _footage(found: Inspection) -> list[tuple[str, ...]]:
    """How many shots and videos the frames are of, if they are."""
    if not found.footage:
        return []
    each = found.footage.values()
    return [("all shots", *(f"{of.shots:,}" for of in each)), ("all videos", *(f"{of.videos:,}" for of in each))]


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "unknown"
    if spread.least == spread.greatest:
        return f"{spread.least:,} pixels"
    return f"{spread.least:,} to {spread.greatest:,} pixels, median {spread.median:,.0f}"
