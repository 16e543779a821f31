"""Which hand it is, by its looks alone and by what both fits say: opposite for a flipped frame, and mostly right."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.sides import HALF_OPEN, raw_frames
from config import LooksConfig
from dataloader.frame import DepthFrame
from model.looks import LooksNetwork
from predicting.engine import SHIPPED, TorchEngine
from predicting.estimator import HandEstimator
from predicting.looks import load_looks
from predicting.sides import LIMIT, SHIPPED_SIDE, right_log_odds, side_confidence
from tests.hand_frames import rendered_frames
from util.checkpoint import load_weights
from util.errors import UserError

GOOD = {"surface_mm": 3.0, "depth_mm": 5.0, "iou": 0.8, "coverage": 0.95, "agreement_mm": 6.0}
BAD = {"surface_mm": 6.0, "depth_mm": 9.0, "iou": 0.7, "coverage": 0.8, "agreement_mm": 15.0}


@cache
def estimator() -> HandEstimator:
    return HandEstimator(side="auto", engine=TorchEngine(device="cpu", precision="fp32"))


def looks(frames: list[DepthFrame]) -> np.ndarray:
    """Log odds of each frame, (n,), by looks alone."""
    told = estimator().told([first for first, _ in estimator().search(frames)], common=True)
    return np.array([place.looks_right for place in told if place.view.side == "right"])


def test_a_flipped_frame_has_the_opposite_odds() -> None:
    frames = list(rendered_frames()[0])
    odds, flipped = looks(frames), looks([frame.mirrored() for frame in frames])
    assert np.abs(odds + flipped).max() < 1e-5 and (np.abs(odds) > 1).any()
    doubtful = [frames[int(np.argmin(np.abs(odds)))]]
    answers = [estimator().read_best(estimator().search(some)) for some in (doubtful, [doubtful[0].mirrored()])]
    assert all(len(found[0]) == 2 for found in answers)
    given, turned = (estimator().side_odds([found[0]])[0] for found in answers)
    assert abs(given + turned) < 1e-2


def test_open_hands_look_like_what_they_are() -> None:
    frames, openness, _ = raw_frames(110, "frames for tests")
    shown = [frame for frame, straight in zip(frames, openness, strict=True) if straight > HALF_OPEN][:60]
    is_right = np.arange(60) % 3 > 0
    odds = looks([frame if right else frame.mirrored() for frame, right in zip(shown, is_right, strict=True)])
    assert len(odds) == 60 and ((odds > 0) == is_right).mean() >= 0.9


def test_a_side_that_is_sure_spares_the_other() -> None:
    frames, _ = rendered_frames()
    read = estimator().read_best(estimator().search(list(frames)))
    for of_side in read.values():
        odds = {reading.attempt.looks_right for reading in of_side.values()}
        if len(of_side) == 1:
            (side,) = of_side
            assert len(odds) == 1 and (odds.pop() > 0) == (side == "right")
    assert any(len(of_side) == 1 for of_side in read.values())
    before = estimator().read_best(estimator().search(list(frames)), before=-2 * LIMIT)
    assert all("left" in of_side for of_side in before.values())


def test_fits_and_looks_add_up() -> None:
    assert right_log_odds(0.0, GOOD, BAD) > 1 and right_log_odds(0.0, BAD, GOOD) == -right_log_odds(0.0, GOOD, BAD)
    assert 0 < right_log_odds(2.0, GOOD, GOOD) == right_log_odds(2.0, GOOD, {}) < right_log_odds(2.0, GOOD, BAD)
    assert right_log_odds(100.0, GOOD, BAD) == LIMIT
    assert side_confidence(0) == 0 and 0.9 < side_confidence(-5) == side_confidence(5) < 1


def test_weights_start_from_those_of_the_pose() -> None:
    network, pose = LooksNetwork(LooksConfig()), load_weights(SHIPPED)[0]
    network.start_from(pose)
    own = network.state_dict()
    assert torch.equal(own["stem.0.weight"], pose["stem.0.weight"].float())
    last = "layers.2.1.conv2.weight"
    assert torch.equal(own[last], pose["stages.0.encoder." + last].float())
    shipped = load_looks(SHIPPED_SIDE, "side").state_dict()
    assert torch.equal(own["layers.1.0.conv1.weight"], shipped["layers.1.0.conv1.weight"])


@pytest.mark.parametrize("damage", ["torn", "absent", "pose", "wide"])
def test_another_file_is_told_in_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "side.safetensors"
    whole = SHIPPED_SIDE.read_bytes()
    if damage == "torn":
        path.write_bytes(whole[: len(whole) // 2])
    if damage == "pose":
        path.write_bytes(SHIPPED.read_bytes())
    if damage == "wide":
        path.write_bytes(whole.replace(b"[32, 64, 128]", b"[32, 64, 912]"))
    with pytest.raises(UserError, match=r"side\.safetensors[^\n]*\.$") as told:
        load_looks(path, "side")
    assert str(told.value).count(". ") == 0
