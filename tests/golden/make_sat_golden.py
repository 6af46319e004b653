"""Writes sat.json: what the authors' code of SAT computes for the transformer and the images of sat_cases.py.

    git clone https://github.com/wpy1999/SAT
    python tests/golden/make_sat_golden.py --peer SAT      # seconds

Their module is imported as it is; scikit-image, which it imports and does not use, is stood in for. Their code is for
research only, by its authors' word; none of it is kept here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import timm
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
import sat_cases as cases

GOLDEN = Path(__file__).parent / "sat.json"
COMMIT = "702290d7a29197920e115581cfc02ebe1ed528c8"
UNUSED = ("skimage",)


def network(folder: Path) -> Any:
    """Their network with the weights of sat_cases."""
    for name in UNUSED:
        sys.modules[name] = MagicMock()
    sys.path.insert(0, str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # timm moved what it imports
        module = importlib.import_module("Model.SAT")
    built = module.SAT(
        **{"img_size": cases.SIDE, "patch_size": cases.PATCH, "embed_dim": cases.WIDTH, "depth": cases.BLOCKS},
        **{"num_heads": cases.HEADS, "qkv_bias": True, "norm_layer": partial(nn.LayerNorm, eps=1e-6)},
        num_classes=cases.CLASSES,
    )
    built.load_state_dict(cases.weights() | {"weight": built.weight})  # the last is the kernel of an average
    return built


def digits(values: Any) -> list[Any]:
    listed: list[Any] = np.round(np.asarray(values.detach(), dtype=np.float64), 6).tolist()
    return listed


def figures(folder: Path) -> dict[str, Any]:
    """What it gives in training and in evaluation, its losses as train.py adds them, and what they teach the token."""
    built, images = network(folder), cases.images()
    with torch.no_grad():
        logits, maps = built.eval()(images, phase="test")
        masks = torch.stack(built.forward_features(images)[3])[-3:, :, 0, 0]
    built.train()
    said, areas, spread = built(images, phase="train")
    losses = {
        "classification": F.cross_entropy(said, torch.tensor(cases.LABELS)),
        "area": torch.abs(areas.mean(0) - cases.AREA),
        "normalization": spread.mean(0),
    }
    torch.stack(list(losses.values())).sum().backward()
    return {
        "logits": digits(logits),
        "map": digits(maps),
        "masks": digits(masks),  # of the last three blocks: of the class token, the patches and the spatial token
        "losses": {name: value.item() for name, value in losses.items()},
        "gradients": {name: digits(getattr(built, name).grad.flatten()) for name in (cases.TOKEN, cases.PLACE)},
    }


def check_commit(folder: Path) -> None:
    """Refuse another commit than that which the numbers are said to be of, or files that were changed."""
    for command, expected in (("rev-parse HEAD", COMMIT), ("status --porcelain --untracked-files=no -- *.py", "")):
        said = subprocess.run(["git", "-C", folder, *command.split()], capture_output=True, text=True, check=True)
        if said.stdout.strip() != expected:
            raise SystemExit(f"{folder} is not the unchanged commit {COMMIT}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="the checkout")
    folder = parser.parse_args().peer.resolve()
    check_commit(folder)
    content = {
        "about": {
            "what": "what the authors' code computes for the transformer and the images of sat_cases.py",
            "command": "python tests/golden/make_sat_golden.py --peer SAT",
            "peer": "https://github.com/wpy1999/SAT",
            "peer_commit": COMMIT,
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__},
        },
        **figures(folder),
    }
    GOLDEN.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
