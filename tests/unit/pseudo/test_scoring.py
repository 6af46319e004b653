import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from boxless.pseudo.scoring import RegionScorer, blurred, box_masks, gaussian_blur


def picture(height, width):
    return torch.from_numpy(np.random.default_rng(0).random((2, 3, height, width)))


@pytest.mark.parametrize("size", [(20, 31), (9, 40), (1, 5), (2, 1)])
@pytest.mark.parametrize("radius", [3, 57])
def test_blur_is_that_of_scipy_also_where_the_kernel_is_larger_than_the_image(size, radius):
    images = picture(*size)
    expected = gaussian_filter(images.numpy(), (0, 0, 7.5, 7.5), mode="mirror", radius=(0, 0, radius, radius))
    np.testing.assert_allclose(gaussian_blur(images, radius, 7.5), expected, atol=1e-12)


def test_at_224_pixels_the_kernel_is_115_wide_with_a_deviation_of_105_5():
    image = picture(224, 300)[0].float()
    expected = cv2.GaussianBlur(image.permute(1, 2, 0).numpy(), (115, 115), 105.5, borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(blurred(image).permute(1, 2, 0), expected, atol=1e-5)


def test_blur_grows_with_the_image():
    images = picture(112, 130).float()
    np.testing.assert_allclose(blurred(images), gaussian_blur(images, 28, 52.75), atol=1e-6)


def test_autocast_does_not_coarsen_the_blur():
    images = picture(20, 20).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        blurry = blurred(images)
    assert blurry.dtype == torch.float32
    assert (blurry == blurred(images)).all()


def test_half_precision_stays_half():
    images = picture(20, 20).to(torch.bfloat16)
    assert blurred(images).dtype == torch.bfloat16
    assert torch.allclose(blurred(images).float(), blurred(images.float()), atol=4e-3)


def test_pixels_that_a_box_touches_are_shown():
    """A grid of 3 x 2 cells on 7 x 5 pixels: cell 1 of a row is 2.33 to 4.67, cell 0 of a column 0 to 2.5."""
    (mask,) = box_masks(torch.tensor([[1, 0, 2, 1]]), (2, 3), (5, 7))
    expected = np.zeros((5, 7), dtype=bool)
    expected[0:3, 2:5] = True
    assert (mask.numpy() == expected).all()


def test_a_box_on_a_grid_finer_than_the_image_shows_a_pixel():
    (mask,) = box_masks(torch.tensor([[9, 9, 10, 10]]), (10, 10), (3, 3))
    assert mask.nonzero().tolist() == [[2, 2]]


def test_edges_that_fall_between_pixels_fall_exactly_there():
    boxes = torch.tensor([[x, 0, x + 1, 14] for x in range(14)])
    masks = box_masks(boxes, (14, 14), (224, 224))
    assert (masks.sum(0) == 1).all()
    assert masks.sum((1, 2)).tolist() == [16 * 224] * 14


def test_inside_the_image_is_as_it_was_and_outside_blurred():
    images, seen = picture(16, 16), []

    def look(pictures):
        seen.append(pictures)
        return torch.zeros(len(pictures), 2)

    inside = torch.zeros(1, 16, 16, dtype=torch.bool)
    inside[0, 3:7, 5:9] = True
    score = RegionScorer(look, images, torch.tensor([0, 1]), 2)(torch.tensor([1]), inside)
    assert score.tolist() == [0.5]
    (shown,) = seen[0]
    assert (shown[:, inside[0]] == images[1][:, inside[0]]).all()
    assert (shown[:, ~inside[0]] == blurred(images)[1][:, ~inside[0]]).all()
