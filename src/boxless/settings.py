"""Settings checked against the constructor that takes them: the only place where each is declared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from boxless.errors import ConfigError, nearest, shown

Built = TypeVar("Built")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a constructor."""

    name: str
    type: str
    default: Any
    required: bool


def settings_of(factory: Callable[..., object]) -> tuple[Setting, ...]:
    """The keyword-only settings that ``factory`` declares, in order."""
    hints = _hints(factory)
    return tuple(
        Setting(
            p.name, _readable(hints.get(p.name, Any)), None if p.default is p.empty else p.default, p.default is p.empty
        )
        for p in _parameters(factory).values()
    )


def check(factory: Callable[..., object], settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings, converted to the types that ``factory`` declares.

    Args:
        factory: A class or function whose keyword-only parameters are the settings.
        settings: Names and values, as read from a file or a command line.
        where: The recipe section, for messages.

    Raises:
        ConfigError: A name is unknown (the nearest ones are shown), a value does not fit, or one is missing.
    """
    parameters, hints = _parameters(factory), _hints(factory)
    checked: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in parameters:
            known = nearest(name, parameters) if parameters else "it takes none."
            raise ConfigError(f"{where}.{name}: there is no such setting; {known}")
        hint = hints.get(name, Any)
        try:
            checked[name] = _adapter(hint).validate_python(_as_text(value) if _is_text_choice(hint) else value)
        except ValidationError as error:
            expected = _readable(hints[name])
            detail = error.errors()[0]["msg"]
            raise ConfigError(f"{where}.{name}: expected {expected}, got {shown(value)} ({detail}).") from None
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.name not in settings]
    if missing:
        raise ConfigError(f"{where}: {', '.join(missing)} must be given.")
    return checked


def build(factory: Callable[..., Built], settings: Mapping[str, Any], where: str, *given: Any) -> Built:
    """Call ``factory(*given, **settings)`` after :func:`check`."""
    return factory(*given, **check(factory, settings, where))


def _adapter(hint: Any) -> TypeAdapter[Any]:
    if inspect.isclass(hint) and hasattr(hint, "__dataclass_fields__"):
        return TypeAdapter(hint)
    return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))


def _is_text_choice(hint: Any) -> bool:
    return get_origin(hint) is Literal and all(isinstance(choice, str) for choice in get_args(hint))


def _as_text(value: Any) -> Any:
    """YAML reads ``precision: 16`` as a number, where the choice is the text "16"."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _parameters(factory: Callable[..., object]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


def _hints(factory: Callable[..., object]) -> dict[str, Any]:
    return get_type_hints(factory.__init__ if inspect.isclass(factory) else factory, include_extras=True)


def _readable(hint: Any) -> str:
    """A type as a user reads it: choices as choices, bounds as bounds, a plain name else."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = " and ".join(_bound(each) for each in arguments[1:])
        return f"{_readable(arguments[0])} {bounds}"
    if origin is Literal:
        return " or ".join(str(each) for each in arguments)
    if origin is Union or type(hint).__name__ == "UnionType":
        return " or ".join(_readable(each) for each in arguments)
    if hint is type(None):
        return "null"
    if origin is tuple and arguments[1:] == (...,):
        return f"list of {_readable(arguments[0])}"
    if origin is Mapping:
        return "mapping"
    return getattr(hint, "__name__", str(hint)) if not arguments else str(hint)


def _bound(limit: Any) -> str:
    """A bound of ``annotated_types`` as one writes it: ``>= 1``, or of a list's length."""
    for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
        if hasattr(limit, name):
            return f"{sign} {getattr(limit, name)}"
    if hasattr(limit, "min_length"):
        return f"of {limit.min_length} or more"
    return str(limit)
