"""Videos sorted by class, in files and in folders of frames: what they hold, training, boxes and figures of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import TINY, Boxless

av = pytest.importorskip("av")


def write_clips(root: Path) -> Path:
    """Of each class one clip is a file and, in train, another a folder of frames; a square moves to the right."""
    rows = ["path,frame,x0,y0,x1,y1"]
    draws = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for channel, label in enumerate(("red", "green")):
            pictures = []
            for number in range(6):
                picture = draws.integers(0, 80, (64, 80, 3), dtype=np.uint8)
                picture[20:50, 6 * number : 6 * number + 30, channel] = 220
                pictures.append(picture)
            folder = root / split / label
            folder.mkdir(parents=True)
            with av.open(str(folder / "clip.mp4"), "w") as container:
                stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
                stream.width, stream.height, stream.pix_fmt = 80, 64, "yuv420p"
                for picture in pictures:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                container.mux(stream.encode())
            if split == "train":
                (folder / "frames").mkdir()
                for number, picture in enumerate(pictures):
                    Image.fromarray(picture).save(folder / "frames" / f"{number}.png")
            else:
                rows += [f"{split}/{label}/clip.mp4,{number},{6 * number},20,{6 * number + 30},50" for number in (1, 4)]
                rows += [f"{split}/{label}/clip.mp4,5,,,,"]
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    return root


def test_videos_are_learned_from_measured_and_given_boxes(
    boxless: Boxless, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOXLESS_CACHE", str(tmp_path / "cache"))
    clips, run, out = write_clips(tmp_path / "clips"), tmp_path / "run", tmp_path / "out"
    done = boxless("inspect", clips)
    assert done.code == 0, done.err
    assert "taking frames from videos: 6 of 6" in done.err
    rows = {words[1]: words[2:] for line in done.out.splitlines() if (words := line.split())[:1] == ["all"]}
    assert rows == {"frames": ["18", "6", "6"], "shots": ["4", "2", "2"], "videos": ["4", "2", "2"]}

    done = boxless("train", clips, "--method", "cam", "--out", run, "--epochs", 1, "--select-by", "last", *TINY)
    assert done.code == 0, done.err
    done = boxless("evaluate", run, "--bootstrap", 0, "--json")
    assert done.code == 0, done.err
    assert done.json["images"] == 6
    done = boxless(
        "annotate", clips, "--data-format", "video", "--annotator", "class_map", "--classifier", run, "--split", "test",
        "--out", out, "--format", "csv,yolo", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        names = {row["name"] for row in csv.DictReader(file)}
    assert names == {f"test/{label}/clip.mp4/{number:06d}.jpg" for label in ("red", "green") for number in (1, 4, 5)}
    assert (out / "yolo" / "labels" / "test" / "red" / "clip.mp4" / "000004.txt").is_file()
