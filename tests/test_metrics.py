"""Joint errors against numbers worked out by hand and against published scores."""

import json
import math
from pathlib import Path

import pytest
import torch

from util.joints import ICVL16, NYU14
from util.metrics import JointErrors, share, summary

CAMERAS = {"nyu": (588.03, -587.07, 320.0, 240.0), "icvl": (240.99, 240.96, 160.0, 120.0)}
JOINTS = {"nyu": NYU14, "icvl": ICVL16}


def errors(rows: list[list[float]]) -> JointErrors:
    """Errors of given sizes: joints moved along x."""
    true = torch.zeros(len(rows), len(rows[0]), 3)
    predicted = true.clone()
    predicted[..., 0] = torch.tensor(rows)
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


def test_unknown_joints_are_left_out() -> None:
    e = errors([[1, math.nan], [math.nan, math.nan], [5, 7]])
    assert e.mean_mm == pytest.approx(13 / 3)
    assert e.worst_mm.isnan().tolist() == [False, True, False]
    assert e.share_within(6) == pytest.approx(0.5)
    assert summary(e.frame_mm) == pytest.approx({"mean": 3.5, "median": 3.5})


def test_no_frames_give_nan() -> None:
    e = errors([[1.0]])
    none = JointErrors(e.mm[:0], e.names)
    assert all(math.isnan(v) for v in (none.mean_mm, none.median_mm, none.share_within(5)))
    assert math.isnan(share(torch.zeros(0, dtype=torch.bool)))
    assert math.isnan(summary(torch.zeros(0))["median"])


def test_share() -> None:
    assert share(torch.tensor([True, False, False, False])) == 0.25


@pytest.mark.parametrize(
    ("data_set", "method"),
    [
        ("nyu", "awr_resnet18"),
        ("nyu", "deepprior_pp"),
        ("nyu", "v2v_posenet"),
        ("icvl", "a2j"),
        ("icvl", "v2v_posenet"),
    ],
)
def test_published_predictions_score_as_published(shared: Path, data_set: str, method: str) -> None:
    folder = shared / "data" / "benchmarks"
    expected = json.loads((folder / "expected_scores.json").read_text())[data_set][method]
    joints = JOINTS[data_set]
    fx, fy, cx, cy = CAMERAS[data_set]

    def read_mm(name: str) -> torch.Tensor:
        numbers = [float(word) for word in (folder / data_set / f"{name}.txt").read_text().split()]
        u, v, z = torch.tensor(numbers, dtype=torch.float64).reshape(-1, len(joints), 3).unbind(dim=-1)
        return torch.stack([(u - cx) * z / fx, (v - cy) * z / fy, z], dim=-1)

    e = JointErrors.between(read_mm(method), read_mm("test_groundtruth"), joints.names)
    assert e.mean_mm == pytest.approx(expected["mean_mm"], abs=1e-3)
    for limit, percent in expected["success"].items():
        assert 100 * e.share_within(float(limit)) == pytest.approx(percent, abs=0.01)
    if "mean_first_11_mm" in expected:
        assert e.only(range(11)).mean_mm == pytest.approx(expected["mean_first_11_mm"], abs=1e-3)
