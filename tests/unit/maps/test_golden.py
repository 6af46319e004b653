"""The maps of pytorch-grad-cam and torchcam; tests/golden/make_map_golden.py says how their numbers were made."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from boxless.maps import extract
from boxless.ops.maps import normalize

FOLDER = Path(__file__).parents[2] / "golden"
GOLDEN = json.loads((FOLDER / "classifier_maps.json").read_text(encoding="utf-8"))
# In single precision the networks' own rounding shows; it depends on how many threads add numbers up.
TOLERANCES = {torch.float64: 1e-6, torch.float32: 5e-5}

specification = importlib.util.spec_from_file_location("golden_map_models", FOLDER / "map_models.py")
assert specification
assert specification.loader
models = importlib.util.module_from_spec(specification)
specification.loader.exec_module(models)

# Their settings, where they differ from the papers and so from our defaults.
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("pytorch-grad-cam", "gradcam++"): {"epsilon": 1e-6},
    ("pytorch-grad-cam", "xgradcam"): {"epsilon": 1e-7},
    ("torchcam", "smoothgradcam++"): {"epsilon": 1e-8, "samples": 2, "std": 1e-9},
    ("torchcam", "scorecam"): {"masks": "grid"},
    ("torchcam", "sscam"): {"masks": "grid", "samples": 2},
    ("torchcam", "iscam"): {"masks": "grid", "samples": 3},
}
CASES = [
    (network, peer, name)
    for network, peers in GOLDEN.items()
    for peer, found in peers.items()
    for name in found
    if not name.endswith("layers")
]


@cache
def network(name: str, dtype: torch.dtype = torch.float32) -> Any:
    return models.build(name).to(dtype)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(("family", "peer", "name"), CASES, ids=map(" ".join, CASES))
def test_maps_are_those_of_the_peer(family: str, peer: str, name: str, dtype: torch.dtype) -> None:
    settings = SETTINGS.get((peer, name), {})
    layer = models.LAYERS[family][0]
    found = extract(name, network(family, dtype), models.images(), models.TARGETS, layers=layer, **settings)
    expected = torch.tensor(GOLDEN[family][peer][name])
    assert expected.amax((1, 2)).tolist() == [1, 1]
    torch.testing.assert_close(found.maps, expected, atol=TOLERANCES[dtype], rtol=0)


@pytest.mark.parametrize("family", list(GOLDEN))
def test_layercam_of_several_layers_is_that_of_torchcam(family: str) -> None:
    layers = models.LAYERS[family][1]
    found = extract("layercam", network(family, torch.float64), models.images(), models.TARGETS, layers=layers)
    expected = torch.tensor(GOLDEN[family]["torchcam"]["layercam of several layers"])
    torch.testing.assert_close(found.maps, expected, atol=TOLERANCES[torch.float64], rtol=0)
    assert found.layers == layers


def test_with_the_paper_s_formula_the_constant_that_peers_add_to_it_does_matter() -> None:
    """So it is a setting: equality above is by asking for the same constant, and not by a loose tolerance."""
    layer = models.LAYERS["vit"][0]
    maps = extract("gradcam++", network("vit"), models.images(), models.TARGETS, layers=layer).maps
    assert (maps - torch.tensor(GOLDEN["vit"]["pytorch-grad-cam"]["gradcam++"])).abs().max() > 1e-3


def test_a_layer_s_maps_are_normalized_once_more_after_they_are_fused() -> None:
    several = models.LAYERS["resnet"][1]
    maps = extract("gradcam", network("resnet"), models.images(), models.TARGETS, layers=several).maps
    fine, coarse = (
        extract("gradcam", network("resnet"), models.images(), models.TARGETS, layers=each).maps for each in several
    )
    raised = torch.nn.functional.interpolate(coarse[:, None], fine.shape[1:], mode="bilinear")[:, 0]
    torch.testing.assert_close(maps, normalize((fine + raised) / 2))
