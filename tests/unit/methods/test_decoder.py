from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from boxless.backbones.base import Stage
from boxless.errors import ConfigError
from boxless.methods.decoder import Decoder, EnlargedConvolution, UNetDecoder

RESNET50 = tuple(
    Stage(f"layer{index}", channels, 2 << index) for index, channels in enumerate((64, 256, 512, 1024, 2048))
)
# Of DiPS on the 200 kinds of birds of CUB: from the class tokens of the last four blocks to the classes.
CLASSIFIER = 4 * 384 * 200 + 200


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def operations(module: nn.Module, *inputs: Any, others: bool = False) -> int:
    """Multiplications with additions in a pass for one image, if each convolution were of an enlarged grid.

    With ``others``, what is no convolution counts as common counters have it: a value that is normalised 2, one that
    goes through a ReLU, is enlarged or gets a bias 1.
    """
    counts: list[int] = []
    module = copy.deepcopy(module)

    def count(layer: Any, inputs: Any, output: Tensor) -> None:
        places = output.shape[2] * output.shape[3]
        if isinstance(layer, nn.Conv2d):
            counts.append(layer.weight.numel() * places)
            if others:
                enlarged = layer.in_channels if isinstance(layer, EnlargedConvolution) else 0
                counts.append((enlarged + (layer.out_channels if layer.bias is not None else 0)) * places)
        elif others:
            counts.append(output.numel() * (2 if isinstance(layer, nn.BatchNorm2d) else 1))

    for each in module.modules():
        if not list(each.children()):
            each.register_forward_hook(count)
    with torch.no_grad():
        module(*inputs)
    return sum(counts)


def randomized(module: nn.Module) -> Any:
    """In float64 and evaluation mode, with batch statistics and biases that a mistake would show in."""
    module = module.double().eval()
    generator = torch.Generator().manual_seed(5)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(drawn.abs() + 0.5 if "running_var" in name else drawn)
    return module


