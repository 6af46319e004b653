import math

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops
from torch import nn

from boxless.errors import ConfigError, DataError
from boxless.methods.base import Method
from boxless.pseudo import scoring
from boxless.pseudo.proposals import ProposalSettings, candidates, propose
from boxless.types import Localization

EVERY = ProposalSettings(top_k=4, min_size=0)


class Markers(nn.Module):
    """Class 0 gets one for each pixel that is exactly 1 in the first channel, class 1 nothing: blur leaves none."""

    def __init__(self):
        super().__init__()
        self.passes = []

    def forward(self, images):
        self.passes.append(len(images))
        found = (images[:, 0] == 1).flatten(1).sum(1).float()
        return torch.stack([found, torch.zeros_like(found)], 1)


class Network(nn.Module):
    """Something that depends on all that is shown, and would show if its mode were changed."""

    def __init__(self, classes=3):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 5, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(8, classes)

    def forward(self, images):
        return 20 * self.head(self.layers(images).mean((2, 3)))


def sigmoid(score):
    return 1 / (1 + math.exp(-score))


def two_blobs():
    """A map of 6 x 8 with squares of 2 x 2 and 3 x 3; an image twice as large with 3 markers and 1 marker in them."""
    values = torch.zeros(6, 8)
    values[1:3, 1:3] = 1.0
    values[3:6, 5:8] = 0.8
    image = torch.zeros(3, 12, 16)
    image[0, 2, 2] = image[0, 2, 5] = image[0, 5, 5] = 1  # three corners of the first, which is 2..5 in pixels
    image[0, 11, 15] = 1  # the last pixel of the second
    return values, image


def random_batch(images=4, maps=3):
    torch.manual_seed(1)
    grids = nn.functional.interpolate(torch.rand(images, maps, 5, 5), (14, 14), mode="bilinear")
    return grids, torch.randn(images, 3, 30, 40), torch.tensor([0, 2, 1, 0])[:images]


def test_algorithm_2_1_worked_out_by_hand():
    values, image = two_blobs()
    found = propose(values[None, None], image[None], torch.tensor([0]), Markers(), num_classes=2, settings=EVERY)
    assert found.boxes[0, :2].tolist() == [[1, 1, 3, 3], [5, 3, 8, 6]]
    assert found.scores[0, :2].tolist() == pytest.approx([sigmoid(3), sigmoid(1)])
    assert found.grid == (6, 8)
    assert not found.kept_largest.any()


def test_the_score_is_that_of_the_true_class():
    values, image = two_blobs()
    found = propose(values[None, None], image[None], torch.tensor([1]), Markers(), num_classes=2, settings=EVERY)
    assert found.boxes[0, :2].tolist() == [[5, 3, 8, 6], [1, 1, 3, 3]]
    assert found.scores[0, :2].tolist() == pytest.approx([1 - sigmoid(1), 1 - sigmoid(3)])


def test_a_box_of_several_maps_is_one_proposal_of_the_first():
    values, image = two_blobs()
    other = torch.zeros(6, 8)
    other[1, 2] = other[2, 1] = 0.7  # they touch by a corner only, and have the first blob's box
    other[0, 7] = 0.6
    maps = torch.stack([torch.zeros(6, 8), values, other])[None]
    found = propose(maps, image[None], torch.tensor([0]), Markers(), num_classes=2, settings=EVERY)
    assert found.boxes[0].tolist() == [[1, 1, 3, 3], [5, 3, 8, 6], [7, 0, 8, 1], [0, 0, 0, 0]]
    assert found.maps[0].tolist() == [1, 1, 2, 0]
    assert found.valid[0].tolist() == [True, True, True, False]
    assert found.scores[0, 2:].tolist() == [0.5, 0]


def test_only_the_best_are_kept():
    values, image = two_blobs()
    one = ProposalSettings(top_k=1, min_size=0)
    found = propose(values[None, None], image[None], torch.tensor([0]), Markers(), num_classes=2, settings=one)
    assert found.boxes.tolist() == [[[1, 1, 3, 3]]]


def test_boxes_are_those_of_scikit_image():
    maps = nn.functional.avg_pool2d(torch.rand(5, 32, 32, generator=torch.Generator().manual_seed(3)), 3, 1).numpy()
    expected = set()
    for each in maps:
        regions = label(each > threshold_otsu(each.astype(np.float64), nbins=256), connectivity=2)
        expected |= {(x0, y0, x1, y1) for y0, x0, y1, x1 in (region.bbox for region in regionprops(regions))}
    boxes = candidates(maps, 0).boxes.tolist()
    assert len(boxes) > 20
    assert {tuple(box) for box in boxes} == expected
    assert len(boxes) == len(expected)


