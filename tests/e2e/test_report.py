"""The page of a run, in a real browser: what a user sees, moves and reads."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import boxless as library
from boxless.report import writing
from boxless.report.writing import Written, write_report

if TYPE_CHECKING:
    from playwright.sync_api import Page

HERE = Path(__file__).parent
HOSTILE = ("\"q\" & 'a'", "<img src=x onerror=hacked=1>", "<script>hacked=2<", "日本 🐈")
"""Names of classes, in the order in which they are sorted; blue, green and red are the colours of the first three."""
SETTINGS: dict[str, Any] = {
    "backbone.weights": "random",
    "training.batch_size": 8,
    "protocol.select": "last",
    "protocol.threshold": 0.7,
    "method.shift": 0,
}


def make_data(root: Path) -> Path:
    """Squares in the colour of their class on noise, and now and then a bright spot that misleads; with boxes."""
    lines = ["path,x0,y0,x1,y1"]
    for place, name in enumerate(HOSTILE[:3]):
        for split, count in (("train", 4), ("test", 5)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                random = np.random.default_rng((place, number, count))
                pixels = random.integers(0, 60, (64, 96, 3)).astype(np.uint8)
                x, y = int(random.integers(0, 60)), int(random.integers(0, 34))
                pixels[y : y + 30, x : x + 30, 2 - place] = 150 + 20 * number
                pixels[2:10, 84:94, 2 - place] = 140 if number % 2 else 250
                path = f"{split}/{name}/{number} <b>{HOSTILE[3]}.png"
                Image.fromarray(pixels).save(root / path)
                lines.append(f'"{path.replace(chr(34), chr(34) * 2)}",{x},{y},{x + 30},{y + 30}')
    (root / "boxes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Data with and without boxes, and two runs on them."""
    root = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        data = make_data(root / "data")
        common: dict[str, Any] = {"backbone": "test_resnet", "epochs": 1, "image_size": 64}
        library.train(data, root / "first", method="toys:Bright", settings=SETTINGS, **common)
        shutil.copytree(root / "first", root / "second")
        recipe = root / "second" / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace("shift: 0", "shift: 2"))
        shutil.copytree(data, root / "bare", ignore=shutil.ignore_patterns("boxes.csv"))
        loose = root / "loose"
        loose.mkdir()
        for path in sorted((data / "test").rglob("*.png")):
            shutil.copy(path, loose / f"{path.parent.name.strip('<>')[:4]}{path.name}")
        yield {"data": data, "bare": root / "bare", "loose": loose, "run": root / "first", "other": root / "second"}


@pytest.fixture(scope="module")
def written(bench: dict[str, Path]) -> Written:
    return write_report(bench["run"], bench["data"], trust=True)


@pytest.fixture(scope="module")
def compared(bench: dict[str, Path]) -> Written:
    out = bench["run"] / "compared.html"
    return write_report(bench["run"], bench["data"], compare_with=bench["other"], out=out, trust=True)


def show(page: Page, written: Written) -> None:
    page.goto(written.path.as_uri())
    page.locator(".tile img").first.wait_for()


def figures(page: Page) -> tuple[float, float]:
    """Box accuracy and mean IoU, as the page says them."""
    found = re.search(r"([\d.]+) % · mean IoU ([\d.]+)", page.locator("#all").inner_text())
    assert found
    return float(found[1]), float(found[2])


def move(page: Page, step: int) -> None:
    """Drag the slider to a threshold in thousandths, and let it go."""
    page.locator("#threshold").fill(str(step))


def overlaps(page: Page) -> list[float]:
    return [float(text[4:8]) for text in page.locator(".tile .told").all_inner_texts()]


def test_the_run_folder_gets_a_page_that_shows_every_image(written: Written, bench: dict[str, Path]) -> None:
    assert written.path == bench["run"] / "report.html"
    assert (written.images, written.shown, written.refused) == (15, 15, ())
    assert written.size == written.path.stat().st_size < 4_000_000


