from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from boxless.errors import MissingExtraError


@pytest.fixture
def supervision():
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="OpenCV .* is not installed; supervision is using", category=UserWarning
        )
        return pytest.importorskip("supervision")


def test_detections_hold_box_class_score_and_name(make, classes, supervision):
    found = make("a.jpg", (333, 77), [(0, 1.5, 2, 3, 1, 0.5), (1, 2, 333, 77, 2, 0.25)]).to_supervision()
    assert isinstance(found, supervision.Detections)
    assert found.xyxy.dtype == np.float32
    np.testing.assert_array_equal(found.xyxy, [[0, 1.5, 2, 3], [1, 2, 333, 77]])
    assert found.class_id.tolist() == [1, 2]
    assert found.confidence.tolist() == [0.5, 0.25]
    assert found["class_name"].tolist() == [classes[1], "чайка"]


def test_no_box_is_empty_and_merges_with_others(make, supervision):
    empty, one = make().to_supervision(), make(boxes=[(0, 0, 1, 1, 0, 0.5)]).to_supervision()
    assert empty.is_empty()
    merged = supervision.Detections.merge([empty, one])
    assert merged["class_name"].tolist() == ["cat"]


def test_missing_package_names_the_extra(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'boxless\[supervision\]'"):
        make().to_supervision()
