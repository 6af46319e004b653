"""Annotation files from class-labelled images: proposals in pixels of the originals, kept, resumed, drawn."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import boxless
from boxless.backbones import weights
from boxless.data.catalog import read_catalog
from boxless.errors import BoxlessError, ConfigError, DataError, UnknownNameError
from boxless.listener import Listener
from boxless.pseudo import annotators
from boxless.pseudo import job as module
from boxless.pseudo.labels import check_source
from boxless.pseudo.material import open_material
from boxless.pseudo.pictures import OBJECT, OTHER, picture
from boxless.pseudo.proposals import ProposalSettings, propose
from boxless.pseudo.records import Proposals
from boxless.runs import open_run

from .toy_annotators import Fixed

FIXED = f"{Fixed.__module__}:Fixed"
NAMES = ("blue", "green", "red")
SPECTRAL = {"vectors": 2, "threshold": 0.97, "stride": 8}  # features of a network that learnt nothing are much alike


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on blue, green and red, trained for one epoch, on 64 x 64 pixels."""
    root = paint(tmp_path_factory.mktemp("trained") / "data", count=4)
    return boxless.train(
        root,
        root.parent / "run",
        backbone="test_resnet",
        settings={"backbone.weights": "random", "training.batch_size": 4},
        freeze=True,
        epochs=1,
        image_size=64,
        device="cpu",
    ).folder


@pytest.fixture(autouse=True)
def unseen() -> None:
    Fixed.seen.clear()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return paint(tmp_path / "data", count=2)


def paint(root: Path, count: int, names: tuple[str, ...] = NAMES) -> Path:
    """Coloured noise of 80 x 48 pixels, by class, all of it to train on."""
    random = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 60, (48, 80, 3)).astype(np.uint8)
            pixels[12:36, 20:60, 2 - NAMES.index(name) if name in NAMES else 0] += 150
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def annotate(data: Path, run: Path, annotator: str = FIXED, **options: Any) -> boxless.pseudo.annotate.Annotated:
    return boxless.annotate(
        data,
        options.pop("out", data.parent / "out"),
        classifier=run,
        annotator=annotator,
        **{"split": "all", "device": "cpu", **options},
    )


def rows(done: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(done.files[0].read_text().splitlines()))