def some(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def doubled(grid: Tensor) -> Tensor:
    return grid.repeat_interleave(2, 2).repeat_interleave(2, 3)


# --- a convolution of an enlarged grid ---


def test_a_lone_cell_becomes_the_sums_of_the_kernels_corners() -> None:
    convolution = EnlargedConvolution(1, 1)
    with torch.no_grad():
        convolution.weight.copy_(torch.arange(1.0, 10.0).reshape(1, 1, 3, 3))
    # At the top left the kernel's lower right weights, 5 + 6 + 8 + 9, meet the cell; and so on.
    expected = torch.tensor([[[[28.0, 24.0], [16.0, 12.0]]]])
    torch.testing.assert_close(convolution(torch.ones(1, 1, 1, 1)), expected)


def test_an_enlarged_convolution_and_its_gradients_are_those_of_a_convolution_of_the_repeated_grid() -> None:
    convolution = randomized(EnlargedConvolution(3, 4, bias=True))
    grid, weights = some(2, 3, 3, 5).requires_grad_(), some(2, 4, 6, 10)
    learned = [grid, convolution.weight, convolution.bias]
    outputs = convolution(grid), F.conv2d(doubled(grid), convolution.weight, convolution.bias, padding=1)
    torch.testing.assert_close(*outputs)
    ours, plain = (torch.autograd.grad((output * weights).sum(), learned) for output in outputs)
    torch.testing.assert_close(ours, plain)


# --- the decoder of DiPS ---


@pytest.mark.parametrize(
    ("last", "expected_parameters", "expected_operations", "with_others"),
    [("block", 1_308_620, 2_386_169_856, "2.398"), ("convolution", 1_308_578, 2_384_363_520, "2.396")],
)
def test_the_heads_on_deit_small_are_as_large_as_in_the_thesis(
    last: Any, expected_parameters: int, expected_operations: int, with_others: str
) -> None:
    decoder = Decoder(channels=384, stride=16, last=last).eval()
    assert parameters(decoder) == expected_parameters
    assert f"{(parameters(decoder) + CLASSIFIER) / 1e6:.3f}" == "1.616"  # section 2.4
    grid = torch.zeros(1, 384, 14, 14)
    assert operations(decoder, grid, (224, 224)) == expected_operations
    # Section 2.4 has 2.396 G: what a plain last convolution comes to when all is counted.
    assert f"{(operations(decoder, grid, (224, 224), others=True) + CLASSIFIER) / 1e9:.3f}" == with_others


def test_what_is_computed_is_four_ninths_of_the_first_convolutions_of_the_blocks() -> None:
    decoder = Decoder(channels=384, stride=16).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        decoder(torch.zeros(1, 384, 14, 14), (224, 224))
    sides = 28, 56, 112
    ins, outs = (384, 192, 96), (192, 96, 48)
    first = sum(4 * i * o * side**2 for i, o, side in zip(ins, outs, sides, strict=True)) + 4 * 48 * 2 * 224**2
    second = sum(9 * o * o * side**2 for o, side in zip(outs, sides, strict=True))
    assert counter.get_total_flops() == 2 * (first + second)


def plainly(layers: Iterable[Any], grid: Tensor) -> Tensor:
    """The decoder as the thesis draws it: enlarge, then convolve."""
    for layer in layers:
        if isinstance(layer, EnlargedConvolution):
            grid = F.conv2d(doubled(grid), layer.weight, layer.bias, padding=1)
        elif isinstance(layer, nn.Conv2d):
            grid = F.conv2d(grid, layer.weight, layer.bias, padding=layer.padding)
        elif isinstance(layer, nn.BatchNorm2d):
            mean, spread, scale, shift = (
                value[:, None, None]
                for value in (layer.get_buffer("running_mean"), layer.get_buffer("running_var"), *layer.parameters())
            )
            grid = (grid - mean) / (spread + 1e-5).sqrt() * scale + shift
        else:
            grid = grid.clamp(min=0)
    return grid


def widths(decoder: nn.Module) -> list[tuple[int, int, int]]:
    return [
        (each.kernel_size[0], each.in_channels, each.out_channels)
        for each in decoder.modules()
        if isinstance(each, nn.Conv2d)
    ]


@pytest.mark.parametrize("last", ["convolution", "block"])
def test_a_block_enlarges_and_convolves_twice(last: Any) -> None:
    decoder = randomized(Decoder(channels=32, stride=4, last=last))
    assert widths(decoder)[:2] == [(3, 32, 16), (3, 16, 16)]
    assert widths(decoder)[2:] == {"convolution": [(3, 16, 2)], "block": [(3, 16, 2), (3, 2, 2)]}[last]
    grid = some(2, 32, 3, 2)
    scores = decoder(grid, (12, 8))
    torch.testing.assert_close(scores, plainly(decoder.layers, grid))
    assert (scores.min() < 0) == (last == "convolution")
    assert scores.max() > 0


def test_channels_halve_from_the_width_on_but_not_below_8() -> None:
    assert [each for each in widths(Decoder(channels=40, stride=16)) if each[1] != each[2]] == [
        (3, 40, 20),
        (3, 20, 10),
        (3, 10, 8),
        (3, 8, 2),
    ]
    assert widths(Decoder(channels=3, stride=4, width=2)) == [(3, 3, 2), (3, 2, 2), (3, 2, 2)]
    assert widths(Decoder(channels=1, stride=2)) == [(3, 1, 2)]


def test_less_than_half_of_the_grids_channels_are_first_picked_by_a_narrow_convolution() -> None:
    assert widths(Decoder(channels=432, stride=16, width=64, resolution=4)) == [
        (1, 432, 128),
        (3, 128, 64),
        (3, 64, 64),
        (3, 64, 2),
    ]
    assert widths(Decoder(channels=128, stride=16, width=64, resolution=4))[0] == (3, 128, 64)


@pytest.mark.parametrize(
    ("stride", "resolution", "enlarged"), [(16, 1, 4), (16, 4, 2), (16, 16, 0), (8, 16, 0), (14, 1, 4), (14, 4, 2)]
)
def test_blocks_enlarge_until_cells_are_as_small_as_the_resolution(stride: int, resolution: int, enlarged: int) -> None:
    decoder = randomized(Decoder(channels=4, stride=stride, resolution=resolution))
    grid = some(1, 4, 2, 3)
    raw = plainly(decoder.layers, grid)
    assert raw.shape[2:] == (2 << enlarged, 3 << enlarged)
    # 2 x 3 cells of stride 14 are 28 x 42 pixels, of which the blocks make 32 x 48.
    size = 2 * stride, 3 * stride
    expected = F.interpolate(raw, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(decoder(grid, size), expected)


def test_scores_have_the_size_of_the_image_where_the_stride_does_not_divide_it() -> None:
    assert Decoder(channels=4, stride=16)(torch.zeros(2, 4, 7, 5), (100, 75)).shape == (2, 2, 100, 75)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"width": 0}, "width: 0"),
        ({"resolution": 0}, "resolution: 0"),
        ({"stride": 0}, "stride: 0"),
        ({"channels": -1}, "channels: -1"),
        ({"last": "both"}, "'convolution' or 'block'"),
        ({"last": "block", "resolution": 16}, "no last block"),
    ],
)
def test_settings_that_make_no_decoder_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Decoder(**{"channels": 8, "stride": 16, **settings})


# --- the U-Net ---


