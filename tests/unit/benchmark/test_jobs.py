"""Which jobs are done, and which folders hold something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxless.benchmark.jobs import differences, share_pseudo_boxes, state_of
from boxless.benchmark.plan import Job
from boxless.errors import ConfigError
from boxless.recipe import Recipe

ASKED = Recipe().override(data={"source": "sample"}, training={"learning_rate": 1e-3}, method={"name": "cam"})
KEPT = ASKED.override(  # as training settles it
    data={"image_size": 160}, backbone={"name": "test_resnet", "freeze": True}, training={"epochs": 11}
)


def test_a_recipe_that_was_settled_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert differences(ASKED, KEPT) == []
    assert differences(KEPT, KEPT) == []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "boxes.csv").touch()
    asked = ASKED.override(protocol={"boxes": "boxes.csv,clip"}, method={"hidden": 8}, pseudo={"vectors": 2})
    kept = KEPT.override(
        protocol={"boxes": (str(tmp_path / "boxes.csv"), "clip")},
        method={"hidden": 8, "dimensions": 512},
        pseudo={"source": "spectral", "vectors": 2},
    )
    assert differences(asked, kept) == []


def test_what_differs_is_named_with_both_values() -> None:
    assert differences(ASKED.override(training={"learning_rate": 3e-4}), KEPT) == [
        "training.learning_rate is 0.0003, the run has 0.001"
    ]
    assert differences(ASKED.override(method={"hidden": 0}), KEPT) == ["method.hidden is 0, the run has not set"]
    assert differences(ASKED, KEPT.override(method={"hidden": 0})) == ["method.hidden is not set, the run has 0"]
    assert differences(ASKED.override(data={"image_size": 64}), KEPT) == ["data.image_size is 64, the run has 160"]
    staged = KEPT.override(training={"stages": {"localization": {"epochs": 5}}})
    assert differences(ASKED, staged) == ["training.stages.localization.epochs is not set, the run has 5"]
    assert differences(ASKED.override(protocol={"boxes": ["a", "b"]}), KEPT.override(protocol={"boxes": ["a"]})) == [
        "protocol.boxes is ('a', 'b'), the run has ('a',)"
    ]


def test_a_job_is_new_unfinished_or_finished_or_refused(tmp_path: Path) -> None:
    job = Job("sample", "a", "default", 0, ASKED, tmp_path / "run")
    assert state_of(job) == "new"
    KEPT.save(job.folder / "recipe.yaml")
    assert state_of(job) == "unfinished"
    (job.folder / "card.json").write_text("{}")
    assert state_of(job) == "finished"
    KEPT.override(training={"clip": 1.0}).save(job.folder / "recipe.yaml")
    with pytest.raises(ConfigError, match=r"training.clip is None, the run has 1.0. Put them back"):
        state_of(job)


def test_pseudo_boxes_are_shared_by_jobs_of_one_backbone_and_data_alone(tmp_path: Path) -> None:
    def job(name: str, **changes: dict[str, object]) -> Job:
        return Job("sample", name, "default", 0, ASKED.override(**changes), tmp_path / name)

    made = job("made")
    (made.folder / "pseudo_boxes").mkdir(parents=True)
    (made.folder / "pseudo_boxes" / "spectral.csv").write_text("path,x0\n")
    same = job("same", training={"learning_rate": 0.5, "seed": 3}, method={"hidden": 4}, backbone={"freeze": True})
    spectral = {"boxes": ["spectral"]}
    unread = job("unread", text={"model": "none"}, protocol=spectral)
    other = [
        job("text", text={"model": "none"}),  # boxes are left to be found out, and may be those of CLIP
        job("size", data={"image_size": 64}),
        job("net", backbone={"name": "test_resnet"}),
        job("boxes", protocol={"boxes": "clip"}),
    ]
    random = [job(f"random{seed}", backbone={"weights": "random"}, training={"seed": seed}) for seed in (0, 1)]
    for each in (same, *other):
        share_pseudo_boxes(each, [made, same, *other])
    assert (same.folder / "pseudo_boxes" / "spectral.csv").read_text() == "path,x0\n"
    share_pseudo_boxes(unread, [Job("sample", "made", "default", 0, ASKED.override(protocol=spectral), made.folder)])
    assert (unread.folder / "pseudo_boxes" / "spectral.csv").exists()
    assert not any(each.folder.exists() for each in other)
    (random[0].folder / "pseudo_boxes").mkdir(parents=True)
    (random[0].folder / "pseudo_boxes" / "spectral.csv").touch()
    share_pseudo_boxes(random[1], [made, *random])
    assert not random[1].folder.exists()
    (same.folder / "pseudo_boxes" / "spectral.csv").write_text("its own")
    share_pseudo_boxes(same, [made])
    assert (same.folder / "pseudo_boxes" / "spectral.csv").read_text() == "its own"
