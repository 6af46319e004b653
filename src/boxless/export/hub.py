"""Runs on the Hugging Face Hub: a run's own files and a model card go up, and the very same files come down.

What comes down is read as data: weights from safetensors, all else from JSON and YAML, nothing from pickles; and a
recipe that names code is refused as that of any run is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from boxless.errors import ConfigError, RunError
from boxless.export.model_card import model_card
from boxless.files import atomic_write
from boxless.parsing import read_yaml
from boxless.runs import CARD, RECIPE, WEIGHTS, read_card

PAGE = "README.md"
FILES = (RECIPE, CARD, WEIGHTS)  # of a run, and all that is ever fetched
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True, slots=True)
class Pushed:
    """What went up, or would go."""

    repo_id: str
    files: dict[str, int]  # names and sizes in bytes
    page: Path | None  # where the model card was written to look at; None if it went up
    url: str = ""  # of the commit


def push_to_hub(
    run: str | Path,
    repo_id: str,
    *,
    evaluation: str | Path | None = None,
    private: bool = False,
    token: str | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Upload a run with a model card; paths of this machine in its recipe and card are cut to their last part.

    A ``README.md`` in the run's folder is taken as it is; else one is made of the run's card.

    Args:
        run: Its folder.
        repo_id: ``owner/name``; the repository is made if there is none.
        evaluation: An ``evaluation.json`` of ``boxless evaluate --out``, whose figures the model card shows.
        private: Whether a new repository is private.
        token: In place of the one that ``hf auth login`` keeps.
        dry_run: Write the model card into the run's folder, and send nothing.

    Raises:
        ConfigError: The name is none of a repository; or there is a ``README.md``, and figures to show in it.
        RunError: The run is not finished, or the Hub cannot be reached or refuses.
        DataError: The evaluation cannot be read.
    """
    folder = Path(run)
    _check_name(repo_id)
    content = _content(folder, repo_id, Path(evaluation) if evaluation is not None else None)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise RunError(f"{weights}: it is missing; the run is damaged.")
    files = {name: len(text) for name, text in content.items()} | {WEIGHTS: weights.stat().st_size}
    if dry_run:
        with atomic_write(folder / PAGE, "wb") as file:
            file.write(content[PAGE])
        return Pushed(repo_id, files, folder / PAGE)
    from huggingface_hub import CommitOperationAdd, HfApi

    operations = [CommitOperationAdd(name, text) for name, text in content.items()]
    operations.append(CommitOperationAdd(WEIGHTS, str(weights)))
    with _explained(repo_id):
        api = HfApi(token=token, library_name="boxless")
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.create_commit(repo_id, operations, commit_message="Upload a run of boxless")
    return Pushed(repo_id, files, None, str(commit.commit_url))


def fetch_run(repo_id: str, *, revision: str | None = None, token: str | None = None) -> Path:
    """The folder of a run from the Hub; what was fetched before is not fetched again.

    Args:
        repo_id: ``owner/name``.
        revision: A commit, tag or branch; a commit pins what is fetched for good.
        token: In place of the one that ``hf auth login`` keeps.

    Raises:
        ConfigError: The name is none of a repository.
        RunError: There is no such run, or the Hub cannot be reached and the run was not fetched before.
    """
    _check_name(repo_id)
    from huggingface_hub import snapshot_download

    with _explained(repo_id, revision):
        folder = Path(
            snapshot_download(
                repo_id, revision=revision, token=token, allow_patterns=list(FILES), library_name="boxless"
            )
        )
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise RunError(
            f"{repo_id}: it holds no run of boxless ({', '.join(missing)} missing); runs go there by: "
            "boxless push RUN REPO_ID"
        )
    return folder


def _content(folder: Path, repo_id: str, evaluation: Path | None) -> dict[str, bytes]:
    """The files that are made for the Hub."""
    own = folder / PAGE
    if evaluation is not None and own.is_file():
        raise ConfigError(f"{own}: it goes up as it is, without these figures; remove it to have a new one made.")
    card = _shortened(read_card(folder))
    # What other criteria chose stays at home, and so do their names.
    card["criteria"] = {name: each for name, each in card.get("criteria", {}).items() if each.get("weights") == WEIGHTS}
    try:
        recipe = _shortened(read_yaml(folder / RECIPE))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder / RECIPE}: cannot be read ({error}); the run is damaged.") from error
    page = own.read_bytes() if own.is_file() else model_card(card, repo_id, evaluation).encode()
    return {
        PAGE: page,
        RECIPE: yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True).encode(),
        CARD: (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode(),
    }


def _shortened(value: Any) -> Any:
    """The same with paths of this machine cut to their last part: where data lie is nobody's concern."""
    if isinstance(value, dict):
        return {key: _shortened(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_shortened(each) for each in value]
    if not isinstance(value, str):
        return value
    if PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute():
        return PureWindowsPath(value).name if "\\" in value else PurePosixPath(value).name
    return value.replace(str(Path.home()), "~")


def _check_name(repo_id: str) -> None:
    if not _REPOSITORY.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id:
        raise ConfigError(f"{repo_id!r} is no name of a repository on the Hub; expected owner/name.")


@contextmanager
def _explained(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """What the Hub's client says, in our words."""
    from huggingface_hub import errors

    at = f"{repo_id} at {revision}" if revision else repo_id
    try:
        yield
    except (errors.RevisionNotFoundError, errors.RepositoryNotFoundError) as error:
        raise RunError(
            f"{at}: there is no such repository or revision on the Hub, or it is not yours to see; check the name, and "
            "log in with: hf auth login"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise RunError(
            f"{at}: the Hub cannot be reached, and this was not fetched before; connect, or load the run's folder from "
            "disk with Localizer.load."
        ) from error
    except errors.HfHubHTTPError as error:
        raise RunError(
            f"{at}: the Hub refuses ({' '.join(str(error).split())[:200]}); log in with: hf auth login"
        ) from error
    except OSError as error:  # connections that fail, and disks that are full
        raise RunError(
            f"{at}: the Hub cannot be reached ({error}); connect, and give the same command again."
        ) from error
