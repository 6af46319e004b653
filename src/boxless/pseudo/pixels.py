"""Pseudo-labels for a few pixels of each image, drawn anew at every step: object, background, and the rest unknown.

`sample_pixels` draws them about boxes (DiPS: thesis, section 2.3.3 and appendix I, section 3.3), `sample_seeds` from a
map alone (F-CAM: Belharbi et al., WACV 2022; TCAM: Belharbi et al., WACV 2023; TrCAM-V: thesis, appendix II). Both work
on whole batches, on the device of the maps; random numbers come from torch's own generator of that device, or from the
one passed, which may be on the CPU. What they give is for `boxless.losses.partial.partial_cross_entropy`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from boxless.errors import ConfigError, DataError
from boxless.losses.partial import BACKGROUND, FOREGROUND, IGNORED
from boxless.pseudo._checks import check_boxes, check_counts, check_shares, check_squares, checked_maps
from boxless.pseudo._drawing import by_value, choose, draw, first_share
from boxless.pseudo._regions import Region, chosen_regions, covered, dilated, eroded, otsu_regions


@torch.no_grad()
def choose_boxes(
    boxes: Tensor, valid: Tensor, size: tuple[int, int], *, generator: torch.Generator | None = None
) -> Tensor:
    """Draw one box of each image, all equally likely (thesis, section 2.3.4): its number, (b,) int64.

    Boxes that are not valid, or of which nothing lies on the map, are never drawn; an image without any other gets 0,
    and no object from `sample_pixels`. Use it where the map depends on the box; else `sample_pixels` draws by itself.

    Args:
        boxes: (b, k, 4) xyxy, half-open, in pixels of the map.
        valid: (b, k) bool: which of them exist; the others fill up the batch.
        size: (height, width) of the map.
        generator: Where random numbers come from.

    Raises:
        DataError: Shapes or types that do not fit.
    """
    check_boxes(boxes, valid, len(boxes))
    if not boxes.shape[1]:
        return torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    rows, columns = _sides(boxes, size)
    return choose(valid & rows.any(2) & columns.any(2), generator)


def within_boxes(boxes: Tensor, chosen: Tensor, size: tuple[int, int]) -> Tensor:
    """Which pixels of a map of this size lie in one of each image's boxes (b, k, 4), chosen (b,): (b, h, w) bool."""
    rows, columns = _sides(boxes[torch.arange(len(chosen), device=boxes.device), chosen][:, None], size)
    return rows[:, 0, :, None] & columns[:, 0, None, :]


