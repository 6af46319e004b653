"""Tables of names that import nothing until a name is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from boxless.errors import ConfigError, UnknownNameError


class Registry:
    """A read-only table of ``name -> "module:attribute"``.

    Other packages add entries through the entry-point group ``boxless.<kind>s``. A name listed twice is refused, since
    a silent overwrite would make one of the two unreachable.

    >>> table = Registry("method", {"cam": "boxless.methods.cam:CAM"})
    >>> list(table)
    ['cam']
    """

    def __init__(self, kind: str, entries: dict[str, str]) -> None:
        self.kind = kind
        self._targets = dict(entries)
        for plugin in entry_points(group=f"boxless.{kind}s"):
            if plugin.name in self._targets:
                raise ConfigError(
                    f"{kind} {plugin.name!r} is listed twice: {self._targets[plugin.name]} and {plugin.value}; "
                    "uninstall one of the two packages or rename its entry point."
                )
            self._targets[plugin.name] = plugin.value

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def load(self, name: str) -> Any:
        """Import and return what ``name`` (or ``"module:attribute"``) stands for."""
        target = self.target(name)
        module, _, attribute = target.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"{self.kind} {name!r}: {target} cannot be imported ({error}); check the spelling, or put the folder "
                "that holds it on PYTHONPATH."
            ) from error

    def target(self, name: str) -> str:
        """The ``"module:attribute"`` that ``name`` stands for, without importing it."""
        if ":" in name:
            return name
        if name not in self._targets:
            raise UnknownNameError(self.kind, name, self)
        return self._targets[name]
