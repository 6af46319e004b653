from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from boxless.errors import ConfigError, DataError, UnknownNameError, WeightsError
from boxless.text import FileText, OpenClipText, dimensions, open_text, write_text_file

PROMPTS = ["a photo of a cat.", "a clean origami bird avian.", "x"]


@pytest.mark.parametrize("kind", ["vit", "eva", "resnet"])
def test_prompts_are_embedded_as_open_clip_embeds_them(tiny_clip: Callable[..., str], kind: str) -> None:
    import open_clip

    name = tiny_clip(kind)
    folder = name.removeprefix("open_clip:")
    model = open_clip.create_model(folder).eval()
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer(folder)(PROMPTS))
    tower = OpenClipText(name)
    assert torch.equal(tower.raw(PROMPTS), expected)
    found = tower(PROMPTS)
    torch.testing.assert_close(found, expected / expected.norm(dim=1, keepdim=True), atol=1e-6, rtol=0)
    assert (tower.dimensions, tower.context, tower.title) == (24, 16, name)
    assert found.shape == (3, 24)
    assert not found.requires_grad
    assert tower([]).shape == (0, 24)


def test_the_text_tower_of_another_class_of_model_is_read_too(tiny_clip: Callable[..., str]) -> None:
    name = tiny_clip(custom_text=True)
    assert OpenClipText(name)(PROMPTS).shape == (3, 24)


def test_prompts_of_several_batches_are_embedded_as_those_of_one(
    tiny_clip: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = OpenClipText(tiny_clip())
    whole = tower(PROMPTS)
    monkeypatch.setattr("boxless.text.towers._BATCH", 2)
    torch.testing.assert_close(tower(PROMPTS), whole)


def test_the_image_tower_is_let_go(tiny_clip: Callable[..., str]) -> None:
    tower = OpenClipText(tiny_clip())
    assert not [name for name in tower.model.state_dict() if name.startswith("visual")]
    assert not tower.model.training


def test_random_weights_are_the_same_each_time_and_leave_random_numbers_alone(tiny_clip: Callable[..., str]) -> None:
    name = tiny_clip(weights=False)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = OpenClipText(name, weights="random")(PROMPTS)
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(OpenClipText(name, weights="random")(PROMPTS), first)
    assert torch.pdist(first).min() > 0.01


def test_a_prompt_fills_the_context_but_does_not_exceed_it(tiny_clip: Callable[..., str]) -> None:
    tower = OpenClipText(tiny_clip())
    fitting = " ".join(["cat"] * 14)  # and a start and an end
    assert tower([fitting]).shape == (1, 24)
    with pytest.raises(DataError, match=rf"prompt '{fitting} cat': it has 17 tokens, and open_clip:.* reads 16; short"):
        tower(["dog", f"{fitting} cat"])


def test_tokens_of_other_tokenizers_are_counted_with_their_own_special_ones(tiny_clip: Callable[..., str]) -> None:
    pytest.importorskip("transformers")
    from open_clip.tokenizer import HFTokenizer

    tower = OpenClipText(tiny_clip())
    for mode, special in (("", 2), ("clips", 3)):
        tower.tokenizer = _words(HFTokenizer, mode)
        count = tower.context - special
        found = tower.tokenizer([" ".join(["cat"] * count)])
        assert int((found == 1).sum()) == count  # what just fits is not cut
        assert tower(["cat " * count]).shape == (1, 24)
        with pytest.raises(DataError, match="it has 17 tokens"):
            tower(["cat " * (count + 1)])


def _words(kind: Any, mode: str) -> Any:
    """A tokenizer of transformers that knows one word, in open_clip's wrapper."""
    from open_clip.tokenizer import get_clean_fn
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(WordLevel({"[U]": 0, "cat": 1, "[S]": 2, "[E]": 3, "[P]": 4, "[C]": 5}, unk_token="[U]"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(single="[S] $A [E]", special_tokens=[("[S]", 2), ("[E]", 3)])
    special = {"bos_token": "[S]", "eos_token": "[E]", "pad_token": "[P]", "cls_token": "[C]", "unk_token": "[U]"}
    made = object.__new__(kind)
    fast: Any = PreTrainedTokenizerFast
    made.tokenizer = fast(tokenizer_object=inner, **special)
    made.tokenizer_mode, made.context_length, made.strip_sep_token = mode, 16, False
    made.clean_fn = get_clean_fn("whitespace")
    return made


def test_a_name_opens_a_model_or_a_file(tiny_clip: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    write_text_file(path, ["cat"], torch.ones(1, 7))
    assert isinstance(open_text(tiny_clip()), OpenClipText)
    assert isinstance(open_text(str(path)), FileText)
    assert dimensions(str(path)) == 7
    assert dimensions(tiny_clip(weights=False)) == 24
    assert dimensions("open_clip:ViT-L-14/openai") == 768


def test_a_name_of_neither_is_refused(tmp_path: Path) -> None:
    for name in ("ViT-B-16", "clip", "", "names.yaml"):
        with pytest.raises(ConfigError, match=f"text model {name!r}: expected open_clip:"):
            open_text(name)
        with pytest.raises(ConfigError, match="expected open_clip:"):
            dimensions(name)
    with pytest.raises(UnknownNameError, match="did you mean 'ViT-B-16'"):
        open_text("open_clip:VitB-16/openai")
    path = tmp_path / "own.safetensors"
    write_text_file(path, ["cat"], torch.ones(1, 7))
    with pytest.raises(ConfigError, match="has no weights to choose"):
        open_text(str(path), weights="random")


def test_a_tokenizer_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch, tiny_clip: Callable[..., str]) -> None:
    import open_clip

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no connection")

    name = tiny_clip()
    monkeypatch.setattr(open_clip, "get_tokenizer", unreachable)
    with pytest.raises(WeightsError, match=r"its tokenizer could not be loaded from the hub \(no connection\)"):
        OpenClipText(name)


def test_a_file_of_embeddings_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "new" / "own.safetensors"
    rows = torch.tensor([[3.0, 4.0], [0.0, -1e-12], [1e30, 0.0]], dtype=torch.float64)
    write_text_file(path, ["cat", "dog & cö", "sky"], rows)
    text = FileText(path)
    assert (text.classes, text.dimensions, text.title) == (("cat", "dog & cö", "sky"), 2, str(path))
    found = text.rows(["sky", "cat", "dog & cö", "cat"])
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0], [0.6, 0.8]]))
    assert text.rows([]).shape == (0, 2)


