"""What an exported model says of itself, as JSON in the file: all that prediction needs besides the graph."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt, MinLen
from pydantic import TypeAdapter, ValidationError

from boxless.errors import RunError

KEY = "boxless"  # of the metadata
FORMAT = 1  # as `Facts.format` has it
LONGEST = 16 * 1024 * 1024  # characters of the JSON; a thousand classes take 30,000
INPUT, SIZE = "images", "network_size"
OUTPUTS = ("logits", "scores", "label", "maps", "threshold", "mask")


@dataclass(frozen=True, slots=True)
class Facts:
    """The metadata of an exported model; `boxless.predict.engine.Engine` says what the first names mean."""

    classes: Annotated[tuple[str, ...], MinLen(1)]
    threshold: Literal["otsu"] | Annotated[float, Ge(0), Lt(1)]
    multi_label: bool
    size: Annotated[int, Gt(0)]
    any_size: bool  # whether the input `network_size` may say another size than this
    maps: Literal["predicted", "all", "shared"]  # of one class, of each class, or one map that is of no class
    selected_by: str
    threshold_from: str
    presence: dict[str, Any] | None = None
    run: str = ""  # the run's digest
    method: str = ""
    backbone: str = ""
    licence: str = ""  # of the backbone's weights
    precision: Literal["float32", "int8"] = "float32"
    resize: str = "bilinear, antialiased, to a square of network_size; the aspect ratio is not kept"
    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    format: Literal[1] = 1

    def to_json(self) -> str:
        """The text in the file."""
        return _FACTS.dump_json(self).decode()

    def to_dict(self) -> dict[str, Any]:
        """For a listing."""
        return asdict(self)


_FACTS = TypeAdapter(Facts)


def read_facts(metadata: dict[str, str], where: str) -> Facts:
    """The facts in a model's metadata.

    Raises:
        RunError: They are missing, too long, of another format, or not of the right kind.
    """
    text = metadata.get(KEY)
    if text is None:
        raise RunError(
            f"{where}: a model that boxless did not write (it has no metadata {KEY!r}); make one with: "
            "boxless export RUN --onnx FILE"
        )
    if len(text) > LONGEST:
        raise RunError(f"{where}: its metadata are {len(text):,} characters long; boxless reads {LONGEST:,} at most.")
    try:
        return _FACTS.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the text"
        raise RunError(
            f"{where}: its metadata are damaged or of another version ({place}: {first['msg']}); this boxless reads "
            f"format {FORMAT}. Export the run again."
        ) from error
