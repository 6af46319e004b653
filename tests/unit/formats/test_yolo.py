from __future__ import annotations

import os
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from boxless.errors import DataError, RunError
from boxless.formats import write


def lines(path):
    return [[float(value) for value in line.split()] for line in path.read_text(encoding="utf-8").splitlines()]


def test_centre_and_size_are_fractions_of_width_and_height(make_file, classes, tmp_path):
    # 40 x 10 pixels: centre (15, 5), size 10 x 10 -> 15/40, 5/10, 10/40, 10/10
    prediction = make_file("a.png", (40, 10), boxes=[(10, 0, 20, 10, 2, 0.5), (39, 9, 40, 10, 0, 0.125)])
    path = write("yolo", [prediction], classes, tmp_path / "out")
    assert path == tmp_path / "out" / "yolo" / "data.yaml"
    expected = [[2, 0.375, 0.5, 0.25, 1], [0, 0.9875, 0.95, 0.025, 0.1]]
    assert lines(path.parent / "labels" / "a.txt") == expected
    assert lines(path.parent / "predictions" / "a.txt") == [[*expected[0], 0.5], [*expected[1], 0.125]]


def test_label_files_mirror_the_images_and_no_box_is_an_empty_file(make_file, classes, tmp_path):
    names = ["фото/é ñ, 1.png", "b/é ñ, 1.png", "b/x.y.png"]
    folder = write("yolo", [make_file(name) for name in names], classes, tmp_path / "out").parent
    for name in names:
        assert (folder / "images" / name).is_file()
        for part in ("labels", "predictions"):
            assert (folder / part / name).with_suffix(".txt").read_text() == ""


def test_data_yaml_names_every_class_as_it_is(make_file, tmp_path):
    odd = ["yes", "12", "- x: #y", "'\"\\", "emoji 😀", "next\x85line\u2028\ufeff", "null", "чайка"]
    data = yaml.safe_load(write("yolo", [], odd, tmp_path).read_text(encoding="utf-8"))
    assert data == {"train": "images", "val": "images", "names": dict(enumerate(odd))}


def test_same_stem_with_another_suffix_gets_a_name_of_its_own(make_file, classes, tmp_path):
    predictions = [
        make_file("a.jpg", boxes=[(0, 0, 33, 7, 0, 0.5)]),
        make_file("a.png", boxes=[(0, 0, 33, 7, 1, 0.5)]),
        make_file("a_png.jpg", boxes=[(0, 0, 33, 7, 2, 0.5)]),
    ]
    folder = write("yolo", predictions, classes, tmp_path / "out").parent
    placed = {path.name: path.with_suffix("").name for path in (folder / "images").iterdir()}
    assert placed == {"a.jpg": "a", "a_png.png": "a_png", "a_png_jpg.jpg": "a_png_jpg"}
    found = [lines(folder / "labels" / f"{stem}.txt")[0][0] for stem in ("a", "a_png", "a_png_jpg")]
    assert found == [0, 1, 2]