def test_a_box_must_be_larger_than_the_minimum():
    values = np.zeros((1, 10, 10))
    values[0, :2, :2] = values[0, 5, :5] = values[0, 8, 2:5] = 1  # 4, 5 and 3 pixels of 100
    assert candidates(values, 0.03).boxes.tolist() == [[0, 5, 5, 6], [0, 0, 2, 2]]
    assert candidates(values, 0.04).boxes.tolist() == [[0, 5, 5, 6]]
    assert not candidates(values, 0.04).kept_largest


def test_size_is_that_of_the_box_and_not_of_the_region():
    values = np.zeros((1, 10, 10))
    values[0, range(4), range(4)] = 1  # 4 pixels in a box of 16
    assert candidates(values, 0.15).boxes.tolist() == [[0, 0, 4, 4]]
    assert not candidates(values, 0.15).kept_largest


def test_if_no_box_is_large_enough_an_image_keeps_the_largest_of_all_its_maps():
    values, image = two_blobs()
    maps = torch.stack([torch.stack([values, values.flip(0, 1)]), torch.ones(2, 6, 8)])
    maps[1, 1, 0, 0] = 0  # a region that is nearly all
    found = propose(
        maps,
        image.expand(2, -1, -1, -1),
        torch.tensor([0, 0]),
        Markers(),
        num_classes=2,
        settings=ProposalSettings(top_k=3, min_size=0.6),
    )
    assert found.kept_largest.tolist() == [True, False]
    assert found.boxes[:, 0].tolist() == [[5, 3, 8, 6], [0, 0, 8, 6]]
    assert found.valid.tolist() == [[True, False, False]] * 2


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_flat_maps_give_no_proposal_and_are_not_scored(level):
    network = Markers()
    found = propose(
        torch.full((2, 3, 5, 5), level), torch.rand(2, 3, 9, 9), torch.tensor([0, 1]), network, num_classes=2
    )
    assert not found.valid.any()
    assert not found.boxes.any()
    assert not found.kept_largest.any()
    assert network.passes == []


def test_a_flat_image_does_not_move_the_proposals_of_others():
    values, image = two_blobs()
    maps = torch.stack([torch.zeros(6, 8), values, torch.ones(6, 8)])[:, None]
    found = propose(
        maps, image.expand(3, -1, -1, -1), torch.tensor([0, 0, 0]), Markers(), num_classes=2, settings=EVERY
    )
    assert found.valid.sum(1).tolist() == [0, 2, 0]
    assert found.boxes[1, 0].tolist() == [1, 1, 3, 3]


def test_a_region_of_one_pixel_shows_that_pixel():
    values = torch.zeros(1, 1, 4, 4)
    values[0, 0, 3, 3] = 1
    image = torch.zeros(1, 3, 4, 4)
    image[0, 0, 3, 3] = 1
    found = propose(values, image, torch.tensor([0]), Markers(), num_classes=2, settings=EVERY)
    assert found.boxes[0, 0].tolist() == [3, 3, 4, 4]
    assert found.scores[0, 0].item() == pytest.approx(sigmoid(1))


