"""Ray as a search needs it: started here and ended with the search, or a cluster that is there already."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from boxless import __version__
from boxless.errors import ConfigError, MissingExtraError, RunError

LOCAL = "local"
PROBE_SECONDS = 30.0
OBJECT_STORE = 100_000_000  # bytes: trials pass nothing but a few numbers
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # which prints even where nothing is to be printed
    "RAY_worker_niceness": "0",  # trials are the work, and not what yields to it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # each trial is a run folder with a journal of its own
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that fails at once has no figure
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a worker that died is told in one line
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the trials' folders are what a search goes on from
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
_OPTIONS = {"include_dashboard": False, "log_to_driver": False, "logging_level": "CRITICAL"}


def check_installed() -> None:
    """Refuse to begin without what a search is made of.

    Raises:
        MissingExtraError: Ray or Optuna is not installed.
    """
    for package, module in (("ray", "ray.tune"), ("optuna", "optuna")):
        try:
            import_module(module)
        except ImportError as error:
            raise MissingExtraError("a search", package, "search") from error


@contextmanager
def cluster(address: str | None) -> Iterator[Mapping[str, float]]:
    """Ray within this process, with what it has of each resource; a local one ends with the block.

    Args:
        address: ``HOST:PORT`` or ``auto`` of a cluster whose machine this is; None starts one here.

    Raises:
        RunError: Ray does not start.
    """
    import ray

    before = {name: os.environ.get(name) for name in _QUIET}
    os.environ.update(_QUIET)
    ours = not ray.is_initialized()
    try:
        with redirect_stdout(sys.stderr):  # where Ray writes that a worker died, whatever it is told
            if ours:
                _start(address)
            yield ray.cluster_resources()
    finally:
        if ours:
            ray.shutdown()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start(address: str | None) -> None:
    import ray

    local: dict[str, Any] = {"address": LOCAL, "object_store_memory": OBJECT_STORE}
    where = local if address is None else {"address": address}
    try:
        ray.init(**where, **_OPTIONS)
    except Exception as error:  # Ray says by a bare one that a part of it did not come up in time
        ray.shutdown()
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise RunError(
            f"Ray did not start ({last}); if this machine is very busy, try again with --resume once it is not."
        ) from error


def check_shared(folder: Path, seen: Path) -> None:
    """Make sure that every machine of the cluster sees the search's folder and has the same boxless.

    Args:
        folder: Of the search.
        seen: A file in it.

    Raises:
        RunError: One does not; it is named.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0, max_retries=0)(_look)
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        try:
            there, version = ray.get(look.options(scheduling_strategy=where).remote(str(seen)), timeout=60)
        except Exception as error:  # Ray raises a dozen kinds, of which none is ours
            last = str(error).strip().splitlines()[-1]
            raise RunError(
                f"{node['NodeManagerHostname']}: this machine of the cluster cannot run boxless ({last}); install "
                "boxless there, in the environment that Ray was started from."
            ) from error
        if version != __version__:
            raise RunError(
                f"{node['NodeManagerHostname']}: this machine of the cluster has boxless {version}, here it is "
                f"{__version__}; install the same everywhere."
            )
        if not there:
            raise RunError(
                f"{node['NodeManagerHostname']}: this machine of the cluster does not see {folder}; choose with --out "
                "a folder that all of them share, and keep the data in one too."
            )


def _look(path: str) -> tuple[bool, str]:
    return Path(path).exists(), __version__


def check_address(address: str | None) -> None:
    """Refuse a cluster that does not answer, before any work is done.

    It is asked in a process of its own, since Ray itself waits for minutes.

    Args:
        address: As of `cluster`.

    Raises:
        ConfigError: The address is of another kind.
        RunError: It does not answer, or Ray cannot use it.
    """
    if address is None:
        return
    if "://" in address:
        raise ConfigError(
            f"--address {address}: a search is run from a machine of the cluster; log in there and give auto or "
            "HOST:PORT."
        )
    how = (
        f"start one with 'ray start --head' and join this machine ({platform.node()}) to it, or leave out --address "
        "to search on this machine alone."
    )
    options = "include_dashboard=False, log_to_driver=False"
    program = f"import ray; print(flush=True); ray.init(address={address!r}, {options})"
    pipes: dict[str, Any] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "env": {**os.environ, **_QUIET},
    }
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as asking:
        if asking.stdout is not None:
            asking.stdout.readline()  # the seconds count from here: an import may be slow
        try:
            _, said = asking.communicate(timeout=PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            asking.kill()
            raise RunError(
                f"--address {address}: no Ray cluster answered within {PROBE_SECONDS:.0f} seconds; {how}"
            ) from None
    if asking.returncode:
        last = (said.strip().splitlines() or ["it gave no reason"])[-1]
        raise RunError(f"--address {address}: Ray cannot use it ({last}); {how}")


def check_fits(nodes: list[dict[str, Any]], cpus: float, gpus: float) -> None:
    """Refuse what would wait for ever.

    Raises:
        ConfigError: No machine has what a trial wants.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if not any(each.get("CPU", 0) >= cpus and each.get("GPU", 0) >= gpus for each in alive):
        there = "; ".join(f"{each.get('CPU', 0):g} processors and {each.get('GPU', 0):g} GPUs" for each in alive)
        raise ConfigError(
            f"a trial wants {cpus:g} processors and {gpus:g} GPUs, but no machine has them (there: {there}); "
            "give less with --cpus and --gpus."
        )
