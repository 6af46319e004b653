from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from boxless.data.box_files import BoxFile, read_box_file
from boxless.errors import DataError, MissingTruthError, UnknownNameError

HEADER = "path,x0,y0,x1,y1,width,height\n"


def lists(file: BoxFile) -> dict[str, list[list[float]]]:
    assert list(file.boxes) == list(file.sizes)
    assert all(boxes.dtype.name == "float64" and boxes.shape[1:] == (4,) for boxes in file.boxes.values())
    return {name: boxes.tolist() for name, boxes in file.boxes.items()}


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def picture(path: Path, size: tuple[int, int], orientation: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", size).save(path, exif=exif)
    return path


# CSV


def test_table_of_boxes_and_sizes(tmp_path: Path) -> None:
    text = HEADER + 'a/1.jpg,0,0,4,3,40,30\n"ü, b.jpg",1.5,1,2,2,10,9.0\na/1.jpg,1,1,40,30,,\nempty.jpg,,,,,7,8\n'
    file = read_box_file(write(tmp_path / "boxes.csv", text))
    assert lists(file) == {"a/1.jpg": [[0, 0, 4, 3], [1, 1, 40, 30]], "ü, b.jpg": [[1.5, 1, 2, 2]], "empty.jpg": []}
    assert file.sizes == {"a/1.jpg": (40, 30), "ü, b.jpg": (10, 9), "empty.jpg": (7, 8)}
    assert (file.source, file.left_out, file.problems) == (str(tmp_path / "boxes.csv"), (), ())


def test_table_from_a_windows_program(tmp_path: Path) -> None:
    text = (HEADER + ".\\val\\é 1.jpg,0,0,4,3,40,30\nval/é 1.jpg,0,0,1,1,40,30\n").replace("\n", "\r\n")
    file = read_box_file(write(tmp_path / "list.txt", text, "utf-8-sig"))
    assert lists(file) == {"val/é 1.jpg": [[0, 0, 4, 3], [0, 0, 1, 1]]}


def test_sizes_come_from_upright_pictures_where_the_table_has_none(tmp_path: Path) -> None:
    picture(tmp_path / "p" / "a" / "turned.jpg", (40, 30), orientation=6)
    picture(tmp_path / "p" / "plain.png", (8, 5))
    path = write(tmp_path / "b.csv", "path,x0,y0,x1,y1\na\\turned.jpg,0,0,30,40\nplain.png,0,0,8,5\n")
    file = read_box_file(str(path), images=str(tmp_path / "p"))
    assert file.sizes == {"a/turned.jpg": (30, 40), "plain.png": (8, 5)}
    write(path, "path,x0,y0,x1,y1\na/turned.jpg,0,0,40,30\n")
    with pytest.raises(DataError, match=r"b\.csv:2: the box 0,0,40,30 lies outside the image of 30 x 40 pixels"):
        read_box_file(path, images=tmp_path / "p")


def test_pictures_are_not_opened_where_sizes_are_given(tmp_path: Path) -> None:
    path = write(tmp_path / "b.csv", HEADER + "gone.jpg,0,0,4,3,40,30\n")
    assert read_box_file(path, images=tmp_path).sizes == {"gone.jpg": (40, 30)}


def test_written_predictions_can_be_read(tmp_path: Path) -> None:
    header = "name,width,height,label,class_score,x0,y0,x1,y1,box_label,box_score,threshold\n"
    rows = "a.jpg,40,30,cat,0.9,0,0,4,3,cat,0.9,0.2\nb.jpg,40,30,cat,0.9,,,,,,,0.2\n"
    path = write(tmp_path / "predictions.csv", header + rows)
    assert lists(read_box_file(path)) == {"a.jpg": [[0, 0, 4, 3]], "b.jpg": []}
    file = read_box_file(path, pseudo=True)
    assert (lists(file), file.left_out) == ({"a.jpg": [[0, 0, 4, 3]]}, ("b.jpg",))


def test_column_of_splits_parts_the_lines(tmp_path: Path) -> None:
    text = "path,split,x0,y0,x1,y1,width,height\na.jpg,val,0,0,4,3,9,9\nb.jpg,testing,0,0,1,1,9,9\n"
    path = write(tmp_path / "b.csv", text)
    assert lists(read_box_file(path)) == {"b.jpg": [[0, 0, 1, 1]]}
    assert lists(read_box_file(path, split="validation")) == {"a.jpg": [[0, 0, 4, 3]]}
    with pytest.raises(DataError, match="no line is of the split 'train'; there are test, val: name one"):
        read_box_file(path, split="train")
    with pytest.raises(UnknownNameError, match="unknown split 'tset'; did you mean 'test'"):
        read_box_file(path, split="tset")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a.jpg,2,0,1,3,9,9", r"b\.csv:2: the box 2,0,1,3 is inverted or empty"),
        ("a.jpg,1,0,1,3,9,9", r"b\.csv:2: the box 1,0,1,3 is inverted or empty"),
        ("a.jpg,0,0,1,,9,9", r"b\.csv:2: a box must be four numbers x0,y0,x1,y1, got '0,0,1,'"),
        ("a.jpg,0,0,nan,1,9,9", r"b\.csv:2: a box must be four numbers"),
        ("a.jpg,0,0,11,9,9,9", r"b\.csv:2: the box 0,0,11,9 lies outside the image of 9 x 9 pixels"),
        ("a.jpg,0,0,0,0,9,9", r"b\.csv:2: the box 0,0,0,0 is no true box.*give the file as pseudo-boxes"),
        ("a.jpg,0,0,1,1,9,", r"b\.csv:2: the size of a\.jpg, 9 x , is not two whole numbers"),
        ("a.jpg,0,0,1,1,9,8.5", r"b\.csv:2: the size of a\.jpg, 9 x 8\.5, is not"),
        ("a.jpg,0,0,1,1,inf,9", r"b\.csv:2: the size of a\.jpg, inf x 9, is not"),
        ("a.jpg,0,0,1,1,0,9", r"b\.csv:2: the size of a\.jpg, 0 x 9, is not"),
        ("a.jpg,0,0,1,1,9,9\n./a.jpg,0,0,1,1,9,8", r"b\.csv:3: a\.jpg is 9 x 8 pixels here and 9 x 9 before"),
        (",0,0,1,1,9,9", r"b\.csv:2: the image's path is empty"),
        ("a.jpg,0,0,1,1,9", r"b\.csv:2: 6 fields where the header has 7"),
        ("a.jpg,,,,,9,9", r"b\.csv: no box is there for any of the 1 images listed"),
    ],
)
def test_wrong_line_of_a_table_is_named(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_box_file(write(tmp_path / "b.csv", f"{HEADER}{lines}\n"))


def test_missing_sizes_say_both_ways_out(tmp_path: Path) -> None:
    path = write(tmp_path / "b.csv", "path,x0,y0,x1,y1\na.jpg,0,0,1,1\nb.jpg,0,0,1,1\n")
    with pytest.raises(DataError, match=r"not known of 2 of 2 images \(a\.jpg, b\.jpg\).*--images DIR, or add the col"):
        read_box_file(path)
    picture(tmp_path / "p" / "a.jpg", (4, 4))
    with pytest.raises(DataError, match=r"b\.csv, b\.jpg: there is no image .*b\.jpg; check the folder"):
        read_box_file(path, images=tmp_path / "p")
    write(tmp_path / "p" / "b.jpg", "not a picture")
    with pytest.raises(DataError, match=r"b\.jpg: this is not an image"):
        read_box_file(path, images=tmp_path / "p")
    with pytest.raises(DataError, match="there is no such folder of images"):
        read_box_file(path, images=tmp_path / "q")


# COCO


def coco(path: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> Path:
    annotations = [{"id": i, "category_id": 1, **each} for i, each in enumerate(annotations)]
    categories = [{"id": 1, "name": "cat"}]
    return write(path, json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def test_coco_boxes_are_corners_and_sides(tmp_path: Path) -> None:
    images = [
        {"id": 7, "file_name": "a\\b, c.jpg", "width": 40, "height": 30},
        {"id": 8, "file_name": "empty.jpg", "width": 5.0, "height": 6},
    ]
    boxes = [
        {"image_id": 7, "bbox": [1, 2, 3.5, 4]},
        {"image_id": 7, "bbox": [0, 0, 40, 30], "iscrowd": 1},
        {"image_id": 7, "bbox": [0, 0, 40, 30], "iscrowd": 0},
        {"image_id": 8, "segmentation": []},
    ]
    file = read_box_file(coco(tmp_path / "no-suffix", images, boxes))
    assert lists(file) == {"a/b, c.jpg": [[1, 2, 4.5, 6], [0, 0, 40, 30]], "empty.jpg": []}
    assert file.sizes == {"a/b, c.jpg": (40, 30), "empty.jpg": (5, 6)}


def test_coco_sizes_may_come_from_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "p" / "a.jpg", (8, 5), orientation=8)
    images = [{"id": 1, "file_name": "a.jpg", "width": None}]
    path = coco(tmp_path / "c.json", images, [{"image_id": 1, "bbox": [0, 0, 5, 8]}])
    assert read_box_file(path, images=tmp_path / "p").sizes == {"a.jpg": (5, 8)}
    with pytest.raises(DataError, match=r"not known of 1 of 1 images .*width and height in each entry of 'images'"):
        read_box_file(path)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([0, 0, 0, 1], r"c\.json: annotation 0: the box 0,0,0,1 is inverted or empty"),
        ([0, 0, 0, 0], r"c\.json: annotation 0: the box 0,0,0,0 is no true box"),
        ([0, 0, 9], r"c\.json: annotation 0: a box must be four numbers \[x, y, width, height\]"),
        ([5, 5, 9, 9], r"c\.json: annotation 0: the box 5,5,14,14 lies outside the image of 9 x 9"),
    ],
)
def test_wrong_coco_box_is_named(tmp_path: Path, box: list[float], message: str) -> None:
    images = [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}]
    with pytest.raises(DataError, match=message):
        read_box_file(coco(tmp_path / "c.json", images, [{"image_id": 1, "bbox": box}]))


