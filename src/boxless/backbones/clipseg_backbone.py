"""CLIPSeg's image tower and decoder as a :class:`Backbone`: an image seen once, segmented by any text embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from boxless.backbones import clipseg_models as models
from boxless.backbones.base import Backbone, Stage
from boxless.errors import ConfigError
from boxless.types import Features

if TYPE_CHECKING:
    from boxless.text.towers import TextTower


@dataclass(frozen=True, slots=True)
class Seen:
    """What the decoder reads of a batch of images, and CLIP's embedding of each."""

    embedding: Tensor  # (b, d) in the space shared with texts, of any length
    tokens: tuple[Tensor, ...]  # each (b, 1 + rows * columns, c): of the blocks that the decoder reads, fine to coarse
    grid: tuple[int, int]  # rows and columns of the patches


@final
class ClipSegBackbone(Backbone):
    """A CLIPSeg model of transformers without its text tower.

    Its stages are the blocks of CLIP's vision transformer. They and the decoder are computed here from the modules of
    transformers, because its own decoder takes square images only, and one class for each pass of the image tower.

    Args:
        name: ``clipseg:CIDAS/clipseg-rd64-refined``, ``clipseg:CIDAS/clipseg-rd64``, ``clipseg:CIDAS/clipseg-rd16`` or
            ``clipseg:FOLDER``.
        weights: ``auto`` and ``hub`` take them from the hub or its local cache, or from the folder; ``random`` takes
            none.
        image_size: Side of the square input, in pixels. Images of any height and width that patches divide are taken
            too: the position embedding is interpolated at each pass.

    Raises:
        UnknownNameError: The model is neither published by the authors nor a folder.
        ConfigError: The folder has no CLIPSeg model, or patches do not divide the size.
        WeightsError: The weights cannot be had.
        MissingExtraError: transformers is not installed.
    """

    prefix_tokens = 1
    class_token = True

    def __init__(self, name: str, *, weights: str = "auto", image_size: int = models.SIDE) -> None:
        super().__init__()
        self.name, self.image_size, self._weights = name, image_size, weights
        whole = models.create(name, weights)
        self.vision, self.projection = whole.clip.vision_model, whole.clip.visual_projection
        self.logit_scale, self.decoder = whole.clip.logit_scale, whole.decoder
        config = whole.config
        self.patch, self.text_dimensions = int(config.vision_config.patch_size), int(config.projection_dim)
        self._read = tuple(int(each) for each in config.extract_layers)
        _, self.mean, self.std = models.preprocess(name)
        self.licence = "apache-2.0" if models.parse(name) in models.HUB else "not stated"
        self.stages = tuple(
            Stage(f"vision.encoder.layers.{index}", int(config.vision_config.hidden_size), self.patch)
            for index in range(len(self.vision.encoder.layers))
        )
        self._grid_of(image_size, image_size)
        self.any_size = False  # only those that its patches divide
        self.tap(-1)

    def text_tower(self) -> TextTower:
        """The text tower of the same model, on the processor; with random weights the one they belong to."""
        from boxless.text.clipseg_text import ClipSegText

        return ClipSegText(self.name, weights=self._weights)

    def extract(self, images: Tensor) -> Features:
        """Compute the tapped blocks; see :class:`Backbone`."""
        wanted = {*self.taps, *self.token_taps}
        if not wanted:
            return Features(())
        grid = self._grid_of(*images.shape[2:])
        tokens = self._tokens(images, max(wanted) + 1)
        grids = tuple(_as_grid(tokens[tap], grid) for tap in self.taps)
        if not self.token_taps:
            return Features(grids)
        return Features(grids, torch.stack([tokens[tap][:, :1] for tap in self.token_taps], 1))

    def encode(self, images: Tensor) -> Seen:
        """What the decoder reads of normalised images (b, 3, h, w), and CLIP's embedding of them, in one pass.

        Raises:
            ConfigError: Patches do not divide the images.
        """
        grid = self._grid_of(*images.shape[2:])
        tokens = self._tokens(images, len(self.stages))
        embedding: Tensor = self.projection(self.vision.post_layernorm(tokens[-1][:, 0]))
        return Seen(embedding, tuple(tokens[index] for index in self._read), grid)

    def decode(self, seen: Seen, conditions: Tensor) -> Tensor:
        """Logits (b, n, h, w) at the size of the images: how well each pixel fits each of n texts.

        Args:
            seen: Of :meth:`encode`.
            conditions: (b, n, d) text embeddings as the text tower gives them, of their own length: they scale and
                shift features, so that the length matters.
        """
        texts, decoder = conditions.shape[1], self.decoder
        condition = conditions.flatten(0, 1)[:, None]
        x: Any = 0.0
        for index, (layer, reduce) in enumerate(zip(decoder.layers, decoder.reduces, strict=True)):
            x = x + reduce(seen.tokens[-1 - index]).repeat_interleave(texts, 0)
            if index == decoder.conditional_layer:
                x = decoder.film_mul(condition) * x + decoder.film_add(condition)
            x = layer(x, attention_mask=None)
        logits: Tensor = decoder.transposed_convolution(_as_grid(x, seen.grid))
        return logits.reshape(-1, texts, *logits.shape[2:])

    def _tokens(self, images: Tensor, depth: int) -> list[Tensor]:
        """The tokens (b, 1 + patches, c) that each of the first ``depth`` blocks gives."""
        x = self.vision.pre_layrnorm(self.vision.embeddings(images, interpolate_pos_encoding=True))
        given = []
        for layer in self.vision.encoder.layers[:depth]:
            x = layer(x, attention_mask=None)
            given.append(x)
        return given

    def _grid_of(self, height: int, width: int) -> tuple[int, int]:
        if height % self.patch or width % self.patch or not height or not width:
            raise ConfigError(
                f"{self.name} does not take images of {height} x {width} pixels: its patches are of {self.patch} "
                "pixels; take sides that are multiples of it."
            )
        return height // self.patch, width // self.patch


def _as_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patch tokens (b, 1 + rows * columns, c) without the class token, as (b, c, rows, columns)."""
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, *grid)
