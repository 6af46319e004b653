from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from httpx import Request, Response
from huggingface_hub import errors
from typer.testing import CliRunner

from boxless import Localizer
from boxless.cli.app import app
from boxless.errors import BoxlessError, ConfigError, DataError, RunError
from boxless.export.hub import fetch_run, push_to_hub
from boxless.recipe import Recipe
from boxless.runs import CARD, RECIPE, RUN_VERSION, WEIGHTS, build_method
from boxless.training.checkpoints import save_tensors

NAMES = ["a`b|c", "<script>alert(1)</script>", "täxi"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with names and paths that should not go up as they are."""
    folder = tmp_path_factory.mktemp("runs") / "photos"
    folder.mkdir()
    recipe = Recipe().override(
        backbone={"name": "test_resnet", "weights": "random"},
        data={"source": "/home/someone/secret/photos", "image_size": 32},
        method={"name": "cam"},
    )
    torch.manual_seed(0)
    recipe.save(folder / RECIPE)
    save_tensors(folder / WEIGHTS, build_method(recipe, len(NAMES), pretrained=False).state_dict())
    card = {
        "run_version": RUN_VERSION, "boxless": "0", "classes": NAMES, "multi_label": False, "method": "cam",
        "data": {"source": "/home/someone/secret/photos", "format": "folder", "images": {"train": 9}},
        "backbone": {"name": "test_resnet", "licence": "none (random)", "frozen": True},
        "selection": {"by": "oracle", "criterion": "mean IoU with true boxes (ORACLE)", "value": 0.5, "epoch": 1},
        "threshold": {"rule": 0.4, "source": "the best on 9 true boxes of val (ORACLE)"}, "resolution": 32,
        "criteria": {
            "oracle": {"weights": WEIGHTS, "threshold": 0.4},
            "last": {"weights": "selected/epoch-001.safetensors", "threshold": None},
        },
        "box_rule": "", "seed": 0, "date": "", "supervision": "", "training_seconds": 1, "refused": {},
        "notes": f"kept in {Path.home()}/runs",
    }  # fmt: skip
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of the Hub; what is asked of it besides is kept in ``asked.json`` there."""
    root = tmp_path / "hub"

    def create_repo(self: Any, repo_id: str, **options: Any) -> None:
        (root / repo_id).mkdir(parents=True, exist_ok=options["exist_ok"])
        (root / "asked.json").write_text(json.dumps({"private": options["private"], "token": self.token}))

    def create_commit(self: Any, repo_id: str, operations: Any, commit_message: str) -> Any:
        for each in operations:
            with each.as_file() as file:
                (root / repo_id / each.path_in_repo).write_bytes(file.read())
        return type("Commit", (), {"commit_url": f"https://hub/{repo_id}/commit/1"})

    def snapshot_download(repo_id: str, *, allow_patterns: list[str], **options: Any) -> str:
        target = tmp_path / "cache"
        target.mkdir(exist_ok=True)
        for name in allow_patterns:
            if (root / repo_id / name).exists():
                (target / name).write_bytes((root / repo_id / name).read_bytes())
        (tmp_path / "fetched.json").write_text(json.dumps(options))
        return str(target)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", create_commit)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return root


def test_a_run_comes_back_as_it_went(made: Path, hub: Path, tmp_path: Path) -> None:
    pushed = push_to_hub(made, "me/photos", private=True, token="t")
    assert json.loads((hub / "asked.json").read_text()) == {"private": True, "token": "t"}
    assert pushed.url == "https://hub/me/photos/commit/1"
    sent = {path.name for path in (hub / "me/photos").iterdir()}
    assert sent == set(pushed.files) == {"README.md", RECIPE, CARD, WEIGHTS}
    (hub / "me/photos/evil.pkl").write_bytes(b"cos\nsystem\n")
    there = Localizer.from_pretrained("me/photos", revision="abc", device="cpu")
    assert json.loads((tmp_path / "fetched.json").read_text())["revision"] == "abc"
    assert not (there.run.folder / "evil.pkl").exists()
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    here = Localizer.load(made, "cpu").predict_image(image)
    assert there.predict_image(image) == here
    assert there.run.classes == tuple(NAMES)


def test_paths_of_this_machine_stay_here(made: Path, hub: Path) -> None:
    push_to_hub(made, "me/photos")
    for path in (hub / "me/photos").iterdir():
        content = path.read_bytes()
        assert b"someone" not in content, path.name
        assert str(Path.home()).encode() not in content, path.name
    assert yaml.safe_load((hub / "me/photos" / RECIPE).read_text())["data"]["source"] == "photos"
    assert json.loads((hub / "me/photos" / CARD).read_text())["criteria"].keys() == {"oracle"}


def test_the_model_card_says_what_it_is_and_marks_what_true_boxes_chose(made: Path, hub: Path) -> None:
    push_to_hub(made, "me/photos")
    _, header, text = (hub / "me/photos/README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(header)["library_name"] == "boxless"
    assert yaml.safe_load(header)["license"] == "other"
    assert 'Localizer.from_pretrained("me/photos")' in text
    assert "ORACLE" in text.partition("## Figures")[0].partition("## How it was made")[2]
    assert "0.5" in text.partition("## Figures")[2]
    classes = text.partition("## Classes\n\n")[2].partition("\n")[0]
    assert classes == "`` a`b&#124;c ``, `<script>alert(1)</script>`, `täxi`"  # code: nothing of it is HTML
    for title in ("## Limits", "## Licence", "none (random)"):
        assert title in text


def test_figures_of_an_evaluation_are_shown_with_where_thresholds_are_from(
    made: Path, hub: Path, tmp_path: Path
) -> None:
    found = {
        "images": 60, "split": "test", "interval": "95 %", "figures": {"class_accuracy": {"value": 70.0}},
        "protocols": [
            {"threshold": {"source": "run", "threshold_from": "val's pseudo-boxes"},
             "figures": {"box_accuracy": {"value": 61.25, "low": 50.0, "high": 70.0}}},
            {"threshold": {"source": "oracle-test", "threshold_from": "ORACLE: these boxes"},
             "figures": {"box_accuracy": {"value": 80.0, "low": None, "high": None}}},
        ],
    }  # fmt: skip
    (tmp_path / "evaluation.json").write_text(json.dumps(found))
    push_to_hub(made, "me/photos", evaluation=tmp_path / "evaluation.json")
    text = (hub / "me/photos/README.md").read_text(encoding="utf-8")
    assert "| threshold from | val's pseudo-boxes | ORACLE: these boxes |" in text
    assert "| box accuracy, IoU 0.5 (GT-known) | 61.2 % [50.0, 70.0] | 80.0 % |" in text
    assert "| class accuracy | 70.0 % |  |" in text
    (tmp_path / "evaluation.json").write_text("[1]")
    with pytest.raises(DataError, match=r"no evaluation\.json of one run"):
        push_to_hub(made, "me/photos", evaluation=tmp_path / "evaluation.json")


def test_a_dry_run_sends_nothing_and_what_it_wrote_goes_up_as_it_was_changed(
    made: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = made / "README.md"
    done = CliRunner().invoke(app, ["push", str(made), "me/photos", "--dry-run", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    assert set(json.loads(done.stdout)["files"]) == {"README.md", RECIPE, CARD, WEIGHTS}
    assert not hub.exists()
    try:
        page.write_text(page.read_text(encoding="utf-8") + "Written by hand.\n", encoding="utf-8")
        push_to_hub(made, "me/photos")
        assert (hub / "me/photos/README.md").read_text(encoding="utf-8").endswith("Written by hand.\n")
        with pytest.raises(ConfigError, match="without these figures; remove it"):
            push_to_hub(made, "me/photos", evaluation="evaluation.json")
    finally:
        page.unlink()


@pytest.mark.parametrize("name", ["photos", "me/photos/x", "../me", "me/..", "me/ph otos", "", "https://hub/me/photos"])
def test_what_is_no_name_of_a_repository_is_refused(name: str, made: Path, hub: Path) -> None:
    for act in (lambda: push_to_hub(made, name), lambda: fetch_run(name)):
        with pytest.raises(ConfigError, match="owner/name"):
            act()


def test_a_repository_without_a_run_is_refused_by_what_it_lacks(hub: Path) -> None:
    (hub / "me/other").mkdir(parents=True)
    (hub / "me/other" / CARD).write_text("{}")
    with pytest.raises(RunError, match=f"no run of boxless.*{RECIPE}, {WEIGHTS} missing"):
        fetch_run("me/other")


def test_a_recipe_from_the_hub_that_names_code_is_refused(made: Path, hub: Path) -> None:
    push_to_hub(made, "me/photos")
    recipe = hub / "me/photos" / RECIPE
    recipe.write_text(recipe.read_text().replace("name: cam", "name: os:system"))
    with pytest.raises(BoxlessError, match="os:system"):
        Localizer.from_pretrained("me/photos")


def answers(status: int) -> Response:
    return Response(status, request=Request("GET", "https://hub"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.LocalEntryNotFoundError("offline"), "cannot be reached, and this was not fetched before"),
        (errors.OfflineModeIsEnabled("offline"), "cannot be reached, and this was not fetched before"),
        (errors.RepositoryNotFoundError("no", response=answers(404)), "no such repository or revision.*hf auth login"),
        (errors.RevisionNotFoundError("no", response=answers(404)), "no such repository or revision"),
        (errors.HfHubHTTPError("403 forbidden", response=answers(403)), "refuses .403 forbidden.*hf auth login"),
        (ConnectionError("no route"), "cannot be reached .no route"),
    ],
)
def test_what_the_hub_answers_is_said_in_words_that_help(
    error: Exception, message: str, made: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    acts: tuple[Callable[[], Any], ...] = (
        lambda: fetch_run("me/photos", revision="v1"),
        lambda: push_to_hub(made, "me/photos"),
    )
    for act in acts:
        with pytest.raises(RunError, match=f"me/photos.*{message}"):
            act()
