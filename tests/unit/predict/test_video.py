"""Videos of a white square on black, made here; the box of each frame is known."""

from __future__ import annotations

import csv
import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from boxless.errors import ConfigError, DataError, MissingExtraError, RunError
from boxless.predict import Localizer, Options
from boxless.predict.video import COLUMNS, is_video, predict_video
from boxless.predict.video_io import Video

av = pytest.importorskip("av")


def square(left: int, size: tuple[int, int] = (128, 64), value: int = 255) -> np.ndarray:
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[16:48, left : left + 32] = value
    return picture


def write_clip(
    path: Path,
    pictures: list[np.ndarray],
    times: list[float] | None = None,
    *,
    rotation: int = 0,
    sound: bool = False,
    start: float = 0.0,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10", "g": "5"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        track = container.add_stream("aac", rate=8000) if sound else None
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = round(1000 * (start + (times[number] if times else number / 10)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if track is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
            silence.rate, silence.pts = 8000, 0
            container.mux(track.encode(silence))
            container.mux(track.encode())
    return path


def moving(count: int = 12) -> list[np.ndarray]:
    return [square(8 * number) for number in range(count)]


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "frames.jsonl").read_text("ascii").splitlines()]


@pytest.fixture
def localizer(run) -> Localizer:
    return Localizer(run)


def test_each_frame_has_its_time_and_its_box(localizer, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", moving())
    done = []
    outcome = predict_video(
        localizer, clip, tmp_path / "out", progress=lambda *counts: done.append(counts), batch_size=5
    )
    assert (outcome.frames, outcome.found, outcome.refused, outcome.sound) == (12, 12, (), False)
    assert outcome.seconds == pytest.approx(1.1)
    assert done == [(number, 12) for number in range(1, 13)]
    head, *frames, end = lines(tmp_path / "out")
    assert (head["size"], head["run"], head["frames_per_second"]) == ([128, 64], "d1", 10.0)
    assert end == {"end": True, "frames": 12, "seconds": outcome.seconds, "cuts": 0, "broken": None}
    assert [each["frame"] for each in frames] == list(range(12))
    np.testing.assert_allclose([each["time"] for each in frames], np.arange(12) / 10, atol=1e-6)
    for number, each in enumerate(frames):
        (box,) = each["boxes"]
        np.testing.assert_allclose(box["xyxy"], (8 * number, 16, 8 * number + 32, 48), atol=4)  # a cell of the map
        assert (box["label"], each["label"]) == ("dark", "dark")
    with outcome.files[1].open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COLUMNS
    assert [(int(row[0]), float(row[1]), *map(float, row[4:8])) for row in rows] == [
        (each["frame"], each["time"], *each["boxes"][0]["xyxy"]) for each in frames
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["frames.csv", "frames.jsonl"]


def test_times_are_those_of_the_file_and_count_from_its_start(tmp_path):
    times = [0, 0.04, 0.3, 0.35, 1.0, 1.75]
    clip = write_clip(tmp_path / "clip.mkv", moving(6), times, start=3.0)
    with Video(clip) as video:
        np.testing.assert_allclose([frame.time for frame in video], times, atol=1e-3)
        assert video.broken is None


def test_the_overlay_has_the_times_of_the_video_even_sides_and_the_box(localizer, tmp_path):
    times = [0, 0.04, 0.3, 0.35, 1.0]
    pictures = [np.pad(each, ((0, 1), (0, 1), (0, 0))) for each in moving(5)]
    clip = write_clip(tmp_path / "clip.mp4", [each[:64, :128] for each in pictures], times, sound=True)
    outcome = predict_video(localizer, clip, tmp_path / "out", overlays=True)
    assert outcome.sound
    assert outcome.files[-1] == tmp_path / "out" / "overlay.mp4"
    with av.open(str(outcome.files[-1])) as container:
        assert (len(container.streams.video), len(container.streams.audio)) == (1, 0)
        frames = list(container.decode(video=0))
    np.testing.assert_allclose([float(frame.time) for frame in frames], times, atol=1e-4)
    drawn = [frame.to_ndarray(format="rgb24").astype(int) for frame in frames]
    for number, picture in enumerate(drawn):
        assert picture.shape == (64, 128, 3)
        orange = (abs(picture - (255, 140, 0)) < 70).all(-1).nonzero()
        assert abs(orange[1].min() - 8 * number) < 5
        assert abs(orange[1].max() - 8 * number - 31) < 5


def test_an_odd_size_gets_a_row_and_a_column_more(localizer, tmp_path):
    clip = tmp_path / "odd.avi"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = 127, 63, "rgb24"
        for picture in moving(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture[:63, :127].copy(), format="rgb24")))
        container.mux(stream.encode())
    predict_video(localizer, clip, tmp_path / "out", overlays=True)
    assert lines(tmp_path / "out")[0]["size"] == [127, 63]
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as container:
        assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [(128, 64)] * 3


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_frames_are_turned_upright(rotation, turns, tmp_path):
    picture = square(8)
    picture[:16] = (200, 0, 0)
    clip = write_clip(tmp_path / "clip.mp4", [picture] * 2, rotation=rotation)
    with Video(clip) as video:
        frames = list(video)
    assert len(frames) == 2
    expected = np.rot90(picture, turns)  # against the clock
    assert frames[0].picture.shape == expected.shape
    assert np.abs(frames[0].picture.astype(int) - expected).mean() < 6


def test_one_frame_of_so_many(localizer, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", moving(10))
    counts = []
    outcome = predict_video(
        localizer, clip, tmp_path / "out", every=4, overlays=True, progress=lambda *each: counts.append(each)
    )
    assert outcome.frames == 3
    assert counts[-1] == (3, 3)
    assert [each["frame"] for each in lines(tmp_path / "out")[1:-1]] == [0, 4, 8]
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as container:
        np.testing.assert_allclose([float(each.time) for each in container.decode(video=0)], [0, 0.4, 0.8], atol=1e-4)


def test_smoothing_draws_a_jump_out_and_begins_anew_at_a_cut(localizer, tmp_path):
    pictures = [square(0)] * 4 + [square(96)] + [np.full((64, 128, 3), 255, np.uint8)]
    clip = write_clip(tmp_path / "clip.mp4", pictures)
    predict_video(localizer, clip, tmp_path / "alone")
    outcome = predict_video(localizer, clip, tmp_path / "smooth", smooth=0.5, batch_size=2)
    alone, smooth = (
        [each["boxes"][0]["xyxy"] for each in lines(tmp_path / name)[1:-1]] for name in ("alone", "smooth")
    )
    assert alone[4][0] > 90
    assert smooth[4][0] < 5  # three frames of four say that it is on the left
    assert outcome.cuts == 1
    assert alone[5] == smooth[5] == [0, 0, 128, 64]
    assert lines(tmp_path / "smooth")[-1]["cuts"] == 1


def test_memory_does_not_grow_with_the_length(localizer, tmp_path, monkeypatch):
    from boxless.predict import video

    clip = write_clip(tmp_path / "clip.mp4", moving(12))
    monkeypatch.setattr(video, "_HELD", 3 * 128 * 64)
    held = []
    predict_video(localizer, clip, tmp_path / "out", progress=lambda *_: held.append(1))
    assert localizer.engine.run.method.batches == [3, 3, 3, 3]


def test_masks_stand_in_the_lines(localizer, tmp_path):
    from boxless.ops.run_lengths import area

    clip = write_clip(tmp_path / "clip.mp4", moving(2))
    predict_video(localizer, clip, tmp_path / "out", Options(masks=True))
    mask = lines(tmp_path / "out")[1]["boxes"][0]["mask"]
    assert mask["size"] == [64, 128]
    assert area(mask["counts"], (128, 64)) == pytest.approx(32 * 32, rel=0.1)


def cut_off(clip: Path, share: float) -> Path:
    data = clip.read_bytes()
    clip.write_bytes(data[: int(len(data) * share)])
    return clip


def noisy(count: int) -> list[np.ndarray]:
    draws = np.random.default_rng(0)
    return [np.maximum(each, draws.integers(0, 60, each.shape, dtype=np.uint8)) for each in moving(count)]


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".avi"])
def test_what_can_be_decoded_of_a_video_that_was_cut_off_is_kept(suffix, localizer, tmp_path):
    clip = cut_off(write_clip(tmp_path / f"clip{suffix}", noisy(12) * 4, [n / 10 for n in range(48)]), 0.5)
    outcome = predict_video(localizer, clip, tmp_path / "out", overlays=True)
    assert 10 < outcome.frames < 40
    assert all(path.exists() for path in outcome.files)
    assert len(lines(tmp_path / "out")) == outcome.frames + 2
    if suffix != ".ts":  # which does not say how long it is
        ((name, reason),) = outcome.refused
        assert name == f"clip{suffix}"
        assert "was kept" in reason
        assert lines(tmp_path / "out")[-1]["broken"]


