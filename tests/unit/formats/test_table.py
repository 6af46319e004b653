from __future__ import annotations

import csv

from boxless.formats import write


def test_each_box_has_a_row_and_an_image_without_one_keeps_its_own(make, classes, tmp_path):
    odd = 'a, "b"/c d.jpg'
    predictions = [make(odd, (333, 77), [(0, 1.25, 2, 3, 1, 0.5), (1, 2, 333, 77, 2, 0.25)]), make("none.jpg", label=2)]
    path = write("csv", predictions, classes, tmp_path / "out")
    assert path == tmp_path / "out" / "predictions.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert ",".join(rows[0]) == "name,width,height,label,class_score,x0,y0,x1,y1,box_label,box_score,threshold"
    assert rows[1:] == [
        [odd, "333", "77", "cat", "0.75", "0.0", "1.25", "2.0", "3.0", classes[1], "0.5", "0.4"],
        [odd, "333", "77", "cat", "0.75", "1.0", "2.0", "333.0", "77.0", "чайка", "0.25", "0.4"],
        ["none.jpg", "333", "77", "чайка", "0.75", "", "", "", "", "", "", "0.4"],
    ]
