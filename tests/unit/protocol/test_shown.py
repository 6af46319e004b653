"""The protocol table as text: what stands in which column, and the mean over methods, worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from boxless.protocol.shown import Row, Shown
from boxless.protocol.transfer import BV_OTSU, BV_TT, BV_VT, COMBINATIONS, MEASURES, Figure

ORACLES = ("BV-TT", "BT-VT", "BT-TT")


def row(group: str, criterion: str, value: float, *, boxes: bool = True) -> Row:
    """Figures of 0, 1, 2, ... points above a value, in the order of the combinations; two replicates 1 off."""
    keys = [key for key in COMBINATIONS if boxes or not key.endswith("VT")]
    found = {
        key: Figure(np.array([0.0, -1, 1]) + value + COMBINATIONS.index(key), f"runs/{group}", "0.300") for key in keys
    }
    threshold = 0.3 if boxes else None
    return Row(
        group, criterion, f"by {criterion}", "val", threshold, (f"runs/{group}",), dict.fromkeys(MEASURES, found)
    )


def make(*rows: Row) -> Shown:
    return Shown(
        rows, split="test", images=9, without_box=0, truth="boxes.csv", contours="largest", replicates=2, refused=()
    )


@pytest.fixture
def shown() -> Shown:
    """By pseudo-boxes a is 1 and b 2 points below selection by true boxes; c was not selected by them."""
    return make(
        row("a", "classification", 40, boxes=False),
        row("a", "pseudo:x", 69),
        row("a", "oracle", 70),
        row("b", "pseudo:x", 58),
        row("b", "oracle", 60),
        row("c", "pseudo:x", 10),
    )


def test_realistic_figures_and_oracles_never_share_a_column(shown: Shown) -> None:
    table = shown.table()
    header = list(table.header)
    by_true_boxes = [cells for cells in table.rows if "ORACLE" in cells[1]]
    assert len(by_true_boxes) == 2
    for place, title in enumerate(header[3:], start=3):
        assert title.startswith(("realistic: ", "ORACLE: "))
        if title.startswith("realistic"):
            assert not any(key in title for key in ORACLES)
            assert {cells[place] for cells in by_true_boxes} == {""}
    place = header.index("ORACLE: BV-VT")
    assert [bool(cells[place]) for cells in table.rows] == ["ORACLE" in cells[1] for cells in table.rows]
    assert table.rows[1][header.index("realistic: BV-VT")].split("\n")[0] == "69.0"
    assert table.rows[2][place].split("\n")[0] == "70.0"


def test_each_half_can_be_shown_alone(shown: Shown) -> None:
    realistic, oracle = shown.table(which="realistic"), shown.table(which="oracle")
    assert "ORACLE" not in str((realistic.header, realistic.rows))
    assert len(realistic.rows) == 4
    assert all(title.startswith("ORACLE") for title in oracle.header[3:])
    assert "realistic" not in str(shown.to_dict("oracle"))
    assert [set(each) & {"realistic", "ORACLE"} for each in shown.to_dict("realistic")["rows"]] == [{"realistic"}] * 4


def test_every_row_says_what_selected_and_where_the_threshold_is_from(shown: Shown) -> None:
    assert [cells[1:3] for cells in shown.table().rows[:3]] == [
        ("class accuracy", "Otsu's, no VT"),
        ("pseudo-boxes: x", "VT 0.300, by them on val"),
        ("ORACLE: true boxes", "VT 0.300, by them on val"),
    ]


def test_the_mean_over_methods_is_of_those_that_true_boxes_selected_too(shown: Shown) -> None:
    rows = {cells[0]: cells[1:] for cells in shown.differences().rows}
    assert rows["pseudo-boxes: x"][0] == "2"
    assert [cell.split()[0] for cell in rows["pseudo-boxes: x"][1:]] == ["-1.5"] * 3
    # Otsu's 41 of class accuracy for want of a VT, less the 70 of true boxes; 41 less 71; 42 less 72.
    assert [cell.split()[0] for cell in rows["class accuracy"][1:]] == ["-29.0", "-30.0", "-30.0"]
    found = shown.to_dict()["less_true_boxes"]["box_accuracy"]
    assert found[1]["own_threshold"] == {"value": -1.5, "low": -1.5, "high": -1.5}  # paired: the replicates move alike


def test_without_selection_by_true_boxes_there_is_nothing_to_compare_with() -> None:
    shown = make(row("a", "pseudo:x", 69))
    assert shown.differences().rows == []
    assert not any("differences" in name for name in shown.tables())


def test_all_of_it_goes_to_json(shown: Shown) -> None:
    plain = json.loads(json.dumps(shown.to_dict(), allow_nan=False))
    assert plain["rows"][1]["realistic"]["mean_iou"].keys() == {BV_VT, BV_OTSU}
    assert plain["rows"][2]["ORACLE"]["mean_iou"][BV_TT]["run"] == "runs/a"
    assert plain["rows"][2]["realistic"]["mean_iou"] == {}
