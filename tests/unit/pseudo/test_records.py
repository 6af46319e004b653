import torch
import torch.nn.functional as F

from boxless.pseudo.proposals import ProposalSettings, propose
from boxless.pseudo.records import Proposals, of_maps

PLAIN, MIRRORED = [0.0, 0, 1, 1, 0], [0.0, 0, 1, 1, 1]


def example(grid=(8, 12)):
    """Two images with two boxes each; the second box of the second image is not there."""
    torch.manual_seed(0)
    valid = torch.tensor([[True, True], [True, False]])
    boxes = torch.tensor([[[0.0, 0, 6, 4], [3, 2, 12, 8]], [[4, 2, 8, 6], [0, 0, 0, 0]]])
    return Proposals(
        boxes=boxes,
        scores=torch.tensor([[0.9, 0.5], [0.7, 0]]),
        maps=torch.tensor([[0, 1], [2, 0]]),
        valid=valid,
        kept_largest=torch.tensor([False, False]),
        activations=(torch.rand(2, 2, 4, 6) * valid[..., None, None]).half(),
        grid=grid,
    )


def test_an_image_shown_as_it_is_has_the_boxes_and_levels_that_it_had():
    found = example()
    shown = found.shown(torch.tensor([PLAIN, PLAIN]))
    chosen = torch.tensor([1, 0])
    assert torch.equal(shown.boxes, found.boxes)
    torch.testing.assert_close(shown.levels(chosen), found.levels(chosen), atol=1e-6, rtol=0)
    enlarged = F.interpolate(found.activations[[0, 1], chosen][:, None].float(), (8, 12), mode="bilinear")[:, 0]
    torch.testing.assert_close(found.levels(chosen), enlarged)


def test_in_a_mirrored_image_boxes_and_levels_are_mirrored():
    found = example()
    shown = found.shown(torch.tensor([MIRRORED, PLAIN]))
    assert shown.boxes[0].tolist() == [[6, 0, 12, 4], [0, 2, 9, 8]]
    assert shown.boxes[1].tolist() == found.boxes[1].tolist()
    chosen = torch.tensor([0, 0])
    torch.testing.assert_close(shown.levels(chosen)[0], found.levels(chosen)[0].flip(1), atol=1e-6, rtol=0)


def test_a_crop_scales_boxes_to_the_whole_grid_and_they_may_reach_over_it():
    found = example()
    shown = found.shown(torch.tensor([[0.25, 0.5, 0.75, 1, 0], [0.25, 0.5, 0.75, 1, 1]]))
    # columns 3 to 9 of 12 and rows 4 to 8 of 8 fill the grid: twice as large
    assert shown.boxes[0].tolist() == [[-6, -8, 6, 0], [0, -4, 18, 8]]
    assert shown.boxes[1, 0].tolist() == [12 - 10, -4, 12 - 2, 4]
    assert shown.boxes[1, 1].tolist() == [0, 0, 0, 0]


def test_levels_of_a_crop_are_those_of_the_enlarged_map_in_it():
    found = example((8, 12))
    whole = example((16, 24)).levels(torch.tensor([0, 0]))
    shown = found.shown(torch.tensor([[0.25, 0.5, 0.75, 1, 0], [0.25, 0.5, 0.75, 1, 1]]))
    levels = shown.levels(torch.tensor([0, 0]))
    torch.testing.assert_close(levels[0], whole[0, 8:, 6:18], atol=1e-5, rtol=0)
    torch.testing.assert_close(levels[1], whole[1, 8:, 6:18].flip(1), atol=1e-5, rtol=0)


def test_proposals_carry_the_coarse_map_that_each_box_is_of():
    torch.manual_seed(0)
    maps = torch.rand(2, 3, 5, 7)
    images, labels = torch.randn(2, 3, 20, 28), torch.tensor([0, 1])
    settings = ProposalSettings(top_k=4, min_size=0)
    found = propose(maps, images, labels, lambda x: x.mean((2, 3)), num_classes=3, settings=settings, size=(20, 28))
    assert found.grid == (20, 28)
    assert found.activations.shape == (2, 4, 5, 7)
    for image in range(2):
        for place in range(int(found.valid[image].sum())):
            assert torch.equal(found.activations[image, place], maps[image, found.maps[image, place]].half())
    enlarged = F.interpolate(maps, (20, 28), mode="bilinear")
    same = propose(enlarged, images, labels, lambda x: x.mean((2, 3)), num_classes=3, settings=settings)
    assert torch.equal(found.boxes, same.boxes)


def test_one_map_of_an_image_is_a_proposal_of_all_of_it_unless_it_is_flat():
    maps = torch.stack([torch.arange(6.0).reshape(1, 2, 3) / 5, torch.full((1, 2, 3), 0.4)])
    found = of_maps(maps, (20, 30))
    assert found.valid.tolist() == [[True], [False]]
    assert found.boxes[:, 0].tolist() == [[0, 0, 30, 20], [0, 0, 0, 0]]
    assert torch.equal(found.activations[0], maps[0].half())
    assert not found.activations[1].any()
