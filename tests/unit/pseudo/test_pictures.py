from __future__ import annotations

import pytest
import torch
from PIL import Image

from boxless.pseudo import pictures
from boxless.pseudo.annotators import ClassMaps
from boxless.pseudo.proposals import ProposalSettings
from boxless.pseudo.records import of_maps


@pytest.mark.parametrize(
    ("scored", "expected"),
    [("", "probability of owl, rest blurred"), (ClassMaps.scored, "probability of owl")],
)
def test_a_picture_says_what_scores_are(monkeypatch: pytest.MonkeyPatch, scored: str, expected: str) -> None:
    said: list[str] = []
    panel = pictures._Panel

    def heard(image: Image.Image, title: str, detail: str) -> pictures._Panel:
        said.append(detail)
        return panel(image, title, detail)

    monkeypatch.setattr(pictures, "_Panel", heard)
    proposals = of_maps(torch.rand(1, 1, 4, 4), (32, 32))
    pictures.picture(Image.new("RGB", (32, 32)), proposals, label="owl", settings=ProposalSettings(), scored=scored)
    assert said == ["owl", expected]