def test_folder_called_images_does_not_hide_the_labels(make_file, classes, tmp_path):
    # ultralytics swaps the last "/images/" of an image's path for "/labels/"
    folder = write("yolo", [make_file("images/train/images/a.png")], classes, tmp_path / "out").parent
    (image,) = (path for path in (folder / "images").rglob("*") if path.is_file())
    swapped = "/labels/".join(str(image).rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt"
    assert Path(swapped).is_file()


def test_image_is_a_hard_link_and_else_a_symbolic_one_and_else_a_copy(make_file, classes, tmp_path, monkeypatch):
    prediction = make_file("a.png")

    def refuse(*_args: object) -> None:
        raise OSError("not on this file system")

    image = tmp_path / "out" / "yolo" / "images" / "a.png"
    write("yolo", [prediction], classes, tmp_path / "out")
    assert image.samefile(prediction.path)
    assert not image.is_symlink()
    monkeypatch.setattr(os, "link", refuse)
    write("yolo", [prediction], classes, tmp_path / "out")
    assert image.is_symlink()
    assert image.samefile(prediction.path)
    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    write("yolo", [prediction], classes, tmp_path / "out")
    assert not image.samefile(prediction.path)
    assert image.read_bytes() == prediction.path.read_bytes()


def test_linked_source_is_linked_to_the_file_behind_it(make_file, classes, tmp_path):
    # A hard link to a relative symbolic link would point to nothing from where it stands.
    real, prediction = make_file("b/real.png"), make_file("a.png")
    prediction.path.unlink()
    prediction.path.symlink_to("b/real.png")
    folder = write("yolo", [prediction], classes, tmp_path / "out").parent
    assert (folder / "images" / "a.png").samefile(real.path)
    assert not (folder / "images" / "a.png").is_symlink()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_image_that_exif_turns_is_written_upright(make, classes, tmp_path, suffix):
    # Stored 20 x 40, red above blue; orientation 6 shows it 40 x 20 with the stored bottom at the left.
    prediction = make(f"turned{suffix}", (40, 20), [(0, 0, 20, 20, 0, 0.5)])
    prediction.path.parent.mkdir(parents=True)
    stored = Image.new("RGB", (20, 40), (255, 0, 0))
    stored.paste((0, 0, 255), (0, 20, 20, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(prediction.path, exif=exif, quality=95)
    before = prediction.path.read_bytes()
    folder = write("yolo", [prediction], classes, tmp_path / "out").parent
    with Image.open(folder / "images" / f"turned{suffix}") as image:
        assert image.size == (40, 20)
        assert image.getexif().get(0x0112, 1) == 1
        left, right = image.convert("RGB").getpixel((5, 10)), image.convert("RGB").getpixel((35, 10))
    assert left[2] > 200 > 60 > left[0]
    assert right[0] > 200 > 60 > right[2]
    assert lines(folder / "labels" / "turned.txt") == [[0, 0.25, 0.5, 0.5, 1]]
    assert prediction.path.read_bytes() == before


def test_orientation_behind_the_pixels_of_a_png_is_seen(make_file, classes, tmp_path):
    prediction = make_file("late.png", (7, 33))
    exif = Image.Exif()
    exif[0x0112] = 6
    payload = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = len(payload).to_bytes(4) + b"eXIf" + payload + zlib.crc32(b"eXIf" + payload).to_bytes(4)
    content = prediction.path.read_bytes()
    prediction.path.write_bytes(content[:-12] + chunk + content[-12:])  # before the 12 bytes of IEND
    folder = write("yolo", [replace(prediction, size=(33, 7))], classes, tmp_path / "out").parent
    with Image.open(folder / "images" / "late.png") as image:
        assert image.size == (33, 7)


def test_second_writing_leaves_no_label_of_the_first_and_no_foreign_file_lost(make_file, classes, tmp_path):
    folder = write("yolo", [make_file("a.png"), make_file("b.png")], classes, tmp_path).parent
    (folder / "notes.md").write_text("mine")
    write("yolo", [make_file("b.png")], classes, tmp_path)
    assert [path.name for path in (folder / "labels").iterdir()] == ["b.txt"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "data.yaml",
        "images",
        "labels",
        "notes.md",
        "predictions",
    ]


def test_missing_image_is_named(make, classes, tmp_path):
    with pytest.raises(DataError, match=r"gone\.png.*No such file"):
        write("yolo", [make("gone.png")], classes, tmp_path)


def test_full_disk_is_said_of_the_folder_and_not_of_the_image(make_file, classes, tmp_path, monkeypatch):
    def full(*_args: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    for function in ("os.link", "pathlib.Path.symlink_to", "shutil.copyfile"):
        monkeypatch.setattr(function, full)
    with pytest.raises(RunError, match=r"yolo: cannot be written \(No space left on device\)"):
        write("yolo", [make_file()], classes, tmp_path / "out")
