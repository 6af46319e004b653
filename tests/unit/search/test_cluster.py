"""What a search needs before it begins: the extra, an address that answers, and machines that are large enough."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from boxless.errors import ConfigError, MissingExtraError, RunError
from boxless.recipe import Recipe
from boxless.search import cluster
from boxless.search.session import Plan, search


@pytest.mark.parametrize(("module", "package"), [("ray.tune", "ray"), ("optuna", "optuna")])
def test_without_the_extra_the_command_to_install_it_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"needs the package {package}; .*boxless\[search\]"):
        search(Recipe(), tmp_path / "out", Plan())
    assert not (tmp_path / "out").exists()


def test_an_address_that_does_not_answer_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PROBE_SECONDS", 1.0)
    with socket.socket() as listening:  # takes the connection, and says nothing
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(RunError, match=rf"--address {address}: no Ray cluster answered within 1 seconds"):
            cluster.check_address(address)


def test_what_ray_says_of_an_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys; print(flush=True); sys.exit('Traceback\\nConnectionError: no running Ray instance')"
    real = subprocess.Popen

    def refused(command: list[str], **options: Any) -> subprocess.Popen[str]:
        return real([*command[:2], program], **options)

    monkeypatch.setattr(cluster.subprocess, "Popen", refused)
    with pytest.raises(RunError, match=r"no running Ray instance.*ray start --head"):
        cluster.check_address("auto")


def test_ray_that_does_not_start_is_told_and_what_was_set_for_it_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def failing(**options: object) -> None:
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        raise Exception("The current node timed out during startup.")  # as Ray does

    monkeypatch.setattr(ray, "init", failing)
    before = dict(os.environ)
    with pytest.raises(RunError, match=r"did not start .*timed out during startup"), cluster.cluster(None):
        pass
    assert dict(os.environ) == before


def test_a_client_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="auto or HOST:PORT"):
        cluster.check_address("ray://somewhere:10001")


def test_an_address_is_checked_before_any_work(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match="auto or HOST:PORT"):
        search(Recipe(), tmp_path / "out", Plan(), address="ray://somewhere:10001")
    assert not (tmp_path / "out").exists()


def test_a_trial_that_fits_no_machine_is_refused_and_not_waited_for() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 4.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}},
    ]
    cluster.check_fits(nodes, 4, 0)
    cluster.check_fits(nodes, 2, 0.5)
    with pytest.raises(ConfigError, match="a trial wants 4 processors and 1 GPUs"):
        cluster.check_fits(nodes, 4, 1)
