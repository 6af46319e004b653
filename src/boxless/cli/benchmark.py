"""boxless benchmark."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxless.cli.options import Device, Json, Trust
from boxless.cli.printable import printable

if TYPE_CHECKING:
    from boxless.cli.output import Output

Refusals = Sequence[tuple[str, str]]  # (name, reason)


def benchmark(
    file: Annotated[str, typer.Argument(metavar="FILE", help="YAML: data sets, methods, configurations, seeds.")],
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Folder of runs and tables, instead of the file's.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the trainings and how far they are; do none.")
    ] = False,
    trust: Trust = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    r"""Train methods side by side, and compare them in tables.

    \b
      boxless benchmark benchmarks/protocol.yaml --dry-run
      boxless benchmark benchmarks/protocol.yaml --out runs/protocol

    Each method is trained on each data set with each seed. Stopped at any moment, the same command goes on where it
    was; what is finished is not done again. Weights, thresholds and configurations are chosen without a true box; what
    true boxes would choose stands apart as ORACLE.
    DIR then has the tables (results.md, .csv, .tex, .json), the card of each row, and a run folder of each training.
    docs/benchmark.md says what FILE holds.
    """
    from boxless.benchmark import list_jobs, run_benchmark
    from boxless.cli.output import Output

    with Output(as_json=as_json) as output:
        if dry_run:
            jobs = list_jobs(file, out, trust=trust)
            output.table([(job["name"], job["state"]) for job in jobs], ("training", "state"))
            _finish(output, {"jobs": jobs}, [(job["name"], job["reason"]) for job in jobs if job["reason"]], ())
            return
        result = run_benchmark(file, out, trust=trust, device=device, listener=output.listener)
        output.listener.end()
        for table in result.tables:
            output.say(f"{table.title}\n")
            output.table(table.rows, table.header)
            output.say("\n" + "\n".join(table.notes) + "\n")
        output.say("written: " + ", ".join(map(str, result.written)))
        _finish(output, result.to_dict(), result.failed, result.refused)


def _finish(output: Output, document: dict[str, Any], failed: Refusals, refused: Refusals) -> None:
    """Say which trainings failed and which images were refused, and end with exit code 1 if any did."""
    output.listener.end()
    if failed:
        sys.stdout.flush()
        count = "1 training failed" if len(failed) == 1 else f"{len(failed):,} trainings failed"
        told = [f"{count}:", *(f"  {name}: {reason}" for name, reason in failed)]
        typer.echo(printable("\n".join(told)), err=True)
    output.finish(document, refused)
    if failed:
        raise typer.Exit(1)
