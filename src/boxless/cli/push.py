"""boxless push."""

from __future__ import annotations

from typing import Annotated

import typer

from boxless.cli.options import Json


def push(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder that 'boxless train' wrote.")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="On the Hugging Face Hub, as owner/name.")],
    evaluation: Annotated[
        str | None,
        typer.Option("--evaluation", metavar="FILE", help="The evaluation.json of 'boxless evaluate --out'."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the model card into RUN, list the files, send nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    r"""Upload a run to the Hugging Face Hub, with a model card.

    \b
      boxless push runs/photos me/photos --dry-run
      boxless push runs/photos me/photos --evaluation figures/evaluation.json

    The card is README.md: what --dry-run wrote, as you have changed it, or else a new one. Paths of this machine are
    cut out of what goes up. In Python Localizer.from_pretrained("me/photos") fetches the run.
    """
    from boxless.cli.output import Output

    with Output(as_json=as_json) as output:
        from boxless.export.hub import push_to_hub

        done = push_to_hub(run, repo_id, evaluation=evaluation, private=private, dry_run=dry_run)
        output.table([(name, f"{size / 1e6:.2f} MB") for name, size in done.files.items()], ("file", "size"))
        output.say(f"not sent; look at {done.page}" if done.page else f"sent: {done.url}")
        output.finish({"repo_id": repo_id, "files": done.files, "page": done.page, "url": done.url})
