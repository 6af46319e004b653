"""wsolevaluation's lists: as its own reader takes them, and as read_box_file gives them back."""

from __future__ import annotations

import pytest

from boxless.data.box_files import read_box_file
from boxless.errors import MissingTruthError
from boxless.formats import write
from boxless.formats.wsol import whole


def fields(folder, name):
    """Lines as wsolevaluation reads them (data_loaders.py): parted at every comma, numbers whole."""
    rows = [line.strip("\n").split(",") for line in (folder / name).open(encoding="utf-8")]
    return [(path, *map(int, rest)) for path, *rest in rows]


def test_lists_are_those_that_wsolevaluation_reads(make, classes, tmp_path):
    predictions = [
        make("b/чайка 1.jpg", (333, 77), [(0, 1.25, 2, 3.5, 1, 0.5), (1, 2, 333, 77, 2, 0.25)], label=2),
        make("none.jpg", (9, 8), label=1),
        make("a.jpg", (20, 10), [(5, 5, 20, 10, 0, 1.0)]),
    ]
    folder = write("wsol", predictions, classes, tmp_path / "out")
    assert folder == tmp_path / "out" / "wsol"
    assert fields(folder, "image_ids.txt") == [("b/чайка 1.jpg",), ("a.jpg",)]
    assert fields(folder, "class_labels.txt") == [("b/чайка 1.jpg", 2), ("none.jpg", 1), ("a.jpg", 0)]
    assert fields(folder, "image_sizes.txt") == [("b/чайка 1.jpg", 333, 77), ("none.jpg", 9, 8), ("a.jpg", 20, 10)]
    assert fields(folder, "localization.txt") == [
        ("b/чайка 1.jpg", 0, 1, 2, 4),
        ("b/чайка 1.jpg", 1, 2, 333, 77),
        ("a.jpg", 5, 5, 20, 10),
    ]
    assert (folder / "labels.txt").read_text(encoding="utf-8").splitlines() == list(classes)


def test_every_image_that_is_listed_has_a_box_since_wsolevaluation_ends_without(make, classes, tmp_path):
    predictions = [make("a.jpg"), make("b.jpg", boxes=[(0, 0, 5, 5, 0, 0.5)])]
    folder = write("wsol", predictions, classes, tmp_path)
    assert {row[0] for row in fields(folder, "image_ids.txt")} == {row[0] for row in fields(folder, "localization.txt")}
    assert ",0,0,0,0" not in (folder / "localization.txt").read_text()


def test_boxes_are_read_back_and_images_without_one_are_marked(make, classes, tmp_path):
    predictions = [
        make("b, c/1.jpg", (333, 77), [(0, 1, 2, 3, 1, 0.5), (1, 2, 333, 77, 2, 0.25)]),
        make("none.jpg", (9, 8)),
        make("a.jpg", (20, 10), [(5, 5, 20, 10, 0, 1.0)]),
    ]
    folder = write("wsol", predictions, classes, tmp_path / "out")
    expected = {"b, c/1.jpg": [[0, 1, 2, 3], [1, 2, 333, 77]], "a.jpg": [[5, 5, 20, 10]]}
    for place in (folder, folder / "localization.txt"):
        found = read_box_file(place, pseudo=True)
        assert {name: boxes.tolist() for name, boxes in found.boxes.items()} == expected
        assert found.sizes == {"b, c/1.jpg": (333, 77), "a.jpg": (20, 10)}
        assert (found.left_out, found.problems) == (("none.jpg",), ())
    known = read_box_file(folder)  # as boxes of a localizer, an image without one is an image
    assert known.boxes["none.jpg"].shape == (0, 4)
    assert known.sizes["none.jpg"] == (9, 8)
    write("wsol", [make("none.jpg")], classes, tmp_path / "out")
    with pytest.raises(MissingTruthError, match="no box is there for any of the 1 images"):
        read_box_file(folder, pseudo=True)


@pytest.mark.parametrize("name", ["csv", "coco", "wsol"])
def test_in_all_formats_that_are_read_an_image_without_a_box_is_marked_and_left_out(name, make, classes, tmp_path):
    predictions = [make("none.jpg"), make("a.jpg", (20, 10), [(5, 5, 20, 10, 0, 1.0)])]
    found = read_box_file(write(name, predictions, classes, tmp_path), pseudo=True)
    assert {key: boxes.tolist() for key, boxes in found.boxes.items()} == {"a.jpg": [[5, 5, 20, 10]]}
    assert found.left_out == ("none.jpg",)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0.4, 0.6, 3.4, 3.6), (0, 1, 3, 4)),
        ((0.5, 1.5, 2.5, 3.5), (1, 2, 3, 4)),
        ((2.1, 2.2, 2.3, 2.4), (2, 2, 3, 3)),  # a pixel at least
        ((9.6, 7.7, 10, 8), (9, 7, 10, 8)),  # and inside the image
        ((0, 0, 10, 8), (0, 0, 10, 8)),
    ],
)
def test_corners_are_the_nearest_whole_pixels(box, expected):
    assert whole(box, (10, 8)) == expected