def test_coco_sizes_that_differ_for_one_file_are_refused(tmp_path: Path) -> None:
    images = [{"id": i, "file_name": "a.jpg", "width": 9, "height": 9 + i} for i in (1, 2)]
    with pytest.raises(DataError, match=r"image 2: a\.jpg is 9 x 11 pixels here and 9 x 10 before"):
        read_box_file(coco(tmp_path / "c.json", images, []))


# wsolevaluation


def metadata(folder: Path, localization: str, ids: str | None = None, sizes: str | None = None) -> Path:
    write(folder / "localization.txt", localization)
    for name, text in (("image_ids.txt", ids), ("image_sizes.txt", sizes)):
        if text is not None:
            write(folder / name, text)
    return folder


def test_metadata_of_a_split_keep_their_corners(tmp_path: Path) -> None:
    boxes = "a, b/1.jpg,0,0,8,4\na, b/1.jpg,2,2,2,2\nü.jpg,1,1,9,5"  # no end of line, as in the published files
    folder = metadata(
        tmp_path / "val", boxes, "a, b/1.jpg\nü.jpg\nempty.jpg", "a, b/1.jpg,9,5\r\nempty.jpg,3,3\r\nü.jpg,9,5\r\n"
    )
    expected = {"a, b/1.jpg": [[0, 0, 8, 4], [2, 2, 2, 2]], "ü.jpg": [[1, 1, 9, 5]], "empty.jpg": []}
    file = read_box_file(folder)
    assert lists(file) == expected
    assert file.sizes == {"a, b/1.jpg": (9, 5), "ü.jpg": (9, 5), "empty.jpg": (3, 3)}
    assert lists(read_box_file(folder / "localization.txt")) == expected
    assert lists(read_box_file(tmp_path, split="val")) == expected
    with pytest.raises(DataError, match="there is no folder for the split 'test'; there are val: name one"):
        read_box_file(tmp_path)


