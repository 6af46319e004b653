"""Writes classifier_maps.json: maps of pytorch-grad-cam and torchcam on the networks of map_models.py.

    pip install grad-cam==1.5.7 torchcam==0.5.0     # in an environment that has boxless
    python tests/golden/make_map_golden.py

Kept are their maps on the layer's own grid, after ReLU and before they are resized to the image, brought into [0, 1].
Networks and images are in double precision: in single precision some of these sums lose so many digits that a map
depends in its fifth on how many threads add them up.

Where the two sides do not define the same thing, the difference is set aside:

* torchcam's Smooth Grad-CAM++ weighs the activations and the gradient of its last noisy copy, which is not what its
  documentation says; it is asked for noise near nothing, where that makes no difference.
* Its denominator also has the sum of activation times third derivative, place by place, where equation 19 of Grad-CAM++
  (and pytorch-grad-cam) has the sum of the activations times the third derivative at the place weighed. The two are one
  where the gradient is the same in each place, as before an average pooling: so it is taken for the ResNet alone.
* torchcam's LayerCAM shifts each map to zero before it fuses several; equation 9 only divides by the maximum, so that
  is what its fusion is given.
* torchcam's SS-CAM draws its noise from torch's global generator, for each image apart; here it is given the noise that
  boxless draws, which is the same for each image.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM, ScoreCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam import methods as torchcam

sys.path.insert(0, str(Path(__file__).parent))
import map_models

GOLDEN = Path(__file__).parent / "classifier_maps.json"
SAMPLES, STD, SEED = 2, 2.0, 0


def as_grid(name: str) -> Any:
    """What each peer needs to read a transformer; a network of convolutions needs none."""
    if name == "vit":
        rows, columns = (side // 8 for side in map_models.SIZE)
        return lambda out: out[:, map_models.PREFIX :].transpose(1, 2).reshape(len(out), -1, rows, columns)
    return (lambda out: out.permute(0, 3, 1, 2)) if name == "swin" else None


def unit(maps: Tensor) -> list[Any]:
    """After ReLU, each map brought into [0, 1], to seven digits."""
    maps = maps.clamp(min=0).double()
    lowest, highest = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    listed: list[Any] = np.round(((maps - lowest) / (highest - lowest)).numpy(), 7).tolist()
    return listed


def grad_cam(kind: Any, name: str) -> list[Any]:
    model = map_models.build(name).double()
    layer = dict(model.named_modules())[map_models.LAYERS[name][0]]
    noted: list[Any] = []
    with kind(model, [layer], as_grid(name)) as peer:
        original = peer.get_cam_image
        peer.get_cam_image = lambda *given: noted.append(original(*given)) or noted[-1]
        peer(map_models.images().double(), [ClassifierOutputTarget(each) for each in map_models.TARGETS])
    return unit(torch.from_numpy(noted[0]))


class GivenNoise:
    """In place of torchcam's normal distribution: one plane for each channel, the same for each image."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(SEED)

    def sample(self, size: Any) -> Tensor:
        planes = [STD * torch.randn((1, *size[2:]), generator=self.generator) for _ in range(size[1])]
        return torch.cat(planes).expand(size)


def torch_cam(kind: Any, name: str, *, fused: bool = False, **settings: Any) -> list[Any]:
    model: nn.Module = map_models.build(name).double()
    single, several = map_models.LAYERS[name]
    noise = settings.pop("noise", None)
    with kind(model, list(several) if fused else single, reshape_transform=as_grid(name), **settings) as peer:
        if noise is not None:
            peer._distrib = noise
        scores = model(map_models.images().double())
        maps = peer(list(map_models.TARGETS), scores, normalized=not fused)
        if fused:
            return unit(peer.fuse_cams([each / each.amax((1, 2), keepdim=True) for each in maps]))
        return unit(maps[0])


def main() -> None:
    found = {}
    for name in map_models.MODELS:
        found[name] = {
            "pytorch-grad-cam": {
                "gradcam": grad_cam(GradCAM, name),
                "gradcam++": grad_cam(GradCAMPlusPlus, name),
                "xgradcam": grad_cam(XGradCAM, name),
                "layercam": grad_cam(LayerCAM, name),
                "scorecam": grad_cam(ScoreCAM, name),
            },
            "torchcam": {
                "scorecam": torch_cam(torchcam.ScoreCAM, name),
                "sscam": torch_cam(torchcam.SSCAM, name, num_samples=SAMPLES, std=STD, noise=GivenNoise()),
                "iscam": torch_cam(torchcam.ISCAM, name, num_samples=3),
                "layercam of several layers": torch_cam(torchcam.LayerCAM, name, fused=True),
            },
        }
    found["resnet"]["torchcam"]["smoothgradcam++"] = torch_cam(
        torchcam.SmoothGradCAMpp, "resnet", num_samples=SAMPLES, std=1e-9
    )
    GOLDEN.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