@torch.no_grad()
def sample_pixels(
    maps: Tensor,
    boxes: Tensor,
    valid: Tensor,
    *,
    foreground_share: float,
    background_share: float,
    count: int,
    background_count: int | None = None,
    chosen: Tensor | None = None,
    background: Literal["outside", "anywhere"] = "outside",
    otsu: bool = False,
    dilation: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw pixels of the object in one box of each image, and of the background outside all its boxes.

    Object: of the pixels in the box the share with the highest activations are candidates; of them ``count`` are drawn
    without replacement, each draw in proportion to the activation. A candidate of activation 0 is not drawn, unless
    all in the box are 0: then all candidates are equally likely.

    Background: of the pixels outside all valid boxes the share with the lowest activations are candidates, all equally
    likely. (The thesis may also be read as the lowest of the whole map, as far as they lie outside: that may be none.)
    Boxes that leave no pixel outside tell nothing of the background, but labels of the object alone would
    teach that all is object: there the lowest of the whole map are the candidates.

    Shares are rounded down, to one pixel at least; pixels of equal activation (all of them, on a flat map) are in
    random order, so that a share holds exactly so many. Where fewer can be drawn than asked for, all are drawn, and
    without a ``background_count`` only so many of the other kind, so that both are balanced: an image without a valid
    box then gets no label at all. A pixel is in a box if its centre is; a box between all centres has the pixel in its
    middle. A box of which nothing lies on the map (no area, or not a number) counts as not valid.

    Args:
        maps: (b, h, w) in [0, 1], of each image the map that the box comes from.
        boxes: (b, k, 4) xyxy, half-open, in pixels of the map: the proposals.
        valid: (b, k) bool: which of them exist.
        foreground_share: n+, in (0, 1]: how much of the box is candidate. On ILSVRC the authors' search found 0.94, and
            0.91 for n-; their advice is 0.1 to 0.3 for both.
        background_share: n-, in (0, 1].
        count: Pixels of the object, and of the background too.
        background_count: Another number of pixels of the background, which is then drawn for itself. The authors' code
            has 5,139 pixels of the object and 2,399 of the background on ILSVRC; the thesis has both balanced.
        chosen: (b,) int64, the number of the box, of those drawn by `choose_boxes`; drawn here if not given.
        background: ``outside`` the boxes, as the thesis has it, or ``anywhere`` on the map, as the authors' code and
            appendix I have it; then a pixel may be drawn as both, and is ignored.
        otsu: Take the object from what is above Otsu's threshold of the map, and the background from what is not, as
            far as there is any in the box and outside: so TeD-Loc does (thesis, section 3.6.1), whose box is the image.
        dilation: Side of the square, odd, that each drawn pixel grows to; a pixel in squares of both kinds is ignored.
            The authors' code has 3. Squares may reach over the sides of boxes.
        generator: Where random numbers come from.

    Returns:
        (b, h, w) int64 on the maps' device: 1 object, 0 background, -255 ignored.

    Raises:
        DataError: Shapes or types that do not fit, or maps outside [0, 1].
        ConfigError: A share outside (0, 1], a count below 1, an even side, or an unknown kind of background.
    """
    levels = checked_maps(maps)
    check_boxes(boxes, valid, len(maps))
    check_shares(foreground_share=foreground_share, background_share=background_share)
    check_counts(count=count, background_count=count if background_count is None else background_count)
    check_squares(dilation=dilation)
    if background not in ("outside", "anywhere"):
        raise ConfigError(f"background: got {background!r}; known: outside, anywhere.")
    inside, free = _parts(boxes, valid, chosen, (maps.shape[1], maps.shape[2]), generator)
    if background == "anywhere":
        free = torch.ones_like(free)
    if otsu:
        regions = otsu_regions(levels)
        inside, free = _within(inside, regions), _within(free, ~regions)
    order = by_value(levels.flatten(1), generator)
    level, inside, free = (each.flatten(1).gather(1, order) for each in (levels, inside, free))
    best = first_share(inside.flip(1), foreground_share).flip(1)
    weights = torch.where(best, level, 0)
    weights = torch.where(weights.amax(1, keepdim=True) > 0, weights, best.float())
    lowest = first_share(free, background_share)
    drawn = _draw_both(weights, lowest.float(), count, background_count, generator)
    objects, backgrounds = (torch.zeros_like(each).scatter(1, order, each).view(maps.shape) for each in drawn)
    return _labels(objects, backgrounds, dilation)


@torch.no_grad()
def sample_seeds(
    maps: Tensor,
    *,
    count: int = 1,
    background_share: float = 0.1,
    erosion: int = 11,
    dilation: int = 3,
    region: Region = "all",
    foreground_share: float = 1.0,
    weighted: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw seeds: pixels of the object from the region above Otsu's threshold, of the background from below.

    Object: any pixel of the region, shrunk by a square, or whole if nothing were left of it. Background: any pixel of
    the share with the lowest activations, as in `sample_pixels`. A flat map has no region; its image gets no seed of
    either kind. Defaults are F-CAM's, for maps of 224 x 224. TCAM does not shrink the region, and draws from the
    highest 0.6 of it, weighted.

    Args:
        maps: (b, h, w) in [0, 1], each scaled to reach both ends.
        count: Pixels of each kind; of a smaller region, all.
        background_share: Part of the pixels that is candidate for the background, in (0, 1].
        erosion: Side of the square that shrinks the region, odd; 1 leaves it. The image's border does not shrink it.
        dilation: Side of the square, odd, that each drawn pixel grows to; a pixel in squares of both kinds is ignored.
        region: ``all`` that is above the threshold; or of its 8-connected components the ``largest``, or the
            ``densest``: that with the highest mean activation of those that hold at least 5 % of the map's pixels, or
            the largest if none does. (TCAM's code connects no corners, and takes the largest component if the densest
            of all is smaller than that.)
        foreground_share: The part of the region, shrunk, with the highest activations that is candidate for the object,
            in (0, 1], as in `sample_pixels`.
        weighted: Draw candidates for the object in proportion to their activations, not all equally likely.
        generator: Where random numbers come from.

    Returns:
        (b, h, w) int64 on the maps' device: 1 object, 0 background, -255 ignored.

    Raises:
        DataError: Maps that are not (b, h, w) or not in [0, 1].
        ConfigError: A share outside (0, 1], a count below 1, an even side, or an unknown region.
    """
    levels = checked_maps(maps)
    check_shares(background_share=background_share, foreground_share=foreground_share)
    check_counts(count=count)
    check_squares(erosion=erosion, dilation=dilation)
    if region not in ("all", "densest", "largest"):
        raise ConfigError(f"region: got {region!r}; known: all, densest, largest.")
    regions = chosen_regions(levels, otsu_regions(levels), region)
    cores = eroded(regions, erosion)
    cores = torch.where(cores.any(2).any(1)[:, None, None], cores, regions).flatten(1)
    flat = levels.flatten(1)
    order = by_value(flat, generator)
    lowest = first_share(torch.ones_like(cores), background_share) & cores.any(1, keepdim=True)
    highest = first_share(cores.gather(1, order).flip(1), foreground_share).flip(1)
    lowest, highest = (torch.zeros_like(cores).scatter(1, order, each) for each in (lowest, highest))
    weights = torch.where(highest, flat, 0) if weighted else highest.float()
    objects, backgrounds = _draw_both(weights, lowest.float(), count, count, generator)
    return _labels(objects.view(maps.shape), backgrounds.view(maps.shape), dilation)


def _parts(
    boxes: Tensor, valid: Tensor, chosen: Tensor | None, size: tuple[int, int], generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Masks (b, h, w): what lies in the chosen box, and what outside all boxes, or all where that is nothing."""
    if not boxes.shape[1]:
        boxes, valid = boxes.new_zeros(len(boxes), 1, 4), valid.new_zeros(len(valid), 1)
    rows, columns = _sides(boxes, size)
    usable = valid & rows.any(2) & columns.any(2)
    if chosen is None:
        chosen = choose(usable, generator)
    elif chosen.shape != (len(boxes),) or chosen.dtype != torch.int64:
        raise DataError(f"chosen: got {chosen.dtype} of shape {tuple(chosen.shape)}; give int64 of shape (b,).")
    rows, columns = (each & usable[..., None] for each in (rows, columns))
    image = torch.arange(len(boxes), device=boxes.device)
    inside = rows[image, chosen][:, :, None] & columns[image, chosen][:, None, :]
    free = torch.bmm(rows.float().mT, columns.float()) == 0  # the number of boxes on each pixel
    return inside, free | ~free.any(2).any(1)[:, None, None]


def _within(masks: Tensor, others: Tensor) -> Tensor:
    """What of masks (b, h, w) lies in others too; all of a mask of which nothing does."""
    both = masks & others
    return torch.where(both.any(2).any(1)[:, None, None], both, masks)


def _sides(boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The rows (b, k, h) and columns (b, k, w) of each box."""
    x0, y0, x1, y1 = boxes.float().unbind(2)
    return covered(y0, y1, size[0]), covered(x0, x1, size[1])


def _draw_both(
    object_weights: Tensor,
    background_weights: Tensor,
    count: int,
    background_count: int | None,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Places (b, n) drawn as object and as background; balanced if there is no number for the background."""
    objects = (object_weights > 0).sum(1).clamp(max=count)
    backgrounds = (background_weights > 0).sum(1).clamp(max=background_count or count)
    if background_count is None:
        objects = backgrounds = torch.minimum(objects, backgrounds)
    return (
        draw(object_weights, objects, count, generator),
        draw(background_weights, backgrounds, background_count or count, generator),
    )


def _labels(objects: Tensor, backgrounds: Tensor, dilation: int) -> Tensor:
    """Labels (b, h, w) of two masks, grown; what is in both is ignored."""
    objects, backgrounds = dilated(objects, dilation), dilated(backgrounds, dilation)
    labels = torch.full(objects.shape, IGNORED, dtype=torch.int64, device=objects.device)
    return labels.masked_fill(objects & ~backgrounds, FOREGROUND).masked_fill(backgrounds & ~objects, BACKGROUND)
