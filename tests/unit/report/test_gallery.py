"""What a page keeps of images: the boxes of every threshold, small maps, and pictures in as much room as there is."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxless.ops.components import largest_boxes, sweep_boxes
from boxless.report.card import facts, training
from boxless.report.gallery import Gallery, View
from boxless.report.page import as_json
from boxless.report.pictures import SIDES, embed
from boxless.types import Prediction


def blobs(seed: int, side: int = 40) -> np.ndarray:
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.random((6, 6)).astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(small), 0, 1)


def prediction(name: str, score: float = 0.5, seed: int = 0) -> Prediction:
    return Prediction(Path(name), name, (80, 40), "cat", 1, score, (), 0.5, blobs(seed))


def only(gallery: Gallery) -> View:
    (shown,) = gallery.images()
    return shown.views[0]


def box_at(view: View, step: int) -> list[int]:
    """What the page does: the last row that begins at the threshold or below it."""
    return view.runs[np.searchsorted(view.runs[:, 0], step, side="right") - 1, 1:].tolist()


def test_the_rows_hold_the_box_of_every_threshold() -> None:
    gallery = Gallery(0.35, 5)
    gallery.add(prediction("a.png", seed=3))
    view, swept = only(gallery), sweep_boxes(blobs(3))
    assert [box_at(view, step) for step in range(1000)] == swept.boxes.astype(int).tolist()
    assert 10 < len(view.runs) < 400
    assert view.own == (0.35, *swept.boxes[350].astype(int).tolist())


def test_each_map_has_its_own_threshold_by_otsu() -> None:
    gallery = Gallery("otsu", 5)
    gallery.add(prediction("a.png", seed=4))
    threshold, *box = only(gallery).own
    assert 0.2 < threshold < 0.8
    assert largest_boxes(blobs(4)[None], [threshold])[0][0].tolist() == pytest.approx(box, abs=1)


def test_a_map_of_zeros_has_no_box() -> None:
    gallery = Gallery("otsu", 5)
    gallery.add(Prediction(Path("a"), "a", (8, 8), "cat", 0, 0.5, (), 0.5, np.zeros((8, 8), np.float32)))
    view = only(gallery)
    assert view.runs.tolist() == [[0, 0, 0, 0, 0]]
    assert view.own[1:] == (0, 0, 0, 0)
    assert not view.map.any()


def test_the_small_map_is_brightest_where_the_map_is() -> None:
    values = np.zeros((96, 96), np.float32)
    values[60:70, 20:30] = 0.4
    gallery = Gallery("otsu", 5)
    gallery.add(Prediction(Path("a"), "a", (96, 96), "cat", 0, 0.5, (), 0.5, values))
    small = only(gallery).map
    assert small.max() == 255
    assert small[30:35, 10:15].min() == 255
    assert small.astype(int).sum() == 25 * 255


def test_which_images_are_kept_depends_on_their_names_alone() -> None:
    names = [f"{number}.png" for number in range(60)]
    kept = []
    for order in (names, names[::-1]):
        gallery = Gallery("otsu", 7)
        for name in order:
            gallery.add(prediction(name))
        assert gallery.seen == 60
        kept.append([shown.name for shown in gallery.images()])
    assert kept[0] == kept[1]
    assert len(kept[0]) == 7
    assert kept[0] != sorted(kept[0])


def photographs(folder: Path, count: int) -> list[Path]:
    random = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        small = Image.fromarray(random.integers(0, 255, (75, 100, 3)).astype(np.uint8))
        small.resize((800, 600)).save(path)
    return paths


def test_pictures_are_as_large_as_there_is_room_for(tmp_path: Path) -> None:
    paths = photographs(tmp_path, 6)
    generous, narrow = embed(paths, 10_000_000), embed(paths, 120_000)
    assert (generous.side, len(generous.texts)) == (SIDES[0], 6)
    assert narrow.side < generous.side
    assert len(narrow.texts) == 6
    assert sum(map(len, narrow.texts)) <= 120_000
    with Image.open(BytesIO(b64decode(narrow.texts[0]))) as image:
        assert image.size == (narrow.side, round(narrow.side * 0.75))


def test_where_not_all_fit_the_first_are_kept_and_a_lost_file_leaves_a_gap(tmp_path: Path) -> None:
    paths = photographs(tmp_path, 6)
    few = embed(paths, 10_000)
    assert few.side == SIDES[-1]
    assert 0 < len(few.texts) < 6
    paths[1].unlink()
    assert [bool(text) for text in embed(paths, 10_000_000).texts] == [True, False, True, True, True, True]


def test_json_ends_no_script_and_opens_no_comment() -> None:
    text = as_json({"name": "</script><!--&\u2028'\""})
    assert not set(text) & set("<>&")


def test_a_card_is_read_as_sentences_and_an_oracle_is_marked() -> None:
    card = {
        "supervision": "image labels",
        "selection": {"criterion": "mean IoU", "by": "oracle", "epoch": 2},
        "threshold": {"rule": 0.236, "source": "the best on 400 pseudo-boxes of val"},
        "data": {"source": "photos", "images": {"train": 2400}, "split_rule": "as given"},
        "training_seconds": 130.0,
    }
    told = {fact.title: fact for fact in facts(card)}
    assert told["Weights selected by"].text == "ORACLE: mean IoU (epoch 3)"
    assert [title for title, fact in told.items() if fact.oracle] == ["Weights selected by"]
    assert told["Threshold"].text == "0.236 of each map's maximum: the best on 400 pseudo-boxes of val"
    assert told["Data"].text == "photos (2,400 train); as given"
    assert "trained for 2 min" in told["Made"].text
    assert facts({})


def test_the_training_is_drawn_of_what_was_written(tmp_path: Path) -> None:
    assert training(tmp_path) == []
    lines = ['{"epoch": 0, "loss/pixels": 2.0}', '{"epoch": 1, "loss/pixels": 1.0, "val/class_accuracy": 50}']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert training(tmp_path) == [
        {"title": "loss", "lines": [{"name": "pixels", "x": [1, 2], "y": [2.0, 1.0]}]},
        {
            "title": "class accuracy on val (%)",
            "lines": [{"name": "class accuracy on val (%)", "x": [2], "y": [50.0]}],
        },
    ]
    (tmp_path / "metrics.jsonl").write_text("{half a li")
    assert training(tmp_path) == []
