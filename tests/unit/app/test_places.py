"""Only the images of the folder given, and those dropped, are ever read; wherever links and dots lead."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_tools import source

from boxless.app.places import Places
from boxless.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source(tmp_path / "photos", "a.png")
    source(tmp_path / "photos" / "deep", "b.png")
    source(tmp_path / "elsewhere", "secret.png")
    return tmp_path / "photos"


@pytest.fixture
def places(folder: Path, tmp_path: Path) -> Places:
    return Places(folder, tmp_path / "review")


def names(places: Places) -> list[str]:
    return [each.name for each in places.list()[0]]


def test_the_folder_is_listed_to_the_bottom(places: Places, folder: Path) -> None:
    (folder / "notes.txt").write_text("no image")
    assert names(places) == ["a.png", "deep/b.png"]


def test_links_that_lead_out_are_refused_and_links_within_are_not(places: Places, folder: Path) -> None:
    outside = folder.parent / "elsewhere"
    (folder / "file.png").symlink_to(outside / "secret.png")
    (folder / "linked").symlink_to(outside)
    (folder / "within.png").symlink_to(folder / "a.png")
    (folder / "broken.png").symlink_to(folder / "nothing.png")
    sources, refused = places.list()
    assert [each.name for each in sources] == ["a.png", "deep/b.png", "within.png"]
    assert sorted(refused) == ["broken.png", "file.png", "linked/secret.png"]
    assert "leads out of the folder given" in refused["file.png"]


def test_a_folder_that_is_a_link_itself_is_taken_for_what_it_leads_to(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert names(Places(tmp_path / "link", tmp_path / "review")) == ["a.png", "deep/b.png"]


@pytest.mark.parametrize("path", ["../elsewhere/secret.png", "deep/../../elsewhere/secret.png", "../photos-2/a.png"])
def test_dots_that_lead_out_are_refused(places: Places, folder: Path, path: str) -> None:
    source(folder.parent / "photos-2", "a.png")
    with pytest.raises(DataError, match="leads out of the folder given"):
        places.check(folder / path)


def test_a_file_that_becomes_a_link_is_refused_when_it_is_opened(places: Places, folder: Path) -> None:
    places.check(folder / "a.png")
    (folder / "a.png").unlink()
    (folder / "a.png").symlink_to(folder.parent / "elsewhere" / "secret.png")
    with pytest.raises(DataError, match="leads out"):
        places.check(folder / "a.png")


def test_dropped_images_are_kept_under_names_of_their_own(places: Places, folder: Path, tmp_path: Path) -> None:
    upload = source(tmp_path / "upload", "new.png").path
    assert [places.take(upload).name for _ in range(3)] == ["dropped/new.png", "dropped/new-2.png", "dropped/new-3.png"]
    again = Places(folder, tmp_path / "review")
    assert names(again) == ["a.png", "deep/b.png", "dropped/new-2.png", "dropped/new-3.png", "dropped/new.png"]


def test_what_is_dropped_must_be_an_image(places: Places, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    with pytest.raises(DataError, match=r"notes\.txt: no image by its suffix"):
        places.take(text)
    text = text.rename(tmp_path / "notes.png")
    with pytest.raises(DataError, match="this is not an image that boxless reads"):
        places.take(text)
    assert names(places) == ["a.png", "deep/b.png"]


def test_what_a_review_wrote_into_the_folder_is_not_reviewed(folder: Path) -> None:
    places = Places(folder, folder / "review")
    source(folder / "review", "export.png")
    places.take(folder / "a.png")
    assert names(places) == ["a.png", "deep/b.png", "dropped/a.png"]


def test_folders_that_cannot_be_told_apart_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        Places(tmp_path / "nothing", tmp_path / "review")
    with pytest.raises(DataError, match="lies in the folder of the review"):
        Places(folder, tmp_path)
    (folder / "dropped").mkdir()
    with pytest.raises(DataError, match="goes by this name"):
        Places(folder, tmp_path / "review")


def test_without_a_folder_there_are_dropped_images_alone(tmp_path: Path) -> None:
    places = Places(None, tmp_path / "review")
    assert places.list() == ([], {})
    places.take(source(tmp_path / "upload", "new.png").path)
    assert names(places) == ["dropped/new.png"]
