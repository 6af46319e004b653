"""The verbs put together, and what an error or Ctrl-C in any of them comes to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import getdoc
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from boxless import __version__
from boxless.cli import (
    annotate,
    app_page,
    benchmark,
    demo,
    doctor,
    evaluate,
    explain,
    export,
    inspect,
    predict,
    push,
    report,
    search,
    show,
    train,
)
from boxless.cli import list as listing
from boxless.cli.printable import printable
from boxless.errors import BoxlessError, InterruptedRunError


class Verbs(TyperGroup):
    """The user's errors are one line and exit code 2, work that was stopped is 1, and a bug keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except InterruptedRunError as stopped:
            _end(f"\n{stopped}", code=1)
        except BoxlessError as error:
            _end(f"error: {error}", code=2)
        except KeyboardInterrupt as stopped:
            how = " ".join(getattr(stopped, "__notes__", ())) or "Nothing is lost: give the same command again."
            _end(f"\nstopped. {how}", code=1)

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the work, and not of the alphabet."""
        return list(self.commands)


def _end(message: str, *, code: int) -> None:
    typer.echo(printable(message), err=True)
    raise typer.Exit(code)


app = typer.Typer(
    cls=Verbs,
    name="boxless",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: it opens at once, and the larger verbs fit a screen
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog="'boxless VERB --help' says more. Exit codes: 0 done; 1 done but some images were refused, or stopped by "
    "you; 2 wrong use, data or setting.",
)


def _add(name: str, verb: Callable[..., None]) -> None:
    """Docstrings are raw, so the mark that keeps their examples as they are has to be put in."""
    app.command(name, help=(getdoc(verb) or "").replace(r"\b", "\b"))(verb)


_add("demo", demo.demo)
_add("inspect", inspect.inspect)
_add("train", train.train)
_add("predict", predict.predict)
_add("evaluate", evaluate.evaluate)
_add("report", report.report)
_add("app", app_page.app_page)
_add("export", export.export)
_add("push", push.push)
_add("explain", explain.explain)
_add("annotate", annotate.annotate)
_add("search", search.search)
_add("benchmark", benchmark.benchmark)
_add("list", listing.list_names)
_add("show", show.show)
_add("doctor", doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"boxless {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Boxes and masks from image labels: train from images sorted by class, with no box; get boxes for any image."""
