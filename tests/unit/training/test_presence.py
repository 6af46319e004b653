"""What training learns last: when there is nothing to find."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tools import Heard

from boxless.errors import RunError
from boxless.predict.presence import FEATURES, LEAST, Presence, calibrate_run
from boxless.recipe import from_dict
from boxless.training.session import train

COUNT = 64  # images of val


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coloured squares in the left half of gray images; with a file of their boxes in val."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    lines = ["path,x0,y0,x1,y1"]
    for split, count in (("train", 8), ("val", COUNT)):
        for number in range(count):
            kind = ("blue", "green", "red")[number % 3]
            image = Image.fromarray(random.integers(80, 100, (64, 96, 3), dtype=np.uint8))
            x, y = (int(each) for each in random.integers(2, 16, 2))
            image.paste(kind, (x, y, x + 32, y + 32))
            name = f"{split}/{kind}/{number}.png"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            image.save(folder / name)
            lines += [f"{name},{x},{y},{x + 32},{y + 32}"] if split == "val" else []
    (folder.parent / "pseudo.csv").write_text("\n".join(lines) + "\n")
    return folder


def trained(data: Path, run: Path, **protocol: object) -> dict[str, object]:
    """The card of a run of a method that sees colours."""
    recipe = from_dict(
        {
            "data": {"source": str(data), "image_size": 64},
            "backbone": {"name": "test_vit", "weights": "random", "freeze": False},
            "method": {"name": "toy_methods:SeesColours"},
            "protocol": {"threshold": 0.5, "select": "last", **protocol},
        },
        "recipe",
    )
    train(recipe, run, device="cpu", listener=Heard())
    return dict(json.loads((run / "card.json").read_text()))


def test_a_run_learns_from_pseudo_boxes_when_there_is_nothing_to_find(data: Path, tmp_path: Path) -> None:
    card = trained(data, tmp_path / "run", boxes=[str(data.parent / "pseudo.csv")])
    assert isinstance(card["presence"], dict)
    presence = Presence.of(card["presence"])
    assert (presence.features, presence.positives, presence.negatives) == (FEATURES, COUNT, COUNT)
    assert presence.false == 0
    older = {key: value for key, value in card.items() if key != "presence"} | {"presence_note": "none"}
    (tmp_path / "run" / "card.json").write_text(json.dumps(older))
    again = calibrate_run(tmp_path / "run", device="cpu", trust=True)
    assert again["least"] == pytest.approx(presence.least)
    assert json.loads((tmp_path / "run" / "card.json").read_text()) == {
        **{key: value for key, value in older.items() if key != "presence_note"},
        "presence": again,
    }


def test_without_pseudo_boxes_the_card_says_that_it_does_not_know(data: Path, tmp_path: Path) -> None:
    card = trained(data, tmp_path / "run", boxes=[])
    assert card["presence"] is None
    assert "no pseudo-boxes" in str(card["presence_note"])
    with pytest.raises(RunError, match="no pseudo-boxes"):
        calibrate_run(tmp_path / "run", device="cpu", trust=True)


def test_too_few_pseudo_boxes_teach_nothing_and_the_card_says_so(data: Path, tmp_path: Path) -> None:
    lines = (data.parent / "pseudo.csv").read_text().splitlines()[:LEAST]  # with the head, one too few
    (tmp_path / "few.csv").write_text("\n".join(lines) + "\n")
    card = trained(data, tmp_path / "run", boxes=[str(tmp_path / "few.csv")])
    assert card["presence"] is None
    assert f"{LEAST - 1} images of val have a pseudo-box" in str(card["presence_note"])