def test_rubbish_in_the_middle_is_passed_over_and_said(localizer, tmp_path):
    clip = write_clip(tmp_path / "clip.avi", noisy(12) * 2)
    data = bytearray(clip.read_bytes())
    middle = slice(len(data) // 2, len(data) // 2 + 6000)
    data[middle] = np.random.default_rng(1).integers(0, 256, 6000, dtype=np.uint8).tobytes()
    clip.write_bytes(bytes(data))
    outcome = predict_video(localizer, clip, tmp_path / "out")
    assert 6 < outcome.frames <= 24
    assert outcome.refused


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text.mp4", b"this is no video", "not a video"),
        ("empty.mp4", b"", "not a video"),
        ("list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n", "not a video"),
        ("concat.mp4", b"ffconcat version 1.0\nfile clip.mkv\n", "not a video"),
    ],
)
def test_what_is_no_video_is_refused_and_nothing_is_written(name, content, said, localizer, tmp_path):
    write_clip(tmp_path / "clip.mkv", moving(2))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        predict_video(localizer, tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_file_and_sound_alone_are_refused(localizer, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        predict_video(localizer, tmp_path / "none.mp4", tmp_path / "out")
    sound = tmp_path / "sound.mkv"
    with av.open(str(sound), "w") as container:
        track = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        silence.rate = 8000
        container.mux(track.encode(silence))
        container.mux(track.encode())
    with pytest.raises(DataError, match="only sound"):
        predict_video(localizer, sound, tmp_path / "out")


def test_frames_that_are_too_large_are_refused(localizer, tmp_path, monkeypatch):
    from boxless.predict import video_io

    clip = write_clip(tmp_path / "clip.mp4", moving(2))
    monkeypatch.setattr(video_io, "MAX_PIXELS", 1000)
    with pytest.raises(DataError, match="no frame of it can be decoded"):
        predict_video(localizer, clip, tmp_path / "out")


def test_a_stopped_job_leaves_its_lines_and_nothing_torn(localizer, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", moving(12))
    localizer.engine.run.method.fail_at, localizer.engine.run.method.fail_after = KeyboardInterrupt(), 2
    with pytest.raises(KeyboardInterrupt) as stop:
        predict_video(localizer, clip, tmp_path / "out", batch_size=4, overlays=True)
    assert "begins the video from its start" in stop.value.__notes__[0]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["frames.jsonl"]
    assert [each["frame"] for each in lines(tmp_path / "out")[1:]] == list(range(8))
    localizer.engine.run.method.fail_after = 10**9
    assert predict_video(localizer, clip, tmp_path / "out").frames == 12  # what was not finished is replaced


def test_what_is_finished_is_replaced_only_if_asked_for(localizer, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", moving(3))
    predict_video(localizer, clip, tmp_path / "out")
    with pytest.raises(RunError, match="--overwrite"):
        predict_video(localizer, clip, tmp_path / "out", every=2)
    assert predict_video(localizer, clip, tmp_path / "out", every=2, overwrite=True).frames == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"smooth": -1.0}, "smooth is -1"),
        ({"smooth": float("nan")}, "smooth is nan"),
        ({"every": 0}, "every is 0"),
        ({"options": Options(tile=64)}, "tiles are for images"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said, localizer, tmp_path):
    with pytest.raises(ConfigError, match=said):
        predict_video(localizer, tmp_path / "clip.mp4", tmp_path / "out", **settings)


def test_without_pyav_the_extra_is_named(localizer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"boxless\[video\]"):
        predict_video(localizer, tmp_path / "clip.mp4", tmp_path / "out")


def test_videos_are_told_by_their_suffix():
    assert is_video("a/clip.MP4")
    assert not is_video("a.jpg")
