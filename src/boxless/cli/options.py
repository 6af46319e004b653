"""Options that several verbs have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxless.errors import ConfigError

if TYPE_CHECKING:
    from boxless.predict.options import Options

Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON; all else goes to stderr.")]
Format = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="The data's format, if boxless mistakes it.")
]
Images = Annotated[
    str | None, typer.Option("--images", metavar="DIR", help="Where the pictures are, if DATA only lists them.")
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Load code that a file names as module:Class; only if you know who wrote it.")
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", metavar="N", min=1, help="Images in one forward pass.")]


def parse_formats(text: str) -> list[str]:
    """The output formats that a comma list names; ``all`` names every one.

    Raises:
        UnknownNameError: There is no such format.
        ConfigError: The list is empty.
    """
    from boxless.errors import UnknownNameError
    from boxless.formats import FORMATS

    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ConfigError(f"--format: names at least one of {', '.join(FORMATS)}, or all.")
    if names == ["all"]:
        return list(FORMATS)
    for name in names:
        if name not in FORMATS:
            raise UnknownNameError("format", name, [*FORMATS, "all"])
    return names


def parse_options(settings: Iterable[str], **named: Any) -> Options:
    """How boxes are found: options of the command line, and finer settings as ``name=value`` texts.

    Raises:
        ConfigError: A text is not of that form, there is no such setting, or it cannot have this value.
    """
    import yaml

    from boxless.predict.options import Options
    from boxless.settings import build

    given = {name: value for name, value in named.items() if value is not None}
    if isinstance(threshold := given.get("threshold"), str):
        given["threshold"] = yaml.safe_load(threshold)
    for text in settings:
        name, equals, raw = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: expected name=value, such as nms=0.3.")
        value = yaml.safe_load(f"[{raw}]" if name.strip() == "scales" else raw)
        given[name.strip()] = value
    made: Options = build(Options, given, "predict")
    return made


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """``section.setting=value`` texts as a mapping, each value read as YAML.

    Raises:
        ConfigError: A text is not of that form.
    """
    import yaml

    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, raw = text.partition("=")
        if not (equals and "." in key.strip(". ")):
            raise ConfigError(f"--set {text}: expected section.setting=value, such as training.batch_size=16.")
        try:
            settings[key.strip()] = yaml.safe_load(raw)
        except yaml.YAMLError:
            settings[key.strip()] = raw
    return settings
