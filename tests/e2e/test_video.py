"""``boxless predict`` on videos, beside images, and on broken ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from .conftest import Boxless, shape

av = pytest.importorskip("av")


def write_clip(path: Path, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 80, 64, "yuv420p"
        for number in range(count):
            container.mux(stream.encode(av.VideoFrame.from_image(shape(number % 3, number)[0])))
        container.mux(stream.encode())
    return path


def test_videos_and_images_in_one_call(boxless: Boxless, run: Path, shapes: Path, tmp_path: Path):
    clips = [write_clip(tmp_path / folder / "a clip %d.mp4", 6) for folder in ("one", "two")]
    out = tmp_path / "out"
    given = ("predict", run, *clips, shapes / "test", "--out", out, "--every", 2, "--smooth", 0.1, "--overlays")
    done = boxless(*given, "--masks", "--set", "refine=crf", "--json")
    assert done.code == 0, done.err
    assert done.json["written"] == 9
    assert [each["frames"] for each in done.json["videos"]] == [3, 3]
    for name in ("a clip %d", "a clip %d-2"):
        assert sorted(path.name for path in (out / name).iterdir()) == ["frames.csv", "frames.jsonl", "overlay.mp4"]
        lines = [json.loads(line) for line in (out / name / "frames.jsonl").read_text().splitlines()]
        assert [line.get("frame") for line in lines] == [None, 0, 2, 4, None]
        assert all("mask" in box for line in lines[1:-1] for box in line["boxes"])
    again = boxless(*given)
    assert again.code == 2
    assert "--overwrite" in again.err


def test_what_a_broken_video_still_shows_is_kept_and_the_exit_code_says_so(boxless: Boxless, run: Path, tmp_path: Path):
    clip = write_clip(tmp_path / "clip.mkv", 60)
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    done = boxless("predict", run, clip, "--out", tmp_path / "out", "--json")
    assert done.code == 1
    (refused,) = done.json["refused"]
    assert "clip.mkv" in refused["reason"]
    assert 0 < done.json["videos"][0]["frames"] < 60
    assert (tmp_path / "out" / "clip" / "frames.csv").exists()


def test_what_is_no_video_and_what_is_for_videos_alone_is_refused(
    boxless: Boxless, run: Path, shapes: Path, tmp_path: Path
):
    (tmp_path / "clip.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    done = boxless("predict", run, tmp_path / "clip.mp4", "--out", tmp_path / "out")
    assert done.code == 2
    assert "not a video" in done.err
    assert boxless("predict", run, shapes / "test", "--out", tmp_path / "out", "--smooth", 1).code == 2
    assert not (tmp_path / "out").exists()
