"""boxless app."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxless.cli.options import Device, Json, Trust

if TYPE_CHECKING:
    from boxless.app.desk import Desk


def app_page(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a file that 'boxless export' wrote.")],
    folder: Annotated[
        str | None, typer.Argument(metavar="FOLDER", help="Images to review; without it, those you drop.")
    ] = None,
    save_to: Annotated[
        str, typer.Option("--save-to", metavar="DIR", help="For decisions, dropped images and exports.")
    ] = "boxless-review",
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where the page is served.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", min=1, max=65535, help="By default a free one from 7860 on.")
    ] = None,
    max_mb: Annotated[int, typer.Option("--max-mb", metavar="N", min=1, help="Refuse larger uploads.")] = 50,
    opens: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    trust: Trust = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    r"""Review boxes on a page: accept, reject or correct them.

    \b
      boxless app runs/photos new-photos
      boxless app model.onnx new-photos --save-to review --port 8000 --no-open

    Images come with the least sure first. Each decision is kept at once: the same command goes on where you were. The
    page is seen from this machine alone, and shows no file outside of FOLDER.
    """
    from boxless.cli.output import Output

    with Output(as_json=as_json) as output:
        from boxless.app.desk import Desk
        from boxless.app.page import LOCAL, load_gradio, serve
        from boxless.predict.localizer import Localizer

        load_gradio()  # now, and not after the run is loaded
        desk = Desk(Localizer.load(run, device=device, trust=trust), Path(folder) if folder else None, Path(save_to))
        page, address = serve(desk, host=host, port=port, max_mb=max_mb, opens=opens)
        if host not in LOCAL:
            output.listener.note(_warning(host))
        output.table([("page", address), ("decisions", str(desk.review.file))])
        output.say("Ctrl-C ends it; nothing is lost by that.")
        output.finish({"page": address, "decisions": desk.review.file, "images": desk.review.progress().images})
        sys.stdout.flush()
        try:
            desk.wait()
        finally:
            page.close(verbose=False)
            desk.close()
        output.say(_summary(desk))


def _warning(host: str) -> str:
    return (
        f"WARNING: --host {host} lets EVERYONE who can reach this machine see these images, decide on them and add "
        "files, without a password. Leave --host out unless you trust all of that network."
    )


def _summary(desk: Desk) -> str:
    at = desk.review.progress()
    return f"\n{at.accepted:,} accepted ({at.corrected:,} corrected), {at.rejected:,} rejected, {at.left:,} left."
