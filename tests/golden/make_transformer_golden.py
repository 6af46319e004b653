"""Writes transformer_maps.json: what the authors' code of TS-CAM and SCM computes for the transformer of sat_cases.py.

    git clone https://github.com/vasgaowei/TS-CAM; git clone https://github.com/164140757/SCM
    python tests/golden/make_transformer_golden.py --peers DIR      # the folder of the two; seconds

It needs einops and scipy. Their modules are imported as they are; a name of old scipy that they import stands for
today's, and what they do not use is stood in for. SCM has no licence; none of its code is kept here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import scipy.sparse
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
import sat_cases as cases

GOLDEN = Path(__file__).parent / "transformer_maps.json"
COMMITS = {
    "TS-CAM": "25aece441978a40c22662b27ca3bf03c188a4249",
    "SCM": "be5bdfa6229cf0920900b480acc4d014b16f0b75",
}
ALONE = (3, 5)  # the grid that one block of SCM is given alone


@contextmanager
def peer(folder: Path) -> Iterator[Any]:
    """The module of a checkout with its transformers, which is forgotten at the end: the other's has the same name."""
    for name in ("timm.models.layers.classifier", "lib.models.conformer", "lib.models.vgg"):
        sys.modules[name] = MagicMock()
    sys.modules["scipy.sparse.coo"] = SimpleNamespace(coo_matrix=scipy.sparse.coo_matrix)  # type: ignore[assignment]
    sys.path.insert(0, str(folder))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what timm moved, and of its models that theirs replace
            yield importlib.import_module("lib.models.deit")
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name == "lib" or name.startswith("lib.")]:
            del sys.modules[name]


def network(kind: Any) -> Any:
    """A peer's network with the weights of sat_cases but for the spatial token."""
    built = kind(
        **{"img_size": cases.SIDE, "patch_size": cases.PATCH, "embed_dim": cases.WIDTH, "depth": cases.BLOCKS},
        **{"num_heads": cases.HEADS, "qkv_bias": True, "norm_layer": partial(nn.LayerNorm, eps=1e-6)},
        num_classes=cases.CLASSES,
    )
    weights = {name: each for name, each in cases.weights().items() if name not in (cases.TOKEN, cases.PLACE)}
    missing, unexpected = built.load_state_dict(weights, strict=False)
    if unexpected or any(
        not name.startswith("layers.") for name in missing
    ):  # SCM's own, which start with fixed values
        raise SystemExit(f"other weights than expected: {missing}, {unexpected}")
    return built


def digits(values: Tensor) -> list[Any]:
    listed: list[Any] = np.round(values.detach().double().numpy(), 6).tolist()
    return listed


def ts_cam(folder: Path) -> dict[str, Any]:
    with peer(folder) as module, torch.no_grad():
        logits, maps = network(module.TSCAM).eval()(cases.images())
    return {"logits": digits(logits), "maps": digits(maps[:, :2])}


def scm(folder: Path) -> dict[str, Any]:
    """Its maps, and how it trains: through all blocks, with the gradients of the cross-entropy."""
    with peer(folder) as module:
        built, images = network(module.SCM), cases.images()
        with torch.no_grad():
            logits, maps, _, _ = built.eval()(images)
        spread: list[Tensor] = []
        for each in built.layers:
            each.register_forward_hook(lambda _module, _inputs, outputs: spread.append(outputs[1]))
        taught = built.train()(images)
        F.cross_entropy(taught, torch.tensor(cases.LABELS)).backward()
        return {
            "logits": digits(logits),
            "maps": digits(maps[:, :2]),
            "taught": digits(taught),
            "spread": digits(torch.stack(spread)),
            "gradients": {
                "threshold": [each.thred.grad.item() for each in built.layers],
                "similarity": [each.fuse._loss_rate.grad.item() for each in built.layers],
                "head.bias": digits(built.head.bias.grad),
                "cls_token": digits(built.cls_token.grad.flatten()),
            },
            "alone": alone(module),
        }


def alone(module: Any) -> dict[str, Any]:
    """One block with other values than those it starts with, on a grid that is no square."""
    random = np.random.RandomState(2)
    class_maps = torch.from_numpy(random.standard_normal((2, cases.CLASSES, *ALONE))).float()
    attention = torch.from_numpy(random.uniform(0, 1, (2, ALONE[0] * ALONE[1]))).float()
    block = module.Encoder(cases.CLASSES, thred=0.3, fusion_cfg={"loss_rate": 1.4, "grid_size": ALONE, "iteration": 16})
    with torch.no_grad():
        raised, spread = block(class_maps, attention)
    return {
        "class_maps": digits(class_maps),
        "attention": digits(attention),
        "raised": digits(raised),
        "spread": digits(spread),
    }


def check_commit(folder: Path, commit: str) -> None:
    """Refuse another commit than that which the numbers are said to be of, or files that were changed."""
    for command, expected in (("rev-parse HEAD", commit), ("status --porcelain --untracked-files=no -- *.py", "")):
        said = subprocess.run(["git", "-C", folder, *command.split()], capture_output=True, text=True, check=True)
        if said.stdout.strip() != expected:
            raise SystemExit(f"{folder} is not the unchanged commit {commit}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="the folder of the checkouts")
    folder = parser.parse_args().peers.resolve()
    for name, commit in COMMITS.items():
        check_commit(folder / name, commit)
    content = {
        "about": {
            "what": "what the authors' code computes for the transformer and the images of sat_cases.py",
            "command": "python tests/golden/make_transformer_golden.py --peers DIR",
            "peers": ["https://github.com/vasgaowei/TS-CAM", "https://github.com/164140757/SCM"],
            "peer_commits": COMMITS,
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__},
        },
        "ts_cam": ts_cam(folder / "TS-CAM"),
        "scm": scm(folder / "SCM"),
    }
    GOLDEN.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
