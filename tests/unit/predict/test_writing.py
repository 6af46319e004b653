import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boxless.errors import DataError, RunError, UnknownNameError
from boxless.maps.sanity import Warned
from boxless.predict import journal as journal_module
from boxless.predict.writing import how_to_resume, predict_to

Paint = Callable[..., Path]


@pytest.fixture
def photos(paint: Paint) -> Path:
    """Seven images, each with its own box; number 3 is broken."""
    for index in range(7):
        paint(f"{index}.png", box=(2 * index, 4, 40, 60))
    broken = paint("3.png")
    broken.write_bytes(broken.read_bytes()[:50])
    return broken.parent


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def coco(out: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((out / "coco" / "predictions.json").read_text())
    return value


def files_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_job_writes_journal_and_formats_and_reports_what_it_refused(run: Any, photos: Path, out: Path) -> None:
    outcome = predict_to(run, photos, out, formats=["coco", "csv"], batch_size=2)
    assert (outcome.written, outcome.skipped) == (6, 0)
    ((name, reason),) = outcome.refused
    assert name == "3.png"
    assert "3.png" in reason
    assert outcome.images_per_second > 0
    assert [path.is_file() for path in outcome.files] == [True, True]
    assert [each["file_name"] for each in coco(out)["images"]] == [f"{i}.png" for i in range(7) if i != 3]
    assert coco(out)["annotations"][1]["bbox"] == [2, 4, 38, 56]
    assert [each["name"] for each in lines(out)[1:]] == [f"{i}.png" for i in range(7)]


def test_second_call_does_nothing_again_but_the_refused(run: Any, photos: Path, out: Path) -> None:
    predict_to(run, photos, out, formats=["coco"], batch_size=2)
    before = coco(out)
    run.method.batches.clear()
    outcome = predict_to(run, photos, out, formats=["coco"], batch_size=2)
    assert (outcome.written, outcome.skipped, len(outcome.refused)) == (0, 6, 1)
    assert run.method.batches == []
    assert coco(out) == before
    assert len(lines(out)) == 8  # the same refusal is not noted twice


def test_mended_image_takes_its_place_among_the_others(run: Any, paint: Paint, photos: Path, out: Path) -> None:
    predict_to(run, photos, out, formats=["coco"])
    paint("3.png")
    outcome = predict_to(run, photos, out, formats=["coco"])
    assert (outcome.written, outcome.skipped, outcome.refused) == (1, 6, ())
    assert [each["file_name"] for each in coco(out)["images"]] == [f"{i}.png" for i in range(7)]


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_killed_job_resumed_gives_what_an_unbroken_one_gives(
    run: Any, photos: Path, out: Path, tmp_path: Path, kept: float
) -> None:
    predict_to(run, photos, tmp_path / "unbroken", formats=["coco", "csv", "voc"], batch_size=2)
    predict_to(run, photos, out, formats=[], batch_size=2)
    journal = out / "predictions.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[: int(kept * len(whole))])  # as a kill in the middle of a line leaves it
    predict_to(run, photos, out, formats=["coco", "csv", "voc"], batch_size=2)
    assert files_of(out) == files_of(tmp_path / "unbroken")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"digest": "d2"}, "the run was"),
        ({"threshold": 0.4}, "the threshold was 0.5 and is now 0.4"),
        ({"classes": ("dark", "bright")}, "the class list"),
    ],
)
def test_journal_of_another_run_is_refused_and_kept(
    run: Any, photos: Path, out: Path, change: dict[str, Any], said: str
) -> None:
    predict_to(run, photos, out, formats=[])
    before = (out / "predictions.jsonl").read_bytes()
    with pytest.raises(RunError, match=f"{said}.*--overwrite"):
        predict_to(replace(run, **change), photos, out, formats=[])
    assert (out / "predictions.jsonl").read_bytes() == before


def test_other_min_score_and_other_folder_are_refused(run: Any, photos: Path, out: Path, tmp_path: Path) -> None:
    predict_to(run, photos, out, formats=[])
    with pytest.raises(RunError, match=r"--min-score was 0\.0 and is now 0\.9"):
        predict_to(run, photos, out, formats=[], min_score=0.9)
    photos.rename(tmp_path / "moved")
    with pytest.raises(RunError, match=r"the source folder was .*photos.* and is now .*moved"):
        predict_to(run, tmp_path / "moved", out, formats=[])


def test_overwrite_starts_afresh(run: Any, photos: Path, out: Path) -> None:
    predict_to(run, photos, out, formats=[])
    outcome = predict_to(replace(run, digest="d2"), photos, out, formats=["coco"], overwrite=True)
    assert (outcome.written, outcome.skipped) == (6, 0)
    assert lines(out)[0]["run"] == "d2"
    assert len(lines(out)) == 8


