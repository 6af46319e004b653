from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from boxless import Localizer
from boxless.errors import BoxlessError, ConfigError, RunError
from boxless.export import OnnxEngine
from boxless.export.facts import KEY
from boxless.predict.torch_engine import TorchEngine
from boxless.runs import Run

from .conftest import CLASSES, SIZE, painted

IMAGES = np.stack([painted((0, 2, 3, 12, 30)), painted((2, 16, 16, 32, 32), (1, 0, 0, 3, 3))])


def test_it_says_what_the_run_says_and_knows_what_the_run_knows(models: Callable[[str], Path], run: Run) -> None:
    torchs, engine = TorchEngine(run), OnnxEngine(models("predicted"))
    for name in ("classes", "threshold", "multi_label", "size", "selected_by", "threshold_from", "presence"):
        assert getattr(engine, name) == getattr(torchs, name), name
    assert engine.facts.run == run.digest != engine.digest
    ours, theirs = torchs.forward(IMAGES), engine.forward(IMAGES)
    assert theirs.classes.tolist() == ours.classes.tolist() == [[0], [2]]
    np.testing.assert_allclose(theirs.logits, ours.logits, atol=1e-5)
    np.testing.assert_allclose(theirs.maps, ours.maps, atol=1e-5)
    assert theirs.finite.all()
    assert theirs.logits.dtype == np.float64
    assert theirs.maps.dtype == np.float32


def test_maps_of_classes_that_are_asked_for(models: Callable[[str], Path]) -> None:
    asked = np.array([[2, 0], [1, 1]])
    engine = OnnxEngine(models("all"))
    said = engine.forward(IMAGES, asked)
    expected = [[IMAGES[i, :, :, c] / 255 for c in row] for i, row in enumerate(asked.tolist())]
    np.testing.assert_allclose(said.maps, expected, atol=1e-5)
    assert said.classes.tolist() == asked.tolist()
    np.testing.assert_allclose(engine.forward(IMAGES).maps[:, 0], [IMAGES[0, :, :, 0] / 255, IMAGES[1, :, :, 2] / 255])


def test_a_file_with_the_predicted_classs_map_refuses_other_classes_and_says_how_to_get_them(
    models: Callable[[str], Path],
) -> None:
    engine = OnnxEngine(models("predicted"))
    assert engine.forward(IMAGES, np.array([[0], [2]])).maps.any()
    with pytest.raises(ConfigError, match=r"predicted class alone.*--maps all"):
        engine.forward(IMAGES, np.array([[0], [1]]))


def test_a_map_of_no_class_is_given_for_every_class(models: Callable[[str], Path]) -> None:
    said = OnnxEngine(models("shared")).forward(IMAGES, np.array([[0, 1, 2]] * 2))
    np.testing.assert_allclose(said.maps, [[IMAGES[i, :, :, 0] / 255] * 3 for i in range(2)], atol=1e-5)


def test_what_is_not_finite_is_marked_and_leaves_its_batch_mates_alone(models: Callable[[str], Path]) -> None:
    white = np.full((1, SIZE, SIZE, 3), 255, np.uint8)
    for kind in ("predicted", "all"):
        engine = OnnxEngine(models(kind))
        said = engine.forward(np.concatenate([white, IMAGES]))
        assert said.finite.tolist() == [False, True, True]
        assert not said.maps[0].any()
        np.testing.assert_array_equal(said.maps[1:], engine.forward(IMAGES).maps)


def test_another_size_of_the_network_is_taken_where_it_was_exported_so(models: Callable[[str], Path]) -> None:
    large = IMAGES.repeat(2, 1).repeat(3, 2)
    said = OnnxEngine(models("predicted")).forward(large)
    assert said.maps.shape == (2, 1, 2 * SIZE, 3 * SIZE)
    np.testing.assert_allclose(said.maps[0, 0], large[0, :, :, 0] / 255, atol=1e-5)
    assert OnnxEngine(models("predicted")).forward(IMAGES).maps.shape == (2, 1, SIZE, SIZE)
    with pytest.raises(ConfigError, match=r"takes images of 32 x 32 pixels, got 96 x 64.*--any-size"):
        OnnxEngine(models("shared")).forward(large)


