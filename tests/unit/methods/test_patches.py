from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from boxless.methods.patches import NARROWEST, PatchDecoder, Patches


def made(stride: int, resolution: int, *, width: int = 64) -> PatchDecoder:
    torch.manual_seed(0)
    decoder = PatchDecoder(channels=6, stride=stride, dimensions=5, width=width, resolution=resolution)
    torch.nn.init.normal_(decoder.norm.weight)
    return decoder.eval()


def every_embedding(decoder: PatchDecoder, patches: Patches) -> Tensor:
    """What the class never makes: the embeddings (b, d, h, w) of all patches."""
    parts = [F.interpolate(patches.coarse, patches.size, mode="bilinear", align_corners=False)]
    parts += [] if patches.fine is None else [patches.fine]
    embedded: Tensor = decoder.projection(torch.cat(parts, 1).movedim(1, 3)).movedim(3, 1)
    return embedded


GRID = torch.randn(2, 6, 3, 5, generator=torch.Generator().manual_seed(1))
cases = pytest.mark.parametrize(
    ("stride", "resolution", "size"), [(16, 4, (12, 20)), (14, 4, (12, 20)), (8, 8, (3, 5))]
)


@cases
def test_patches_lie_on_a_grid_as_fine_as_asked_for(stride: int, resolution: int, size: tuple[int, int]) -> None:
    patches = made(stride, resolution)(GRID)
    assert patches.size == size
    assert (patches.fine is None) == (size == (3, 5))


@cases
def test_what_is_asked_of_embeddings_is_what_all_of_them_would_say(
    stride: int, resolution: int, size: tuple[int, int]
) -> None:
    decoder = made(stride, resolution)
    patches = decoder(GRID)
    dense = every_embedding(decoder, patches)
    generator = torch.Generator().manual_seed(2)
    rows, columns = (torch.randint(0, side, (2, 7), generator=generator) for side in size)
    at = torch.stack([dense[image][:, rows[image], columns[image]] for image in range(2)])
    torch.testing.assert_close(decoder.at(patches, rows, columns), at, atol=1e-5, rtol=1e-5)
    vectors = torch.randn(2, 4, 5, generator=generator)
    products = torch.einsum("bdhw,bnd->bnhw", dense, vectors)
    torch.testing.assert_close(decoder.products(patches, vectors), products, atol=1e-5, rtol=1e-5)
    weights = torch.rand(2, *size, generator=generator)
    weights /= weights.sum((1, 2), keepdim=True)
    mean = torch.einsum("bdhw,bhw->bd", dense, weights)
    torch.testing.assert_close(decoder.mean(patches, weights), mean, atol=1e-5, rtol=1e-5)


def test_widths_halve_down_to_the_narrowest() -> None:
    outputs = [each.out_channels for each in made(32, 2, width=128).modules() if isinstance(each, torch.nn.Conv2d)]
    assert outputs == [256, 128, 128, 64, 64, NARROWEST, NARROWEST, NARROWEST, NARROWEST]
