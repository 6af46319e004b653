"""A region proposal network: boxes of whatever an object may be, with how likely each is one.

Ren, He, Girshick and Sun, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks", NeurIPS
2015; that of torchvision's detectors, which learnt from the boxes of COCO, their classes aside. The thesis takes one as
the annotator that knows boxes of other images (section 4.3.1 c) and does not say which.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, final

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from boxless.errors import WeightsError
from boxless.pseudo.annotators import Material
from boxless.pseudo.choosing import Choosing, Share
from boxless.pseudo.selection import Pool, Score
from boxless.pseudo.store import network_digest
from boxless.recipe import Positive
from boxless.types import Item

AUTO, RANDOM = "auto", "random"
Detector = Literal["fasterrcnn_resnet50_fpn_v2", "fasterrcnn_resnet50_fpn"]


@final
class RegionProposalNetwork(Choosing):
    """One of the boxes of a region proposal network, chosen by objectness, the peak of a map and a classifier's score.

    Args:
        model: The detector of torchvision whose proposals are taken.
        weights: ``auto`` for torchvision's, of COCO; a file with a state dict of the detector; or ``random``, always
            the same, for trying out.
        side: Pixels of the shorter side that the network sees images at; torchvision trained it at 800.
        most: Boxes of an image that are kept, at most: those of highest objectness, near duplicates left out as the
            detector does it.
        share: See `Choosing`.
        score: See there; the thesis has ``posterior``.
    """

    supervision = "boxes of other images, without their classes (COCO)"

    def __init__(
        self,
        *,
        model: Detector = "fasterrcnn_resnet50_fpn_v2",
        weights: str = AUTO,
        side: Annotated[int, Ge(32)] = 800,
        most: Positive = 300,
        share: Share = 0.2,
        score: Score = "product",
    ) -> None:
        super().__init__(share=share, score=score)
        self.model, self.weights, self.side, self.most = model, weights, side, most
        self._detector: Any = None

    def proposed_from(self) -> Mapping[str, Any]:
        """See :class:`Choosing`; the weights count by what they are."""
        weights = network_digest(self._network(torch.device("cpu")))
        return {"by": "rpn", "model": self.model, "weights": weights, "side": self.side, "most": self.most}

    def pools(self, images: Tensor, material: Material, items: Sequence[Item]) -> list[Pool]:
        """See :class:`Choosing`."""
        network, colours = self._network(images.device), material.pixels(images)
        # One by one, so that an image's last digits do not hang on its batch mates.
        return [self._pool(network, each) for each in colours]

    def _pool(self, network: Any, pixels: Tensor) -> Pool:
        from torchvision.models.detection.rpn import concat_box_prediction_layers

        shown, _ = network.transform([pixels])
        grids = [*network.backbone(shown.tensors).values()]
        proposer = network.rpn
        levels, shifts = proposer.head(grids)
        counts = [level.shape[1] * level.shape[2] * level.shape[3] for level in levels]
        objectness, deltas = concat_box_prediction_layers(levels, shifts)
        anchors = proposer.anchor_generator(shown, grids)
        boxes = proposer.box_coder.decode(deltas, anchors).view(1, -1, 4)
        (kept,), (scores,) = proposer.filter_proposals(boxes, objectness, shown.image_sizes, counts)
        height, width = shown.image_sizes[0]
        ratio = torch.tensor([pixels.shape[2] / width, pixels.shape[1] / height] * 2).to(kept)
        found = (kept * ratio).double().cpu().numpy()
        solid = (found[:, 2:] > found[:, :2]).all(1)
        return Pool(found[solid], np.asarray(scores.double().cpu().numpy()[solid]))

    def _network(self, device: torch.device) -> Any:
        """The detector, built once.

        Raises:
            WeightsError: Its weights cannot be had.
        """
        if self._detector is None:
            self._detector = self._built()
        return self._detector.to(device)

    def _built(self) -> Any:
        from torchvision.models import detection, get_model_weights

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = getattr(detection, self.model)(
                weights=None,
                weights_backbone=None,
                min_size=self.side,
                max_size=2 * self.side,
                rpn_post_nms_top_n_test=self.most,
            )
        if self.weights != RANDOM:
            state = _own(get_model_weights(self.model).DEFAULT) if self.weights == AUTO else _read(Path(self.weights))
            try:
                network.load_state_dict(state)
            except RuntimeError as error:
                reason = str(error).splitlines()[-1].strip()
                raise WeightsError(
                    f"{self.weights}: these are no weights of torchvision's {self.model} ({reason}); give a state dict "
                    "of it, or name the model that they are of as pseudo.model."
                ) from error
        return network.eval().requires_grad_(requires_grad=False)


def _own(weights: Any) -> Any:
    """The state dict that torchvision publishes, from torch's cache or the network."""
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # what torch.hub raises: no connection, and a file that is damaged
        raise WeightsError(
            f"annotator rpn: the weights {weights} are not in torch's cache ({torch.hub.get_dir()}) and cannot be "
            f"fetched from {weights.url} ({error}); connect, or copy the file there from a machine that is, or name "
            "it as pseudo.weights=FILE. The annotator selective_search needs none."
        ) from error


def _read(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"pseudo.weights: {path} cannot be read as a state dict ({error}); give 'auto', 'random', or a file that "
            "torch.save made of one."
        ) from error
