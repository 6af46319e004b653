"""Trained models for others: an ONNX file that is checked against its run, and the Hugging Face Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxless.lazy import lazy

if TYPE_CHECKING:
    from boxless.export.hub import Pushed as Pushed
    from boxless.export.hub import fetch_run as fetch_run
    from boxless.export.hub import push_to_hub as push_to_hub
    from boxless.export.onnx_engine import OnnxEngine as OnnxEngine
    from boxless.export.session import Exported as Exported
    from boxless.export.session import export_onnx as export_onnx

_HOMES = {
    "Exported": "session",
    "OnnxEngine": "onnx_engine",
    "Pushed": "hub",
    "export_onnx": "session",
    "fetch_run": "hub",
    "push_to_hub": "hub",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy(__name__, _HOMES)
