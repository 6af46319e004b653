"""Each recipe file against today's signatures: one that cannot be run any more is a lie.

Networks are built without weights, on the meta device where that suffices. Run as a script, this file writes the tables
of published figures in recipes/README.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from boxless.backbones.base import Backbone
from boxless.backbones.build import build_backbone
from boxless.data.sources import SOURCES
from boxless.methods import METHODS
from boxless.methods.base import Method
from boxless.recipe import Recipe, read_recipe
from boxless.runs import build_method
from boxless.training.labelling import plan, settle
from boxless.training.optim import build_optimizer, set_rate

ROOT = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(ROOT.rglob("*.yaml"))
VIDEOS = ("yto-v1", "yto-v2.2")
CLASSES = {"sample": 10, "cub": 200, "ilsvrc": 1000, "openimages": 100, "aerial": 2, **dict.fromkeys(VIDEOS, 10)}
MOVING = ("aeroplane", "bird", "boat", "car", "cat", "cow", "dog", "horse", "motorbike", "train")  # classes of videos
SHOWN = [data for data in CLASSES if data != "sample"]  # what others published figures of
STUDIED = [data for data in SHOWN if data not in ("aerial", *VIDEOS)]  # of public data sets of images
NETWORKS = ("vgg16", "inception_v3", "resnet50")
DINO, DEIT, EVA = "vit_small_patch16_224", "deit_small_patch16_224", "eva_large_patch14_196"
CLIP_B, CLIP_L = "vit_b16", "vit_l14"
FEW: dict[str, dict[str, tuple[str, ...]]] = {  # methods with recipes only where figures are published
    "cam": {**dict.fromkeys(STUDIED, NETWORKS), **dict.fromkeys(VIDEOS, ("resnet50",))},
    **dict.fromkeys(("ts_cam", "scm", "sat"), dict.fromkeys(("cub", "ilsvrc"), (DEIT,))),
    "attention": dict.fromkeys(STUDIED, (DINO,)),
    "dips": dict.fromkeys((*STUDIED, "aerial"), (DINO,)),
    "dips_unet": dict.fromkeys(("cub", "aerial"), ("resnet50",)),
    "fcam": dict.fromkeys(("cub", "openimages"), ("vgg16", "resnet50")),
    "tcam": dict.fromkeys(VIDEOS, ("resnet50",)),
    "tr_cam_v": dict.fromkeys(VIDEOS, (DINO,)),
    **dict.fromkeys(("clip", "sclip", "naclip", "clip_es"), dict.fromkeys(("cub", "ilsvrc"), (CLIP_B,))),
    "clipseg": {},
    "ted_loc": dict.fromkeys(("cub", "ilsvrc"), (EVA, CLIP_L)),
}

BOX_METRICS = {
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "MaxBoxAccV2 at IoU 0.3",
    "MaxBoxAccV2 at IoU 0.5",
    "MaxBoxAccV2 at IoU 0.7",
    "top-1 localization",
    "top-5 localization",
    "GT-known localization",
    "class accuracy",
    "mean IoU",
}
ERRORS = {"LPE", "LME", "MIns-Error"}
METRICS = {
    "cub": BOX_METRICS | (ERRORS - {"MIns-Error"}),  # which takes several objects
    "ilsvrc": BOX_METRICS | ERRORS,
    "openimages": {"PxAP", "PIoU"},
    "aerial": BOX_METRICS,
    **{data: {"CorLoc", "class accuracy"} for data in VIDEOS},
}
TABLES = {
    *(f"thesis 2.{number}" for number in range(1, 7)),
    *(f"thesis 3.{number}" for number in (1, 2, 4, 5)),
    *(f"thesis 4.{number}" for number in (2, 3, 6, 7, 8)),
    *(f"thesis I-{number}" for number in range(1, 6)),
    *(f"thesis II-{number}" for number in range(1, 4)),
    "wsolevaluation README",
    "BAS-Extension README",
    "F-CAM poster",
    *(f"{method} README" for method in ("TS-CAM", "SCM", "SAT")),
}
SELECTED = tuple(f"thesis 4.{number}" for number in (2, 3, 6, 7, 8))
DETAILS = ("losses", "classifier", "maps", "anchors")  # in what a figure's model differs from the file
KEYS = {"table", "metric", "value", "printed", "backbone", "selection", "boxes", "by_class", *DETAILS}
SELECTIONS, BOXES = ("BT-TT", "BT-VT", "BV-TT", "BV-VT"), ("GT", "RPN", "CLIP", "SS")

by_file = pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))


@cache
def content(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return value


def slug(backbone: str) -> str:
    """What a file calls a backbone: timm's name without the tag, or that of a model of open_clip, such as vit_b16."""
    if not backbone.startswith("open_clip:"):
        return backbone.partition(".")[0]
    architecture = backbone.removeprefix("open_clip:").partition("/")[0]
    return architecture.lower().replace("-", "_", 1).replace("-", "")