def test_figures_of_the_page_are_those_of_the_evaluation_at_every_threshold(page: Page, written: Written) -> None:
    show(page, written)
    report = written.report
    assert report is not None
    own = report.columns[0].figures
    assert report.columns[0].threshold.values == (0.7,)
    assert figures(page) == pytest.approx((own["box_accuracy"].value, own["mean_iou"].value), abs=0.051)
    assert 0 < own["box_accuracy"].value < 100
    seen = set()
    for step in (0, 90, 300, 640, 870, 999):
        move(page, step)
        accuracy, mean_iou = figures(page)
        assert accuracy == pytest.approx(report.accuracy[1, step], abs=0.051)
        assert mean_iou == pytest.approx(report.mean_iou[step], abs=0.00051)
        seen.add((accuracy, mean_iou))
    assert len(seen) > 3


def test_kinds_of_errors_are_those_of_the_evaluation(page: Page, written: Written) -> None:
    show(page, written)
    report = written.report
    assert report is not None
    chips = dict(re.findall(r"([a-z ]+) (\d+)", "\n".join(page.locator("#kinds button").all_inner_texts())))
    words = {"class": "wrong class", "part": "part of the object", "more": "more than the object"}
    for kind, word in words.items():
        share = report.columns[0].figures[f"error_{kind}"].value
        assert int(chips.get(word, 0)) == round(share * 15 / 100)
    assert sum(map(int, chips.values())) == 15


def test_the_slider_redraws_boxes_and_the_map_of_the_named_class_may_be_shown(page: Page, written: Written) -> None:
    show(page, written)
    box = page.locator(".tile .first").first
    before = box.bounding_box()
    move(page, 0)
    assert box.bounding_box() != before
    assert "--threshold 0" in page.locator("#command").inner_text()
    page.get_by_role("button", name="Back to the run's own").click()
    assert box.bounding_box() == before
    assert page.locator("#value").inner_text() == "0.700"
    report = written.report
    assert report is not None
    page.get_by_label("Box from the map of").select_option("named")
    accuracy, _ = figures(page)
    assert accuracy == pytest.approx(report.columns[0].figures["named_box_accuracy"].value, abs=0.051)


def test_the_command_with_the_chosen_threshold_is_copied(page: Page, written: Written, bench: dict[str, Path]) -> None:
    show(page, written)
    move(page, 310)
    page.get_by_role("button", name="Copy command").click()
    page.get_by_text("copied", exact=True).wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"boxless predict {bench['run']} IMAGES --out boxes --threshold 0.31"


def test_images_are_sorted_filtered_and_searched(page: Page, written: Written) -> None:
    show(page, written)
    page.get_by_label("Sort").select_option("worst")
    found = overlaps(page)
    assert len(found) == 15
    assert found == sorted(found)
    page.get_by_label("Sort").select_option("best")
    assert overlaps(page) == found[::-1]
    page.locator("#label").select_option(label=HOSTILE[1])
    assert page.locator(".tile").count() == 5
    assert "5 chosen" in page.locator("#some").inner_text()
    page.get_by_label("Name of file").fill("3 <B>")
    assert page.locator(".tile").count() == 1
    page.get_by_label("Name of file").fill("no such name")
    assert page.locator(".tile").count() == 0
    page.get_by_label("Name of file").fill("")
    page.locator("#label").select_option("")
    chip = page.locator("#kinds button").first
    chip.click()
    assert f"{page.locator('.tile').count()} of 15" in page.locator("#count").inner_text()
    assert page.locator("#kinds button").first.get_attribute("aria-pressed") == "true"


def test_a_cell_of_the_confusion_shows_its_images(page: Page, written: Written) -> None:
    show(page, written)
    cell = page.locator(".confusion button").first
    count = int(cell.inner_text())
    cell.click()
    assert page.locator(".tile").count() == count
    class_button = page.locator("#by-class button").first
    class_button.click()
    assert page.locator(".tile").count() == 5


