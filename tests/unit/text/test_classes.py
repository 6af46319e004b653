from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from boxless.errors import ConfigError, DataError
from boxless.text import FileText, OpenClipText, class_texts, write_text_file

BOTH = ["a {}", "the {}"]


def silent(sentence: str) -> None:
    raise AssertionError(sentence)


def same(found: Tensor | None, expected: list[Any]) -> None:
    assert found is not None
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)


def test_a_class_is_the_mean_of_unit_embeddings_over_templates_at_unit_length(table: Any) -> None:
    found = class_texts(table, ["cat", "dog"], templates=BOTH, note=silent)
    # cat: (1, 0) and (0, 1). dog: (0, -1) and (-0.8, 0.6), whose sum (-0.8, -0.4) has the length sqrt(0.8).
    root = math.sqrt(0.8)
    same(found.embeddings, [[math.sqrt(0.5), math.sqrt(0.5)], [-0.8 / root, -0.4 / root]])
    assert found.embeddings.dtype == torch.float32
    assert found.names == (("cat",), ("dog",))


def test_synonyms_and_templates_of_a_class_are_averaged_alike(table: Any, tmp_path: Path) -> None:
    names = tmp_path / "names.yaml"
    names.write_text("two: {names: dog, templates: ['my {}']}\none: [cat, puss]\n")
    found = class_texts(table, ["one", "two"], names=names, templates=BOTH, note=silent)
    # one: (1, 0), (0, 1), (0.6, 0.8), (0, 1), whose sum is (1.6, 2.8).
    root = math.hypot(1.6, 2.8)
    same(found.embeddings, [[1.6 / root, 2.8 / root], [1.0, 0.0]])
    assert found.names == (("cat", "puss"), ("dog",))


def test_other_words_are_embedded_with_the_same_templates(table: Any, tmp_path: Path) -> None:
    names = tmp_path / "names.yaml"
    names.write_text("cat: {names: cat, templates: ['a {}']}")
    found = class_texts(table, ["cat"], names=names, templates=BOTH, note=silent)
    root = math.hypot(1.8, 0.6)
    same(found.embed(["sky", "cat"]), [[1.8 / root, 0.6 / root], [math.sqrt(0.5), math.sqrt(0.5)]])
    assert found.embed([]).shape == (0, 2)
    with pytest.raises(DataError, match="word ' ': it is empty"):
        found.embed(["sky", " "])


def test_classes_in_another_order_give_the_same_rows_in_that_order(table: Any, tiny_clip: Callable[..., str]) -> None:
    for tower, classes in (
        (table, ["cat", "dog", "puss", "sky"]),
        (OpenClipText(tiny_clip()), ["ox", "a very long name", "zebra", "cat"]),
    ):
        rows = class_texts(tower, classes, templates=BOTH, note=silent).embeddings
        assert torch.pdist(rows).min() > 0.01
        for order in permutations(range(len(classes))):
            found = class_texts(tower, [classes[i] for i in order], templates=BOTH, note=silent)
            assert torch.equal(found.embeddings, rows[list(order)])
            assert [names[0] for names in found.names] == [classes[i] for i in order]


def test_each_prompt_is_embedded_once(table: Any) -> None:
    class_texts(table, ["dog", "cat"], templates=["a {}", "a {}", "the {}"], note=silent)
    assert table.asked == [["a cat", "a dog", "the cat", "the dog"]]


def test_a_template_that_is_given_twice_weighs_twice(table: Any) -> None:
    found = class_texts(table, ["cat"], templates=["a {}", "a {}", "the {}"], note=silent)
    same(found.embeddings, [[2 / math.sqrt(5), 1 / math.sqrt(5)]])


def test_lengths_are_the_mean_of_those_that_the_tower_gave(table: Any) -> None:
    table.raw = lambda prompts: torch.stack([table.known[prompt] for prompt in prompts])
    found = class_texts(table, ["dog", "cat"], templates=BOTH, note=silent)
    same(found.lengths, [4.0, 1.5])  # of 3 and 5, of 1 and 2
    assert torch.allclose(found.embeddings.norm(dim=1), torch.ones(2))


def test_names_that_look_like_codes_are_noted(table: Any) -> None:
    table.known["a 7"] = torch.tensor([1.0, 1.0])
    notes: list[str] = []
    class_texts(table, ["cat", "7"], templates="a {}", note=notes.append)
    assert [note.split(" look")[0] for note in notes] == ["1 of 2 class names"]


def test_names_whose_embeddings_cancel_each_other_are_refused(table: Any) -> None:
    table.known["the cat"] = torch.tensor([-2.0, 0.0])
    with pytest.raises(DataError, match="embeddings of cat cancel each other"):
        class_texts(table, ["cat"], templates=BOTH, note=silent)


def test_two_classes_with_one_name_and_an_empty_name_are_refused(table: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="have the same name"):
        class_texts(table, ["a_cat", "a-cat"], templates="plain", note=silent)
    names = tmp_path / "names.yaml"
    names.write_text("cat: ''\n")
    with pytest.raises(DataError, match="is empty"):
        class_texts(table, ["cat"], names=names, templates="plain", note=silent)


def test_a_prompt_longer_than_the_context_is_refused(tiny_clip: Callable[..., str]) -> None:
    tower = OpenClipText(tiny_clip())
    with pytest.raises(DataError, match="prompt 'a photo of a dog dog"):
        class_texts(tower, ["cat", "dog " * 12], templates="photo", note=silent)


def test_rows_of_a_file_are_taken_in_the_order_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    write_text_file(path, ["dog", "sky", "n01440764"], torch.tensor([[0.0, 2.0], [3.0, 4.0], [-1.0, 0.0]]))
    found = class_texts(FileText(path), ["n01440764", "dog"], templates="imagenet", note=silent)
    same(found.embeddings, [[-1.0, 0.0], [0.0, 1.0]])
    assert found.names == (("n01440764",), ("dog",))
    assert found.lengths is None
    same(found.embed(["sky"]), [[0.6, 0.8]])


def test_a_file_of_embeddings_without_some_classes_lists_them(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    write_text_file(path, ["dog"], torch.ones(1, 2))
    with pytest.raises(DataError, match=r"own\.safetensors: it has no embedding of 'cat', 'cow'; write"):
        class_texts(FileText(path), ["cat", "dog", "cow"], note=silent)
    with pytest.raises(DataError, match="no embedding of 'sky'"):
        class_texts(FileText(path), ["dog"], note=silent).embed(["sky"])


def test_names_beside_a_file_of_embeddings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    write_text_file(path, ["dog"], torch.ones(1, 2))
    with pytest.raises(ConfigError, match="leave names out"):
        class_texts(FileText(path), ["dog"], names=tmp_path / "names.yaml", note=silent)
