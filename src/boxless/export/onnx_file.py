"""A run's graph as an ONNX model: traced by torch, with the resizing put before it and what it is in its metadata."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim

from boxless.errors import ConfigError, MissingExtraError
from boxless.export.facts import INPUT, KEY, OUTPUTS, SIZE, Facts
from boxless.export.graph import Graph
from boxless.files import atomic_write

_PIXELS = "pixels"  # what torch's part of the graph takes
_EXAMPLES = 2  # one would be taken for a constant
_MOST = 2**16  # images in a batch; some operators of torch have different code for more


def onnx_packages() -> Any:
    """The package onnx, with torch's exporter at hand.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("boxless export", str(error.name), "export") from error
    return onnx


def make_model(graph: Graph, facts: Facts) -> Any:
    """The model (``onnx.ModelProto``) of a graph.

    Raises:
        ConfigError: torch cannot trace it.
    """
    onnx = onnx_packages()
    model = _traced(graph, facts)
    nodes = [*_resizing(onnx), *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    side = onnx.numpy_helper.from_array(torch.tensor([facts.size, facts.size]).numpy(), SIZE)
    model.graph.initializer.append(side)
    del model.graph.value_info[:]  # of shapes, some from before torch simplified the graph
    del model.graph.input[:]
    model.graph.input.append(
        onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.UINT8, ["batch", "height", "width", 3])
    )
    if facts.any_size:  # an input with a value of its own: whoever gives none gets the run's size
        model.graph.input.append(onnx.helper.make_tensor_value_info(SIZE, onnx.TensorProto.INT64, [2]))
    label(model, facts)
    onnx.checker.check_model(model)
    return model


def label(model: Any, facts: Facts) -> None:
    """Say in a model's metadata what it is."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, facts.to_json()
    model.producer_name, model.producer_version = KEY, facts.versions.get(KEY, "")


def write_model(model: Any, file: Path) -> None:
    """Write a model, whole or not at all."""
    with atomic_write(file, "wb") as out:
        out.write(model.SerializeToString())


def _traced(graph: Graph, facts: Facts) -> Any:
    pixels = torch.zeros(_EXAMPLES, 3, facts.size, facts.size)
    dynamic: dict[int, Any] = {0: Dim("batch", max=_MOST)}
    if facts.any_size:
        dynamic |= {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(graph.eval(), (pixels,), dynamic_shapes=(dynamic,), strict=False)
            exported: Any = torch.onnx.export(
                program, (pixels,), input_names=[_PIXELS], output_names=list(OUTPUTS), dynamo=True, verbose=False
            )
    except Exception as error:  # torch's exporter has no common base but this
        raise ConfigError(
            f"{facts.method} on {facts.backbone} cannot be exported: torch cannot trace it "
            f"({' '.join(str(error).split())[:300]})."
        ) from error
    return exported.model_proto


def _resizing(onnx: Any) -> list[Any]:
    """Nodes from the images to float pixels, channels first, of the network's size; same sizes are left as they are."""
    node = onnx.helper.make_node
    return [
        node("Cast", [INPUT], ["as_float"], to=onnx.TensorProto.FLOAT),
        node("Transpose", ["as_float"], ["planes"], perm=[0, 3, 1, 2]),
        node("Shape", ["planes"], ["kept_sizes"], start=0, end=2),
        node("Concat", ["kept_sizes", SIZE], ["sizes"], axis=0),
        # Beyond its border an image has no weight: so torch and Pillow do it.
        node("Resize", ["planes", "", "", "sizes"], [_PIXELS], mode="linear", antialias=1, exclude_outside=1),
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says to its own developers."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
