"""Methods x data sets x seeds from one file: trained, measured under the realistic protocol, and put into tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxless.lazy import lazy

if TYPE_CHECKING:
    from boxless.benchmark.run import BenchmarkResult as BenchmarkResult
    from boxless.benchmark.run import list_jobs as list_jobs
    from boxless.benchmark.run import run_benchmark as run_benchmark

_HOMES = {"BenchmarkResult": "run", "list_jobs": "run", "run_benchmark": "run"}
__all__ = ["BenchmarkResult", "list_jobs", "run_benchmark"]
__getattr__, __dir__ = lazy(__name__, _HOMES)
