"""How the pixel loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile on first call, keep the result on disk, and release the interpreter lock while running."""
    return cast(Callable[Parameters, Result], njit(cache=True, nogil=True)(function))
