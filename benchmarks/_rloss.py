"""The C++ filter of published runs, fetched and compiled for losses.py."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ADDRESS = "https://github.com/meng-tang/rloss"
COMMIT = "1caa759e568db2c7209ab73e73ac039ea3d7101c"
CACHE = Path.home() / ".cache" / "boxless-bench" / "rloss"
FOLDER = "pytorch/wrapper/bilateralfilter"
SOURCES = {
    "bilateralfilter.cpp": "69715b3b6ccc4b2281a9ce49a1e902490ab8a1dbf90dabbf23960842b85ec788",
    "bilateralfilter.hpp": "893daa66edb8a4c77c79ff801aa1689acc14f0781b8b587216a7e925e48692b7",
    "permutohedral.cpp": "af360ce2715055a225b998c11117b9a78e90522fb07a5db8d071c1e55ae763c1",
    "permutohedral.hpp": "375bc948f797c33d3607ac19c858da7a9b1d66626f28788d3ef96378df0f315e",
}
SIGMA_RGB, SIGMA_XY = 15.0, 100.0
WRAPPER = Path(__file__).with_name("_permutohedral.cpp")
Filter = Callable[[Tensor, Tensor, int], Tensor]  # maps and images, in so many threads


def load_filter(named: Path | str | None) -> Filter | None:
    """The peer's filter, from a checkout that is named or cloned; None if there is none, or nothing to compile it."""
    left_out = "The filter of rloss could not be measured:"
    try:
        folder = Path(named or cloned()) / FOLDER
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{left_out} {ADDRESS} cannot be cloned ({error}).")
        print("Name a checkout of it with --peer DIR or BOXLESS_RLOSS=DIR.", flush=True)
        return None
    check_unmodified(folder)
    if not shutil.which("g++"):
        print(f"{left_out} there is no g++ to compile it with.", flush=True)
        return None
    try:
        return as_filter(build(folder))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{left_out} g++ does not compile it ({error}).\n{getattr(error, 'stderr', None) or ''}", flush=True)
        return None


def cloned() -> Path:
    if not (CACHE / FOLDER).exists():
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        run("git", "clone", "--quiet", "--depth", "1", ADDRESS, str(CACHE))
    return CACHE


def build(folder: Path) -> Any:
    """The compiled function, loaded."""
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch) / "filter.so"
        files = [str(folder / name) for name in SOURCES if name.endswith(".cpp")]
        run("g++", "-O2", "-fopenmp", "-shared", "-fPIC", f"-I{folder}", *files, str(WRAPPER), "-o", str(library))
        return ctypes.CDLL(str(library)).filter


def run(*command: str) -> None:
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, env=environment)


def check_unmodified(folder: Path) -> None:
    """Refuse a checkout whose filter is not that of the commit that the figures are said to be of."""
    for name, expected in SOURCES.items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise SystemExit(f"{path} is not that of the commit {COMMIT} of {ADDRESS}.")


def as_filter(function: Any) -> Filter:
    """What takes and gives tensors, at the sigmas of published runs."""
    function.restype = None

    def filtered(maps: Tensor, images: Tensor, threads: int) -> Tensor:
        result = torch.empty_like(maps)
        addresses = [ctypes.c_void_p(each.data_ptr()) for each in (images, maps, result)]
        sizes = [ctypes.c_int(size) for size in maps.shape]
        function(*addresses, *sizes, ctypes.c_float(SIGMA_RGB), ctypes.c_float(SIGMA_XY), ctypes.c_int(threads))
        return result

    return filtered
