"""Joint errors against numbers worked out by hand."""

import math

import numpy as np
import pytest

from util.metrics import JointErrors, share, summary


def errors(rows: list[list[float]]) -> JointErrors:
    """Errors of given sizes: joints moved along x."""
    true = np.zeros((len(rows), len(rows[0]), 3), np.float32)
    predicted = true.copy()
    predicted[..., 0] = rows
    return JointErrors.between(predicted, true, [f"joint_{i}" for i in range(len(rows[0]))])


def test_by_hand() -> None:
    e = errors([[1, 3], [10, 20], [2, 2]])
    assert e.mean_mm == pytest.approx(38 / 6)
    assert e.median_mm == 2
    assert e.worst_mm.tolist() == [3, 20, 2]
    assert e.joint_mm == pytest.approx({"joint_0": 13 / 3, "joint_1": 25 / 3})
    assert e.success_curve([1, 2, 3, 20]).tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert e.share_within(3) == pytest.approx(2 / 3)
    assert e.only([0]).mean_mm == pytest.approx(13 / 3)
    assert e.only([1]).names == ("joint_1",)
    assert e.frames(np.array([True, False, True])).joint_mm == pytest.approx({"joint_0": 1.5, "joint_1": 2.5})
    assert e.mm.dtype == np.float64


def test_unknown_joints_are_left_out() -> None:
    e = errors([[1, math.nan], [math.nan, math.nan], [5, 7]])
    assert e.mean_mm == pytest.approx(13 / 3)
    assert np.isnan(e.worst_mm).tolist() == [False, True, False]
    assert e.share_within(6) == pytest.approx(0.5)
    assert summary(e.frame_mm) == pytest.approx({"mean": 3.5, "median": 3.5})


def test_no_frames_give_nan() -> None:
    e = errors([[1.0]])
    none = JointErrors(e.mm[:0], e.names)
    assert all(math.isnan(value) for value in none.joint_mm.values())
    assert all(math.isnan(v) for v in (none.mean_mm, none.median_mm, none.share_within(5)))
    assert math.isnan(share(np.zeros(0, bool)))
    assert math.isnan(summary(np.zeros(0))["median"])


def test_share() -> None:
    assert share(np.array([True, False, False, False])) == 0.25
