"""A small vision transformer for machines that no pretrained one reaches: taught the offline network's features.

No transformer's weights come in a package, and one that begins at random learns nothing from 2,400 images. So a small
one is first taught, on the training images of the sample and without their labels, to give the features of the offline
backbone: each patch token that network's grids at the same place, and the class token their average.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from boxless.backbones.build import build_backbone
from boxless.data.catalog import read_catalog
from boxless.data.transforms import Augment, Preprocess, colours, normalized
from boxless.training.examples import Examples, epoch_batches

TEACHER, STUDENT = "tf_efficientnet_lite0", "deit_tiny_patch16_224"
STAGES = (3, 4)  # of the teacher: strides 16 and 32
RATE, DECAY, WARM = 1e-3, 0.05, 0.05
COMPONENTS = 64  # of the other network's features that are taught: those of the most variance


class Pupil(nn.Module):
    """A transformer and what turns its tokens into another network's features."""

    def __init__(self, side: int, channels: int) -> None:
        super().__init__()
        self.student = build_backbone(STUDENT, weights="random", image_size=side)
        (stage,) = self.student.tap(-1)
        self.student.tap_tokens(-1)
        self.patches, self.whole = nn.Linear(stage.channels, channels), nn.Linear(stage.channels, channels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features of each place (b, n, c), and of the image (b, c)."""
        features = self.student(images)
        prefix = features.prefix
        return self.patches(features.grid.flatten(2).mT), self.whole(prefix[:, 0, 0])


def distil(file: Path, *, side: int, epochs: int, batch: int = 32, seed: int = 0) -> dict[str, float]:
    """Teach a transformer, write its weights, and give the part of the features' variance that it explains on val."""
    torch.manual_seed(seed)
    catalog = read_catalog("sample")
    teacher = build_backbone(TEACHER, image_size=side).eval()
    teacher.tap(*STAGES)
    pupil = Pupil(side, COMPONENTS)
    mean, std = pupil.student.mean, pupil.student.std
    augment = Augment(side, mean, std)
    train, val = (
        Examples(catalog.splits[name], len(catalog.classes), Preprocess(side, mean, std), shown, seed)
        for name, shown in (("train", augment), ("val", None))
    )

    @torch.no_grad()
    def wanted(images: Tensor) -> Tensor:
        grids = teacher(normalized(colours(images, mean, std), teacher.mean, teacher.std)).grids
        side = grids[0].shape[2:]
        return torch.cat([F.interpolate(grid, side, mode="bilinear") for grid in grids], 1).flatten(2).mT

    first = wanted(torch.stack([train.plain(i) for i in range(0, len(train), max(len(train) // 256, 1))]))
    centre, turn = components(first)
    optimizer = torch.optim.AdamW(pupil.parameters(), lr=RATE, weight_decay=DECAY)
    total = epochs * math.ceil(len(train) / batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / (WARM * total)) * (1 + math.cos(math.pi * step / total)) / 2
    )

    def loss(images: Tensor) -> Tensor:
        target = (wanted(images) - centre) @ turn
        places, whole = pupil(images)
        return F.mse_loss(places, target) + F.mse_loss(whole, target.mean(1))

    for epoch in range(epochs):
        groups, seen = list(epoch_batches(len(train), batch, seed, epoch)), 0.0
        for images in train.stream(groups, epoch, 2):
            optimizer.zero_grad()
            value = loss(torch.stack([each for each in images if each is not None]))
            value.backward()
            optimizer.step()
            schedule.step()
            seen += value.item() / len(groups)
        print(f"epoch {epoch + 1} of {epochs}: loss {seen:.3f}", flush=True)
    save_file({key: value.contiguous() for key, value in pupil.student.model.state_dict().items()}, file)
    pupil.eval()
    with torch.no_grad():
        images = torch.stack([val.plain(i) for i in range(len(val))])
        target = (wanted(images) - centre) @ turn
        places, _ = pupil(images)
    return {"explained": float(1 - (places - target).var() / target.var())}


def components(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (c,) of features (b, n, c), and what makes their principal components (c, k), of mean variance 1."""
    rows = features.flatten(0, 1)
    centre, spread = rows.mean(0), rows.std(0) + 1e-6
    _, values, vectors = torch.linalg.svd((rows - centre) / spread, full_matrices=False)
    scale = values[:COMPONENTS].square().mean().sqrt() / math.sqrt(len(rows))
    return centre, vectors[:COMPONENTS].mT / spread[:, None] / scale