def test_keys_move_between_images_and_thresholds(page: Page, written: Written) -> None:
    from playwright.sync_api import expect

    show(page, written)
    page.locator(".tile").nth(1).focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    name, place = page.locator("#view-name"), page.locator("#place")
    first = name.inner_text()
    assert place.inner_text() == "1 of 15"
    page.keyboard.press("ArrowRight")
    assert place.inner_text() == "2 of 15"
    assert name.inner_text() != first
    page.keyboard.press("+")
    assert page.locator("#view-value").inner_text() == "0.710"
    page.keyboard.press("-")
    page.keyboard.press("-")
    assert page.locator("#view-value").inner_text() == "0.690"
    page.keyboard.press("0")
    assert page.locator("#view-value").inner_text() == "0.700"
    canvas = page.locator("#large canvas")
    expect(canvas).to_have_css("opacity", "0")
    page.keyboard.press("m")
    expect(canvas).to_have_css("opacity", "1")
    tinted = "each => each.getContext('2d').getImageData(0, 0, each.width, each.height).data.some((value) => value > 0)"
    assert canvas.evaluate(tinted)
    page.keyboard.press("Escape")
    assert not page.locator("#view").is_visible()
    assert page.evaluate("document.activeElement.className") == "tile"
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()


def test_curves_are_drawn_when_they_come_into_view(page: Page, written: Written, heard: Any) -> None:
    show(page, written)
    assert page.locator(".plot").count() == 0
    page.locator("#curves").scroll_into_view_if_needed()
    page.locator(".plot .main-svg").first.wait_for()
    titles = page.locator(".plot h3").all_inner_texts()
    assert titles[0] == "Box accuracy against the threshold (%)"
    assert "loss" in titles
    assert heard.errors == []


def test_names_are_text_and_the_page_asks_for_nothing(page: Page, written: Written, heard: Any) -> None:
    show(page, written)
    page.get_by_label("Sort").select_option("name")
    page.locator(".tile").first.click()
    assert HOSTILE[0] in page.locator("#view-facts").inner_text()
    assert f"<b>{HOSTILE[3]}.png" in page.locator("#view-name").inner_text()
    page.keyboard.press("Escape")
    page.locator("#curves").scroll_into_view_if_needed()
    page.locator(".plot .main-svg").first.wait_for()
    shown = page.locator("#by-class button").all_inner_texts()
    assert sorted(shown) == sorted(HOSTILE[:3])
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=hacked=3>')")
    page.wait_for_timeout(100)
    assert page.evaluate("typeof hacked") == "undefined"
    assert heard.remote() == []
    assert [each for each in heard.errors if "Content Security Policy" not in each] == []


def test_a_page_that_was_tampered_with_runs_no_script_but_its_own(page: Page, written: Written, tmp_path: Path) -> None:
    text = written.path.read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(text.replace("</main>", "<script>hacked = 4</script></main>"))
    page.goto((tmp_path / "page.html").as_uri())
    page.locator(".tile img").first.wait_for()
    assert page.evaluate("typeof hacked") == "undefined"


def test_it_is_readable_on_a_phone_and_in_the_dark(page: Page, written: Written) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme="dark")
    page.goto(written.path.as_uri())
    page.get_by_text("Sort and filter").click()
    page.locator("#curves").scroll_into_view_if_needed()
    page.locator(".plot .main-svg").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(24, 25, 28)"
    page.locator(".tile").first.click()
    assert page.locator("#view").bounding_box() == {"x": 0, "y": 0, "width": 360, "height": 740}


def test_every_control_has_a_name(page: Page, written: Written) -> None:
    show(page, written)
    nameless = """[...document.querySelectorAll('button, input, select')].filter(
        (each) => !each.textContent.trim() && !each.ariaLabel && !each.labels?.length).map((each) => each.outerHTML)"""
    assert page.evaluate(nameless) == []


