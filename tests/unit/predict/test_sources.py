from pathlib import Path

import pytest

from boxless.errors import DataError
from boxless.predict.sources import Sources


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a/x.jpg", "a/deep/y.PNG", "b/x.jpg", "b/notes.txt", "b/.hidden.jpg", "other/a/x.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(*given: Path | str, output: Path | None = None) -> list[str]:
    return [each.name for each in Sources(list(given), output=output)]


def test_folder_gives_relative_names_sorted_and_images_only(tree: Path) -> None:
    assert names(tree / "a") == ["deep/y.PNG", "x.jpg"]
    assert names(tree / "b") == ["x.jpg"]


def test_file_gives_its_base_name(tree: Path) -> None:
    assert names(tree / "a/deep/y.PNG") == ["y.PNG"]


def test_file_named_by_hand_is_tried_whatever_its_suffix(tree: Path) -> None:
    assert names(tree / "b/notes.txt") == ["notes.txt"]


def test_glob_names_are_relative_to_what_comes_before_the_first_wildcard(tree: Path) -> None:
    assert names(f"{tree}/*/x.jpg") == ["a/x.jpg", "b/x.jpg"]
    assert names(f"{tree}/**/*.jpg") == ["a/x.jpg", "b/x.jpg", "other/a/x.jpg"]


def test_relative_glob_works_in_the_current_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "a")
    assert names("*.jpg") == ["x.jpg"]


def test_names_of_several_folders_begin_with_the_folder_and_are_numbered_if_still_equal(tree: Path) -> None:
    found = names(tree / "a", tree / "b", tree / "other/a")
    assert found == ["a/deep/y.PNG", "a/x.jpg", "b/x.jpg", "a-2/x.jpg"]


def test_files_of_one_folder_need_no_prefix(tree: Path) -> None:
    assert names(tree / "a/x.jpg", tree / "a/deep/../x.jpg") == ["x.jpg"]


def test_image_that_is_reached_twice_is_listed_once(tree: Path) -> None:
    assert names(tree / "a", tree / "a/x.jpg") == ["deep/y.PNG", "x.jpg"]


def test_folder_that_grew_keeps_its_names(tree: Path) -> None:
    before = names(tree / "a", tree / "b")
    (tree / "b" / "deep").mkdir()
    (tree / "b" / "deep" / "y.PNG").touch()
    assert set(before) < set(names(tree / "a", tree / "b"))


def test_output_folder_is_not_listed(tree: Path) -> None:
    out = tree / "a" / "deep"
    assert names(tree / "a", output=out) == ["x.jpg"]
    assert names(f"{tree}/a/**/*.*", output=out) == ["x.jpg"]


def test_folder_whose_name_begins_like_the_output_folder_is_listed(tree: Path) -> None:
    assert names(tree / "a", output=tree / "a" / "de") == ["deep/y.PNG", "x.jpg"]


def test_source_inside_the_output_folder_is_refused(tree: Path) -> None:
    with pytest.raises(DataError, match="lies in the output folder"):
        Sources(tree / "a", output=tree)


@pytest.mark.parametrize(("given", "message"), [("none", "no such file or folder"), ("empty", "no image found")])
def test_nothing_to_predict_is_an_error_that_names_the_path(tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=f"{given}.*{message}"):
        list(Sources(tmp_path / given))


def test_no_source_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="no source was given"):
        Sources([])


def test_count_is_the_number_listed(tree: Path) -> None:
    assert Sources([tree / "a", tree / "b"]).count() == 3