def test_overwrite_that_fails_at_once_leaves_the_old_journal(run: Any, photos: Path, out: Path) -> None:
    predict_to(run, photos, out, formats=[])
    before = (out / "predictions.jsonl").read_bytes()
    run.method.batches.clear()
    run.method.fail_at, run.method.fail_after = RuntimeError("out of memory"), 0
    with pytest.raises(RuntimeError, match="out of memory"):
        predict_to(run, photos / "0.png", out, formats=[], overwrite=True)
    assert (out / "predictions.jsonl").read_bytes() == before


def test_foreign_file_in_the_journals_place_is_refused_and_kept(run: Any, photos: Path, out: Path) -> None:
    out.mkdir()
    (out / "predictions.jsonl").write_text('{"mine": 1}\n')
    with pytest.raises(RunError, match="is not a journal"):
        predict_to(run, photos, out, formats=[])
    assert (out / "predictions.jsonl").read_text() == '{"mine": 1}\n'


def test_damage_in_the_middle_names_the_line(run: Any, photos: Path, out: Path) -> None:
    predict_to(run, photos, out, formats=[])
    journal = out / "predictions.jsonl"
    parts = journal.read_bytes().split(b"\n")
    parts[2] = parts[2][:10]
    journal.write_bytes(b"\n".join(parts))
    with pytest.raises(RunError, match="line 3"):
        predict_to(run, photos, out, formats=[])


def test_interrupt_keeps_what_is_done_and_says_how_to_go_on(run: Any, photos: Path, out: Path) -> None:
    run.method.fail_at, run.method.fail_after = KeyboardInterrupt(), 2
    with pytest.raises(KeyboardInterrupt) as stopped:
        predict_to(run, photos, out, formats=["coco"], batch_size=2)
    assert stopped.value.__notes__ == [how_to_resume(out)]
    assert not (out / "coco").exists()
    assert [each["name"] for each in lines(out)[1:]] == ["0.png", "1.png", "2.png", "3.png"]
    run.method.fail_after = 10**9
    outcome = predict_to(run, photos, out, formats=["coco"], batch_size=2)
    assert (outcome.written, outcome.skipped) == (3, 3)


def test_full_disk_keeps_every_whole_line_and_the_job_can_go_on(
    run: Any, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(journal_module.FileIO):
        room = 500

        def write(self, content: Any) -> int:
            if self.room == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken = super().write(memoryview(content)[: self.room])  # the last write before the end is a short one
            self.room -= taken
            return taken

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "FileIO", FullDisk)
        with pytest.raises(RunError, match=r"No space left on device.*2 predictions in it are kept"):
            predict_to(run, photos, out, formats=["coco"], batch_size=2)
    assert [each.get("name") for each in lines(out)] == [None, "0.png", "1.png"]
    outcome = predict_to(run, photos, out, formats=["coco"], batch_size=2)
    assert (outcome.written, outcome.skipped) == (4, 2)


def test_out_that_is_a_file_is_refused_before_any_work(run: Any, photos: Path, out: Path) -> None:
    out.write_text("")
    with pytest.raises(RunError, match="out: cannot be written"):
        predict_to(run, photos, out, formats=[])
    assert run.method.batches == []