def file_of(data: str, method: str, network: str) -> Path:
    return ROOT / data / f"{method}-{network}.yaml"


@cache
def _prepared(name: str, **options: Any) -> Backbone:
    with torch.device("meta"):
        return build_backbone(name, **options)


def _filled(name: str, **options: Any) -> Backbone:
    """A network with random weights on the CPU, and nothing inserted yet."""
    network = deepcopy(_prepared(name, **options)).to_empty(device="cpu")
    for part in network.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    return network


@pytest.fixture(autouse=True)
def _networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each network is created once, for all recipes that have it: a method that reads it says anew what it reads."""
    monkeypatch.setattr("boxless.runs.build_backbone", _prepared)


def built(recipe: Recipe, classes: int) -> Method:
    """The method without weights; with some where it puts layers into the network, which are found by small images."""
    if "adl" not in recipe.method.name:
        with torch.device("meta"):
            return build_method(recipe, classes, pretrained=False)
    recipe = recipe.override(data={"image_size": 96})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("boxless.runs.build_backbone", _filled)
        return build_method(recipe, classes, pretrained=False)


@by_file
def test_a_recipe_builds_its_method_with_settings_that_exist(path: Path) -> None:
    recipe = read_recipe(path)
    method = built(recipe, CLASSES[path.parent.name])
    assert type(method) is METHODS.load(path.stem.partition("-")[0])
    assert path.name == f"{recipe.method.name}-{slug(recipe.backbone.name)}.yaml"
    assert recipe.data.source in ("sample", "") or recipe.data.format in SOURCES
    trained = plan(method, recipe.training, recipe.pseudo) if method.needs.trains else ()
    for _, training in trained:
        build_optimizer(method, training)  # refuses modules that the network does not have
    assert ("pseudo" in content(path)) == any(stage.pseudo for stage in method.stages)
    # Refuses a source or a classifier that does not fit, and settles what a recipe leaves open: nothing.
    assert settle(recipe, method, [str(number) for number in range(CLASSES[path.parent.name])]) == recipe


@by_file
def test_a_recipe_starts_with_a_sentence_and_has_the_sections_in_order(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")
    sections = ("version", "data", "backbone", "method", "text", "pseudo", "training", "protocol", "published", "ours")
    optional = {"text", "pseudo"} - content(path).keys()
    assert list(content(path)) == [name for name in sections if name not in optional]
    needs = METHODS.load(path.stem.partition("-")[0]).needs
    assert ("text" in content(path)) == bool(needs.text)


@by_file
def test_a_recipe_says_what_was_published_and_what_was_measured_here(path: Path) -> None:
    published, ours = content(path)["published"], content(path)["ours"]
    assert ours == "not yet measured" or {"date", "machine", "commit"} <= ours.keys()
    if published is None:
        return
    assert published
    assert len({str(sorted(entry.items())) for entry in published}) == len(published)
    for entry in published:
        assert {"table", "metric", "value"} <= entry.keys()
        assert entry.keys() <= {
            "table",
            "metric",
            "value",
            "printed",
            "backbone",
            "selection",
            "boxes",
            "by_class",
            *DETAILS,
        }
        assert entry["table"] in TABLES
        assert entry["metric"] in METRICS[path.parent.name]
        assert isinstance(entry["value"], float)
        assert 0 < entry["value"] < 100
        selected = (entry.get("selection"), entry.get("boxes"))
        if entry["table"] in SELECTED:
            assert selected[0] in SELECTIONS
            assert selected[1] in BOXES
        else:
            assert selected == (None, None)


@by_file
def test_a_figure_printed_as_a_sum_is_that_sum(path: Path) -> None:
    for entry in content(path)["published"] or ():
        if "printed" in entry:
            base, sign, difference = entry["printed"].split()
            assert entry["value"] == pytest.approx(float(base) + float(sign + difference))
            assert entry["table"] == "wsolevaluation README"


@by_file
def test_figures_of_one_table_fit_each_other(path: Path) -> None:
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for entry in content(path)["published"] or ():
        if entry["table"] not in SELECTED:
            row = rows.setdefault((entry["table"], *(entry.get(key, "") for key in DETAILS)), {})
            assert entry["metric"] not in row
            row[entry["metric"]] = entry["value"]
    for row in rows.values():
        levels = [row[name] for name in sorted(row) if " at IoU " in name]
        if "MaxBoxAccV2" in row and levels:
            assert row["MaxBoxAccV2"] == pytest.approx(sum(levels) / 3, abs=0.051)
        nested = ("top-1 localization", "top-5 localization", "GT-known localization", "MaxBoxAcc")
        ordered = [row[name] for name in nested if name in row]
        assert ordered == sorted(ordered)


@by_file
def test_figures_by_class_have_the_mean_that_is_printed(path: Path) -> None:
    for entry in content(path)["published"] or ():
        assert ("by_class" in entry) == (entry["table"] == "thesis II-1")
        if "by_class" in entry:
            assert len(entry["by_class"]) == len(MOVING)
            # The mean of Smooth-GradCAM++ on v2.2 is printed as 59.5, and is 59.42.
            assert entry["value"] == pytest.approx(sum(entry["by_class"]) / len(MOVING), abs=0.081)


def test_tables_of_the_thesis_that_repeat_each_other_do() -> None:
    for data in ("cub", "ilsvrc"):
        found = {
            (method, entry["table"], entry["metric"], entry["selection"], entry["boxes"]): entry["value"]
            for method, _, entry in figures(data)
            if "selection" in entry
        }
        for (method, table, *rest), value in found.items():
            if table == "thesis 4.3":
                assert (found[method, "thesis 4.6", *rest] == value) == ((data, method) != ("cub", "adl"))


def test_every_method_has_recipes_for_each_data_set_and_network_that_the_field_has_it_on() -> None:
    usual = dict.fromkeys(STUDIED, NETWORKS)
    wanted = {
        file_of(data, method, network)
        for method in METHODS
        for data, networks in FEW.get(method, usual).items()
        for network in networks
    }
    assert wanted == {path for path in RECIPES if path.parent.name in SHOWN}


def test_aerial_recipes_leave_the_folder_to_the_user_and_see_448_pixels() -> None:
    for path in ROOT.glob("aerial/*.yaml"):
        recipe = read_recipe(path)
        assert (recipe.data.source, recipe.data.format, recipe.data.image_size) == ("", "auto", 448)
        assert recipe.override(data={"source": "towers"}).data.source == "towers"


def _grid(data: str, method: str, network: str) -> tuple[Method, torch.Tensor]:
    """The method and the finest grid that it reads of an image of 224 pixels."""
    path = file_of(data, method, network)
    recipe = read_recipe(path)
    assert recipe.data.image_size == 224
    found = built(recipe, CLASSES[data])
    return found, found.backbone(torch.zeros(1, 3, 224, 224, device="meta")).grids[-1]


@pytest.mark.parametrize("data", STUDIED)
def test_vgg16_ends_in_14_x_14_with_conv6_on_it(data: str) -> None:
    method, grid = _grid(data, "cam", "vgg16")
    assert grid.shape == (1, 512, 14, 14)
    conv6 = method.get_submodule("neck.convolution.0")
    assert conv6.weight.shape == (1024, 512, 3, 3)
    assert method.get_submodule("classifier").weight.shape == (CLASSES[data], 1024)


@pytest.mark.parametrize(("data", "side"), [("cub", 28), ("ilsvrc", 28), ("openimages", 14)])
def test_resnet50_is_classified_from_its_last_stage_on_a_fine_grid(data: str, side: int) -> None:
    method, grid = _grid(data, "cam", "resnet50")
    assert grid.shape == (1, 2048, side, side)
    assert method.get_submodule("classifier").weight.shape == (CLASSES[data], 2048)
    dilations = {part.dilation for part in method.modules() if isinstance(part, torch.nn.Conv2d)}
    assert dilations == {(1, 1)}


@pytest.mark.parametrize("data", STUDIED)
def test_inception_v3_is_cut_at_mixed_6e(data: str) -> None:
    method, grid = _grid(data, "cam", "inception_v3")
    assert grid.shape == (1, 768, 12, 12)
    assert method.get_submodule("neck.convolution.0").weight.shape == (1024, 768, 3, 3)


def _rates(data: str, method: str, network: str) -> dict[str, float]:
    """The learning rate of each parameter at the first step."""
    recipe = read_recipe(file_of(data, method, network))
    found = built(recipe, CLASSES[data])
    optimizer = build_optimizer(found, recipe.training)
    set_rate(optimizer, recipe.training.learning_rate)
    rates = {id(value): group["lr"] for group in optimizer.param_groups for value in group["params"]}
    return {name: rates[id(value)] for name, value in found.named_parameters()}


@pytest.mark.parametrize("data", STUDIED)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_head_learns_ten_times_as_fast_and_resnet50s_last_stage_with_it(data: str, network: str) -> None:
    rates = _rates(data, "cam", network)
    head = max(rates.values())
    for name, rate in rates.items():
        fast = not name.startswith("backbone.") or name.startswith("backbone.model.layer4.")
        assert rate == pytest.approx(head if fast else head / 10), name
    assert any(name.startswith("backbone.model.layer4.") for name in rates) == (network == "resnet50")


def test_spg_on_vgg16_learns_fast_from_conv4_on() -> None:
    rates = _rates("cub", "spg", "vgg16")
    weights = [name for name in rates if name.startswith("backbone.") and name.endswith("weight")]
    fast = [rates[name] == max(rates.values()) for name in weights]
    assert fast == [False] * 7 + [True] * 6


def figures(data: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, network and entry of each published figure of a data set."""
    order = list(METHODS)
    for method in sorted({path.stem.partition("-")[0] for path in ROOT.glob(f"{data}/*.yaml")}, key=order.index):
        for network in (*NETWORKS, DEIT, DINO, EVA, CLIP_B, CLIP_L):
            path = file_of(data, method, network)
            for entry in (content(path)["published"] or ()) if path in RECIPES else ():
                yield method, network, entry