@pytest.mark.parametrize(
    ("name", "classes", "rows", "error", "message"),
    [
        ("own.pt", ["a"], torch.ones(1, 2), ConfigError, "ends in .safetensors"),
        ("own.safetensors", ["a", "a"], torch.ones(2, 2), ConfigError, "2 classes, but only 1 different"),
        ("own.safetensors", ["a"], torch.ones(2, 2), DataError, r"shape \(2, 2\) for 1 classes"),
        ("own.safetensors", ["a"], torch.ones(1), DataError, r"shape \(1,\) for 1 classes"),
        ("own.safetensors", [], torch.ones(0, 2), DataError, "for 0 classes"),
        ("own.safetensors", ["a", "b"], torch.eye(2) * torch.tensor([1.0, 0]), DataError, "row of 'b' is not finite"),
        ("own.safetensors", ["a"], torch.tensor([[1.0, torch.nan]]), DataError, "row of 'a' is not finite"),
    ],
)
def test_embeddings_that_are_no_file_are_not_written(
    tmp_path: Path, name: str, classes: list[str], rows: torch.Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_text_file(tmp_path / name, classes, rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tensors", "classes", "message"),
    [
        ({"embeddings": torch.ones(2, 3)}, None, "expected 'classes' in its metadata"),
        ({"embeddings": torch.ones(2, 3)}, '"ab"', "expected 'classes' in its metadata"),
        ({"embeddings": torch.ones(2, 3)}, "[1, 2]", "expected 'classes' in its metadata"),
        ({"embeddings": torch.ones(2, 3)}, "[", "no file of embeddings can be read"),
        ({"weights": torch.ones(2, 3)}, '["a", "b"]', "no file of embeddings can be read"),
        ({"embeddings": torch.ones(2, 3)}, '["a"]', "2 different names|1 different names of 1"),
        ({"embeddings": torch.ones(2, 3)}, '["a", "a"]', "1 different names of 2"),
        ({"embeddings": torch.ones(2)}, '["a", "b"]', r"shape \[2\]"),
        ({"embeddings": torch.zeros(2, 3)}, '["a", "b"]', "row of 'a' is not finite, or all zeros"),
    ],
)
def test_a_file_that_is_none_of_embeddings_is_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor], classes: str | None, message: str
) -> None:
    path = tmp_path / "own.safetensors"
    save_file(tensors, path, None if classes is None else {"classes": classes})
    with pytest.raises(DataError, match=message):
        FileText(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    for read in (lambda: FileText(path), lambda: dimensions(str(path))):
        with pytest.raises(DataError, match=r"own\.safetensors: no file of embeddings"):
            read()
    path.write_text(json.dumps({"embeddings": 1}))
    with pytest.raises(DataError, match=r"own\.safetensors: no file of embeddings"):
        FileText(path)
