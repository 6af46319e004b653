from __future__ import annotations

from xml.etree import ElementTree

import pytest

from boxless.formats import write
from boxless.formats.voc import inclusive


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 333, 77), (1, 1, 333, 77)),  # the whole image
        ((0, 0, 1, 1), (1, 1, 1, 1)),  # the first pixel
        ((332, 76, 333, 77), (333, 77, 333, 77)),  # the last pixel
        ((10.2, 5.9, 11.1, 6.1), (11, 6, 12, 7)),  # parts of pixels 10 and 11, and of 5 and 6, counted from 0
        ((10.3, 5.1, 10.7, 5.2), (11, 6, 11, 6)),  # inside one pixel
        ((9.9999999, 5, 20.0000001, 6), (11, 6, 20, 6)),  # float noise
    ],
)
def test_pixels_count_from_one_and_include_both_ends(box, expected):
    assert inclusive(box, (333, 77)) == expected


def test_annotation_holds_size_place_and_every_object_with_its_score(make, classes, tmp_path):
    prediction = make("фото/é ñ.jpg", (333, 77), [(0, 0, 1, 1, 1, 0.5), (10, 20, 30, 40, 2, 0.25)])
    folder = write("voc", [prediction], classes, tmp_path / "out")
    assert folder == tmp_path / "out" / "voc" / "Annotations"
    root = ElementTree.parse(folder / "фото" / "é ñ.xml").getroot()
    assert (root.findtext("folder"), root.findtext("filename")) == ("фото", "é ñ.jpg")
    assert [each.text for each in root.find("size")] == ["333", "77", "3"]
    read = [
        (
            each.findtext("name"),
            each.findtext("difficult"),
            each.findtext("score"),
            [v.text for v in each.find("bndbox")],
        )
        for each in root.iter("object")
    ]
    assert read == [
        (classes[1], "0", "0.5", ["1", "1", "1", "1"]),
        ("чайка", "0", "0.25", ["11", "21", "30", "40"]),
    ]
    assert (tmp_path / "out" / "voc" / "labels.txt").read_text(encoding="utf-8").splitlines() == list(classes)


def test_no_box_is_an_annotation_without_object(make, classes, tmp_path):
    folder = write("voc", [make("a.jpg")], classes, tmp_path)
    assert ElementTree.parse(folder / "a.xml").getroot().find("object") is None


def test_same_stem_with_another_suffix_keeps_its_own_annotation(make, classes, tmp_path):
    folder = write("voc", [make("a.jpg"), make("a.png"), make("b/a.png")], classes, tmp_path)
    named = {
        str(path.relative_to(folder)): ElementTree.parse(path).getroot().findtext("filename")
        for path in folder.rglob("*.xml")
    }
    assert named == {"a.xml": "a.jpg", "a_png.xml": "a.png", "b/a.xml": "a.png"}