@pytest.fixture
def one_square(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes every source give two maps: a flat one, and a square on 16, 16, 48, 48 of a given brightness."""

    def give(level: float) -> None:
        maps = torch.zeros(2, 64, 64)
        maps[1, 16:48, 16:48] = level
        monkeypatch.setattr(
            annotators, "check_source", lambda *_, **__: lambda a, b, images, c: maps.expand(len(images), 2, 64, 64)
        )

    return give


def test_boxes_are_in_pixels_of_the_upright_original(data: Path, run: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: 48 x 80 pixels when it stands
    with Image.open(data / "red" / "0.png") as image:
        image.save(data / "red" / "0.jpg", exif=exif)
    found = {row["name"]: row for row in reversed(rows(annotate(data, run, formats=("csv",))))}
    assert len(found) == 7
    corners = [float(found["red/1.png"][each]) for each in ("width", "height", "x0", "y0", "x1", "y1")]
    assert corners == [80, 48, 10, 12, 50, 48]
    corners = [float(found["red/0.jpg"][each]) for each in ("width", "height", "x0", "y0", "x1", "y1")]
    assert corners == [48, 80, 6, 20, 30, 80]


def test_boxes_are_of_the_image_s_own_class_best_first_in_every_format(data: Path, run: Path) -> None:
    done = annotate(data, run, formats=("coco", "csv", "yolo", "voc", "labelstudio", "cvat"))
    assert (done.images, done.boxes, done.empty, done.before, done.refused, done.remarks) == (6, 12, 0, 0, (), ())
    assert all(path.exists() for path in done.files)
    found = json.loads(done.files[0].read_text())
    names = {each["id"]: each["name"] for each in found["categories"]}
    folders = {each["id"]: each["file_name"].split("/")[0] for each in found["images"]}
    assert [names[each["category_id"]] for each in found["annotations"]] == [
        folders[each["image_id"]] for each in found["annotations"]
    ]
    assert [each["score"] for each in found["annotations"]] == [0.5, 0.25] * 6
    assert [each["bbox"] for each in found["annotations"][:2]] == [[10, 12, 40, 36], [0, 0, 40, 24]]


def test_the_proposals_are_those_of_algorithm_2_1_on_the_run_s_own_backbone(data: Path, run: Path) -> None:
    done = annotate(
        data, run, "dips", settings={"source": "spectral", **SPECTRAL, "top_k": 3, "min_size": 0.1}, formats=("csv",)
    )
    assert done.made_from == {"kind": "boxes", "maps": "spectral", "settings": SPECTRAL}
    opened = open_run(run, "cpu")
    items = read_catalog(data).splits["train"]
    with Image.open(items[3].path) as image:
        images = opened.preprocess(image.convert("RGB"))[None]
    source = check_source("spectral", SPECTRAL, opened.method.backbone, kind="boxes")
    maps = source(opened.method.backbone, None, images, None)  # type: ignore[arg-type]
    expected = propose(
        maps,
        images,
        torch.tensor(items[3].labels),
        opened.method.as_classifier(),
        num_classes=3,
        settings=ProposalSettings(top_k=3, min_size=0.1, score="product", visible="region"),
        size=(64, 64),
    )
    own = [row for row in rows(done) if row["name"] == items[3].name]
    assert len(own) == int(expected.valid.sum()) > 1
    boxes = np.array([[float(row[each]) for each in ("x0", "y0", "x1", "y1")] for row in own])
    np.testing.assert_allclose(boxes, expected.boxes[0, : len(own)].numpy() * np.tile([80 / 64, 48 / 64], 2), atol=1e-3)
    scores = [float(row["box_score"]) for row in own]
    np.testing.assert_allclose(scores, expected.scores[0, : len(own)].numpy(), atol=1e-4)


def test_more_boxes_than_regions_are_not_invented(data: Path, run: Path, one_square: Callable[[float], None]) -> None:
    one_square(1.0)
    done = annotate(data, run, "dips", settings={"top_k": 10}, formats=("csv",))
    assert (done.images, done.boxes, done.empty) == (6, 6, 0)
    assert [float(rows(done)[0][each]) for each in ("x0", "y0", "x1", "y1")] == [20, 12, 60, 36]


def test_flat_maps_give_no_box_and_are_counted(data: Path, run: Path, one_square: Callable[[float], None]) -> None:
    one_square(0.0)
    done = annotate(data, run, "dips", formats=("coco", "csv", "yolo"), overlays=True)
    assert (done.images, done.boxes, done.empty) == (6, 0, 6)
    assert done.remarks == ("6 of 6 images have no proposal: their maps are flat, or they cannot be read.",)
    found = json.loads(done.files[0].read_text())
    assert (len(found["images"]), found["annotations"]) == (6, [])
    assert len(list((data.parent / "out" / "overlays").rglob("*.jpg"))) == 6


def test_regions_below_the_least_size_leave_the_largest_and_are_told(
    data: Path, run: Path, one_square: Callable[[float], None]
) -> None:
    one_square(1.0)
    done = annotate(data, run, "dips", settings={"min_size": 0.5})
    assert done.boxes == 6
    assert done.remarks == ("6 of 6 images have no region of the minimum size; each keeps its largest.",)


def test_an_image_of_two_classes_gets_boxes_of_both(data: Path, run: Path) -> None:
    (data / "list.csv").write_text(
        "path,label\nred/0.png,red;blue\nred/1.png,red\nblue/0.png,blue\ngreen/0.png,green\n"
    )
    done = annotate(data / "list.csv", run, formats=("csv",), overlays=True)
    assert (done.images, done.boxes) == (4, 10)
    assert [row["box_label"] for row in rows(done) if row["name"] == "red/0.png"] == ["blue"] * 2 + ["red"] * 2
    assert len(list((data / "out" / "overlays").rglob("*.jpg"))) == 4


def test_a_run_may_know_more_classes_than_the_data_and_not_fewer(tmp_path: Path, run: Path) -> None:
    done = annotate(paint(tmp_path / "some", 1, ("green", "red")), run, formats=("coco",))
    assert [each["name"] for each in json.loads(done.files[0].read_text())["categories"]] == list(NAMES)
    assert Fixed.seen == [(1, 2)]
    with pytest.raises(DataError, match="the run does not know the class 'cat'"):
        annotate(paint(tmp_path / "other", 1, ("green", "cat")), run)


def test_what_is_done_is_not_done_again_and_a_stopped_job_goes_on(
    data: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    with pytest.raises(KeyboardInterrupt):
        annotate(data, run, settings={"stop_at": 2})
    assert [len(each) for each in Fixed.seen] == [2, 2]
    done = annotate(data, run, formats=("csv",))
    assert sorted(sum(Fixed.seen, ())) == [0, 0, 1, 1, 2, 2]
    assert (done.before, done.images, done.boxes) == (4, 6, 12)
    assert annotate(data, run).before == 6
    assert len(Fixed.seen) == 3
    assert annotate(data, run, settings={"empty": True}).before == 0  # other proposals


def test_a_file_that_cannot_be_read_is_told_each_time_until_it_is_mended(data: Path, run: Path) -> None:
    broken = data / "red" / "0.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:200])
    shutil.copy(broken, data / "red" / "copy.png")
    for _ in range(2):
        done = annotate(data, run)
        assert (done.images, done.boxes) == (5, 10)
        assert [name for name, _ in done.refused] == ["red/0.png", "red/copy.png"]
        assert all(str(data) in reason for _, reason in done.refused)
    broken.write_bytes(content)
    assert (annotate(data, run).images, annotate(data, run).before) == (6, 6)
    for path in data.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the 7 images can be used; the first: "):
        annotate(data, run)


def test_an_overlay_is_drawn_once_and_anew_for_other_settings(
    data: Path, run: Path, one_square: Callable[[float], None]
) -> None:
    one_square(1.0)
    options: dict[str, Any] = {"annotator": "dips", "overlays": True}
    done = annotate(data, run, **options)
    assert done.overlays is not None
    path = done.overlays / "red" / "0.png.jpg"
    drawn = path.stat().st_mtime_ns
    (done.overlays / "red" / "1.png.jpg").unlink()
    annotate(data, run, **options)
    assert path.stat().st_mtime_ns == drawn
    assert (done.overlays / "red" / "1.png.jpg").exists()
    annotate(data, run, **options, settings={"top_k": 1})
    assert path.stat().st_mtime_ns != drawn


def test_a_picture_holds_image_maps_boxes_and_drawn_pixels() -> None:
    maps = torch.zeros(2, 64, 64)
    maps[1, 16:48, 16:48] = 1
    proposals = Proposals(
        boxes=torch.tensor([[[16.0, 16, 48, 48]]]),
        scores=torch.tensor([[0.9]]),
        maps=torch.tensor([[1]]),
        valid=torch.tensor([[True]]),
        kept_largest=torch.tensor([False]),
        activations=maps[None, 1:].half(),
        grid=(64, 64),
    )
    sampling = {"foreground_share": 0.3, "background_share": 0.3, "count": 30}
    drawn = picture(
        Image.new("RGB", (80, 48)), proposals, maps, label="x", settings=ProposalSettings(), sampling=sampling
    )
    assert drawn.height == 303
    assert drawn.width > 3 * 400 + 197  # two maps, one above the other
    pixels = np.asarray(drawn)[47:287]
    last, third = pixels[:, -416:-16], pixels[:, -832:-432]
    box = np.zeros((240, 400), dtype=bool)
    box[60:180, 100:300] = True
    line = box.copy()
    line[62:178, 102:298] = False
    orange, blue = ((last == np.array(colour)).all(2) for colour in (OBJECT, OTHER))
    assert orange[line].mean() > 0.9
    assert (third == np.array(OBJECT)).all(2)[line].mean() > 0.9
    assert orange[box & ~line].sum() > 150  # of 30 discs
    assert blue[~box].sum() > 250
    assert blue[62:178, 102:298].sum() == 0
    assert not orange[:56].any()
    without = picture(Image.new("RGB", (80, 48)), proposals, label="x", settings=ProposalSettings())
    assert without.width == 2 * 400 + 3 * 16


def test_the_annotator_of_a_method_s_name_draws_pixels_by_its_defaults() -> None:
    from boxless.methods.dips import DiPS
    from boxless.pseudo.overlays import _sampling
    from boxless.settings import settings_of

    defaults = {each.name: each.default for each in settings_of(DiPS)}
    found = _sampling("dips")
    assert found is not None
    assert found == {name: defaults[name] for name in found}
    assert {"foreground_share", "background_share", "count", "dilation"} <= set(found)
    assert _sampling("cam") is _sampling(FIXED) is None


def test_the_maps_come_from_the_run_s_own_backbone_or_from_another_on_its_images(
    data: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "load", lambda *_, **__: None)
    catalog = read_catalog(data)
    own = open_material(str(run), catalog, backbone=None, image_size=None, device="cpu")
    assert own.material.teacher.method is not None
    assert own.material.backbone is own.material.teacher.method.backbone
    other = open_material(str(run), catalog, backbone="test_vit", image_size=32, device="cpu")
    assert (other.preprocess.size, other.material.backbone.title) == (32, "test_vit")
    assert not other.material.backbone.training
    images = torch.rand(2, 3, 32, 32)
    assert other.material.teacher(images).shape == (2, 3)  # brought to the 64 x 64 pixels of the run
    assert own.material.teacher(images).shape == (2, 3)
    assert own.digests()["classifier"] == other.digests()["classifier"]
    assert own.digests()["backbone"] != other.digests()["backbone"]


def test_a_timm_classifier_must_be_of_as_many_classes(data: Path) -> None:
    with pytest.raises(ConfigError, match="was trained on 1000 classes, and the data has 3"):
        open_material("test_resnet", read_catalog(data), backbone=None, image_size=None, device="cpu")


def test_a_timm_classifier_s_own_network_gives_the_maps(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load", lambda *_, **__: None)
    many = replace(read_catalog(data), classes=tuple(f"class {number}" for number in range(1000)))
    opened = open_material("test_resnet", many, backbone=None, image_size=None, device="cpu")
    assert opened.preprocess.size == 160
    assert opened.material.backbone.title == "test_resnet"
    assert opened.material.teacher(torch.rand(1, 3, 160, 160)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"annotator": "dpis"}, UnknownNameError, "unknown annotator 'dpis'; did you mean 'dips'"),
        ({"annotator": "dips", "settings": {"top_k": 0}}, ConfigError, "pseudo.top_k: expected int >= 1, got 0"),
        ({"annotator": "dips", "settings": {"top": 1}}, ConfigError, "pseudo.top: there is no such setting"),
        ({"settings": {"top_k": 1}}, ConfigError, "pseudo.top_k: there is no such setting"),
        (
            {"annotator": "dips", "settings": {"source": "attention"}},
            ConfigError,
            "gives no attention of a class token",
        ),
        ({"annotator": "dips", "settings": {"source": "spectrum"}}, ConfigError, "no source 'spectrum'"),
        (
            {"annotator": "dips", "settings": {"source": "run", "heads": "all"}},
            ConfigError,
            "has no settings of its own",
        ),
        ({"split": "vall"}, ConfigError, r"split 'vall': .* has no images in it; it has train, .*all\."),
        ({"formats": ("coc",)}, UnknownNameError, "unknown format 'coc'"),
        ({"backbone": "tset_resnet"}, UnknownNameError, "unknown backbone 'tset_resnet'"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_written(
    options: dict[str, Any], kind: type[BoxlessError], said: str, data: Path, run: Path
) -> None:
    with pytest.raises(kind, match=said):
        annotate(data, run, **options)
    assert not (data.parent / "out").exists()
    assert Fixed.seen == []


def test_a_folder_inside_the_data_and_a_classifier_that_is_none_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lies in the data"):
        annotate(data, tmp_path, out=data / "boxes")
    with pytest.raises(ConfigError, match="no folder of a finished run and no timm model"):
        annotate(data, tmp_path / "no-run")
    with pytest.raises(BoxlessError, match="this is no run folder"):
        annotate(data, tmp_path / "data")


def test_the_maps_of_the_run_itself_are_a_source(data: Path, run: Path) -> None:
    done = annotate(data, run, "dips", settings={"source": "run"})
    assert done.made_from["maps"] == "run"
    assert 0 < done.boxes <= 12


def test_progress_is_heard(data: Path, run: Path) -> None:
    heard: list[tuple[str, int, int]] = []

    class Ear(Listener):
        def begin(self, task: str, total: int, done: int = 0) -> None:
            heard.append((task, total, done))

    annotate(data, run, listener=Ear())
    annotate(data, run, listener=Ear(), overlays=True)
    assert heard == [("proposals", 6, 0), ("proposals", 6, 6), ("overlays", 6, 0)]


def test_a_training_run_finds_the_proposals_of_an_annotation_job(data: Path, run: Path, tmp_path: Path) -> None:
    annotate(data, run, "dips", settings={"source": "spectral", **SPECTRAL})
    store = tmp_path / "out" / ".proposals"
    before = {path: path.read_bytes() for path in store.rglob("*.jsonl")}
    assert len(before) == 1
    boxless.train(
        data,
        tmp_path / "learnt",
        method="dips",
        backbone="test_resnet",
        settings={
            "backbone.weights": "random",
            "pseudo.classifier": str(run),
            "pseudo.source": "spectral",
            **{f"pseudo.{name}": value for name, value in SPECTRAL.items()},
            "pseudo.folder": str(store),
        },
        freeze=True,
        epochs=1,
        image_size=64,
        device="cpu",
    )
    assert {path: path.read_bytes() for path in store.rglob("*.jsonl")} == before