def test_the_unet_on_resnet50_with_a_classifier_of_ilsvrc_is_as_large_as_in_the_thesis() -> None:
    decoder = UNetDecoder(RESNET50)
    assert decoder.taps == (0, 1, 2, 3, 4)
    blocks = [
        9 * (3072 * 256 + 256**2) + 2 * 2 * 256,
        9 * (768 * 128 + 128**2) + 2 * 2 * 128,
        9 * (384 * 64 + 64**2) + 2 * 2 * 64,
        9 * (128 * 32 + 32**2) + 2 * 2 * 32,
        9 * (32 * 16 + 16**2) + 2 * 2 * 16,
    ]
    assert parameters(decoder) == sum(blocks) + 9 * 16 * 2 + 2 == 9_013_218
    with torch.device("meta"):
        classifier, encoder = (parameters(timm.create_model("resnet50", num_classes=count)) for count in (1000, 0))
    assert f"{(encoder + parameters(decoder) + classifier) / 1e6:.3f}" == "58.078"  # section 2.4


def test_a_unet_joins_each_enlarged_grid_with_the_one_of_its_stride() -> None:
    stages = Stage("fine", 3, 2), Stage("middle", 5, 8), Stage("coarse", 6, 16)
    decoder = randomized(UNetDecoder(stages, widths=(4, 3, 2, 3)))
    fine, middle, coarse = some(2, 3, 16, 8), some(2, 5, 4, 2), some(2, 6, 2, 1)
    grid = coarse
    for block, beside in zip(decoder.blocks, (middle, None, fine, None), strict=True):
        weight = block.below.weight
        grid = doubled(grid)
        if beside is not None:
            grid, weight = torch.cat([grid, beside], 1), torch.cat([weight, block.beside.weight], 1)
        grid = plainly(block.rest, F.conv2d(grid, weight, padding=1))
    expected = F.conv2d(grid, decoder.scores.weight, decoder.scores.bias, padding=1)
    assert expected.shape[2:] == (32, 16)
    torch.testing.assert_close(decoder((fine, middle, coarse), (32, 16)), expected)


@pytest.mark.parametrize(
    ("strides", "resolution", "taps", "blocks"),
    [
        ((2, 4, 4, 8, 16, 16), 1, (0, 2, 3, 5), 4),  # of one stride the last
        ((4, 8, 16, 32), 1, (0, 1, 2, 3), 5),  # nothing at stride 2
        ((16, 16, 16), 1, (2,), 4),  # a transformer
        ((14, 14), 1, (1,), 4),
        ((2, 4, 8, 16, 32), 4, (1, 2, 3, 4), 3),  # what is finer than the scores is not read
        ((1, 2, 4), 1, (0, 1, 2), 2),
        ((16, 32), 32, (1,), 0),
    ],
)
def test_a_unet_reads_the_grids_that_a_network_has(
    strides: tuple[int, ...], resolution: int, taps: tuple[int, ...], blocks: int
) -> None:
    stages = tuple(Stage(str(index), 3 + index, stride) for index, stride in enumerate(strides))
    decoder = UNetDecoder(stages, widths=(8, 7, 6, 5, 4), resolution=resolution)
    assert decoder.taps == taps
    assert len(decoder.blocks) == blocks
    grids = [torch.zeros(1, stages[tap].channels, *(-(-side // strides[tap]) for side in (75, 100))) for tap in taps]
    assert decoder(grids, (75, 100)).shape == (1, 2, 75, 100)


def test_a_unet_without_what_it_needs_is_refused() -> None:
    with pytest.raises(ConfigError, match="widths: 3 are too few; 5 blocks"):
        UNetDecoder(RESNET50, widths=(8, 8, 8))
    with pytest.raises(ConfigError, match="widths: 0 is too small"):
        UNetDecoder(RESNET50, widths=(8, 8, 8, 8, 0))
    with pytest.raises(ConfigError, match="resolution: 0"):
        UNetDecoder(RESNET50, resolution=0)
    with pytest.raises(ConfigError, match="there is none"):
        UNetDecoder(())
    decoder = UNetDecoder((Stage("only", 3, 2),), widths=(4,))
    with pytest.raises(ConfigError, match="2 were given; this decoder reads 1"):
        decoder((torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)), (4, 4))


# --- both ---


def test_every_weight_learns_whatever_the_layout_of_the_grids() -> None:
    stages = Stage("fine", 4, 2), Stage("coarse", 8, 4)
    fine, coarse = some(2, 4, 4, 4).float(), some(2, 8, 2, 2).float()
    cases: list[tuple[nn.Module, list[Tensor]]] = [
        (Decoder(channels=8, stride=4), [coarse]),
        (UNetDecoder(stages, widths=(8, 4)), [fine, coarse]),
    ]
    for decoder, grids in cases:
        strided = [each.contiguous(memory_format=torch.channels_last) for each in grids]
        found, same = (decoder(each[0] if len(each) == 1 else each, (8, 8)) for each in (grids, strided))
        torch.testing.assert_close(same, found)
        gradients = torch.autograd.grad(found.square().sum(), list(decoder.parameters()))
        assert all(gradient.abs().max() > 0 for gradient in gradients)
