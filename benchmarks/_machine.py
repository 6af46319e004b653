"""What a figure was measured on: kept with every result."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any


def describe(threads: str, *packages: str) -> dict[str, Any]:
    """The date, the machine, and the versions of Python and of these packages.

    Args:
        threads: How many threads worked, such as ``one thread``.
        packages: Distribution names of what the figure depends on.
    """
    processor = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        lines = described.read_text(encoding="utf-8").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{processor}, {os.cpu_count()} processors, {threads}",
        "versions": {"python": platform.python_version()} | {package: version(package) for package in packages},
    }
