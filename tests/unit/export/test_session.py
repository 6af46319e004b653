from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

from boxless.cli.app import app
from boxless.errors import ConfigError, RunError
from boxless.export import OnnxEngine, export_onnx, session
from boxless.export.checking import Difference, Parity, compare, noise
from boxless.export.facts import Facts
from boxless.export.graph import Graph
from boxless.export.int8 import quantize
from boxless.export.pictures import find_pictures, spread
from boxless.predict.torch_engine import TorchEngine
from boxless.runs import Run

from .conftest import CLASSES, SIZE, Colours, Shared, opened, painted


@pytest.fixture
def traced(models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports in this test take the graph that was traced for all tests, and look up nothing anew."""
    from boxless.export.onnx_file import label

    file = models("predicted")

    def made(graph: Graph, facts: Facts) -> Any:
        model = onnx.load(file)
        label(model, facts)
        return model

    monkeypatch.setattr(session, "make_model", made)


def photos(folder: Path, count: int = 3) -> Path:
    """Coloured squares in folders by colour, with their boxes."""
    rows = ["path,x0,y0,x1,y1"]
    for channel, name in enumerate(CLASSES):
        (folder / "test" / name).mkdir(parents=True)
        (folder / "train" / name).mkdir(parents=True)
        for index in range(count):
            box = (8 + index, 10, 40, 30 + 4 * index)
            for split in ("test", "train"):
                image = painted((channel, *box), size=(64, 48))
                image[:, :, channel] += np.uint8(index * (split == "train"))
                Image.fromarray(image).save(folder / split / name / f"{index}.png")
            rows.append(f"test/{name}/{index}.png,{','.join(map(str, box))}")
    (folder / "boxes.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.mark.usefixtures("traced")
def test_a_model_that_says_something_else_is_not_written_and_the_images_are_named(tmp_path: Path) -> None:
    run = opened(Shared)  # whose maps are not those of the graph
    (tmp_path / "old.onnx").write_bytes(b"as it was")
    with pytest.raises(
        RunError, match=r"old.onnx: not written\. .* on \d of 5 images:\n  image +class of the run"
    ) as no:
        export_onnx(run, tmp_path / "old.onnx")
    assert "noise 0" in str(no.value)
    assert [path.name for path in tmp_path.iterdir()] == ["old.onnx"]
    assert (tmp_path / "old.onnx").read_bytes() == b"as it was"


def test_what_counts_as_a_difference() -> None:
    same = Difference("a.jpg", ("cat", "cat"), 1e-6, 1e-6, 0.0)
    assert same.none
    assert replace(same, box=1.0).none  # a pixel at the threshold
    for wrong in ({"classes": ("cat", "dog")}, {"scores": 2e-4}, {"map": 2e-4}, {"map": float("nan")}, {"box": 2.0}):
        assert not replace(same, **wrong).none
    parity = Parity((same, replace(same, box=1.0), replace(same, map=0.5)))
    assert [each.map for each in parity.wrong] == [0.5]
    found = parity.to_dict()
    assert (found["same_box"], found["same_box_to_the_pixel"], found["largest_map_difference"]) == (3, 2, 0.5)


def test_the_comparison_sees_a_wrong_class_map_mask_and_score(models: Callable[[str], Path], run: Run) -> None:
    model = OnnxEngine(models("predicted"))
    squares = [("a", painted((0, 2, 3, 12, 30))), ("b", painted((2, 16, 16, 32, 32)))]
    assert not compare(TorchEngine(run), model, squares).wrong
    shifted = [compare(TorchEngine(opened(Shared)), model, squares).differences[1]]
    assert shifted[0].map == pytest.approx(1)
    assert shifted[0].box > 1
    other = TorchEngine(opened(threshold="otsu"))
    gradient = np.broadcast_to(np.arange(0, 256, 8, dtype=np.uint8)[:, None], (SIZE, SIZE, 3)).copy()
    gradient[:, :, 1:] = 0
    assert compare(other, model, [("c", gradient)]).differences[0].box <= 1  # half of the maximum is Otsu's too


@pytest.mark.usefixtures("traced")
def test_the_verb_checks_on_data_measures_8_bits_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "open_run", lambda folder, **_: opened())
    data, file = photos(tmp_path / "photos"), tmp_path / "out" / "m.onnx"
    (data / "test" / CLASSES[0] / "broken.png").write_bytes(b"no image")
    arguments = ["export", "runs/x", "--onnx", str(file), "--check", str(data), "--images", "8", "--int8", "--json"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 1  # an image was refused
    found = json.loads(done.stdout)
    assert "broken.png" in found["refused"][0]["name"]
    assert 7 <= found["check"]["images"] <= 8
    assert found["check"]["same_box_to_the_pixel"] == found["check"]["same_class"] == found["check"]["images"]
    assert found["model"]["classes"] == list(CLASSES)
    for measured in (found["int8_cost"]["full"], found["int8_cost"]["small"]):
        assert measured["classes_right"] == measured["boxes_right"] == 100
    assert found["int8_cost"]["images"] == 9
    assert OnnxEngine(file.with_suffix(".int8.onnx")).facts.precision == "int8"
    assert {path.name for path in file.parent.iterdir()} == {"m.onnx", "m.int8.onnx"}


@pytest.mark.usefixtures("traced")
def test_without_data_it_is_checked_on_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "open_run", lambda folder, **_: opened())
    done = CliRunner().invoke(app, ["export", "runs/x", "--onnx", str(tmp_path / "m.onnx")], catch_exceptions=False)
    assert done.exit_code == 0
    assert "5 images of noise" in done.stdout
    assert len({image.tobytes() for _, image in noise(SIZE)}) == 5


def test_what_cannot_be_exported_is_refused_before_any_work(tmp_path: Path) -> None:
    class Gradients(Colours):
        not_exported = "its maps are gradients"

    with pytest.raises(ConfigError, match=r"cannot be exported: its maps are gradients\. Predict with the run"):
        export_onnx(opened(Gradients), tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match=r"must end in \.onnx"):
        export_onnx(opened(), tmp_path / "m.pt")
    fixed = opened()
    fixed.method.backbone.any_size = False
    with pytest.raises(ConfigError, match="takes images of 32 pixels only"):
        export_onnx(fixed, tmp_path / "m.onnx", any_size=True)
    done = CliRunner().invoke(app, ["export", "runs/x", "--onnx", "m.onnx", "--maps", "some"])
    assert done.exit_code == 2
    assert not any(tmp_path.iterdir())


def test_8_bits_make_large_layers_a_quarter_and_leave_convolutions_of_few_inputs(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    shapes = {"first": (16, 3, 3, 3), "each": (16, 1, 3, 3), "large": (256, 16, 3, 3)}
    weights = [onnx.numpy_helper.from_array(draws.normal(size=s).astype(np.float32), n) for n, s in shapes.items()]
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["x", "first"], ["a"], "conv1", pads=[1] * 4),
        make("Conv", ["a", "each"], ["b"], "conv2", group=16, pads=[1] * 4),
        make("Conv", ["b", "large"], ["y"], "conv3"),
    ]
    values = [onnx.helper.make_tensor_value_info(n, 1, s) for n, s in (("x", [1, 3, 8, 8]), ("y", [1, 256, 6, 6]))]
    graph = onnx.helper.make_graph(nodes, "convolutions", values[:1], values[1:], weights)
    imports = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports, ir_version=10), tmp_path / "a.onnx")
    quantize(tmp_path / "a.onnx", tmp_path / "b.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "b.onnx").graph.node]
    assert kinds.count("Conv") == 2
    assert kinds.count("ConvInteger") == 1
    assert (tmp_path / "b.onnx").stat().st_size < 0.35 * (tmp_path / "a.onnx").stat().st_size


def test_images_to_check_on_are_spread_over_the_first_split_that_has_any(tmp_path: Path) -> None:
    found = find_pictures(photos(tmp_path / "photos"))
    assert len(found) == 9
    assert {each.labels for each in found} == {(name,) for name in CLASSES}
    assert all(each.boxes is not None and each.boxes.shape == (1, 4) for each in found)
    assert {each.labels for each in spread(found, 3)} == {(name,) for name in CLASSES}
    plain = tmp_path / "plain"
    plain.mkdir()
    Image.fromarray(painted()).save(plain / "a.png")
    assert [(each.name, each.labels) for each in find_pictures(plain)] == [("a.png", ())]
