"""From prompts to embeddings: text towers, and a file of embeddings in place of one."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import normalize

from boxless.backbones import open_clip_models
from boxless.errors import ConfigError, DataError, MissingExtraError, WeightsError
from boxless.files import atomic_write

SUFFIX = ".safetensors"
_BATCH = 256  # prompts at once
_SHOWN = 12


class TextTower(ABC):
    """Prompts in, unit vectors out.

    Attributes:
        title: What it is called in messages.
        dimensions: Width of the embeddings.
        context: Tokens that a prompt may have, with those of its start and end; None: any number.
    """

    title: str
    dimensions: int
    context: int | None

    @abstractmethod
    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """Unit embeddings (n, d) of prompts in float32 on the processor, in their order.

        Raises:
            DataError: A prompt has more tokens than the context; none is cut.
        """

    def raw(self, prompts: Sequence[str]) -> Tensor:
        """The same as the model gives them, of lengths of their own, where a tower keeps these; else of unit length."""
        return self(prompts)


@final
class OpenClipText(TextTower):
    """The text tower of a model of open_clip, on the processor.

    Args:
        name: ``open_clip:ARCHITECTURE/TAG`` or ``open_clip:local-dir:FOLDER``.
        weights: As of a backbone; random ones are those of the backbone of this name too.

    Raises:
        UnknownNameError: open_clip has no such architecture.
        ConfigError: It has no weights of this tag, or the name lacks one.
        WeightsError: The weights, or the words of the tokenizer, cannot be had.
        MissingExtraError: open_clip is not installed.
    """

    context: int

    def __init__(self, name: str, *, weights: str = "auto") -> None:
        self.title = name
        self.model = open_clip_models.create(name, weights).eval().requires_grad_(requires_grad=False)
        del self.model.visual  # most of its memory
        self.tokenizer = _tokenizer(name)
        self.dimensions = open_clip_models.dimensions(name)
        self.context = int(self.tokenizer.context_length)

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """Embed prompts; see :class:`TextTower`."""
        return normalize(self.raw(prompts), dim=1)

    @torch.no_grad()
    def raw(self, prompts: Sequence[str]) -> Tensor:
        """Embed prompts, some at a time; see :class:`TextTower`."""
        for prompt in prompts:
            count = self._count(prompt)
            if count > self.context:
                raise DataError(
                    f"prompt {prompt!r}: it has {count} tokens, and {self.title} reads {self.context}; shorten the "
                    "name of the class in a file of names, or take a shorter template."
                )
        parts = [
            self.model.encode_text(self.tokenizer(list(prompts[start : start + _BATCH])))
            for start in range(0, len(prompts), _BATCH)
        ]
        return torch.cat(parts).float() if parts else torch.zeros(0, self.dimensions)

    def _count(self, prompt: str) -> int:
        """Tokens of a prompt, those of its start and end among them; open_clip itself would cut what is too long."""
        if hasattr(self.tokenizer, "encode"):
            return len(self.tokenizer.encode(prompt)) + 2
        clips = self.tokenizer.tokenizer_mode == "clips"  # which adds a start, an end and a class token itself
        cleaned = self.tokenizer.clean_fn(prompt)
        ids = self.tokenizer.tokenizer(cleaned, add_special_tokens=not clips).input_ids
        return len(ids) + (3 if clips else 0)


@final
class FileText:
    """Embeddings of classes that some other text model made, from a file: a row for each class, no prompts.

    Args:
        path: A ``.safetensors`` file with the tensor ``embeddings`` (n, d) and, in its metadata, ``classes``, a JSON
            list of n names; :func:`write_text_file` makes one.

    Raises:
        DataError: The file cannot be read, or is not such a file.
    """

    def __init__(self, path: Path) -> None:
        self.title = str(path)
        classes, shape, rows = _read(path)
        if len(set(classes)) < len(classes) or len(shape) != 2 or shape[0] != len(classes) or shape[1] < 1:
            raise DataError(
                f"{path}: embeddings of shape {shape} and {len(set(classes))} different names of {len(classes)}; "
                "expected (n, d) and n different names."
            )
        _check_rows(str(path), classes, rows)
        self.classes = tuple(classes)
        self.dimensions = shape[1]
        self._rows = dict(zip(classes, normalize(rows.double(), dim=1).float(), strict=True))

    def rows(self, words: Sequence[str]) -> Tensor:
        """Unit embeddings (n, d) of these names, in their order.

        Raises:
            DataError: The file has no row for some; the message lists them.
        """
        missing = [word for word in words if word not in self._rows]
        if missing:
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            raise DataError(
                f"{self.title}: it has no embedding of {', '.join(map(repr, missing[:_SHOWN]))}{more}; write a file "
                "that has a row for each."
            )
        return torch.stack([self._rows[word] for word in words]) if words else torch.zeros(0, self.dimensions)


def open_text(name: str, *, weights: str = "auto") -> TextTower | FileText:
    """What embeds class names, by its name.

    Args:
        name: ``open_clip:ARCHITECTURE/TAG``, ``open_clip:local-dir:FOLDER``, or a ``.safetensors`` file.
        weights: As of a backbone; a file has no weights, and there it must stay ``auto``.

    Raises:
        ConfigError: The name is none of these, or the model cannot be had so.
        UnknownNameError: open_clip has no such architecture.
        WeightsError: The weights cannot be had.
        DataError: The file cannot be read.
    """
    if _is_file(name):
        if weights != "auto":
            raise ConfigError(f"{name}: a file of embeddings has no weights to choose; leave them at 'auto'.")
        return FileText(Path(name))
    return OpenClipText(name, weights=weights)


def dimensions(name: str) -> int:
    """Width of the embeddings of `open_text`, without loading any: from a configuration or a file's header.

    Raises:
        ConfigError: The name is none that `open_text` knows.
        UnknownNameError: open_clip has no such architecture.
        DataError: The file cannot be read.
    """
    return _read(Path(name), header=True)[1][-1] if _is_file(name) else open_clip_models.dimensions(name)


def write_text_file(path: Path, classes: Sequence[str], embeddings: Tensor) -> None:
    """Write embeddings of classes for :class:`FileText`, whole or not at all.

    Args:
        path: Ends in ``.safetensors``.
        classes: n names, as the data have them, and other words where a method needs some.
        embeddings: (n, d); their lengths do not matter.

    Raises:
        ConfigError: The name ends otherwise, or a class is there twice.
        DataError: Not a row for each class, or one that is not finite or all zeros.
        RunError: The file cannot be written.
    """
    if path.suffix != SUFFIX:
        raise ConfigError(f"{path}: a file of embeddings ends in {SUFFIX}.")
    if len(set(classes)) < len(classes):
        raise ConfigError(f"{len(classes)} classes, but only {len(set(classes))} different names.")
    if embeddings.ndim != 2 or len(embeddings) != len(classes) or not embeddings.numel():
        raise DataError(f"embeddings of shape {tuple(embeddings.shape)} for {len(classes)} classes: expected (n, d).")
    _check_rows("embeddings", classes, embeddings)
    tensors = {"embeddings": embeddings.detach().cpu().float().contiguous()}
    with atomic_write(path, "wb") as file:
        file.write(save(tensors, {"classes": json.dumps(list(classes))}))


def _is_file(name: str) -> bool:
    if name.endswith(SUFFIX):
        return True
    if name.startswith(open_clip_models.FAMILY):
        return False
    raise ConfigError(
        f"text model {name!r}: expected open_clip:ARCHITECTURE/TAG, open_clip:local-dir:FOLDER, or a {SUFFIX} file."
    )


def _tokenizer(name: str) -> Any:
    with open_clip_models.quiet():
        try:
            return open_clip_models.library().get_tokenizer(open_clip_models.parse(name)[0])
        except ImportError as error:
            raise MissingExtraError(f"the tokenizer of {name}", "transformers", "clipseg") from error
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(
                f"{name}: its tokenizer could not be loaded from the hub ({error}); connect once, or take a model with "
                "open_clip's own tokenizer, such as open_clip:ViT-B-16/openai."
            ) from error


def _read(path: Path, *, header: bool = False) -> tuple[list[str], list[int], Tensor]:
    """Names, shape and rows of a file; no rows where only its header is asked for."""
    try:
        with safe_open(path, framework="pt") as file:
            listed = json.loads((file.metadata() or {}).get("classes", "null"))
            shape = list(file.get_slice("embeddings").get_shape())
            rows = torch.empty(0) if header else file.get_tensor("embeddings")
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(f"{path}: no file of embeddings can be read there ({error}).") from error
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed) or not shape:
        raise DataError(f"{path}: expected 'classes' in its metadata, a JSON list of names, and embeddings (n, d).")
    return listed, shape, rows


def _check_rows(where: str, classes: Sequence[str], rows: Tensor) -> None:
    usable = rows.isfinite().all(1) & (rows != 0).any(1)
    if not usable.all():
        raise DataError(f"{where}: the row of {classes[int(usable.int().argmin())]!r} is not finite, or all zeros.")
