"""The rule of wsolevaluation against OpenCV's own contours, at every cut, on maps full of ties, holes and islands."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from boxless.metrics.boxes import iou_curves
from boxless.ops import default_thresholds

MODES = ("largest", "all")


def by_opencv(image, truth, contours):
    """The best IoU at each threshold: contours, their areas and their boxes are OpenCV's; `image` is uint8."""
    by_cut = {cut: best_overlap(boxes_above(image, cut, contours), truth) for cut in range(max(int(image.max()), 1))}
    return np.array([by_cut[int(threshold * image.max())] for threshold in default_thresholds()])


def boxes_above(image, cut, contours):
    found, _ = cv2.findContours((image > cut).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not found:
        return [(0, 0, 0, 0)]
    chosen = found if contours == "all" else [max(found, key=cv2.contourArea)]
    last = image.shape[1] - 1, image.shape[0] - 1
    return [(x, y, min(x + w, last[0]), min(y + h, last[1])) for x, y, w, h in map(cv2.boundingRect, chosen)]


def best_overlap(boxes, truth):
    def pixels(x0, y0, x1, y1):
        return max(0, x1 - x0 + 1) * max(0, y1 - y0 + 1)

    best = 0.0
    for a in boxes:
        for b in truth:
            both = pixels(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
            best = max(best, both / (pixels(*a) + pixels(*b) - both))
    return best


def check(image, truth, contours):
    values = np.minimum((image + 0.5) / 255, 1)  # in the middle of what is quantised to this level
    size = (image.shape[1], image.shape[0])
    found = iou_curves(values[None], [truth], [size], contours=contours, compat="wsolevaluation")
    np.testing.assert_array_equal(found[0], by_opencv(image, truth, contours))


@st.composite
def random_pixels(draw):
    """Every pixel by itself, of two to five levels."""
    levels = np.array([0, *sorted(draw(st.sets(st.integers(1, 255), min_size=1, max_size=4)))], dtype=np.uint8)
    shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))
    return levels[draw(arrays(np.int8, shape, elements=st.integers(0, len(levels) - 1), fill=st.nothing()))]


@st.composite
def painted_shapes(draw):
    """Squares and diamonds, full and hollow, over one another: equal areas, and holes within islands within holes."""
    height, width = draw(st.integers(4, 12)), draw(st.integers(4, 12))
    rows, columns = np.mgrid[:height, :width]
    image = np.full((height, width), draw(st.sampled_from([0, 0, 60])), dtype=np.uint8)
    for _ in range(draw(st.integers(1, 6))):
        down = abs(rows - draw(st.integers(0, height - 1)))
        right = abs(columns - draw(st.integers(0, width - 1)))
        distance = down + right if draw(st.booleans()) else np.maximum(down, right)
        radius = draw(st.integers(0, 5))
        image[distance == radius if draw(st.booleans()) else distance <= radius] = draw(
            st.sampled_from([0, 60, 61, 200])
        )
    return image


@st.composite
def with_truth(draw, images):
    """An image and one to three true boxes on its grid, of at least one pixel."""
    image = draw(images)
    height, width = image.shape

    def span(length):
        return sorted(draw(st.tuples(st.integers(0, length - 1), st.integers(0, length - 1))))

    boxes = []
    for _ in range(draw(st.integers(1, 3))):
        (x0, x1), (y0, y1) = span(width), span(height)
        boxes.append((x0, y0, x1, y1))
    return image, boxes


@pytest.mark.parametrize("contours", MODES)
@settings(max_examples=80, deadline=None)
@given(with_truth(random_pixels()))
def test_random_pixels_have_the_contours_of_opencv(contours, drawn):
    check(*drawn, contours)


@pytest.mark.parametrize("contours", MODES)
@settings(max_examples=80, deadline=None)
@given(with_truth(painted_shapes()))
def test_painted_shapes_have_the_contours_of_opencv(contours, drawn):
    check(*drawn, contours)


@pytest.mark.parametrize("contours", MODES)
@pytest.mark.parametrize("seed", range(12))
def test_larger_random_maps_have_the_contours_of_opencv(seed, contours):
    random = np.random.default_rng(seed)
    coarse = random.random((40 // (1 + seed % 3) + 1,) * 2)
    fine = np.kron(coarse, np.ones((1 + seed % 3,) * 2))[:40, :40]
    image = (np.floor(fine * (2, 4, 9, 250)[seed % 4]) * (60, 40, 20, 1)[seed % 4]).astype(np.uint8)
    corners = random.integers(0, 40, (3, 2, 2))
    truth = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).tolist()
    check(image, truth, contours)


def test_of_equal_areas_the_one_counts_whose_first_pixel_comes_last():
    image = np.zeros((9, 9), dtype=np.uint8)
    image[1:4, 1:4] = image[1:4, 5:8] = 200
    for truth, expected in (((5, 1, 8, 4), 1.0), ((1, 1, 4, 4), 0.0)):
        assert by_opencv(image, [truth], "largest")[0] == expected
        check(image, [truth], "largest")


def test_a_hole_is_a_candidate_among_all_contours_only():
    image = np.zeros((12, 12), dtype=np.uint8)
    image[:] = 200
    image[4:8, 4:8] = 0
    around_hole = (3, 3, 9, 9)  # the outline of a hole runs through the pixels around it, and its end counts
    assert by_opencv(image, [around_hole], "all")[0] == 1
    assert by_opencv(image, [around_hole], "largest")[0] == 49 / 144
    check(image, [around_hole], "all")
    check(image, [around_hole], "largest")
