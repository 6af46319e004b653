from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from boxless.errors import ConfigError, DataError
from boxless.text.names import Named, name_classes


def silent(sentence: str) -> None:
    raise AssertionError(sentence)


def from_folders(classes: Sequence[str], note: Callable[[str], None] = silent) -> list[str]:
    return [each.names[0] for each in name_classes(classes, None, note)]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str, name: str = "names.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("Great-Dane__dog_", "Great Dane dog"),
        ("n02085620-Chihuahua", "Chihuahua"),
        ("AirPlane", "AirPlane"),
        ("2_door_car", "2 door car"),
        ("été", "été"),
    ],
)
def test_a_folder_becomes_a_name(folder: str, name: str) -> None:
    assert from_folders([folder]) == [name]


def test_numbers_of_wordnet_become_words_and_the_note_says_so() -> None:
    notes: list[str] = []
    assert from_folders(["n01443537", "cat", "n01440764"], notes.append) == ["goldfish", "cat", "tench"]
    (note,) = notes
    assert note.startswith("2 of 3 classes are numbers of WordNet")
    assert "n01443537 'goldfish', n01440764 'tench'" in note


def test_classes_of_one_word_in_wordnet_are_told_apart() -> None:
    pytest.importorskip("open_clip")
    notes: list[str] = []
    assert from_folders(["n02012849", "n03126707"], notes.append) == ["crane bird", "construction crane"]
    assert from_folders(["n02012849"], notes.append) == ["crane"]


def test_all_classes_of_imagenet_have_names_of_their_own() -> None:
    pytest.importorskip("open_clip")
    from timm.data import ImageNetInfo

    notes: list[str] = []
    names = from_folders(ImageNetInfo("imagenet-1k").label_names(), notes.append)
    assert len({name.casefold() for name in names}) == 1000
    assert len(notes) == 1


@pytest.mark.parametrize("code", ["7", "0007", "x", "class_12", "Label3", "n99999999", "3f2a91bc", "---1"])
def test_a_name_that_looks_like_a_code_is_noted_and_kept(code: str) -> None:
    notes: list[str] = []
    names = from_folders(["cat", code], notes.append)
    assert names[0] == "cat"
    assert notes == [
        f"1 of 2 class names look like codes ({code!r}), which mean nothing to a text model; give a file with their "
        "names."
    ]


@pytest.mark.parametrize("word", ["facade", "ox", "category", "747 jet", "dead_sea", "class", "n 1 type"])
def test_a_name_that_is_a_word_is_not_noted(word: str) -> None:
    from_folders([word])


def test_the_note_shows_three_codes_of_many() -> None:
    notes: list[str] = []
    from_folders(["1", "2", "3", "4"], notes.append)
    assert "4 of 4 class names look like codes ('1', '2', '3', ...)" in notes[0]


def test_two_folders_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match=r"classes 'Black_cat' and 'black-cat' have the same name 'black cat'.*a file"):
        from_folders(["Black_cat", "dog", "black-cat"])


def test_a_folder_without_a_name_is_refused() -> None:
    with pytest.raises(DataError, match="class '_': a name is empty"):
        from_folders(["cat", "_"], note=lambda _: None)


def test_a_file_gives_names_synonyms_and_templates_in_the_order_of_classes(written: Callable[..., Path]) -> None:
    path = written("""
dog: {names: [dog, hound], templates: ["a dog: {}"]}
no: [" wild   cat ", puma]
007: secret agent
moth: {names: moth}
""")
    assert name_classes(["no", "007", "dog", "moth"], path, silent) == [
        Named(("wild cat", "puma")),
        Named(("secret agent",)),
        Named(("dog", "hound"), ("a dog: {}",)),
        Named(("moth",)),
    ]


def test_a_file_in_json_is_read_alike(written: Callable[..., Path]) -> None:
    content = {"7": 12, "dog": {"names": ["dog", "hound 🐕"], "templates": "plain"}}
    path = written(json.dumps(content, indent="\t"), "names.json")
    assert name_classes(["dog", "7"], path, silent) == [Named(("dog", "hound 🐕"), ("{}",)), Named(("12",))]


def test_a_file_with_names_of_codes_is_not_noted(written: Callable[..., Path]) -> None:
    assert name_classes(["1", "x"], written("1: cat\nx: dog"), silent) == [Named(("cat",)), Named(("dog",))]


def test_a_file_that_misses_classes_names_them(written: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"lacks 2 of 3 classes: 'dog', 'cow'"):
        name_classes(["dog", "cat", "cow"], written("cat: cat"), silent)


def test_a_file_with_a_class_that_the_data_lack_shows_the_nearest(written: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="'albatros' is no class of the data; did you mean 'albatross'"):
        name_classes(["albatross", "cat"], written("albatros: bird\ncat: cat"), silent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: cat\nb: ''", "class 'b': a name is empty"),
        ("a: cat\nb: '  '", "class 'b': a name is empty"),
        ("a: cat\nb:", "class 'b': a name is empty"),
        ("a: cat\nb: [dog, '']", "class 'b': a name is empty"),
        ("a: cat\nb: Cat", "classes 'a' and 'b' have the same name 'Cat'"),
        ("a: cat\nb: [dog, ' CAT ']", "classes 'a' and 'b' have the same name 'CAT'"),
        ("a: [black cat, black  cat]\nb: dog", "class 'a' has the name 'black cat' twice"),
        ("a: cat\nb: []", "expected a name, or a list"),
        ("a: cat\nb: [[dog]]", "expected a name, or a list"),
        ("a: cat\na: dog\nb: cow", "the key 'a' is there twice"),
        ("a: cat\n[b]: dog", "is no text"),
        ("- a\n- b", "expected a mapping"),
        ("", "expected a mapping"),
        ("a: [cat", "not valid YAML"),
    ],
)
def test_names_that_cannot_be_used_are_refused(written: Callable[..., Path], text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        name_classes(["a", "b"], written(text), silent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {name: cat}", "class 'a' has the keys name; known: names, templates"),
        ("a: {templates: ['{}']}", "class 'a' has the keys templates; known: names, templates"),
        ("a: {names: cat, templates: [a photo]}", "template 'a photo'"),
        ("a: {names: cat, templates: []}", "none are given"),
    ],
)
def test_entries_of_a_class_that_do_not_exist_are_refused(
    written: Callable[..., Path], text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        name_classes(["a"], written(text), silent)


def test_json_that_is_broken_or_says_a_class_twice_is_refused(written: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="not valid YAML or JSON"):
        name_classes(["a"], written('{"a": ', "n.json"), silent)
    with pytest.raises(DataError, match="the key 'a' is there twice"):
        name_classes(["a"], written('{"a": "x", "a": "y"}', "n.json"), silent)
    with pytest.raises(DataError, match="expected a name, or a list"):
        name_classes(["a"], written('{"a": null}', "n.json"), silent)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.yaml: cannot be read"):
        name_classes(["a"], tmp_path / "none.yaml", silent)
