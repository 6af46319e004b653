"""Writes box_accuracy.json: what the unmodified BoxEvaluator of wsolevaluation says about the suite in maps.py.

    git clone https://github.com/clovaai/wsolevaluation DIR
    python tests/golden/make_box_golden.py --peer DIR      # about five minutes

Its code is imported as it is. Around it: the aliases that numpy dropped (``np.float`` and the like) are put back before
the import, ``munch`` (a dictionary with attributes) is stood in for where it is not installed, and two of its functions
are wrapped to note what they return. It reads true boxes and sizes from metadata files that are written for it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import tempfile
import types
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import maps

GOLDEN = Path(__file__).parent / "box_accuracy.json"
COMMIT = "96f4b88679af41f005824661f47e6fe3628af2aa"
SOURCES = {
    "evaluation.py": "ae9c7161264aac1ef7ac8242d58e1508727468d418c7bc58b1066d067c796e3b",
    "data_loaders.py": "7b472c01f72b4b265dc133c481259638ea6a4ac966c09c4703116a24976bfad5",
    "util.py": "adb6725858bc48dcbe85bf7224d34015e90672af91b64173cd1e2b26c76d88f9",
}
LEVELS = [30, 50, 70]
CONTOURS = {"largest": False, "all": True}


class Munch(dict[str, Any]):
    """A dictionary whose keys are attributes too: all that the peer asks of the package of this name."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


def load_peer(folder: Path) -> types.ModuleType:
    """The peer's module ``evaluation`` from a checkout."""
    for name, restored in (("float", float), ("int", int), ("bool", bool)):
        if name not in np.__dict__:
            setattr(np, name, restored)
    try:
        import munch  # noqa: F401
    except ImportError:
        stand_in = types.ModuleType("munch")
        stand_in.Munch = Munch  # type: ignore[attr-defined]
        sys.modules["munch"] = stand_in
    sys.path.insert(0, str(folder))
    import evaluation

    if Path(evaluation.__file__).parent != folder.resolve():
        raise SystemExit(f"{evaluation.__file__} was imported and not the evaluation.py of {folder}.")
    return evaluation


def make_evaluator(peer: types.ModuleType, cases: list[maps.Case], contours: str, folder: Path) -> Any:
    """A BoxEvaluator for these cases, that has read their boxes from metadata files in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = {
        "image_ids": [case.name for case in cases],
        "class_labels": [f"{case.name},0" for case in cases],
        "image_sizes": [f"{case.name},{case.size[0]},{case.size[1]}" for case in cases],
        "localization": [",".join([case.name, *map(str, box)]) for case in cases for box in case.boxes.tolist()],
    }
    for name, rows in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return peer.BoxEvaluator(
        metadata=peer.configure_metadata(str(folder)),
        dataset_name="CUB",
        split="test",
        cam_threshold_list=list(np.arange(0, 1, 0.001)),
        iou_threshold_list=LEVELS,
        mask_root="",
        multi_contour_eval=CONTOURS[contours],
    )


class Notes:
    """What the peer's functions returned within the last `accumulate`; how they work is left alone."""

    def __init__(self, peer: types.ModuleType) -> None:
        self.counts: list[int] = []
        self.overlaps = np.zeros((0, 0))
        find, overlap = peer.compute_bboxes_from_scoremaps, peer.calculate_multiple_iou

        def noted_find(*arguments: Any, **named: Any) -> Any:
            boxes, self.counts = find(*arguments, **named)
            return boxes, self.counts

        def noted_overlap(*arguments: Any, **named: Any) -> Any:
            self.overlaps = overlap(*arguments, **named)
            return self.overlaps

        peer.compute_bboxes_from_scoremaps, peer.calculate_multiple_iou = noted_find, noted_overlap

    def best(self) -> np.ndarray:
        """The best IoU of any box with any true box at each threshold."""
        starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        return np.maximum.reduceat(self.overlaps.max(1), starts)


def runs(curve: np.ndarray) -> list[list[int]]:
    """A curve of counts as [count, how many thresholds in a row have it]."""
    edges = np.flatnonzero(np.diff(curve)) + 1
    bounds = [0, *edges.tolist(), len(curve)]
    return [[int(curve[start]), end - start] for start, end in pairwise(bounds)]


def figures(accuracies: list[float]) -> dict[str, Any]:
    """As `evaluate_wsol` of the peer makes its one figure from what `compute` returns."""
    return {
        "max_box_acc_at_level": [float(accuracy) for accuracy in accuracies],
        "max_box_acc": float(accuracies[LEVELS.index(50)]),
        "max_box_acc_v2": float(np.average(accuracies)),
    }


def measure(peer: types.ModuleType, contours: str, folder: Path) -> dict[str, Any]:
    """Every kind of map by itself, and all together, in one contour mode."""
    notes, kinds, per_map = Notes(peer), {}, {}
    everything = make_evaluator(peer, list(maps.suite()), contours, folder / "all")
    for kind in maps.KINDS:
        cases = list(maps.cases(kind))
        evaluator = make_evaluator(peer, cases, contours, folder / kind)
        for case in cases:
            evaluator.accumulate(case.values, case.name)
            per_map[case.name] = maps.curve_digest(notes.best())
        curves = [evaluator.num_correct[level] for level in LEVELS]
        kinds[kind] = {
            "count": evaluator.cnt,
            "num_correct": [runs(curve) for curve in curves],
            **figures(evaluator.compute()),
        }
        for level, curve in zip(LEVELS, curves, strict=True):
            everything.num_correct[level] += curve
        everything.cnt += evaluator.cnt
    return {"all": {"count": everything.cnt, **figures(everything.compute())}, "kinds": kinds, "digests": per_map}


def check_unmodified(folder: Path) -> None:
    """Refuse a checkout whose evaluator is not that of the commit that the figures are said to be of."""
    for name, expected in SOURCES.items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise SystemExit(f"{path} is not that of wsolevaluation's commit {COMMIT}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="a checkout of wsolevaluation")
    folder = parser.parse_args().peer
    check_unmodified(folder)
    content: dict[str, Any] = {
        "about": {
            "what": "The unmodified BoxEvaluator of wsolevaluation on the maps of tests/golden/maps.py",
            "command": "python tests/golden/make_box_golden.py --peer DIR",
            "peer": "https://github.com/clovaai/wsolevaluation",
            "peer_commit": COMMIT,
            "versions": {"python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__},
            "thresholds": "list(np.arange(0, 1, 0.001))",
            "iou_levels": LEVELS,
            "num_correct": "for each level: [images right, at how many thresholds in a row]",
            "digests": "of each map's best IoU at each threshold; see curve_digest() in maps.py",
        },
        "maps_sha256": maps.suite_digest(maps.suite()),
    }
    for contours in CONTOURS:
        with tempfile.TemporaryDirectory() as scratch:
            content[contours] = measure(load_peer(folder), contours, Path(scratch))
    GOLDEN.write_text(json.dumps(content, separators=(",", ":")).replace('},"', '},\n"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
