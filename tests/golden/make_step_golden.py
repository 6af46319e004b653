"""Writes training_steps.json: what the methods of wsolevaluation compute for the inputs and weights of step_cases.py.

    git clone https://github.com/clovaai/wsolevaluation DIR
    python tests/golden/make_step_golden.py --peer DIR      # some seconds

Its classes and functions are imported as they are (``wsol.method``); they are given small classifiers in place of those
with 1,024 channels, and everything in float64.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
import step_cases
from make_box_golden import COMMIT

GOLDEN = Path(__file__).parent / "training_steps.json"


def classifier() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(5, 5, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(5, step_cases.CLASSES, 1),
    )


def acol(method: Any) -> dict[str, Any]:
    """A step on a 12 x 12 grid of three images, and the maps of the true classes."""

    class Model(method.AcolBase):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.classifier_A, self.classifier_B = classifier(), classifier()
            self.avgpool = nn.AdaptiveAvgPool2d(1)

    model, grid, labels = Model().double(), step_cases.images(3, 12), step_cases.labels(3)
    step_cases.fill([model])
    content: dict[str, Any] = {}
    for threshold in (0.7, 0.3):
        said = model._acol_logits(grid, labels, threshold)
        loss = method.acol.get_loss(said, labels)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        both = torch.max(*(method.normalize_tensor(said[name].detach()) for name in ("feat_map_a", "feat_map_b")))
        content[str(threshold)] = {
            "loss": loss.item(),
            "gradients": step_cases.fingerprint(gradients),
            "logits": said["logits"].flatten().tolist(),
            "maps": both[range(3), labels][:, ::4, ::4].flatten().tolist(),
        }
    return content


def adl(method: Any) -> dict[str, Any]:
    """Features after the layer, where it drops (rate 1) and where it weighs (rate 0), and the gradient behind it."""
    content = {}
    for rate in (1.0, 0.0):
        grid = step_cases.images(2, 6).requires_grad_()
        layer = method.ADL(adl_drop_rate=rate, adl_drop_threshold=0.9).train()
        after = layer(grid)
        (gradient,) = torch.autograd.grad(after.square().sum(), [grid])
        content[str(rate)] = {"after": after[:, 0].flatten().tolist(), "gradient": step_cases.fingerprint([gradient])}
    return content


def conv(inside: int, outside: int, size: int) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, size, padding=size // 2)


def spg(method: Any) -> dict[str, Any]:
    """A step on images of 224 x 224, whose means over 2 x 2 and 4 x 4 pixels are the two inner grids."""
    images, labels = step_cases.images(3, 224), step_cases.labels(3)
    fine, coarse = nn.functional.avg_pool2d(images, 2), nn.functional.avg_pool2d(images, 4)
    last = nn.Sequential(conv(3, 5, 3), nn.ReLU())
    a4 = conv(5, step_cases.CLASSES, 1)
    b1, b2 = nn.Sequential(conv(3, 6, 3), nn.ReLU()), nn.Sequential(conv(3, 6, 3), nn.ReLU())
    shared = nn.Sequential(conv(6, 6, 3), nn.ReLU(), conv(6, 1, 1))
    c = nn.Sequential(conv(5, 6, 3), nn.ReLU(), conv(6, 1, 1))
    parts = nn.ModuleList([last, a4, b1, b2, shared, c]).double()
    step_cases.fill(parts)
    step_cases.sharpen(shared[2])
    grid = last(coarse)
    maps = a4(grid)
    logits, b1_said, b2_said, c_said = maps.mean((2, 3)), shared(b1(fine)), shared(b2(coarse)), c(grid)
    attention, fused = method.spg.compute_attention(maps, labels, b1_said, b2_said)
    said = {
        "logits": logits,
        "attention": attention,
        "fused_attention": fused,
        "logits_b1": b1_said,
        "logits_b2": b2_said,
        "logits_c": c_said,
    }
    content: dict[str, Any] = {}
    for name, thresholds in THRESHOLDS.items():
        loss = method.spg.get_loss(said, labels, thresholds)
        gradients = torch.autograd.grad(loss, list(parts.parameters()), retain_graph=True)
        masks = [
            method.spg.get_mask(source, *pair)
            for source, pair in zip((attention, up(b2_said), fused), thresholds, strict=True)
        ]
        content[name] = {
            "loss": loss.item(),
            "gradients": step_cases.fingerprint(gradients),
            "pixels": [[int((mask == value).sum()) for value in (1, 0, 255)] for mask in masks],
        }
    return content


def up(logits: Tensor) -> Tensor:
    return torch.sigmoid(nn.Upsample(size=(224, 224), mode="bilinear")(logits))


THRESHOLDS = {
    "default": ((0.7, 0.01), (0.5, 0.05), (0.7, 0.1)),
    "other": ((0.6, 0.3), (0.52, 0.5), (0.9, 0.51)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="a checkout of wsolevaluation")
    sys.path.insert(0, str(parser.parse_args().peer))
    import wsol.method as method

    content = {
        "about": {
            "what": "what the method code of wsolevaluation computes for the inputs and weights of step_cases.py",
            "command": "python tests/golden/make_step_golden.py --peer DIR",
            "peer": "https://github.com/clovaai/wsolevaluation",
            "peer_commit": COMMIT,
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "gradients": "step_cases.fingerprint of each parameter's, in order",
            "pixels": "of the pseudo-masks of B2, B1 and C: object, background, ignored",
        },
        "acol": acol(method),
        "adl": adl(method),
        "spg": spg(method),
    }
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
