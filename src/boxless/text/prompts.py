"""Templates that make prompts of class names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from boxless.backbones.open_clip_models import library
from boxless.errors import ConfigError, UnknownNameError

PLACE = "{}"  # where a template takes the name
IMAGENET = "imagenet"
_SINGLE = {
    "photo": "a photo of a {}.",  # Radford et al., "Learning Transferable Visual Models", ICML 2021, section 3.1.4
    "origami": "a clean origami {}.",  # Lin et al., CVPR 2023 (CLIP-ES): the outcome of their search by sharpness
    "plain": PLACE,
}
TEMPLATES = (*_SINGLE, IMAGENET)


def templates(wanted: str | Iterable[str]) -> tuple[str, ...]:
    """The templates of a name, or the user's own after a check.

    Args:
        wanted: ``photo``, ``origami`` or ``plain``, of one template each, or ``imagenet``, the 80 of Radford et al.
            (ICML 2021); a template, or several: each has ``{}`` once, where the name goes.

    Raises:
        UnknownNameError: No templates have this name.
        ConfigError: No template at all, or one in which ``{}`` is not there exactly once.
        MissingExtraError: ``imagenet`` without open_clip, which has them.
    """
    if isinstance(wanted, str):
        if wanted in _SINGLE:
            return (_SINGLE[wanted],)
        if wanted == IMAGENET:
            return tuple(fill(PLACE) for fill in library().OPENAI_IMAGENET_TEMPLATES)
        if PLACE not in wanted:
            raise UnknownNameError("templates", wanted, TEMPLATES)
        wanted = (wanted,)
    own = tuple(wanted)
    for template in own:
        if not isinstance(template, str) or template.count(PLACE) != 1:
            raise ConfigError(
                f"template {template!r}: expected text with {PLACE} in it once, where the name of the class goes, such "
                f"as 'a drawing of a {PLACE}.'; or one of the names {', '.join(TEMPLATES)}."
            )
    if not own:
        raise ConfigError(f"templates: none are given; take one of {', '.join(TEMPLATES)}, or write one.")
    return own


def prompts(names: Sequence[str], filled: Sequence[str]) -> tuple[str, ...]:
    """Every name in every template."""
    return tuple(template.replace(PLACE, name) for name in names for template in filled)
