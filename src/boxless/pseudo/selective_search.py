"""Selective Search: regions that grow together by colour, texture, size and fill, at no training.

Uijlings, van de Sande, Gevers and Smeulders, "Selective Search for Object Recognition", IJCV 104, 2013, as OpenCV has
it. The thesis takes it as the annotator that needs no supervision (section 4.3.1 a) and does not say its settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, final

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray
from torch import Tensor

from boxless.errors import MissingExtraError
from boxless.pseudo.annotators import Material
from boxless.pseudo.choosing import Choosing, Share
from boxless.pseudo.records import Floats
from boxless.pseudo.selection import Pool, Score, shortlist
from boxless.recipe import Fraction, Positive
from boxless.stream import default_workers, ordered_map
from boxless.types import Item

_SWITCHES = {
    "single": "switchToSingleStrategy",
    "fast": "switchToSelectiveSearchFast",
    "quality": "switchToSelectiveSearchQuality",
}


@final
class SelectiveSearch(Choosing):
    """One of the boxes that Selective Search finds, chosen by a classifier's score and the peak of its map.

    OpenCV orders its boxes by numbers drawn from the C library, which no seed of ours reaches, so that its order has no
    say here: the same image has the same boxes.

    Args:
        mode: One grouping of regions (``single``), or the many of ``fast`` and ``quality``. On 61 images of the bundled
            sample (val, 160 pixels) the boxes chosen among ``single``'s 35 had a mean IoU of 0.64 with the true ones;
            among 64 of ``single``'s and ``fast``'s together it was 0.62, at twice the passes of the classifier.
        min_size: The part of the image that a box must be larger than; if none is, all count.
        overlap: A box goes whose IoU with a larger one is above this.
        most: Boxes of an image that the classifier looks at, at most; the smallest go.
        share: See `Choosing`.
        score: See there; the thesis has ``posterior``, which on those images chose boxes of two thirds of the image,
            with a mean IoU of 0.47.
    """

    def __init__(
        self,
        *,
        mode: Literal["single", "fast", "quality"] = "single",
        min_size: Fraction = 0.02,
        overlap: Annotated[float, Gt(0), Le(1)] = 0.8,
        most: Positive = 64,
        share: Share = 0.2,
        score: Score = "product",
    ) -> None:
        super().__init__(share=share, score=score, min_size=min_size)
        self.mode, self.overlap, self.most = mode, overlap, most

    def made_from(self, material: Material) -> Mapping[str, Any]:
        """See :class:`boxless.pseudo.annotators.Annotator`."""
        _library()
        return super().made_from(material)

    def proposed_from(self) -> Mapping[str, Any]:
        """See :class:`Choosing`."""
        return {"by": "selective_search", "mode": self.mode, "overlap": self.overlap, "most": self.most}

    def pools(self, images: Tensor, material: Material, items: Sequence[Item]) -> list[Pool]:
        """See :class:`Choosing`."""
        _library()  # imported here and not first by several threads
        pixels = (material.pixels(images) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        workers = default_workers()
        return list(ordered_map(self._pool, pixels, workers=workers, ahead=2 * workers))

    def _pool(self, pixels: NDArray[np.uint8]) -> Pool:
        boxes = search(pixels, self.mode)
        size = (pixels.shape[0], pixels.shape[1])
        kept = shortlist(boxes, size, min_size=self.settings.min_size, overlap=self.overlap, most=self.most)
        return Pool(boxes[kept])


def search(pixels: NDArray[np.uint8], mode: str) -> Floats:
    """All boxes (n, 4) of an image (h, w, 3) of RGB bytes, each once, in an order that means nothing.

    Raises:
        MissingExtraError: OpenCV's extra modules are not installed.
    """
    searching = _library().createSelectiveSearchSegmentation()
    searching.setBaseImage(np.ascontiguousarray(pixels[:, :, ::-1]))
    getattr(searching, _SWITCHES[mode])()
    found = np.asarray(searching.process(), dtype=np.float64).reshape(-1, 4)
    found[:, 2:] += found[:, :2]
    return np.unique(found, axis=0)


def is_at_hand() -> bool:
    """Whether OpenCV is installed with what this needs."""
    try:
        _library()
    except MissingExtraError:
        return False
    return True


def _library() -> Any:
    try:
        from cv2.ximgproc import segmentation
    except ImportError as error:  # also of an OpenCV without its extra modules
        raise MissingExtraError("Selective Search", "opencv-contrib-python-headless", "selective-search") from error
    return segmentation