def _where(entry: dict[str, Any]) -> str:
    extra = (
        [f"as {entry['backbone']}" if entry["backbone"] != "none" else "no network named"]
        if "backbone" in entry
        else []
    )
    extra += [entry[key] for key in ("printed", *DETAILS) if key in entry]
    return entry["table"] + (f" ({', '.join(extra)})" if extra else "")


def tables(data: str) -> str:
    """The published figures of a data set, as they stand in recipes/README.md."""
    places: dict[tuple[str, str, str, str], list[str]] = {}
    chosen: dict[str, dict[tuple[str, str, str], dict[str, float]]] = {}
    by_class: list[tuple[str, list[float]]] = []
    for method, network, entry in figures(data):
        value = str(entry["value"])
        if "selection" in entry:
            if entry["table"] != "thesis 4.3":  # which repeats 4.6
                rows = chosen.setdefault(entry["metric"], {})
                rows.setdefault((method, network, entry["selection"]), {})[entry["boxes"]] = entry["value"]
        else:
            places.setdefault((method, network, entry["metric"], value), []).append(_where(entry))
        if "by_class" in entry:
            by_class.append((f"{method} | {entry.get('maps', '')}", [*entry["by_class"], entry["value"]]))
    lines = ["| method | network | metric | value | where |", "|---|---|---|--:|---|"]
    lines += [f"| {' | '.join(key)} | {'; '.join(found)} |" for key, found in places.items()]
    for metric, rows in chosen.items():
        lines += _by_boxes(data, metric, rows)
    if by_class:
        lines += ["", "CorLoc of thesis II-1 by class, each at the threshold that is best for it on the test set:", ""]
        lines += [f"| method | maps | {' | '.join(MOVING)} | mean |", "|---|---|" + "--:|" * (len(MOVING) + 1)]
        lines += [f"| {name} | {' | '.join(map(str, values))} |" for name, values in by_class]
    return "\n".join(lines) + "\n"