def test_prediction_needs_no_torch(models: Callable[[str], Path], tmp_path: Path) -> None:
    Image.fromarray(painted((1, 20, 10, 60, 90), size=(80, 100))).save(tmp_path / "photo.png")
    code = f"""
import json, sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "timm", "torchvision"):
            raise ImportError(name + " is not to be imported")
sys.meta_path.insert(0, Refused())
from boxless import Localizer
localizer = Localizer.load({str(models("predicted"))!r})
(found,) = localizer.predict({str(tmp_path / "photo.png")!r})
print(json.dumps([found.label, found.boxes[0].xyxy]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    label, box = json.loads(done.stdout)
    assert label == "green"
    assert box == pytest.approx([20, 10, 60, 90], abs=2)


def test_a_localizer_on_the_file_gives_the_runs_predictions(models: Callable[[str], Path], run: Run) -> None:
    image = painted((0, 5, 40, 90, 60), (1, 0, 0, 9, 9), size=(100, 70))
    ours, theirs = Localizer(run).predict_image(image), Localizer.load(models("predicted")).predict_image(image)
    assert theirs.label == ours.label == "red"
    assert theirs.boxes[0].xyxy == ours.boxes[0].xyxy
    assert theirs.score == pytest.approx(ours.score, abs=1e-5)


def changed(file: Path, to: Path, change: Callable[[Any], None]) -> Path:
    model = onnx.load(file)
    change(model)
    onnx.save(model, to)
    return to


def with_facts(**fields: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        found = json.loads(model.metadata_props[0].value)
        model.metadata_props[0].value = json.dumps(found | fields)

    return change


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": "often"}, "threshold"),
        ({"classes": []}, "classes"),
        ({"classes": ["a", 3, "b"]}, "classes"),
        ({"classes": ["a", "b"]}, "not what its metadata say"),
        ({"size": 0}, "size"),
        ({"maps": "all"}, "not what its metadata say"),
        ({"format": 2}, "format 1"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(
    fields: dict[str, Any], message: str, models: Callable[[str], Path], tmp_path: Path
) -> None:
    file = changed(models("predicted"), tmp_path / "m.onnx", with_facts(**fields))
    with pytest.raises(RunError, match=message):
        OnnxEngine(file).forward(IMAGES)


def test_metadata_are_of_limited_length(
    models: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boxless.export.facts.LONGEST", 1000)
    file = changed(models("predicted"), tmp_path / "m.onnx", with_facts(method="x" * 1000))
    with pytest.raises(RunError, match="1,000 at most"):
        OnnxEngine(file)


def other_model(initializer: Any = None, domain: str = "", operator: str = "Add") -> bytes:
    names = ["images", "w" if initializer else "images"]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["logits"], domain=domain)],
        "other",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [4])],
        [initializer] if initializer else [],
    )
    imports = [helper.make_opsetid("", 20), *([helper.make_opsetid(domain, 1)] if domain else [])]
    made = helper.make_model(graph, opset_imports=imports, ir_version=10)
    entry = made.metadata_props.add()
    entry.key = KEY
    entry.value = json.dumps(
        {"classes": CLASSES, "threshold": 0.5, "multi_label": False, "size": 32, "any_size": False,
         "maps": "predicted", "selected_by": "", "threshold_from": ""}
    )  # fmt: skip
    content: bytes = made.SerializeToString()
    return content


def outside(folder: Path, location: str) -> Any:
    np.arange(4, dtype=np.float32).tofile(folder / "secret.bin")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location.format(folder=folder)
    return tensor


@pytest.mark.parametrize("location", ["secret.bin", "{folder}/secret.bin", "../secret.bin", "/etc/passwd"])
def test_a_model_may_not_read_other_files(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(other_model(outside(tmp_path, location)))
    with pytest.raises(RunError, match="cannot load it"):
        OnnxEngine(tmp_path / "m.onnx")


def test_rubbish_and_other_models_are_refused_by_name(models: Callable[[str], Path], tmp_path: Path) -> None:
    whole = models("predicted").read_bytes()
    stripped = onnx.load_from_string(whole)
    del stripped.metadata_props[:]
    cases = {
        "empty": (b"", "cannot load"),
        "text": (b"not a model\n" * 9, "cannot load"),
        "half": (whole[: len(whole) // 2], "cannot load"),
        "operators of a library": (other_model(domain="evil", operator="Run"), "cannot load"),
        "another's": (stripped.SerializeToString(), "did not write"),
        "another graph": (other_model(), r"inputs \(images\) and outputs \(logits\) are not"),
    }
    for name, (content, message) in cases.items():
        file = tmp_path / f"{name}.onnx"
        file.write_bytes(content)
        with pytest.raises(RunError, match=message) as caught:
            OnnxEngine(file)
        assert str(file) in str(caught.value)
    with pytest.raises(RunError, match="cannot be read"):
        OnnxEngine(tmp_path / "missing.onnx")
    with pytest.raises(RunError, match="cannot be read"):
        OnnxEngine(tmp_path)


def test_cut_and_flipped_bytes_end_in_our_own_errors(models: Callable[[str], Path], tmp_path: Path) -> None:
    whole, draws = bytearray(models("predicted").read_bytes()), np.random.default_rng(0)
    for number in range(60):
        content = bytearray(whole)
        for place in draws.integers(0, len(content), 1 + number % 5).tolist():
            content[place] ^= 1 << int(draws.integers(8))
        file = tmp_path / "m.onnx"
        file.write_bytes(content[: int(draws.integers(len(content)))] if number % 3 == 0 else content)
        try:
            OnnxEngine(file).forward(IMAGES)
        except BoxlessError:
            continue


def test_a_device_that_is_not_there_is_refused(models: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match=r"device 'tpu'.*it has cpu"):
        OnnxEngine(models("predicted"), "tpu")
