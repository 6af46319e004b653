"""What a benchmark is to do: its YAML file, checked, and the trainings that it comes to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen

from boxless.api import with_settings
from boxless.data.catalog import BUNDLED
from boxless.errors import BoxlessError, ConfigError
from boxless.methods import METHODS
from boxless.parsing import read_yaml
from boxless.recipe import Recipe, read_recipe
from boxless.settings import check
from boxless.trust import refuse_code

Settings = Mapping[str, Any]  # section.setting -> value
NO_CONFIGURATION = "default"
ORACLE = "oracle"
LONGEST = 120  # characters of a folder's name; file systems take 255 bytes
_NAME = re.compile(r"[\w.+-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChoice:
    """A data set, and settings of the runs on it."""

    source: str
    format: str = "auto"
    images: str | None = None
    set: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodEntry:
    """A method: a recipe or a name, else what it is called here is its name; and settings of its runs."""

    recipe: str | None = None
    method: str | None = None
    set: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What runs are measured with."""

    split: Literal["test", "train"] = "test"  # val chose weights and thresholds, and can judge neither
    contours: Literal["largest", "all"] = "largest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The keys of the file."""

    datasets: Annotated[Mapping[str, Mapping[str, Any]], MinLen(1)]
    methods: Annotated[Mapping[str, Mapping[str, Any] | None], MinLen(1)]
    out: str = "runs/benchmark"
    configurations: Mapping[str, Annotated[list[Any], MinLen(1)]] | list[Settings] = field(default_factory=dict)
    seeds: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] = (0,)
    protocol: Settings = field(default_factory=dict)
    evaluate: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One training."""

    dataset: str
    method: str
    configuration: str
    seed: int
    recipe: Recipe
    folder: Path

    @property
    def name(self) -> str:
        """As its folder is called below that of the benchmark."""
        return "/".join((self.dataset, self.method, self.configuration, f"seed-{self.seed}"))


@dataclass(frozen=True, slots=True)
class Plan:
    """All trainings of a benchmark, and how they are measured."""

    path: Path
    folder: Path
    jobs: tuple[Job, ...]  # by data set, method, configuration and seed, in the file's order
    evaluation: Evaluation


def read_plan(path: Path, out: Path | None = None) -> Plan:
    """Read and check a benchmark's file. Paths in it are relative to the file, ``out`` to the current folder.

    Raises:
        ConfigError: It is missing, no YAML, or a key or value in it does not fit; file and key are named.
    """
    where = str(path)
    document = Document(**check(Document, _mapping(path), f"{where}: benchmark"))
    evaluation = Evaluation(**check(Evaluation, document.evaluate, f"{where}: evaluate"))
    datasets = {
        _named(where, "datasets", name): DataChoice(**check(DataChoice, settings, f"{where}: datasets.{name}"))
        for name, settings in document.datasets.items()
    }
    methods = {
        _named(where, "methods", name): MethodEntry(**check(MethodEntry, settings or {}, f"{where}: methods.{name}"))
        for name, settings in document.methods.items()
    }
    if len(set(document.seeds)) < len(document.seeds):
        raise ConfigError(f"{where}: seeds: got {list(document.seeds)}; name each once.")
    folder = path.parent / Path(document.out).expanduser() if out is None else out
    configurations = _configurations(where, document.configurations)
    protocol = {f"protocol.{name}": value for name, value in document.protocol.items()}
    jobs: list[Job] = []
    for method, entry in methods.items():
        base = _applied(_recipe(path, method, entry), protocol, f"{where}: protocol")
        for dataset, data in datasets.items():
            recipe = _applied(base, {**_source(path, data), **data.set}, f"{where}: datasets.{dataset}.set")
            recipe = _applied(recipe, entry.set, f"{where}: methods.{method}.set")
            _check_method(recipe, f"{where}: methods.{method}")
            for configuration, settings in configurations.items():
                chosen = _applied(recipe, settings, f"{where}: configurations")
                refuse_code(chosen, f"{where}: configurations")
                _check_realistic(chosen, f"{where}: {dataset}/{method}/{configuration}")
                jobs += [_job((dataset, method, configuration), seed, chosen, folder) for seed in document.seeds]
    order = list(datasets)
    return Plan(path, folder, tuple(sorted(jobs, key=lambda job: order.index(job.dataset))), evaluation)


def _job(names: tuple[str, str, str], seed: int, recipe: Recipe, folder: Path) -> Job:
    place = folder.joinpath(*names) / f"seed-{seed}"
    return Job(*names, seed, recipe.override(training={"seed": seed}), place)


def _mapping(path: Path) -> Mapping[str, Any]:
    try:
        value = read_yaml(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give the path of a benchmark's YAML file."
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{path}: a benchmark is a mapping with datasets and methods, got {type(value).__name__}; see "
            "docs/benchmark.md."
        )
    return {str(key): each for key, each in value.items()}


def _named(where: str, key: str, name: str) -> str:
    """A name of the file, as it becomes that of a folder."""
    if not _NAME.fullmatch(name) or name.strip(".") == "":
        raise ConfigError(
            f"{where}: {key}: got the name {name!r}, of which a folder is made; take letters, digits and _ . + -"
        )
    return name


def _recipe(path: Path, name: str, entry: MethodEntry) -> Recipe:
    where = f"{path}: methods.{name}"
    if entry.recipe is None:
        return _applied(Recipe(), {"method.name": entry.method or name}, where)
    if entry.method is not None:
        raise ConfigError(f"{where}: got a recipe and a method; the recipe says which method it is of, so name one.")
    try:
        return read_recipe(path.parent / Path(entry.recipe).expanduser())
    except ConfigError as error:
        raise ConfigError(f"{where}.recipe: {error}") from None


def _source(path: Path, data: DataChoice) -> dict[str, Any]:
    """The settings of a data set; its paths are found again from any folder."""

    def whole(text: str) -> str:
        return str((path.parent / Path(text).expanduser()).absolute())

    return {
        "data.source": data.source if data.source in BUNDLED else whole(data.source),
        "data.format": data.format,
        "data.images": None if data.images is None else whole(data.images),
    }


def _applied(recipe: Recipe, settings: Settings, where: str) -> Recipe:
    try:
        return with_settings(recipe, settings)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _check_method(recipe: Recipe, where: str) -> None:
    """Refuse a method that there is not or that has no such settings: all jobs of it would fail, and late.

    A configuration may suit some methods only, and is left to its own jobs.
    """
    refuse_code(recipe, where)
    try:
        check(METHODS.load(recipe.method.name), recipe.method.settings, "method")
    except BoxlessError as error:
        raise ConfigError(f"{where}: {error}") from None


def _check_realistic(recipe: Recipe, where: str) -> None:
    """Refuse weights that true boxes choose: no column of the table could hold them beside the others."""
    if recipe.protocol.select == ORACLE:
        raise ConfigError(
            f"{where}: protocol.select: {ORACLE} chooses by true boxes, and a benchmark compares what was chosen "
            "without any. Leave it out; protocol.oracle: true has what true boxes would choose in columns of their own."
        )


def _configurations(where: str, asked: Mapping[str, Sequence[Any]] | Sequence[Settings]) -> dict[str, Settings]:
    """Settings by the name of their folder: all combinations of a mapping's values, or each of a list."""
    found: dict[str, Settings] = {}
    for settings in asked if isinstance(asked, Sequence) else _combinations(asked):
        name = configuration_name(settings)
        if name in found:
            raise ConfigError(f"{where}: configurations: {name} is there twice; name each combination once.")
        if "training.seed" in settings:
            raise ConfigError(f"{where}: configurations: training.seed is no configuration; give seeds instead.")
        found[name] = settings
    return found or {NO_CONFIGURATION: {}}


def _combinations(values: Mapping[str, Sequence[Any]]) -> Iterator[Settings]:
    for each in product(*values.values()):
        yield dict(zip(values, each, strict=True))


def configuration_name(settings: Settings) -> str:
    """The name of a combination of settings: the same one in every file, and another one for other settings."""
    if not settings:
        return NO_CONFIGURATION
    text = ",".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()
    )
    name = re.sub(r"[^\w.,=+-]", "-", text, flags=re.ASCII)
    if name == text and len(name) <= LONGEST:
        return name
    digest = blake2b(json.dumps(settings, default=str).encode(), digest_size=4).hexdigest()
    return f"{name[:LONGEST]}-{digest}"
