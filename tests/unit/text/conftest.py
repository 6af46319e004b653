"""A text tower of which every number can be worked out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from boxless.text.towers import TextTower


class Lookup(TextTower):
    """Embeds the prompts that it was told, and remembers what it was asked."""

    title, context = "a table", None

    def __init__(self, known: Mapping[str, Sequence[float]]) -> None:
        self.known = {prompt: torch.tensor(row) for prompt, row in known.items()}
        self.dimensions = len(next(iter(self.known.values())))
        self.asked: list[list[str]] = []

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        self.asked.append(list(prompts))
        rows = [self.known[prompt] for prompt in prompts]
        return normalize(torch.stack(rows), dim=1) if rows else torch.zeros(0, self.dimensions)


@pytest.fixture
def table() -> Lookup:
    """``a`` and ``the`` are templates."""
    return Lookup(
        {
            "a cat": (1.0, 0.0),
            "the cat": (0.0, 2.0),
            "a puss": (0.6, 0.8),
            "the puss": (0.0, 1.0),
            "a dog": (0.0, -3.0),
            "the dog": (-4.0, 3.0),
            "a sky": (1.0, 0.0),
            "the sky": (0.8, 0.6),
            "my dog": (5.0, 0.0),
        }
    )
