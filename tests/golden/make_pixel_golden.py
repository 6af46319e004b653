"""Writes pixel_average_precision.json: what the unmodified MaskEvaluator of wsolevaluation says about pixel_cases.py.

    git clone https://github.com/clovaai/wsolevaluation DIR
    python tests/golden/make_pixel_golden.py --peer DIR      # some seconds

Its code is imported as make_box_golden.py does. It reads masks and metadata from files that are written for it.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import pixel_cases
from make_box_golden import COMMIT, check_unmodified, load_peer
from pixel_cases import Case

GOLDEN = Path(__file__).parent / "pixel_average_precision.json"


def write_data(cases: list[Case], folder: Path) -> None:
    """PNG files and the text files that name them."""
    lines = []
    for case in cases:
        cv2.imwrite(str(folder / f"{case.name}_ignore.png"), case.ignore.astype(np.uint8) * 255)
        for number, mask in enumerate(case.masks):
            cv2.imwrite(str(folder / f"{case.name}_{number}.png"), mask.astype(np.uint8) * 255)
            ignore = f"{case.name}_ignore.png" if number == 0 else ""
            lines.append(f"{case.name}.jpg,{case.name}_{number}.png,{ignore}")
    content = {"localization": lines, "image_ids": [f"{case.name}.jpg" for case in cases], "image_sizes": []}
    for name, rows in content.items():
        (folder / f"{name}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")


def measure(peer: types.ModuleType, cases: list[Case], interval: float) -> float:
    """PxAP of these cases as a data set of their own."""
    with tempfile.TemporaryDirectory() as scratch:
        write_data(cases, Path(scratch))
        evaluator = peer.MaskEvaluator(
            metadata=peer.configure_metadata(scratch),
            dataset_name="OpenImages",
            split="test",
            cam_threshold_list=list(np.arange(0, 1, interval)),
            iou_threshold_list=[50],
            mask_root=scratch,
            multi_contour_eval=False,
        )
        for case in cases:
            evaluator.accumulate(case.values.astype(float), f"{case.name}.jpg")  # as its t2n gives it
        return float(evaluator.compute())


def labels(peer: types.ModuleType, cases: list[Case]) -> list[np.ndarray]:
    """The masks as the peer reads them: 1, 0 and 255."""
    with tempfile.TemporaryDirectory() as scratch:
        write_data(cases, Path(scratch))
        found, ignored = peer.get_mask_paths(peer.configure_metadata(scratch))
        return [peer.get_mask(scratch, found[name], ignored[name]) for name in (f"{case.name}.jpg" for case in cases)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="a checkout of wsolevaluation")
    folder = parser.parse_args().peer
    check_unmodified(folder)
    peer = load_peer(folder)
    suite = {kind: pixel_cases.cases(kind) for kind in pixel_cases.KINDS}
    every = [case for cases in suite.values() for case in cases]
    content: dict[str, Any] = {
        "about": {
            "what": "PxAP of the unmodified MaskEvaluator of wsolevaluation on the data sets of pixel_cases.py",
            "command": "python tests/golden/make_pixel_golden.py --peer DIR",
            "peer": "https://github.com/clovaai/wsolevaluation",
            "peer_commit": COMMIT,
            "versions": {"python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__},
            "thresholds": "list(np.arange(0, 1, interval))",
            "labels_sha256": "of the masks as get_mask of the peer returns them",
        },
        "maps_sha256": pixel_cases.digest([case.values for case in every]),
        "labels_sha256": {kind: pixel_cases.digest(labels(peer, cases)) for kind, cases in suite.items()},
        "pxap": {
            str(interval): {
                kind: measure(peer, cases, interval) for kind, cases in {**suite, "all together": every}.items()
            }
            for interval in pixel_cases.INTERVALS
        },
    }
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