def test_unknown_format_is_refused_before_any_work(run: Any, photos: Path, out: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'coco'"):
        predict_to(run, photos, out, formats=["cocoo"])
    assert not out.exists()


def test_every_format_can_be_written(run: Any, photos: Path, out: Path) -> None:
    formats = ["coco", "yolo", "voc", "labelstudio", "cvat", "csv"]
    outcome = predict_to(run, photos, out, formats=formats)
    assert all(path.exists() for path in outcome.files)
    assert len(outcome.files) == 6


def test_removed_image_does_not_stand_in_the_way(run: Any, photos: Path, out: Path) -> None:
    predict_to(run, photos, out, formats=["yolo"])
    (photos / "5.png").unlink()
    predict_to(run, photos, out, formats=["yolo", "coco"])
    assert [each["file_name"] for each in coco(out)["images"]] == ["0.png", "1.png", "2.png", "4.png", "6.png"]


def test_parts_of_a_folder_predicted_one_after_the_other_add_up(run: Any, photos: Path, out: Path) -> None:
    predict_to(run, photos / "4.png", out, formats=["coco"])
    predict_to(run, f"{photos}/[01].png", out, formats=["coco"])
    assert [each["file_name"] for each in coco(out)["images"]] == ["0.png", "1.png", "4.png"]


def test_maps_and_overlays_of_equal_stems_are_separate_files(run: Any, paint: Paint, out: Path) -> None:
    paint("cats/a.jpg")
    root = paint("cats/a.png").parent.parent
    predict_to(run, root, out, formats=[], maps=True, overlays=True)
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*") if path.suffix != ".jsonl")
    assert made == [
        f"{kind}/cats/a.{suffix}"
        for kind, end in (("maps", "npy"), ("overlays", "jpg"))
        for suffix in (f"jpg.{end}", f"png.{end}")
    ]
    values = np.load(out / "maps/cats/a.png.npy")
    assert (values.shape, values.dtype, values.sum()) == ((32, 32), np.float32, pytest.approx(128))
    assert Image.open(out / "overlays/cats/a.png.jpg").size == (64, 64)


def test_maps_asked_for_later_are_made_without_a_second_line_in_the_formats(run: Any, photos: Path, out: Path) -> None:
    predict_to(run, photos, out, formats=["coco"])
    before = coco(out)
    outcome = predict_to(run, photos, out, formats=["coco"], maps=True)
    assert (outcome.written, outcome.skipped) == (6, 0)
    assert len(list((out / "maps").glob("*.npy"))) == 6
    assert coco(out) == before


def test_overlays_in_the_output_folder_are_not_taken_for_new_images(run: Any, photos: Path) -> None:
    predict_to(run, photos, photos / "out", formats=["yolo"], overlays=True)
    outcome = predict_to(run, photos, photos / "out", formats=["yolo"], overlays=True)
    assert (outcome.written, outcome.skipped, len(outcome.refused)) == (0, 6, 1)


def test_progress_ends_at_the_number_of_images(run: Any, photos: Path, out: Path) -> None:
    calls: list[tuple[int, int]] = []
    predict_to(run, photos, out, formats=[], batch_size=2, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (7, 7)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert len(calls) >= 3


def test_nothing_found_leaves_no_output_folder(run: Any, tmp_path: Path, out: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image found"):
        predict_to(run, tmp_path / "empty", out, formats=[])
    assert not out.exists()


def test_boxes_survive_the_journal_to_the_last_digit(run: Any, paint: Paint, out: Path) -> None:
    from boxless.predict.journal import Header, Journal
    from boxless.predict.localizer import Localizer

    (found,) = Localizer(run).predict(paint("a.png", (77, 131), (13, 7, 50, 90)))
    prediction = replace(found, warning="border")
    header = Header("d1", 0.5, {}, run.classes, ("/r",))
    with Journal(out / "predictions.jsonl", header) as journal:
        journal.write([prediction])
    (read,) = Journal(out / "predictions.jsonl", header).predictions()
    assert read == replace(prediction, path=prediction.path.absolute())


@pytest.fixture
def odd(paint: Paint) -> Path:
    """Five images: two of them black, one all white, one whose only white is its frame."""
    for index in (0, 2):
        paint(f"{index}.png", box=None)
    paint("1.png")
    paint("3.png", box=(0, 0, 64, 64))
    frame = Image.new("RGB", (64, 64), "white")
    frame.paste((0, 0, 0), (4, 4, 60, 60))
    frame.save(paint("4.png"))
    return paint("1.png").parent


def test_maps_not_to_be_trusted_are_counted_by_kind_with_one_name_of_each(run: Any, odd: Path, out: Path) -> None:
    outcome = predict_to(run, odd, out, formats=[], batch_size=2)
    assert outcome.warnings == (Warned("flat", 3, 5, "0.png"), Warned("border", 1, 5, "4.png"))
    assert [each.get("warning") for each in lines(out)[1:]] == ["flat", None, "flat", "flat", "border"]


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99, 1.0])
def test_a_resumed_job_counts_what_the_journal_knows(run: Any, odd: Path, out: Path, kept: float) -> None:
    whole = predict_to(run, odd, out, formats=[], batch_size=2)
    journal = out / "predictions.jsonl"
    content = journal.read_bytes()
    journal.write_bytes(content[: int(kept * len(content))])
    assert predict_to(run, odd, out, formats=[], batch_size=2).warnings == whole.warnings
    assert predict_to(run, odd / "[12].png", out, formats=[]).warnings == (Warned("flat", 1, 2, "2.png"),)


def test_an_image_that_was_mended_is_no_longer_warned_of(run: Any, odd: Path, out: Path, paint: Paint) -> None:
    predict_to(run, odd, out, formats=[])
    for index in (0, 2, 3, 4):
        paint(f"{index}.png")
    assert predict_to(run, odd, out, formats=[], maps=True).warnings == ()
    assert predict_to(run, odd, out, formats=[], maps=True).warnings == ()  # the later lines of the journal count