def test_all_boxes_of_a_batch_go_through_the_classifier_together():
    maps, images, _ = random_batch()
    network = Markers()
    propose(maps, images, torch.zeros(4, dtype=torch.int64), network, num_classes=2, settings=EVERY, chunk=10)
    boxes = sum(len(candidates(each, 0).boxes) for each in maps.numpy())
    assert sum(network.passes) == boxes
    assert network.passes[:-1] == [10] * (boxes // 10)


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_proposals_do_not_depend_on_the_chunk(chunk):
    maps, images, labels = random_batch()
    whole = propose(maps, images, labels, Network(), num_classes=3, settings=EVERY, chunk=1000)
    parts = propose(maps, images, labels, Network(), num_classes=3, settings=EVERY, chunk=chunk)
    assert whole.scores.std() > 0.01
    assert (whole.boxes == parts.boxes).all()
    assert torch.allclose(whole.scores, parts.scores, atol=1e-5)


def test_proposals_do_not_depend_on_batch_mates():
    maps, images, labels = random_batch()
    together = propose(maps, images, labels, Network(), num_classes=3, settings=EVERY)
    for i in range(4):
        one = slice(i, i + 1)
        alone = propose(maps[one], images[one], labels[one], Network(), num_classes=3, settings=EVERY)
        assert (alone.boxes == together.boxes[one]).all()
        assert (alone.maps == together.maps[one]).all()
        assert torch.allclose(alone.scores, together.scores[one], atol=1e-5)


def test_of_equal_scores_the_larger_box_comes_first_and_then_the_earlier_map():
    maps = torch.zeros(1, 2, 6, 8)
    maps[0, 0, 0, 0] = maps[0, 0, 5, 3:5] = 1
    maps[0, 1, 2:4, 2:4] = maps[0, 1, 0, 7] = 1
    found = propose(maps, torch.zeros(1, 3, 6, 8), torch.tensor([1]), Markers(), num_classes=2, settings=EVERY)
    assert found.boxes[0].tolist() == [[2, 2, 4, 4], [3, 5, 5, 6], [0, 0, 1, 1], [7, 0, 8, 1]]
    assert found.maps[0].tolist() == [1, 0, 0, 1]


def test_scores_that_single_precision_calls_equal_are_told_apart():
    values, image = two_blobs()
    image[0, 3:5, 3:5] = 1  # now 7 markers in the smaller box and 2 in the larger, whose posterior is 1 - 2e-9
    image[0, 10, 15] = 1
    sure = Markers()
    found = propose(values[None, None], image[None], torch.tensor([0]), lambda x: 10 * sure(x), num_classes=2)
    assert found.scores[0].tolist() == [1, 1]
    assert found.boxes[0].tolist() == [[1, 1, 3, 3], [5, 3, 8, 6]]


@pytest.mark.parametrize("score", ["size", "product"])
def test_other_scores_of_the_published_code(score):
    """Areas 1, 2 and 3 have the mean 2 and the variance 2/3: the density is exp(-3/4) for the first and the last."""
    maps = torch.zeros(1, 1, 6, 8)
    maps[0, 0, 0, 0] = maps[0, 0, 2, :2] = maps[0, 0, 4, :3] = 1
    image = torch.zeros(1, 3, 6, 8)
    image[0, 0, 0, 0] = 1
    image[0, 0, 4, :3] = 1
    settings = ProposalSettings(top_k=3, min_size=0, score=score)
    found = propose(maps, image, torch.tensor([0]), Markers(), num_classes=2, settings=settings)
    side = math.exp(-0.75)
    expected = {
        "size": {(0, 2, 2, 3): 1, (0, 4, 3, 5): side, (0, 0, 1, 1): side},
        "product": {(0, 2, 2, 3): 0.5, (0, 4, 3, 5): side * sigmoid(3), (0, 0, 1, 1): side * sigmoid(1)},
    }[score]
    assert [tuple(box) for box in found.boxes[0].tolist()] == list(expected)
    assert found.scores[0].tolist() == pytest.approx(list(expected.values()))


def test_boxes_of_one_size_are_equally_good_by_size():
    maps = torch.zeros(1, 1, 6, 8)
    maps[0, 0, 0, 0] = maps[0, 0, 5, 5] = 1
    settings = ProposalSettings(min_size=0, score="size")
    found = propose(maps, torch.zeros(1, 3, 6, 8), torch.tensor([0]), Markers(), num_classes=2, settings=settings)
    assert found.scores.tolist() == [[1, 1]]


def test_the_classifier_is_left_as_found():
    maps, images, labels = random_batch()
    network = Network().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    first = propose(maps, images, labels, network, num_classes=3)
    assert all(module.training for module in network.modules())
    assert all((before[name] == tensor).all() for name, tensor in network.state_dict().items())
    assert (torch.get_rng_state() == state).all()
    assert (propose(maps, images, labels, network, num_classes=3).scores == first.scores).all()  # no dropout


def test_a_trained_method_scores_by_its_logits():
    class Whole(Method):
        def losses(self, batch, progress):
            raise NotImplementedError

        def localize(self, images, classes=None):
            return Localization(markers(images), torch.zeros(len(images), 1, 1, 1), torch.zeros(len(images), 1))

    markers = Markers()
    values, image = two_blobs()
    found = propose(values[None, None], image[None], torch.tensor([0]), Whole(None, 2), num_classes=2, settings=EVERY)
    assert found.scores[0, :2].tolist() == pytest.approx([sigmoid(3), sigmoid(1)])


def test_selecting_images():
    maps, images, labels = random_batch()
    found = propose(maps, images, labels, Network(), num_classes=3)
    some = found.select(torch.tensor([2, 0])).to("cpu")
    assert (some.boxes == found.boxes[[2, 0]]).all()
    assert (some.valid == found.valid[[2, 0]]).all()
    assert some.grid == found.grid


def test_what_is_out_of_the_ordinary_is_counted():
    values, image = two_blobs()
    maps = torch.stack([values, torch.zeros(6, 8), values, values])[:, None]
    maps[3, 0] = 1
    maps[3, 0, 0, 0] = 0
    settings = ProposalSettings(min_size=0.6)
    arguments = (image.expand(4, -1, -1, -1), torch.zeros(4, dtype=torch.int64), Markers())
    found = propose(maps, *arguments, num_classes=2, settings=settings)
    small, empty = found.remarks()
    assert small.startswith("2 of 4 images have no region of the minimum size")
    assert empty.startswith("1 of 4 images have no proposal")
    assert found.select(torch.tensor([3])).remarks() == ()


def test_an_image_is_blurred_once_for_all_its_boxes(monkeypatch):
    maps, images, labels = random_batch()
    calls = []

    def count(pictures):
        calls.append(pictures.shape)
        return pictures

    monkeypatch.setattr(scoring, "blurred", count)
    propose(maps, images, labels, Network(), num_classes=3, settings=EVERY, chunk=1)
    assert calls == [images.shape]


def test_a_classifier_of_other_classes_is_refused():
    maps, images, labels = random_batch()
    with pytest.raises(ConfigError, match="gives 5 classes, and the data has 3"):
        propose(maps, images, labels, Network(5), num_classes=3)


def test_scores_that_are_not_finite_are_refused():
    maps, images, labels = random_batch()
    with pytest.raises(ConfigError, match="not finite"):
        propose(maps, images, labels, lambda x: torch.full((len(x), 3), math.inf), num_classes=3)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 1, 2, -1], [0, 1], [0.0, 1.0, 2.0, 0.0]])
