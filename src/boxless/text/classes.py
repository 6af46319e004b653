"""The embeddings of a data set's classes: of each the mean over its names and templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from boxless.errors import ConfigError, DataError
from boxless.text import prompts
from boxless.text.names import Named, name_classes
from boxless.text.towers import FileText, TextTower

_VANISHED = 1e-4  # length of a mean of unit vectors that has no direction to speak of


@dataclass(frozen=True, slots=True, eq=False)
class ClassTexts:
    """What a method is told of its classes' names, once, before it is trained."""

    embeddings: Tensor  # (k, d) in float32, of unit length, in the order of classes
    names: tuple[tuple[str, ...], ...]  # of each class its name and synonyms, as prompts use them
    embed: Callable[[Sequence[str]], Tensor]  # n other words -> (n, d), with the same tower, templates and averages
    lengths: Tensor | None = None  # (k,) mean lengths that the tower gave a class's prompts; None: of a file of rows


def class_texts(
    tower: TextTower | FileText,
    classes: Sequence[str],
    *,
    names: Path | None = None,
    templates: str | Sequence[str] = "photo",
    note: Callable[[str], None],
) -> ClassTexts:
    """Embed classes: unit embeddings of each name in each template, their mean, brought to unit length again.

    So Radford et al. average templates ("Learning Transferable Visual Models from Natural Language Supervision", ICML
    2021, section 3.1.4). CLIP-ES (Lin et al., CVPR 2023, section 3.3) puts synonyms into one sentence instead: a name
    such as ``person, people, human`` does that. Classes in another order give the same rows in that order, exactly.

    Args:
        tower: What embeds prompts; or a file, whose rows are taken as they are, without templates and synonyms.
        classes: As the data name them.
        names: A file of names, see :func:`boxless.text.names.name_classes`; None takes them from ``classes``.
        templates: A name of templates, or templates; see :func:`boxless.text.prompts.templates`.
        note: Told in a sentence of names that look like codes.

    Raises:
        ConfigError: A file of names that does not fit the classes, or with a file of embeddings; a wrong template.
        DataError: Two classes with one name, an empty name, a prompt that is too long, a class that a file of
            embeddings lacks, or names whose embeddings cancel each other.
    """
    if isinstance(tower, FileText):
        if names is not None:
            raise ConfigError(f"{names}: {tower.title} has embeddings of classes, not of names; leave names out.")
        return ClassTexts(tower.rows(classes), tuple((each,) for each in classes), tower.rows)
    general = prompts.templates(templates)
    named = name_classes(classes, names, note)

    def embed(words: Sequence[str]) -> Tensor:
        for word in words:
            if not word.strip():
                raise DataError(f"word {word!r}: it is empty, and there is nothing to embed.")
        return _embedded(tower, [Named((word,)) for word in words], general)[0]

    embeddings, lengths = _embedded(tower, named, general)
    return ClassTexts(embeddings, tuple(each.names for each in named), embed, lengths)


def _embedded(tower: TextTower, named: Sequence[Named], general: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Unit embeddings (n, d), and the mean lengths (n,) that the tower gave their prompts."""
    texts = [prompts.prompts(each.names, each.templates or general) for each in named]
    # Sorted, so that prompts share batches with the same others whatever the order of classes.
    distinct = sorted({prompt for each in texts for prompt in each})
    raw = tower.raw(distinct)
    found = dict(zip(distinct, normalize(raw, dim=1), strict=True))
    lengths = dict(zip(distinct, raw.norm(dim=1), strict=True))
    means = [torch.stack([found[prompt] for prompt in each]).mean(0) for each in texts]
    rows = torch.stack(means) if means else torch.zeros(0, tower.dimensions)
    spans = rows.norm(dim=1, keepdim=True)
    if (spans < _VANISHED).any():
        culprit = named[int(spans.argmin())]
        raise DataError(f"the embeddings of {', '.join(culprit.names)} cancel each other; leave synonyms out.")
    return rows / spans, torch.tensor([float(sum(lengths[prompt] for prompt in each)) / len(each) for each in texts])