def test_two_runs_stand_side_by_side(page: Page, compared: Written) -> None:
    show(page, compared)
    assert page.locator("h1").inner_text() == "first and second"
    assert compared.comparison is not None
    lines = page.locator("#all div").all_inner_texts()
    assert [line.partition(":")[0] for line in lines] == ["first", "second"]
    assert page.locator(".tile .second").count() == page.locator(".tile .first").count() > 5  # those in view
    table = page.locator("#figures table").nth(1)
    assert table.locator("tbody tr").count() == len(compared.comparison.rows())
    page.get_by_label("Sort").select_option("lost")
    told = page.locator(".tile .told").all_inner_texts()
    gains = [float(b) - float(a) for a, b in (re.findall(r"\d\.\d\d", text)[:2] for text in told)]
    assert gains == pytest.approx(sorted(gains), abs=0.011)
    assert gains[0] < -0.1


def test_a_page_stays_below_its_limit_and_says_what_it_leaves_out(
    page: Page, bench: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LIMIT", writing._PAGE + 90_000)  # for boxes, maps and pictures
    found = write_report(bench["run"], bench["data"], out=tmp_path / "small.html", trust=True)
    assert 0 < found.shown < found.images == 15
    assert found.size < writing.LIMIT
    show(page, found)
    assert page.locator(".tile").count() == found.shown
    assert page.get_by_text(f"{found.shown} of 15 images are in this page").is_visible()


def test_without_true_boxes_the_least_sure_come_first(page: Page, bench: dict[str, Path], tmp_path: Path) -> None:
    found = write_report(bench["run"], bench["bare"], out=tmp_path / "bare.html", trust=True)
    show(page, found)
    sure = [int(text.partition(" ")[0]) for text in page.locator(".tile .told").all_inner_texts()]
    assert len(sure) == 15
    assert sure == sorted(sure)
    assert page.get_by_text("have no true boxes").is_visible()
    assert "worst" not in page.locator("#sort").inner_text()
    assert page.locator("#all").inner_text() == ""
    move(page, 200)
    assert "--threshold 0.2" in page.locator("#command").inner_text()


def test_a_folder_of_images_of_no_class_is_shown(page: Page, bench: dict[str, Path], tmp_path: Path) -> None:
    (bench["loose"] / "broken.png").write_bytes(b"no image")
    found = write_report(bench["run"], bench["loose"], out=tmp_path / "loose.html", trust=True)
    assert found.report is None
    assert [name for name, _ in found.refused] == ["broken.png"]
    show(page, found)
    assert page.locator(".tile").count() == found.shown == 15
    assert page.locator("#figures").count() == 0
    before = page.locator(".tile .first").first.bounding_box()
    move(page, 50)
    assert page.locator(".tile .first").first.bounding_box() != before


def test_the_verb_writes_it_and_says_where(boxless: Any, bench: dict[str, Path], tmp_path: Path) -> None:
    out, what = tmp_path / "page.html", ("report", bench["run"], bench["data"], "--trust")
    done = boxless(*what, "--out", out, "--images", 4)
    assert done.code == 0, done.err
    assert "15 images, 4 of them in the page" in done.out
    assert out.as_uri() in done.out
    parsed = json.loads(boxless(*what, "--split", "train", "--out", out, "--json").out)
    assert (parsed["images"], parsed["shown"], parsed["bytes"]) == (10, 10, out.stat().st_size)
    assert parsed["evaluation"]["split"] == "split train"


def test_code_of_a_run_is_loaded_only_if_it_is_trusted(boxless: Any, bench: dict[str, Path], tmp_path: Path) -> None:
    done = boxless("report", bench["run"], bench["data"], "--out", tmp_path / "page.html")
    assert done.code == 2
    assert "--trust" in done.err
    assert not (tmp_path / "page.html").exists()
