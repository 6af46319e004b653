"""boxless doctor."""

from __future__ import annotations

import typer

from boxless.cli.options import Json


def doctor(as_json: Json = False) -> None:
    """Say what is installed, what works, and how to get the rest."""
    from boxless.cli.output import Output
    from boxless.doctor import examine

    with Output(as_json=as_json) as output:
        diagnosis = examine()
        for title, findings in diagnosis.sections.items():
            output.say(title)
            output.table([(f"  {_MARK[each.state]} {each.name}", each.value) for each in findings])
            output.say()
        broken = diagnosis.broken
        output.say("All is well." if not broken else "boxless cannot work here yet:")
        for each in broken:
            output.say(f"  {each.name}: {each.value}")
        output.finish(diagnosis.to_dict())
        if broken:
            raise typer.Exit(2)


_MARK = {"good": "+", "absent": "-", "bad": "!"}