def test_metadata_need_no_list_of_images_and_no_sizes_beside_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "p" / "a.jpg", (30, 20), orientation=6)
    folder = metadata(tmp_path / "m", "a.jpg,0,0,19,29\n", sizes="")
    assert read_box_file(folder, images=tmp_path / "p").sizes == {"a.jpg": (20, 30)}
    with pytest.raises(DataError, match=r"--images DIR, or add image_sizes\.txt beside \(path,width,height\)"):
        read_box_file(folder)


def test_boxes_of_images_that_the_list_does_not_name_are_told(tmp_path: Path) -> None:
    folder = metadata(tmp_path / "m", "a.jpg,0,0,1,1\nb.jpg,0,0,1,1\n", "a.jpg\n", "a.jpg,5,5\nb.jpg,5,5\n")
    file = read_box_file(folder)
    assert lists(file) == {"a.jpg": [[0, 0, 1, 1]]}
    assert file.problems == ("boxes of images that image_ids.txt does not list are left out: b.jpg",)


@pytest.mark.parametrize(
    ("boxes", "sizes", "message"),
    [
        ("a.jpg,0,0,1\n", "a.jpg,5,5", r"localization\.txt:1: 'a\.jpg,0,0,1' has too few commas"),
        ("\na.jpg,3,0,1,1\n", "a.jpg,5,5", r"localization\.txt:2: the box 3,0,1,1 is inverted"),
        ("a.jpg,0,0,7,1\n", "a.jpg,5,5", r"localization\.txt:1: the box 0,0,7,1 lies outside the image of 5 x 5"),
        ("a.jpg,0,0,1,1\n", "a.jpg,5,5.5", r"image_sizes\.txt: the size of a\.jpg, 5\.0 x 5\.5, is not two whole"),
        ("a.jpg,m.png,i.png\n", "a.jpg,5,5", r"no box is there for any of the 1 images .*masks do not count"),
    ],
)
def test_wrong_metadata_are_named(tmp_path: Path, boxes: str, sizes: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_box_file(metadata(tmp_path / "m", boxes, "a.jpg\n", sizes))


def test_metadata_without_boxes_name_the_missing_file(tmp_path: Path) -> None:
    write(tmp_path / "test" / "image_ids.txt", "a.jpg\n")
    with pytest.raises(DataError, match=r"test: the file localization\.txt is missing there"):
        read_box_file(tmp_path)


# Pseudo-boxes


def test_pseudo_boxes_of_nothing_are_left_out_and_counted(tmp_path: Path) -> None:
    picture(tmp_path / "p" / "b.jpg", (9, 9))  # the others have no picture and need none
    boxes = "a.jpg,0,0,0,0\nb.jpg,0,0,0,5\nc.jpg,0,0,0.0,0\n"
    file = read_box_file(
        metadata(tmp_path / "m", boxes, "a.jpg\nb.jpg\nc.jpg\nd.jpg"), images=tmp_path / "p", pseudo=True
    )
    assert (lists(file), file.left_out) == ({"b.jpg": [[0, 0, 0, 5]]}, ("a.jpg", "c.jpg", "d.jpg"))


def test_pseudo_boxes_of_nothing_in_the_other_formats(tmp_path: Path) -> None:
    table = write(tmp_path / "b.csv", HEADER + "a.jpg,0,0,0,0,9,9\nb.jpg,0,0,1,1,9,9\n")
    images = [{"id": i, "file_name": name, "width": 9, "height": 9} for i, name in enumerate(("a.jpg", "b.jpg"))]
    found = [{"image_id": 0, "bbox": [0, 0, 0, 0]}, {"image_id": 1, "bbox": [0, 0, 1, 1]}]
    for path in (table, coco(tmp_path / "c.json", images, found)):
        file = read_box_file(path, pseudo=True)
        assert (lists(file), file.left_out) == ({"b.jpg": [[0, 0, 1, 1]]}, ("a.jpg",))


def test_pseudo_boxes_as_they_were_published_are_read_with_their_faults(tmp_path: Path) -> None:
    # Of wsol_model_selection: no end of line, 0,0,0,0 where CLIP found nothing, boxes of RPN that end at the image's
    # width or height where the last pixel counts, and a list of images that has more than the boxes.
    ids = "001.Albatross/A_0001_1.jpg\n001.Albatross/A_0002_2.jpg\n002.Auklet/B_0001_3.jpg\n002.Auklet/B_0002_4.jpg"
    sizes = "\n".join(f"{name},500,375" for name in ids.split("\n"))
    boxes = [
        f"{name},{corners}"
        for name, corners in zip(ids.split("\n"), ("0,0,0,0", "12,7,500,375", "0,0,499,374"), strict=False)
    ]
    metadata(tmp_path / "val", "\n".join(boxes), ids, sizes)
    write(tmp_path / "val" / "class_labels.txt", "\n".join(f"{name},0" for name in ids.split("\n")))
    file = read_box_file(tmp_path, split="val", pseudo=True)
    assert lists(file) == {
        "001.Albatross/A_0002_2.jpg": [[12, 7, 500, 375]],
        "002.Auklet/B_0001_3.jpg": [[0, 0, 499, 374]],
    }
    assert file.left_out == ("001.Albatross/A_0001_1.jpg", "002.Auklet/B_0002_4.jpg")
    assert file.problems == ()


def test_pseudo_boxes_that_contradict_themselves_or_hold_nothing_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "b.csv", HEADER + "a.jpg,0,0,1,1,9,9\na.jpg,0,0,0,0,9,9\n")
    with pytest.raises(DataError, match=r"b\.csv:3: a\.jpg has the box 0,0,0,0, .*and another; remove one"):
        read_box_file(path, pseudo=True)
    write(path, HEADER + "a.jpg,0,0,0,0,9,9\n")
    with pytest.raises(MissingTruthError, match="no box is there for any of the 1 images"):
        read_box_file(path, pseudo=True)


