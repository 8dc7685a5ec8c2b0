"""What a view is shown of a candidate in training."""

from __future__ import annotations

import pytest

from controllers.view import CandidateProgress


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ({}, "trial 7: 41 s"),
        ({"epoch": 0, "epochs": 8}, "trial 7: compiling, epoch 1/8, 41 s"),
        ({"epoch": 3, "epochs": 8, "loss": 0.51249}, "trial 7: epoch 3/8, loss 0.512, 41 s"),
        ({"loss": float("nan")}, "trial 7: loss nan, 41 s"),
        ({"epoch": 3, "other": "x"}, "trial 7: 41 s"),
    ],
)
def test_text(report: dict[str, float], text: str) -> None:
    assert str(CandidateProgress(7, 40.6, report)) == text


def test_duration_is_estimated_from_the_end_of_the_last_epoch() -> None:
    assert CandidateProgress(0, 55.0, {"epoch": 2, "epochs": 8}, 40.0).duration == 160.0
    assert CandidateProgress(0, 55.0, {"epoch": 0, "epochs": 8}, 5.0).duration is None
    assert CandidateProgress(0, 55.0).duration is None
