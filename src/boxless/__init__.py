"""boxless: boxes and masks from image labels.

The public names below are imported when they are first used, so that ``import boxless`` is instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxless.lazy import lazy

if TYPE_CHECKING:
    from boxless.api import inspect as inspect
    from boxless.api import train as train
    from boxless.benchmark.run import run_benchmark as run_benchmark
    from boxless.data.catalog import Catalog as Catalog
    from boxless.data.catalog import read_catalog as read_catalog
    from boxless.errors import BoxlessError as BoxlessError
    from boxless.errors import ConfigError as ConfigError
    from boxless.errors import DataError as DataError
    from boxless.errors import InterruptedRunError as InterruptedRunError
    from boxless.errors import MissingExtraError as MissingExtraError
    from boxless.errors import MissingTruthError as MissingTruthError
    from boxless.errors import RunError as RunError
    from boxless.errors import TrainingError as TrainingError
    from boxless.errors import UnknownNameError as UnknownNameError
    from boxless.errors import WeightsError as WeightsError
    from boxless.export.hub import push_to_hub as push_to_hub
    from boxless.export.session import export_onnx as export_onnx
    from boxless.listener import Listener as Listener
    from boxless.predict.localizer import Localizer as Localizer
    from boxless.predict.options import Options as Options
    from boxless.predict.writing import predict_to as predict_to
    from boxless.protocol.evaluate import evaluate as evaluate
    from boxless.pseudo.annotate import annotate as annotate
    from boxless.recipe import Recipe as Recipe
    from boxless.recipe import read_recipe as read_recipe
    from boxless.report.writing import write_report as write_report
    from boxless.types import Box as Box
    from boxless.types import Item as Item
    from boxless.types import Prediction as Prediction

__version__ = "0.1.0"

_HOMES = {
    "BoxlessError": "errors",
    "Box": "types",
    "Catalog": "data.catalog",
    "ConfigError": "errors",
    "DataError": "errors",
    "InterruptedRunError": "errors",
    "Item": "types",
    "Listener": "listener",
    "Localizer": "predict.localizer",
    "MissingExtraError": "errors",
    "MissingTruthError": "errors",
    "Options": "predict.options",
    "Prediction": "types",
    "Recipe": "recipe",
    "RunError": "errors",
    "TrainingError": "errors",
    "UnknownNameError": "errors",
    "WeightsError": "errors",
    "annotate": "pseudo.annotate",
    "evaluate": "protocol.evaluate",
    "export_onnx": "export.session",
    "inspect": "api",
    "predict_to": "predict.writing",
    "push_to_hub": "export.hub",
    "read_catalog": "data.catalog",
    "read_recipe": "recipe",
    "run_benchmark": "benchmark.run",
    "train": "api",
    "write_report": "report.writing",
}
__all__ = sorted([*_HOMES, "__version__"])
__getattr__, __dir__ = lazy(__name__, _HOMES, ("__version__",))
