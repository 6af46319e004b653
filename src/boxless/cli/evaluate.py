"""boxless evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxless.cli.options import BatchSize, Device, Format, Images, Json, Trust
from boxless.cli.protocol import TABLES, refuse_with_table, show_table
from boxless.errors import ConfigError

if TYPE_CHECKING:
    from boxless.listener import Listener
    from boxless.protocol.report import Report


def evaluate(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN...] [DATA]", help="Run folders, then labelled images that have boxes, or 'sample'."
        ),
    ] = None,
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="train, val or test.")] = "test",
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            metavar="LIST",
            help="realistic, oracle or both: a table of what each criterion selected. Or thresholds: run, otsu, "
            "fixed=0.35, validation, validation-pseudo, oracle-test, all.",
        ),
    ] = None,
    pseudo_boxes: Annotated[
        str | None,
        typer.Option("--pseudo-boxes", metavar="FILE", help="Boxes of val for validation-pseudo; else the run's own."),
    ] = None,
    maps: Annotated[
        str | None, typer.Option("--maps", metavar="DIR", help="Score these .npy maps of any program, not a run.")
    ] = None,
    boxes: Annotated[
        str | None, typer.Option("--boxes", metavar="FILE", help="True boxes for --maps: CSV, COCO or wsol metadata.")
    ] = None,
    masks: Annotated[
        str | None, typer.Option("--masks", metavar="DIR", help="Where true masks are, if not beside the images.")
    ] = None,
    contours: Annotated[
        str, typer.Option("--contours", metavar="NAME", help="The box of the largest component, or all.")
    ] = "largest",
    compat: Annotated[
        str | None, typer.Option("--compat", metavar="NAME", help="wsolevaluation: its figures, for --maps.")
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Also CorLoc of each class and its mean; videos have it always.")
    ] = False,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", metavar="N", min=0, help="Replicates behind the intervals; 0: none.")
    ] = 1000,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Also write it there, as JSON with curves or tables.")
    ] = None,
    format: Format = None,  # noqa: A002
    images: Images = None,
    batch_size: BatchSize = None,
    trust: Trust = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    r"""Measure how often class and box are right, and how surely.

    \b
      boxless evaluate runs/photos photos
      boxless evaluate runs/a runs/b photos --protocol both
      boxless evaluate --maps maps --boxes boxes.csv --images photos
    """
    from boxless.cli.output import Output

    shared = {"split": split, "protocol": protocol, "contours": contours, "replicates": bootstrap, "images": images}
    with Output(as_json=as_json) as output:
        if protocol in TABLES and maps is None and boxes is None:
            refuse_with_table(
                {"--pseudo-boxes": pseudo_boxes, "--masks": masks, "--compat": compat, "--per-class": per_class}
            )
            del shared["protocol"]
            computing = {"format": format or "auto", "trust": trust, "device": device, "batch_size": batch_size}
            show_table(runs_and_data(what or []), protocol, shared | computing, out, output)
            return
        if maps is not None or boxes is not None:
            refuse_with_maps(
                {
                    "RUN or DATA": what,
                    "--pseudo-boxes": pseudo_boxes,
                    "--masks": masks,
                    "--per-class": per_class,
                    "--format": format,
                    "--trust": trust,
                    "--batch-size": batch_size,
                }
            )
            reports = [_of_maps(maps, boxes, compat, shared, output.listener)]
        else:
            if compat is not None:
                raise ConfigError("--compat: it is for --maps, whose grid of 224 x 224 the figures are defined on.")
            runs, data = runs_and_data(what or [])
            own = {
                "format": format or "auto",
                "pseudo_boxes": pseudo_boxes,
                "masks": masks,
                "per_class": per_class,
                "trust": trust,
                "device": device,
                "batch_size": batch_size,
            }
            if data is None and len(runs) > 1:
                data, own["format"], shared["images"] = _data_of(runs[0], format, images)
            reports = [_of_run(run, data, shared | own, output.listener) for run in runs]
        output.listener.end()
        _show(reports, out, output)


def refuse_with_maps(given: Mapping[str, object]) -> None:
    """Refuse what maps alone cannot be given."""
    if wrong := [name for name, value in given.items() if value]:
        raise ConfigError(f"--maps scores .npy files against --boxes alone; leave out {', '.join(wrong)}.")


def runs_and_data(what: Sequence[str]) -> tuple[list[str], str | None]:
    """Which arguments are runs; the last is the data, unless it is a run too.

    Raises:
        ConfigError: There is no run among them.
    """
    from boxless.runs import CARD

    last_is_run = bool(what) and (Path(what[-1]).expanduser() / CARD).is_file()
    runs, data = (list(what), None) if last_is_run else (list(what[:-1]), what[-1] if what else None)
    if not runs:
        got = f"{data} is not one (it has no {CARD})" if data else "got none"
        raise ConfigError(f"evaluate: name a run folder that 'boxless train' wrote, then the data; {got}.")
    return runs, data


def _data_of(run: str, format: str | None, images: str | None) -> tuple[str | None, str, str | None]:  # noqa: A002
    """The data that a run was trained on: others are measured on the same, even if they were trained on other data."""
    from boxless.recipe import read_recipe
    from boxless.runs import RECIPE

    known = read_recipe(Path(run).expanduser() / RECIPE).data
    return known.source or None, format or known.format, images or known.images


def _of_maps(maps: str | None, boxes: str | None, compat: Any, shared: dict[str, Any], listener: Listener) -> Report:
    from boxless.protocol.external import evaluate_maps

    if maps is None or boxes is None:
        raise ConfigError("--maps and --boxes belong together: a folder of .npy maps, and the true boxes.")
    return evaluate_maps(maps, boxes, compat=compat, listener=listener, **shared)


def _of_run(run: str, data: str | None, settings: dict[str, Any], listener: Listener) -> Report:
    from boxless.protocol.evaluate import evaluate as measure

    if settings["protocol"] is None:
        settings = {key: value for key, value in settings.items() if key != "protocol"}
    return measure(run, data, listener=listener, **settings)


def _show(reports: Sequence[Report], out: str | None, output: Any) -> None:
    from boxless.protocol.report import compare

    comparisons = [compare(reports[0], other) for other in reports[1:]]
    for report in reports:
        output.table(report.rows(), report.header())
        output.say()
        if report.by_class is not None:
            table = report.by_class.table(report.name)
            output.table(table.rows, table.header)
            output.say()
            for note in table.notes:
                output.say(note)
            output.say()
    for comparison in comparisons:
        output.table(comparison.rows(), comparison.header())
        output.say()
    if len(reports) == 1:
        document = reports[0].to_dict()
    else:
        document = {
            "runs": [each.to_dict() for each in reports],
            "differences": [each.to_dict() for each in comparisons],
        }
    if out is not None:
        _write(Path(out).expanduser(), reports, document, output)
    refused = {name: reason for report in reports for name, reason in report.refused}
    output.finish(document, tuple(refused.items()))


def _write(folder: Path, reports: Sequence[Report], document: dict[str, Any], output: Any) -> None:
    from boxless.files import write_json
    from boxless.report.curves import draw_curves

    write_json(folder / "evaluation.json", document)
    written = [folder / "evaluation.json"]
    for number, report in enumerate(reports, 1):
        if report.by_class is not None:
            stem = "per-class" if len(reports) == 1 else f"per-class-{number}"
            written += report.by_class.table(report.name).write(folder, stem)
    drawable = [report.curve() for report in reports if report.images > report.without_box]
    if drawable:
        written.append(draw_curves(folder / "curves.png", drawable))
    output.say("written: " + ", ".join(map(str, written)))
