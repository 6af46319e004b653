"""A benchmark's file: what it comes to, and what in it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from boxless.benchmark.plan import configuration_name, read_plan
from boxless.errors import ConfigError
from boxless.recipe import Recipe, read_recipe

BASE: dict[str, Any] = {"datasets": {"sample": {"source": "sample"}}, "methods": {"cam": None}}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump({**BASE, **changes}, sort_keys=False))
    return path


def test_jobs_are_the_product_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        datasets={"sample": {"source": "sample"}, "birds": {"source": "data/birds"}},
        methods={"has": {}, "cam": {"set": {"training.epochs": 5}}},
        configurations={"training.learning_rate": [0.001, 3e-4]},
        seeds=[0, 7],
    )
    plan = read_plan(path)
    assert [job.name for job in plan.jobs] == [
        f"{data}/{method}/training.learning_rate={rate}/seed-{seed}"
        for data in ("sample", "birds")
        for method in ("has", "cam")
        for rate in ("0.001", "0.0003")
        for seed in (0, 7)
    ]
    last = plan.jobs[-1]
    assert last.folder == tmp_path / "runs/benchmark/birds/cam/training.learning_rate=0.0003/seed-7"
    assert last.recipe == Recipe().override(
        data={"source": str(tmp_path / "data/birds")},
        method={"name": "cam"},
        training={"epochs": 5, "learning_rate": 3e-4, "seed": 7},
    )


def test_paths_are_relative_to_the_file_and_out_to_the_current_folder(tmp_path: Path) -> None:
    recipe = Recipe().override(method={"name": "cam", "hidden": 8}, training={"epochs": 3})
    recipe.save(tmp_path / "recipes" / "a.yaml")
    (tmp_path / "sub").mkdir()
    path = write(tmp_path / "sub", methods={"a": {"recipe": "../recipes/a.yaml"}}, out="../runs")
    (job,) = read_plan(path).jobs
    assert job.recipe == recipe.override(data={"source": "sample"})
    assert job.folder.resolve() == tmp_path / "runs/sample/a/default/seed-0"
    assert read_plan(path, Path("here")).jobs[0].folder == Path("here/sample/a/default/seed-0")


def test_the_last_that_says_a_thing_counts(tmp_path: Path) -> None:
    def epochs(**changes: Any) -> int | str:
        return read_plan(write(tmp_path, **changes)).jobs[0].recipe.training.epochs

    of_data = {"datasets": {"sample": {"source": "sample", "set": {"training.epochs": 2}}}}
    of_method = {"methods": {"cam": {"set": {"training.epochs": 3}}}}
    assert epochs(**of_data) == 2
    assert epochs(**of_data, **of_method) == 3
    assert epochs(**of_data, **of_method, configurations={"training.epochs": [4]}) == 4
    (job,) = read_plan(write(tmp_path, protocol={"boxes": ["a.csv"], "oracle": True})).jobs
    assert (job.recipe.protocol.boxes, job.recipe.protocol.oracle) == (("a.csv",), True)


def test_configurations_may_be_a_list(tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path, configurations=[{}, {"training.epochs": 2, "training.clip": 1.0}]))
    assert [job.configuration for job in plan.jobs] == ["default", "training.epochs=2,training.clip=1.0"]


def test_names_of_configurations_fit_a_file_system_and_differ() -> None:
    assert configuration_name({"method.source": "a/b"}) != configuration_name({"method.source": "a-b"})
    assert "/" not in configuration_name({"method.source": "a/b"})
    long = [configuration_name({"text.names": "x" * 300 + end}) for end in "ab"]
    assert max(map(len, long)) < 200
    assert len(set(long)) == 2
    assert configuration_name({"method.fuse": True, "training.clip": None}) == "method.fuse=true,training.clip=null"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"methdos": {}}, "benchmark.methdos: there is no such setting; did you mean 'methods'?"),
        ({"datasets": {}}, "benchmark.datasets: expected"),
        ({"datasets": {"a": {"sorce": "sample"}}}, "datasets.a.sorce: there is no such setting; did you mean 'source'"),
        ({"datasets": {"a": {}}}, "datasets.a: source must be given"),
        ({"datasets": {"a/b": {"source": "sample"}}}, "datasets: got the name 'a/b'"),
        ({"methods": {"..": {}}}, "methods: got the name '..'"),
        ({"methods": {"camm": {}}}, "methods.camm: unknown method 'camm'; did you mean 'cam'"),
        ({"methods": {"cam": {"recipe": "none.yaml"}}}, "methods.cam.recipe: "),
        ({"methods": {"cam": {"recipe": "a.yaml", "method": "cam"}}}, "methods.cam: got a recipe and a method"),
        ({"methods": {"cam": {"set": {"training.epoch": 1}}}}, "methods.cam.set: training.epoch: there is no such"),
        ({"methods": {"cam": {"set": {"method.hiden": 1}}}}, "methods.cam: method.hiden: there is no such setting"),
        ({"configurations": {"training.clip": []}}, "benchmark.configurations"),
        ({"configurations": {"training.learning_rat": [1]}}, "configurations: training.learning_rat: there is no"),
        ({"configurations": [{"training.epochs": 1}, {"training.epochs": 1}]}, "training.epochs=1 is there twice"),
        ({"configurations": {"training.seed": [1]}}, "give seeds instead"),
        ({"seeds": [1, 1]}, "seeds: got [1, 1]; name each once"),
        ({"seeds": []}, "benchmark.seeds: expected"),
        (
            {"protocol": {"selct": "pseudo"}},
            "protocol: protocol.selct: there is no such setting; did you mean 'select'",
        ),
        ({"protocol": {"select": "oracle"}}, "protocol.select: oracle chooses by true boxes"),
        ({"evaluate": {"split": "val"}}, "evaluate.split: expected"),
    ],
)
def test_what_does_not_fit_is_refused_with_file_and_key(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        read_plan(path)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"), [(None, "cannot be read"), ("a: [", "not valid YAML"), ("- a", "is a mapping with datasets")]
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "bench.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_plan(path)


def test_our_own_benchmark_can_be_read() -> None:
    root = Path(__file__).parents[3]
    plan = read_plan(root / "benchmarks" / "protocol.yaml")
    assert len(plan.jobs) == 12
    cam = read_recipe(root / "recipes" / "sample" / "cam-tf_efficientnet_lite0.yaml")
    assert plan.jobs[0].recipe.method == cam.method
    assert all(job.recipe.protocol.select == "pseudo" for job in plan.jobs)
