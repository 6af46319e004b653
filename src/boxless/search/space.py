"""The space of a search: which settings are tried, and in what ranges (thesis, table 4.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from boxless.api import with_settings
from boxless.errors import ConfigError
from boxless.methods.base import Method, Space
from boxless.parsing import parse_yaml, read_yaml
from boxless.recipe import Recipe
from boxless.settings import check
from boxless.trust import refuse_name

_THESIS = Space(1e-5, 1.0, log=True)
# The thesis trains by SGD alone. An update of AdamW is as large as the learning rate whatever the gradient is, and most
# of the thesis' range would only find trials that diverge or stand still: a decade to either side of the default.
_RATE = {"sgd": _THESIS, "adamw": Space(1e-4, 1e-2, log=True)}
_DECAY = {"sgd": _THESIS, "adamw": Space(1e-5, 1e-1, log=True)}


def default_space(recipe: Recipe, kind: type[Method], epochs: int) -> dict[str, Space]:
    """The shared settings of table 4.4, and those that the method declares, by ``section.setting``.

    Args:
        recipe: What the trials start from: its optimiser and schedule say what is shared.
        kind: The method's class.
        epochs: Of the stage that is judged.
    """
    own = {f"method.{name}": each for name, each in kind.search_space.items()}
    if not kind.needs.trains:
        return own
    chosen = recipe.training.optimizer
    space = {"training.learning_rate": _RATE[chosen], "training.weight_decay": _DECAY[chosen]}
    # 5 to 45 of the 50 epochs on CUB, 2 to 9 of the 10 on ILSVRC.
    low, high = max(2, round(epochs / 10)), round(0.9 * epochs)
    if recipe.training.schedule == "step" and low < high:
        space |= {"training.gamma": _THESIS, "training.step_epochs": Space(low, high)}
    return space | own


def read_space(entries: Iterable[str]) -> dict[str, Space | None]:
    """What ``--space`` says: YAML files, and texts such as ``training.learning_rate=1e-4..1e-2:log``; None leaves out.

    Raises:
        ConfigError: A file cannot be read, or an entry is not of that form.
    """
    found: dict[str, Space | None] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if equals:
            found[name.strip()] = parse(name.strip(), _listed(value))
        else:
            ranges = {name: parse(name, value) for name, value in _flat(_read(Path(entry))).items()}
            for setting, each in ranges.items():
                for choice in each.choices if each else ():
                    refuse_name(setting, str(choice), entry)
            found |= ranges
    return found


def _listed(text: str) -> object:
    """A list where the text is one; what is wrong with it is said with what was expected."""
    try:
        return parse_yaml(text) if text.strip()[:1] == "[" else text
    except ValueError:
        return text


def parse(name: str, value: object) -> Space | None:
    """One entry: ``low..high``, ``low..high:log``, a list of choices, or null for what is not searched.

    Raises:
        ConfigError: It is none of these.
    """
    wrong = ConfigError(
        f"space {name}={value}: expected low..high, low..high:log, a list such as [16, 32], or null to leave it out."
    )
    if value is None or value in ("null", "none"):
        return None
    if isinstance(value, list):
        if len(value) < 2 or not all(isinstance(each, bool | int | float | str) for each in value):
            raise wrong
        return Space(choices=tuple(value))
    bounds, _, scale = str(value).partition(":")
    low, dots, high = bounds.partition("..")
    if not dots or scale.strip() not in ("", "log"):
        raise wrong
    try:
        return Space(_number(low), _number(high), log=bool(scale))
    except ValueError:
        raise wrong from None


def text_of(space: Space) -> object:
    """A range as `parse` reads it."""
    if space.choices:
        return list(space.choices)
    return f"{space.low}..{space.high}{':log' if space.log else ''}"


def merge(space: Mapping[str, Space], changes: Mapping[str, Space | None]) -> dict[str, Space]:
    """A space with entries replaced, added, and left out where a change is None.

    Raises:
        ConfigError: Nothing is left.
    """
    merged = {name: each for name, each in {**space, **changes}.items() if each is not None}
    if not merged:
        raise ConfigError("the space has no setting to search; name one, as in: --space method.NAME=0..1")
    return merged


def check_space(space: Mapping[str, Space], recipe: Recipe, kind: type[Method]) -> dict[str, bool]:
    """Which settings take whole numbers alone, once it is sure that each takes all of its range.

    Raises:
        ConfigError: A setting does not exist or does not take a value of its range, or a range is empty.
    """
    whole = {}
    for name, each in space.items():
        for value in each.choices or (each.low, each.high):
            _admit(recipe, kind, name, value)
        whole[name] = False
        if not each.choices:
            low, high = _bounds(name, each)
            try:
                _admit(recipe, kind, name, low + (high - low) / 2.7)  # not whole
            except ConfigError:
                whole[name] = True
    return whole


def distributions(space: Mapping[str, Space], whole: Mapping[str, bool]) -> dict[str, Any]:
    """The space as Optuna draws from it."""
    from optuna import distributions as kinds

    made: dict[str, Any] = {}
    for name, each in space.items():
        if each.choices:
            made[name] = kinds.CategoricalDistribution(each.choices)
        else:
            kind = kinds.IntDistribution if whole[name] else kinds.FloatDistribution
            made[name] = kind(*_bounds(name, each), log=each.log)
    return made


def _bounds(name: str, space: Space) -> tuple[float, float]:
    low, high = space.low, space.high
    if low is None or high is None or low >= high or (space.log and low <= 0):
        raise ConfigError(
            f"space {name}={text_of(space)}: expected a lower bound below the upper one{', above 0' * space.log}."
        )
    return low, high


def _admit(recipe: Recipe, kind: type[Method], name: str, value: object) -> None:
    """Refuse a value that the setting does not take."""
    section, _, setting = name.partition(".")
    if section == "method" and setting != "name":
        check(kind, {**recipe.method.settings, setting: value}, "method")
    elif section in ("data", "protocol") or name in ("method.name", "training.seed", "training.epochs"):
        raise ConfigError(
            f"space {name}: trials are compared with each other, so this has to be the same in all of them; "
            "fix it with --set."
        )
    else:
        with_settings(recipe, {name: value})


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        value = read_yaml(path)
    except OSError as error:
        raise ConfigError(
            f"--space {path}: cannot be read ({error}); give a YAML file, or NAME=RANGE such as "
            "training.learning_rate=1e-4..1e-2:log."
        ) from None
    except ValueError as error:
        raise ConfigError(f"--space {path}: not valid YAML: {error}") from None
    if not isinstance(value, Mapping):
        raise ConfigError(f"--space {path}: expected settings with their ranges, got {type(value).__name__}.")
    return value


def _flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """Sections as in a recipe, or dotted names."""
    flat: dict[str, Any] = {}
    for name, each in value.items():
        if isinstance(each, Mapping):
            flat |= {f"{name}.{inner}": ranged for inner, ranged in each.items()}
        else:
            flat[str(name)] = each
    return flat
