"""What holds for every format in the table."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boxless.errors import DataError, RunError, UnknownNameError
from boxless.formats import FORMATS, write
from boxless.types import Box

every_format = pytest.mark.parametrize("name", list(FORMATS))


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@every_format
def test_failure_midway_keeps_the_earlier_files_and_leaves_nothing(name, make_file, classes, tmp_path):
    def broken():
        yield make_file("b.png", boxes=[(0, 0, 5, 5, 1, 0.5)])
        raise KeyboardInterrupt

    write(name, [make_file("a.png", boxes=[(1, 1, 5, 5, 0, 0.5)])], classes, tmp_path / "out")
    before = snapshot(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        write(name, broken(), classes, tmp_path / "out")
    assert snapshot(tmp_path / "out") == before
    with pytest.raises(KeyboardInterrupt):
        write(name, broken(), classes, tmp_path / "fresh")
    assert not [path for path in (tmp_path / "fresh").rglob("*") if path.is_file()]


@every_format
def test_writing_again_gives_the_same_files(name, make_file, classes, tmp_path):
    predictions = [make_file("a.png", boxes=[(1, 1, 5, 5, 0, 0.5)]), make_file("a.jpg"), make_file("b/a.png")]
    write(name, predictions, classes, tmp_path / "out")
    before = snapshot(tmp_path / "out")
    assert write(name, iter(predictions), classes, tmp_path / "out").exists()
    assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize("name", ["coco", "labelstudio", "cvat", "csv", "wsol"])
def test_memory_does_not_grow_with_the_number_of_images(name, make, classes, tmp_path):
    # 2,000 predictions take about 2 MB when they are kept; a writer needs its buffers.
    example = make(boxes=[(0, 0, 5, 5, 0, 0.5)])
    write(name, [example], classes, tmp_path)  # modules and caches
    peaks = []
    for _ in range(3):  # threads that other tests left behind may allocate beside one of them
        many = (replace(example, name=f"folder/image-{number}.jpg") for number in range(2000))
        tracemalloc.start()
        write(name, many, classes, tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert min(peaks) < 400_000


@every_format
def test_no_earlier_prediction_is_kept_when_the_next_is_asked_for(name, make_file, classes, tmp_path):
    class Traced(type(Path())):
        """A path that can be referred to weakly."""

    plain = make_file("a.png", boxes=[(0, 0, 5, 5, 0, 0.5)])
    given: list[weakref.ref[Traced]] = []

    def stream():
        for _ in range(5):
            kept = [each for each in given if each() is not None]
            assert len(kept) <= 1  # the one in the writer's loop variable
            path = Traced(plain.path)
            given.append(weakref.ref(path))
            yield replace(plain, path=path)

    write(name, stream(), classes, tmp_path / "out")
    assert len(given) == 5


@every_format
def test_numbers_of_numpy_are_written_like_others(name, make_file, classes, tmp_path):
    plain = make_file("a.png", boxes=[(1, 2, 5, 6.5, 0, 0.5)])
    box = Box(tuple(np.float32([1, 2, 5, 6.5])), "cat", 0, np.float32(0.5))
    write(name, [plain], classes, tmp_path / "a")
    write(name, [replace(plain, boxes=(box,), score=np.float32(0.75))], classes, tmp_path / "b")
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")


@every_format
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../a.png"}, "not a path inside"),
        ({"name": "/etc/a.png"}, "not a path inside"),
        ({"name": ""}, "not a path inside"),
        ({"name": "a\udce9.png"}, "no annotation file can hold"),
        ({"name": "a\x01.png"}, "no annotation file can hold"),
        ({"size": (0, 7)}, r"a\.png: its size is 0 x 7"),
        ({"score": float("nan")}, r"a\.png: class score nan"),
        ({"label": "dog"}, r"a\.png: label 'dog' has index 0.*index 0 is 'cat'"),
        ({"label_index": 7}, r"a\.png: label 'cat' has index 7.*none has this index"),
        ({"boxes": (Box((0, 0, float("nan"), 1), "cat", 0, 0.5),)}, r"a\.png: box .*not finite"),
        ({"boxes": (Box((3, 3, 3, 5), "cat", 0, 0.5),)}, r"a\.png: box .*no area inside the image of 33 x 7"),
        ({"boxes": (Box((33, 0, 40, 5), "cat", 0, 0.5),)}, r"a\.png: box .*no area"),
        ({"boxes": (Box((0, 0, 4, 5), "чайка", 0, 0.5),)}, r"a\.png: label 'чайка' has index 0"),
    ],
)
def test_what_no_file_can_hold_is_refused_by_name(name, change, message, make_file, classes, tmp_path):
    with pytest.raises(DataError, match=message):
        write(name, [replace(make_file("a.png"), **change)], classes, tmp_path / "out")


@every_format
@pytest.mark.parametrize("bad", [("a", "a"), ("a", " "), ("a", "b\nc")])
def test_class_names_that_cannot_be_told_apart_are_refused(name, bad, tmp_path):
    with pytest.raises(DataError, match="class name"):
        write(name, [], bad, tmp_path)


@every_format
def test_folder_that_is_a_file_is_named(name, make_file, classes, tmp_path):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(RunError, match=r"out.*cannot be written"):
        write(name, [make_file("a.png")], classes, tmp_path / "out")


def test_unknown_format_shows_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown format 'labelstudo'; did you mean 'labelstudio'"):
        write("labelstudo", [], ["a"], tmp_path)


def test_importing_formats_imports_neither_torch_nor_numpy():
    names = ", ".join(
        f"boxless.formats.{module}" for module in ("coco", "yolo", "voc", "labelstudio", "cvat", "table", "wsol")
    )
    code = f"import sys, {names}; sys.exit(bool({{'torch', 'numpy', 'supervision'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
