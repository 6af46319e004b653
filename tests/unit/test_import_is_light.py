"""``import boxless`` and ``boxless --help`` cost nothing: no network library is imported before it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = {"torch", "torchvision", "timm", "numpy", "numba", "PIL", "lightning_fabric", "pydantic", "rich", "yaml"}
HEAVY |= {"torchmetrics", "matplotlib"}


def imported_by(code: str) -> set[str]:
    """Top-level modules in memory after a fresh interpreter ran the code."""
    program = f"import json, sys\n{code}\nprint(json.dumps([*sys.modules]), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


@pytest.mark.parametrize(
    "code",
    [
        "import boxless; dir(boxless)",
        "from boxless import BoxlessError, Prediction, __version__",
        "import boxless.cli",
        "import boxless.cli.app",
        "import boxless.methods, boxless.formats, boxless.data, boxless.metrics, boxless.ops, boxless.maps",
        "import boxless.pseudo",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert imported_by(code) & HEAVY == set()


def test_help_of_a_verb_imports_nothing_heavy_of_ours() -> None:
    code = (
        "from typer.testing import CliRunner; from boxless.cli.app import app; CliRunner().invoke(app, ['train', '-h'])"
    )
    assert imported_by(code) & (HEAVY - {"pydantic"}) == set()  # typer itself uses pydantic where it is installed


def test_metrics_that_are_functions_import_no_torch() -> None:
    code = "from boxless.metrics import iou_curves, Tally, dissect, top_k_class; from boxless.ops import sweep_boxes"
    assert imported_by(code) & {"torch", "torchmetrics", "matplotlib"} == set()


@pytest.mark.parametrize("table", ["methods", "backbones", "formats", "maps"])
def test_listing_names_imports_no_network_library(table: str) -> None:
    code = (
        "from typer.testing import CliRunner; from boxless.cli.app import app; CliRunner().invoke(app, ['list', '{}'])"
    )
    code = code.format(table)
    assert imported_by(code) & {"torch", "timm", "numpy"} == set()


def test_help_answers_in_half_a_second() -> None:
    """The best of some, in processor seconds: other work on the machine must not fail it."""
    command = [sys.executable, "-c", "import sys; sys.argv[1:] = ['--help']; from boxless.cli import main; main()"]
    best = 9.0
    for _ in range(5):
        began = os.times()
        subprocess.run(command, capture_output=True, check=True)
        ended = os.times()
        best = min(best, ended.children_user - began.children_user + ended.children_system - began.children_system)
    assert best < 0.5
