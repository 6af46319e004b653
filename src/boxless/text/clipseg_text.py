"""CLIPSeg's text tower, through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import normalize

from boxless.backbones import clipseg_models as models
from boxless.errors import DataError
from boxless.text.towers import TextTower

CHUNK = 64  # prompts of one pass


@final
class ClipSegText(TextTower):
    """The text tower of a CLIPSeg model, which is CLIP's.

    Args:
        name: As of `boxless.backbones.clipseg_backbone.ClipSegBackbone`, with or without ``clipseg:``.
        weights: As there; random ones are those that the image tower of random weights belongs to.

    Raises:
        UnknownNameError, ConfigError, WeightsError, MissingExtraError: As there; the tokenizer's files count too.
    """

    context: int

    def __init__(self, name: str, *, weights: str = "auto") -> None:
        self.title = name
        self._tokenizer = models.tokenizer(name)
        self._model = models.create(name, weights).clip
        del self._model.vision_model
        self.dimensions = int(self._model.projection_dim)
        self.context = int(self._model.config.text_config.max_position_embeddings)

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """Embed prompts; see :class:`TextTower`."""
        return normalize(self.raw(prompts), dim=1)

    @torch.no_grad()
    def raw(self, prompts: Sequence[str]) -> Tensor:
        """Embed prompts, some at a time, as the decoder wants them; see :class:`TextTower`."""
        if not prompts:
            return torch.zeros(0, self.dimensions)
        tokens = self._tokenizer(list(prompts))
        for prompt, row in zip(prompts, tokens["input_ids"], strict=True):
            if len(row) > self.context:
                raise DataError(
                    f"prompt {prompt!r}: it has {len(row)} tokens, and {self.title} reads {self.context}; shorten the "
                    "name of the class in a file of names, or take a shorter template."
                )
        padded = self._tokenizer.pad(tokens, return_tensors="pt")
        parts = zip(*(padded[key].split(CHUNK) for key in ("input_ids", "attention_mask")), strict=True)
        return torch.cat([self._model.get_text_features(*part).pooler_output for part in parts])
