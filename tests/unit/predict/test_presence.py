"""Telling that there is nothing to find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxless.errors import DataError, RunError
from boxless.predict.presence import FEATURES, Presence, calibrate, measure

from .engines import Colours


def test_features_are_what_their_names_say() -> None:
    logits = np.array([[1.0, 3.0, 0.0], [2.0, 2.0, 2.0]])
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, :2, :2], maps[0, 3, 3], maps[1] = 0.8, 0.5, 0.25
    rows = measure(logits, maps, np.array([0.5, 0.0]))
    first = dict(zip(FEATURES, rows[0], strict=True))
    total = np.exp(1) + np.exp(3) + 1
    shares = np.array([np.exp(1), np.exp(3), 1]) / total
    assert first == pytest.approx({
        "highest class score": 3.0,
        "energy": np.log(total),
        "lead over the second class": 2.0,
        "entropy of the classes": -(shares * np.log(shares)).sum(),
        "map's peak": 0.8,
        "contrast of foreground and background": (4 * 0.8 + 0.5) / 5,
        "area of the foreground": 5 / 16,
        "part of it in one piece": 4 / 5,
    }, rel=1e-6)  # fmt: skip
    second = dict(zip(FEATURES, rows[1], strict=True))
    assert second["entropy of the classes"] == pytest.approx(np.log(3))
    assert second["area of the foreground"] == second["part of it in one piece"] == 1
    assert np.isfinite(measure(np.zeros((1, 1)), np.zeros((1, 4, 4), np.float32), np.zeros(1))).all()


def photographs(folder: Path, count: int) -> list[tuple[Path, np.ndarray]]:
    """Gray images with a coloured square in the left half, and its box."""
    random, made = np.random.default_rng(0), []
    for number in range(count):
        image = Image.fromarray(random.integers(80, 100, (48, 64, 3), dtype=np.uint8))
        x, y = (int(each) for each in random.integers(2, 12, 2))
        image.paste(((255, 0, 0), (0, 255, 0), (0, 0, 255))[number % 3], (x, y, x + 20, y + 20))
        made.append((folder / f"{number}.png", np.array([[x, y, x + 20, y + 20]], np.float64)))
        image.save(made[-1][0])
    return made


def test_it_learns_from_pseudo_boxes_to_tell_what_lies_beside_them(tmp_path: Path) -> None:
    engine, examples = Colours(), photographs(tmp_path, 60)
    examples.append((tmp_path / "missing.png", examples[0][1]))
    learnt = calibrate(engine, examples)
    presence = Presence.of(learnt)
    assert (presence.positives, presence.negatives, presence.false) == (60, 60, 0.0)

    def chance(image: Image.Image) -> float:
        said = engine.forward(engine.resize(image)[None])
        return float(presence.probability(said.logits, said.maps[:, 0], np.array([0.5]))[0])

    empty = Image.fromarray(np.random.default_rng(7).integers(80, 100, (48, 64, 3), dtype=np.uint8))
    shown = empty.copy()
    shown.paste((0, 255, 0), (30, 10, 50, 30))
    assert chance(empty) < 0.1 < presence.least
    assert chance(shown) > 0.9
    assert Presence.of(presence.to_dict()) == presence
    kept = [chance(Image.open(path)) >= presence.least for path, _ in examples[:60]]
    assert sum(kept) == 57  # 95 % of 60


def test_images_whose_pseudo_box_the_run_misses_are_not_called_objects(tmp_path: Path) -> None:
    examples = photographs(tmp_path, 60)
    missed = [(path, np.array([[40.0, 30, 50, 44]])) for path, _ in examples[:8]]
    assert calibrate(Colours(), [*examples, *missed])["positives"] == 60
    with pytest.raises(DataError, match="44 images of val have a box of the run"):
        calibrate(Colours(), [*examples[:44], *missed])


def test_too_few_pseudo_boxes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="49 images of val have a pseudo-box"):
        calibrate(Colours(), photographs(tmp_path, 49))
    none = [(path, np.zeros((0, 4))) for path, _ in photographs(tmp_path, 60)]
    with pytest.raises(DataError, match="0 images of val have a pseudo-box"):
        calibrate(Colours(), none)
    whole = [(path, np.array([[0.0, 0, 64, 48]])) for path, _ in photographs(tmp_path, 60)]
    with pytest.raises(DataError, match="0 images of val"):
        calibrate(Colours(), whole)


def test_a_card_of_another_version_is_refused() -> None:
    for wrong in ({}, {"features": ["energy"]}, {"features": 3}):
        with pytest.raises(RunError, match="calibrate_run"):
            Presence.of(wrong)