def test_labels_that_are_no_classes_are_refused(labels):
    maps, images, _ = random_batch()
    with pytest.raises(DataError, match="labels"):
        propose(maps, images, torch.tensor(labels), Network(), num_classes=3)


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.5])
def test_a_map_outside_its_range_is_named(value):
    maps, images, labels = random_batch()
    maps[2, 1, 3, 3] = value
    with pytest.raises(DataError, match="map 1 of image 2"):
        propose(maps, images, labels, Network(), num_classes=3)


def test_maps_of_other_images_are_refused():
    maps, images, labels = random_batch()
    with pytest.raises(DataError, match="each of the 3 images"):
        propose(maps, images[:3], labels[:3], Network(), num_classes=3)


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"min_size": 1.0}, {"min_size": -0.1}, {"score": "area"}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ProposalSettings(**wrong)


def test_an_empty_chunk_is_refused():
    maps, images, labels = random_batch()
    with pytest.raises(ConfigError, match="chunk"):
        propose(maps, images, labels, Network(), num_classes=3, chunk=0)


def test_a_region_alone_may_be_seen_sharp_in_place_of_its_box():
    values = torch.zeros(1, 1, 6, 8)
    values[0, 0, 0:4, 0:4] = torch.eye(4)  # a diagonal: one region, whose box has twelve pixels that are not of it
    image = torch.zeros(1, 3, 12, 16)
    image[0, 0, 0, 0] = image[0, 0, 0, 6] = 1  # in the region, and in its box only
    labels = torch.tensor([0])
    box, region = (
        propose(
            values,
            image,
            labels,
            Markers(),
            num_classes=2,
            settings=ProposalSettings(top_k=1, min_size=0, visible=visible),
        )
        for visible in ("box", "region")
    )
    assert torch.equal(box.boxes, region.boxes)
    assert box.scores.item() == pytest.approx(sigmoid(2))
    assert region.scores.item() == pytest.approx(sigmoid(1))


def test_regions_do_not_depend_on_batch_mates_or_on_the_chunk():
    maps, images, labels = random_batch()
    settings = ProposalSettings(top_k=3, min_size=0, visible="region")
    together = propose(maps, images, labels, Network(), num_classes=3, settings=settings, chunk=5)
    for image in range(4):
        one = slice(image, image + 1)
        alone = propose(maps[one], images[one], labels[one], Network(), num_classes=3, settings=settings)
        assert torch.equal(together.boxes[one], alone.boxes)
        torch.testing.assert_close(together.scores[one], alone.scores)
