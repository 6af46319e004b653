from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import boxless.data.sample
from boxless.errors import ConfigError, DataError
from boxless.losses import _affinity
from boxless.losses.dense_crf import EXACT_PIXELS, PAIRS_WEIGHT, PAPERS_WEIGHT, dense_crf_loss

ASSETS = Path(boxless.data.sample.__file__).parent / "assets"
# The widths at which small images have pixels of all degrees of likeness.
SMALL = {"sigma_rgb": 60.0, "sigma_xy": 3.0}


def random_batch(
    shape: tuple[int, int, int, int] = (2, 3, 6, 9), dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Maps that sum to one, and images."""
    generator = torch.Generator().manual_seed(0)
    batch, _, height, width = shape
    maps = torch.randn(shape, generator=generator, dtype=torch.float64).softmax(dim=1)
    images = torch.randint(0, 256, (batch, 3, height, width), generator=generator)
    return maps.to(dtype), images.to(dtype)


def blob(height: int, width: int) -> Tensor:
    """A background and a soft disc."""
    rows, columns = torch.meshgrid(
        (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
    )
    disc = torch.exp(-((columns - 0.5) ** 2 + (rows - 0.45) ** 2) / 0.08)
    return torch.stack([1 - disc, disc])[None]


def photograph(name: str, side: int) -> Tensor:
    with Image.open(ASSETS / f"{name}.jpg") as file:
        pixels = np.asarray(file.convert("RGB").resize((side, side)), dtype=np.float32)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]


def matrix(image: Tensor, sigma_rgb: float, sigma_xy: float) -> Tensor:
    """W, entry by entry."""
    _, height, width = image.shape
    places = torch.tensor([(row, column) for row in range(height) for column in range(width)], dtype=torch.float64)
    colours = image.double().flatten(1).T
    far = (places[:, None] - places).square().sum(dim=2) / sigma_xy**2
    return torch.exp(-(far + (colours[:, None] - colours).square().sum(dim=2) / sigma_rgb**2) / 2)


def by_matrix(maps: Tensor, images: Tensor, form: str, mask: Tensor | None = None) -> Tensor:
    """The loss by its definition, for `SMALL`."""
    height, width = maps.shape[2:]
    sigma_xy = SMALL["sigma_xy"] * (math.sqrt(height * width) / 224 if form == "pairs" else 1)
    mask = torch.ones_like(maps[:, 0], dtype=torch.bool) if mask is None else mask
    total = torch.zeros((), dtype=torch.float64)
    for each, image, counted in zip(maps.double().flatten(2), images, mask.flatten(1), strict=True):
        w = matrix(image, SMALL["sigma_rgb"], sigma_xy)[counted][:, counted]
        for s in each[:, counted]:
            total = total + (-s @ w @ s if form == "papers" else s @ w @ (1 - s) / int(counted.sum()) ** 2)
    return total / len(maps)


def loss_and_gradient(maps: Tensor, images: Tensor, **settings: object) -> tuple[Tensor, Tensor]:
    maps = maps.detach().clone().requires_grad_()
    loss = dense_crf_loss(maps, images, **settings)
    loss.backward()
    assert maps.grad is not None
    return loss.detach(), maps.grad


def test_two_by_two_pixels_by_hand() -> None:
    images = torch.zeros(1, 3, 2, 2)
    images[0, 0, :, 1] = 15  # the right column is one sigma redder
    left = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    maps = torch.stack([left, 1 - left])[None]
    # One pixel down is exp(-1/2); one to the side, and one sigma of colour, exp(-1); both exp(-3/2).
    papers = dense_crf_loss(maps, images, sigma_xy=1)
    assert papers.item() == pytest.approx(-2 * (2 + 2 * math.exp(-0.5)))
    # Each of 2 maps cuts 2 pairs to the side and 2 across, of 4 x 4; 112 pixels of 224 are 1 of 2.
    pairs = dense_crf_loss(maps, images, form="pairs", sigma_xy=112)
    assert pairs.item() == pytest.approx(2 * (2 * math.exp(-1) + 2 * math.exp(-1.5)) / 16)


@pytest.mark.parametrize("form", ["papers", "pairs"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_exact_equals_the_matrix(
    form: str, masked: bool, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_affinity, "ENTRIES", 200)  # several blocks
    maps, images = random_batch(dtype=dtype)
    mask = images[:, 0] > 60 if masked else None
    expected = maps.double().requires_grad_()
    by_matrix(expected, images, form, mask).backward()
    loss, gradient = loss_and_gradient(maps, images, form=form, mask=mask, **SMALL)
    assert expected.grad is not None
    assert loss.dtype == gradient.dtype == dtype
    assert loss.item() == pytest.approx(by_matrix(maps, images, form, mask).item(), rel=tolerance)
    torch.testing.assert_close(gradient.double(), expected.grad, rtol=tolerance, atol=tolerance * 1e-2)


def test_exact_equals_the_matrix_at_the_usual_widths() -> None:
    image, maps = photograph("cat", 40), blob(40, 40)
    w = matrix(image[0], 15, 100)
    expected = -sum(s @ w @ s for s in maps[0].double().flatten(1))
    loss, gradient = loss_and_gradient(maps, image, method="exact")
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)
    torch.testing.assert_close(gradient[0].flatten(1).double(), -2 * maps[0].double().flatten(1) @ w, rtol=1e-5, atol=0)


@pytest.mark.parametrize("form", ["papers", "pairs"])
@pytest.mark.parametrize("scale_factor", [1.0, 0.5])
def test_gradient_is_the_derivative(form: str, scale_factor: float) -> None:
    maps, images = random_batch((2, 2, 4, 6))
    maps = maps.clamp(0.05, 0.95).requires_grad_()
    mask = images[:, 1] > 40
    settings = {"form": form, "scale_factor": scale_factor, "mask": mask, "method": "exact", **SMALL}
    assert torch.autograd.gradcheck(lambda each: dense_crf_loss(each, images, **settings), maps)


def test_the_matrix_never_stands_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = function(*args, **(kwargs or {}))
            self.numel = max([self.numel, *(x.numel() for x in tree_leaves(result) if isinstance(x, Tensor))])
            return result

    monkeypatch.setattr(_affinity, "ENTRIES", 20_000)
    maps, images = random_batch((1, 2, 40, 40), torch.float32)
    with Largest() as seen:
        dense_crf_loss(maps, images, method="exact")
    assert 7 * 1600 < seen.numel <= 20_000  # of 2,560,000


def test_original_equals_the_published_filter() -> None:
    """Numbers of the C++ filter of Tang et al., compiled and run on this image."""
    rows, columns = torch.meshgrid(torch.arange(12), torch.arange(17), indexing="ij")
    image = torch.stack(
        [(31 * columns + 7 * rows) % 256, 5 * columns * rows % 256, (columns**2 + 90 * (rows > 5)) % 256]
    )
    first = (3 * columns + 5 * rows) % 11 / 10
    maps = torch.stack([first, 1 - first])[None]
    loss, gradient = loss_and_gradient(maps, image[None], method="original")
    assert loss.item() == pytest.approx(-135.9113007, rel=1e-5)
    expected = torch.tensor([1.0531076, 1.9075073, 1.2244265, 0.929159])
    torch.testing.assert_close(gradient[0, 0, 0, :4] / -2, expected, rtol=1e-5, atol=0)
    expected = torch.tensor([0.26836553, 0.06172082, 0.5565933, 0.44824052])
    torch.testing.assert_close(gradient[0, 1, 11, 13:] / -2, expected, rtol=1e-5, atol=0)
    wide, gradient = loss_and_gradient(maps, image[None], method="original", sigma_rgb=40, sigma_xy=6)
    assert wide.item() == pytest.approx(-348.9995117, rel=1e-5)
    assert gradient[0, 0, 6, 8].item() == pytest.approx(-2 * 0.76744765, rel=1e-5)


@pytest.mark.parametrize("name", ["cat", "coffee", "grass", "random", "constant"])
def test_lattice_is_near_exact(name: str) -> None:
    images = {"random": random_batch((1, 1, 64, 64), torch.float32)[1], "constant": torch.full((1, 3, 64, 64), 90.0)}
    image = images[name] if name in images else photograph(name, 64)
    value, cosine = (0.12, 0.98) if name == "random" else (0.05, 0.99)
    for form in ("papers", "pairs"):
        exact, slope = loss_and_gradient(blob(64, 64), image, form=form, method="exact")
        near, close = loss_and_gradient(blob(64, 64), image, form=form, method="lattice")
        assert near.item() == pytest.approx(exact.item(), rel=value)
        assert torch.cosine_similarity(close.flatten(), slope.flatten(), dim=0) > cosine
        assert (close - slope).norm() < (0.2 if name == "random" else 0.12) * slope.norm()
    unscaled = dense_crf_loss(blob(64, 64), image, method="original") / dense_crf_loss(
        blob(64, 64), image, method="exact"
    )
    assert 0.4 < unscaled < 0.65


@pytest.mark.parametrize("form", ["papers", "pairs"])
def test_gradient_of_the_lattice_is_the_derivative_of_its_value(form: str) -> None:
    image, maps = photograph("coffee", 48), blob(48, 48) * 0.8 + 0.1
    _, gradient = loss_and_gradient(maps, image, form=form, method="lattice")
    step = 0.1 * (maps - maps.roll((9, 7), dims=(2, 3)))
    ahead, behind = (dense_crf_loss(maps + sign * step, image, form=form, method="lattice") for sign in (1, -1))
    # The loss is quadratic, so that a step of any length tells the slope.
    assert ((ahead - behind) / 2).item() == pytest.approx((gradient * step).sum().item(), rel=5e-4)


@pytest.mark.parametrize("method", ["exact", "lattice", "original"])
def test_pixels_outside_the_mask_take_no_part(method: str) -> None:
    maps, images = random_batch((2, 2, 12, 10), torch.float32)
    mask = torch.zeros(2, 12, 10, dtype=torch.bool)
    mask[:, 2:9, 3:] = True
    loss, gradient = loss_and_gradient(maps, images, mask=mask, method=method, **SMALL)
    assert not gradient[(~mask)[:, None].expand_as(gradient)].any()
    others = torch.where(mask[:, None], maps, 1 - maps), torch.where(mask[:, None], images, 255 - images)
    assert dense_crf_loss(*others, mask=mask, method=method, **SMALL).item() == pytest.approx(loss.item(), rel=1e-6)
    cropped = dense_crf_loss(maps[..., 2:9, 3:], images[..., 2:9, 3:], method=method, **SMALL)
    tolerance = 1e-5 if method == "exact" else 0.05  # the lattice lies elsewhere
    assert cropped.item() == pytest.approx(loss.item(), rel=tolerance)


@pytest.mark.parametrize("form", ["papers", "pairs"])
@pytest.mark.parametrize("method", ["exact", "lattice", "original"])
def test_an_image_of_no_counted_pixel_adds_nothing(form: str, method: str) -> None:
    maps, images = random_batch((2, 2, 8, 8), torch.float32)
    mask = torch.ones(2, 8, 8, dtype=torch.bool)
    mask[1] = False
    loss, gradient = loss_and_gradient(maps, images, form=form, method=method, mask=mask)
    alone = dense_crf_loss(maps[:1], images[:1], form=form, method=method)
    assert loss.item() == pytest.approx(alone.item() / 2)
    assert not gradient[1].any()


def test_scaling_is_that_of_smaller_images_with_a_smaller_sigma() -> None:
    maps, images = random_batch((1, 2, 12, 16))
    halves = torch.nn.functional.avg_pool2d(maps, 2), images[..., ::2, ::2]
    loss = dense_crf_loss(maps, images, scale_factor=0.5, sigma_xy=4, sigma_rgb=60)
    assert loss.item() == pytest.approx(dense_crf_loss(*halves, sigma_xy=2, sigma_rgb=60).item())
    relative = dense_crf_loss(maps, images, scale_factor=0.5, form="pairs", sigma_rgb=60)
    assert relative.item() == pytest.approx(dense_crf_loss(*halves, form="pairs", sigma_rgb=60).item())


def test_pairs_are_the_same_at_any_size() -> None:
    def at(side: int, **settings: object) -> float:
        rows, columns = torch.meshgrid(*[(torch.arange(side) + 0.5) / side] * 2, indexing="ij")
        image = torch.stack([60 * columns, 40 * rows, 100 + 30 * torch.sin(5 * rows * columns)])[None]
        return dense_crf_loss(blob(side, side), image, method="exact", **settings).item()

    assert at(24, form="pairs") == pytest.approx(at(48, form="pairs"), rel=0.02)
    assert at(48) / at(24) > 10  # the papers' grows by 16 and by what sigma_xy falls behind


def test_both_forms_teach_the_same_at_224() -> None:
    image, scores = photograph("sheep", 224), blob(224, 224).log().clamp(min=-6).requires_grad_()
    papers, pairs = (
        torch.autograd.grad(
            weight * dense_crf_loss(scores.softmax(dim=1), image, form=form, method="original"), scores
        )[0]
        for form, weight in (("papers", PAPERS_WEIGHT), ("pairs", PAIRS_WEIGHT))
    )
    torch.testing.assert_close(papers, pairs, rtol=1e-3, atol=float(papers.abs().max()) * 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    maps, images = random_batch((1, 2, 20, 20), dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss, gradient = loss_and_gradient(maps, images, **SMALL)
    expected, slope = loss_and_gradient(maps.float(), images.float(), **SMALL)
    assert loss.item() == expected.item()
    torch.testing.assert_close(gradient, slope.to(dtype), rtol=0, atol=0)


def test_precision_of_matrix_products_is_left_as_it_was() -> None:
    maps, images = random_batch((1, 2, 8, 8), torch.float32)
    expected = dense_crf_loss(maps, images, method="exact").item()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert dense_crf_loss(maps, images, method="exact").item() == expected
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_images_get_no_gradient_and_may_be_integers() -> None:
    maps, images = random_batch((1, 2, 6, 6), torch.float32)
    images.requires_grad_()
    loss = dense_crf_loss(maps.requires_grad_(), images)
    loss.backward()
    assert images.grad is None
    assert dense_crf_loss(maps, images.detach().byte()).item() == loss.item()


def test_a_processor_takes_the_lattice_for_more_than_32_by_32_pixels() -> None:
    for height, method in ((32, "exact"), (33, "lattice")):
        maps, images = random_batch((1, 2, height, 32), torch.float32)
        assert (height * 32 > EXACT_PIXELS) == (method == "lattice")
        assert dense_crf_loss(maps, images).item() == dense_crf_loss(maps, images, method=method).item()


def test_each_image_and_map_is_filtered_by_itself_in_any_number_of_threads() -> None:
    maps, images = random_batch((3, 6, 20, 14), torch.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        loss, gradient = loss_and_gradient(maps, images, method="original")
    finally:
        torch.set_num_threads(threads)
    single = [
        [loss_and_gradient(s[None, None], x[None], method="original") for s in each]
        for each, x in zip(maps, images, strict=True)
    ]
    assert loss.item() == pytest.approx(sum(value.item() for row in single for value, _ in row) / 3)
    expected = torch.stack([torch.cat([slope[0] for _, slope in row]) for row in single]) / 3
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("method", ["exact", "lattice"])
def test_a_single_pixel_is_like_itself(method: str) -> None:
    maps, image = torch.tensor([0.25, 0.75]).view(1, 2, 1, 1), torch.full((1, 3, 1, 1), 30.0)
    assert dense_crf_loss(maps, image, method=method).item() == pytest.approx(-(0.25**2 + 0.75**2))
    assert dense_crf_loss(maps, image, method=method, form="pairs").item() == pytest.approx(2 * 0.25 * 0.75)


def test_one_map_that_has_all_pixels_costs_nothing() -> None:
    maps, images = torch.zeros(1, 2, 10, 10), random_batch((1, 1, 10, 10), torch.float32)[1]
    maps[:, 1] = 1
    assert dense_crf_loss(maps, images, form="pairs").item() == pytest.approx(0, abs=1e-7)


def test_exact_takes_small_sigmas_in_single_precision() -> None:
    image, maps = photograph("grass", 32), blob(32, 32)
    w = matrix(image[0], 0.8, 5)
    expected = -sum(s @ w @ s for s in maps[0].double().flatten(1))
    loss = dense_crf_loss(maps, image, method="exact", sigma_rgb=0.8, sigma_xy=5)
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)


def test_sigmas_too_small_for_the_lattice_are_refused_and_exact_takes_them() -> None:
    maps, images = random_batch((1, 2, 8, 8), torch.float32)
    with pytest.raises(DataError, match="method='exact'"):
        dense_crf_loss(maps, images, method="lattice", sigma_rgb=1e-3, sigma_xy=1e-3)
    alone = dense_crf_loss(maps, images, method="exact", sigma_rgb=1e-3, sigma_xy=1e-3)
    assert alone.item() == pytest.approx(-maps.square().sum().item())


GOOD = random_batch((1, 2, 4, 4), torch.float32)


@pytest.mark.parametrize(
    ("maps", "images", "settings", "message"),
    [
        (GOOD[0][0], GOOD[1], {}, "probabilities: got"),
        (GOOD[0].int(), GOOD[1], {}, "probabilities: got"),
        (GOOD[0][:, :0], GOOD[1], {}, "probabilities: got"),
        (GOOD[0] * 9, GOOD[1], {}, "as of a softmax"),
        (GOOD[0] - 1, GOOD[1], {}, "as of a softmax"),
        (GOOD[0] * math.nan, GOOD[1], {}, "as of a softmax"),
        (GOOD[0], GOOD[1][..., :2], {}, "images: got"),
        (GOOD[0], GOOD[1] - 128, {}, "not normalised"),
        (GOOD[0], GOOD[1] * 2, {}, "not normalised"),
        (GOOD[0], GOOD[1] / 255, {}, "Multiply images"),
        (GOOD[0], GOOD[1] * math.nan, {}, "not normalised"),
        (GOOD[0], GOOD[1], {"mask": torch.ones(1, 4, 4)}, "mask: got"),
        (GOOD[0], GOOD[1], {"mask": torch.ones(1, 1, 4, 4, dtype=torch.bool)}, "mask: got"),
        (GOOD[0], GOOD[1], {"scale_factor": 0.1}, "nothing is left"),
    ],
)
def test_unusable_data_are_refused(maps: Tensor, images: Tensor, settings: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dense_crf_loss(maps, images, **settings)


@pytest.mark.parametrize(
    "settings",
    [{"form": "sum"}, {"method": "fast"}, {"sigma_rgb": 0}, {"sigma_xy": math.inf}, {"scale_factor": -1}],
)
def test_unusable_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings))}: got"):
        dense_crf_loss(*GOOD, **settings)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", ["exact", "lattice"])
def test_a_gpu_computes_the_same(method: str) -> None:
    image, maps = photograph("cat", 112), blob(112, 112)
    expected, slope = loss_and_gradient(maps, image, method=method)
    loss, gradient = loss_and_gradient(maps.cuda(), image.cuda(), method=method)
    assert loss.is_cuda
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(gradient.cpu(), slope, rtol=1e-4, atol=0)
