"""What the terminal shows of remedies and of what is questionable."""

from __future__ import annotations

import io

from rich.console import Console

from edgebuild.compress.ladder import Ladder, LadderRung
from edgebuild.models.baseline_review import Attempt, BaselineReview
from edgebuild.models.calibration_review import Finding
from edgebuild.report.remedy_lines import baseline_lines, calibration_lines, ladder_lines


def shown(lines) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    for line in lines:
        console.print(line)
    return " ".join(console.export_text().split())


def test_the_ladder_lists_what_each_rung_gave():
    rungs = (
        LadderRung("min-max", 0.5, 1.2),
        LadderRung("equalization, mse", 0.0, 0.004),
        LadderRung("int16 activations", note="the target has no kernels"),
    )
    ladder = Ladder(
        ("52.00 points of accuracy are lost",), "accuracy", 0.9, 200, 45, 46, True, rungs,
        "equalization, mse", None, ("a note",),
    )  # fmt: skip
    text = shown(ladder_lines(ladder))
    assert "plain quantization loses too much accuracy: 52.00 points of accuracy are lost" in text
    assert "min-max 50.00 points 1.2000" in text
    assert "equalization, mse 0.00 points 0.0040 shipped" in text
    assert "int16 activations - - the target has no kernels" in text
    assert "46 other samples of --data judge the build" in text and "remedies: a note" in text
    assert ladder.shipped is rungs[1] and not rungs[2].tried


def test_what_is_questionable():
    found = BaselineReview("accuracy", 0.1, 0.1, 50, (Attempt("x / 255", 0.9),), "x / 255")
    assert shown(baseline_lines(found)).startswith("warning: the float model's accuracy of 10.00%")
    text = shown(calibration_lines([Finding("outlier", "sample 7"), Finding("x", "y", False)]))
    assert text == "warning: calibration: sample 7 note: y"


def test_nothing_to_say():
    assert shown([*baseline_lines(None), *calibration_lines(()), *ladder_lines(None)]) == ""
