from __future__ import annotations

import pytest

from boxless.errors import DataError
from boxless.predict.label_map import read_label_map

CLASSES = ("beagle", "pug", "siamese", "no", "12")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "fine,coarse\nbeagle, dog\n\npug,dog\nno,yes\n12,1.50\n"),
        ("a.yaml", "beagle: dog\npug: dog\nno: yes\n12: 1.50\n"),
        ("a.JSON", '{"beagle": "dog", "pug": "dog", "no": "yes", "12": "1.50"}'),
    ],
)
def test_names_are_text_in_every_format(name, text, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_label_map(tmp_path / name, CLASSES)
    assert found == (("beagle", "dog"), ("pug", "dog"), ("no", "yes"), ("12", "1.50"))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "fine,coarse\nbeagel,dog\n", r"a\.csv:2: there is no class 'beagel'; did you mean 'beagle'"),
        ("a.csv", "fine,coarse\npug,dog\npug,cat\n", r"a\.csv:3: class 'pug' stands twice"),
        ("a.csv", "fine,coarse\npug,\n", "empty name"),
        ("a.csv", "class,name\npug,dog\n", "column 'fine' is missing"),
        ("a.yaml", "pug: dog\npug: cat\n", "'pug' stands twice"),
        ("a.yaml", "dog: [pug, beagle]\n", r"a\.yaml:1: expected one name"),
        ("a.yaml", "- pug\n", "not a mapping"),
        ("a.yaml", "", "not a mapping"),
        ("a.yaml", "pug: {a: [\n", r"a\.yaml.* not valid YAML or JSON.*"),
        ("a.json", '{"pug": "dog"', "not valid YAML or JSON"),
        ("a.yaml", "pug: \x00", "not valid YAML or JSON"),
        ("a.json", "[" * 10_000, "not valid YAML or JSON"),
        ("a.txt", "pug dog", r"\.csv, \.yaml or \.json"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(name, text, said, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_label_map(tmp_path / name, CLASSES)


def test_no_python_object_is_made(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("pug: !!python/object/apply:os.system ['exit 3']\n")
    with pytest.raises(DataError, match="one name"):
        read_label_map(path, CLASSES)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for name in ("none.csv", "none.yaml"):
        with pytest.raises(DataError, match=name):
            read_label_map(tmp_path / name, CLASSES)
