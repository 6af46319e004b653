"""Hyper-parameter search: a method's settings tried side by side, judged without a true box."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxless.lazy import lazy

if TYPE_CHECKING:
    from boxless.search.ledger import Trial as Trial
    from boxless.search.session import Found as Found
    from boxless.search.session import Plan as Plan
    from boxless.search.session import resume as resume
    from boxless.search.session import search as search
    from boxless.search.space import default_space as default_space
    from boxless.search.space import read_space as read_space

_HOMES = {
    "Found": "session",
    "Plan": "session",
    "Trial": "ledger",
    "default_space": "space",
    "read_space": "space",
    "resume": "session",
    "search": "session",
}
__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy(__name__, _HOMES)