def _by_boxes(data: str, metric: str, rows: dict[tuple[str, str, str], dict[str, float]]) -> list[str]:
    """Figures of models selected in several ways."""
    first = "4.2, of fcam of 4.6" if any(method == "fcam" for method, *_ in rows) else "4.2"
    of = {"MaxBoxAcc": first, "mean IoU": "4.6", "MaxBoxAccV2": "4.7" if data == "cub" else "4.8"}[metric]
    lines = ["", f"{metric} of thesis {of}, by whose boxes of the validation set were used:", ""]
    lines += [f"| method | network | selection | {' | '.join(BOXES)} |", "|---|---|---|--:|--:|--:|--:|"]
    # DiPS' are printed with one decimal.
    return lines + [
        f"| {' | '.join(key)} | {' | '.join(_shown(row.get(each), 1 + (key[0] != 'dips')) for each in BOXES)} |"
        for key, row in rows.items()
    ]


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _with_tables(page: str) -> str:
    for data in SHOWN:
        begin, end = f"<!-- {data} -->\n", f"<!-- end of {data} -->"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{tables(data)}\n{end}{rest.partition(end)[2]}"
    return page


def test_the_readme_shows_the_figures_of_the_files() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert page == _with_tables(page), "write them with: python tests/unit/test_recipes.py"
    for data in SHOWN:
        assert f"<!-- {data} -->" in page


if __name__ == "__main__":
    target = ROOT / "README.md"
    target.write_text(_with_tables(target.read_text(encoding="utf-8")), encoding="utf-8")