# What is no list of boxes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"f: this is no list of boxes .*begins with ''\); known are a CSV .*COCO JSON.*localization\.txt"),
        (b"path,label\na.jpg,cat\n", r"begins with 'path,label'\); known are"),
        (b"path;x0;y0;x1;y1\n", r"begins with 'path;x0;y0;x1;y1'\); known are"),
        ("path,x0,y0,x1,y1\n".encode("utf-16"), r"this is no list of boxes"),
        (b"\x93NUMPY\x01\x00", r"this is no list of boxes"),
        (b"path,x0,y0,x1\n", r"f:1: column 'y1' is missing"),
        (b'path,x0,y0,x1,y1\n"a.jpg,0,0,1,1\n', r"f:2: not valid CSV"),
        (b"path,x0,y0,x1,y1\n\xff.jpg,0,0,1,1\n", r"f: this is not a UTF-8 text file"),
        (b'\n{"images": [', r"f:2: not valid JSON"),
        (b'[{"image_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}]', r"f: this is not a COCO data set"),
        (b"path,x0,y0,x1,y1\n", r"f: no box is there for any of the 0 images"),
    ],
)
def test_what_is_no_list_of_boxes_says_what_would_be(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_box_file(tmp_path / "f")


def test_missing_and_unfit_places(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder of boxes"):
        read_box_file(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"this folder has no boxes that boxless reads; known are .* Give the file its"):
        read_box_file(tmp_path)


def test_reading_needs_no_torch() -> None:
    code = "import sys, boxless.data.box_files, boxless.data.map_files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
