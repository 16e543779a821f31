"""Hands of frames that follow each other: crops that follow, smoothed motion, steady bones, a side decided once."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from dataloader.frame import DepthFrame
from predicting import estimator as estimators
from predicting.engine import TorchEngine
from predicting.estimator import HandEstimator
from predicting.prediction import HandPrediction
from predicting.sequence import HandSequence
from predicting.smoothing import OneEuro, SteadyShape
from render.hand_layer import HandLayer, HandParams
from render.hand_model import load_hand_model
from tests.hand_frames import rendered_frames

BONES = [(0, 1), (1, 2), (2, 3), (3, 16), (0, 10), (13, 14), (14, 15)]


@cache
def engine() -> TorchEngine:
    return TorchEngine(device="cpu", precision="fp32")


def _still(n: int = 4) -> list[DepthFrame]:
    """The frame that is read with the greatest confidence, n times."""
    frames, _ = rendered_frames()
    hands = HandEstimator(engine=engine()).batch(frames)
    best = max(range(len(frames)), key=lambda k: (hands[k].status == "ok", hands[k].confidence))
    assert hands[best].status == "ok"
    return [replace(frames[best], name=str(k)) for k in range(n)]


def _lengths(hand: HandPrediction) -> np.ndarray:
    return np.array([np.linalg.norm(hand.joints_mm[a] - hand.joints_mm[b]) for a, b in BONES])


def test_the_next_crop_follows_the_last_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    whole: list[tuple[int, ...]] = []
    find = estimators.find_hands

    def watched(depth_mm: np.ndarray, *rest):
        whole.append(depth_mm.shape)
        return find(depth_mm, *rest)

    monkeypatch.setattr(estimators, "find_hands", watched)
    frames = _still()
    empty = DepthFrame(np.zeros_like(frames[0].depth_mm), frames[0].camera, "empty")
    whole.clear()
    hands = list(HandSequence(HandEstimator(engine=engine())).frames([*frames, empty, frames[0]]))
    assert [hand.status for hand in hands] == ["ok"] * 4 + ["no hand", "ok"]
    # the whole frame is searched at first, where the hand is lost, and after that
    assert len(whole) == 3
    assert np.abs(hands[1].centre_mm - hands[0].centre_mm).max() < 15
    assert np.array_equal(hands[5].joints_mm, hands[0].joints_mm)


def test_a_hand_that_moves_is_followed() -> None:
    still = _still(1)[0]
    principal = still.camera.principal
    moved = [replace(still, camera=replace(still.camera, principal=principal - 4.0 * k), name=str(k)) for k in range(4)]
    hands = list(HandSequence(HandEstimator(engine=engine())).frames(moved))
    x = np.array([hand.joints_mm[:, 0].mean() for hand in hands])
    step = 4.0 * hands[0].centre_mm[2] / float(still.camera.focal[0])
    assert all(hand.status == "ok" for hand in hands) and np.abs(np.diff(x) - step).max() < 0.35 * step


def test_the_side_is_decided_by_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimators, "right_log_odds", lambda looks, right, left: 3.0)
    monkeypatch.setattr(estimators, "SURE", 100.0)
    hands = HandSequence(HandEstimator(side="auto", engine=engine()))
    found = [hands(frame) for frame in _still(6)]
    assert {hand.side for hand in found} == {"right"}
    assert found[1].confidence > found[0].confidence and found[-1].confidence > 0.99 * found[-2].confidence
    assert hands._sides() == ("right",)


def test_one_euro_calms_a_still_hand_and_lets_a_fast_one_go() -> None:
    rng = np.random.default_rng(0)
    rate = 30.0
    noise = rng.normal(0, 2, (120, 21, 3)).astype(np.float32)
    smooth = OneEuro(rate)
    calm = np.stack([smooth(points) for points in noise])
    assert np.array_equal(calm[0], noise[0]) and calm[20:].std() < 0.6 * noise[20:].std()
    way = (np.arange(60, dtype=np.float32)[:, None, None] * 20) * np.ones((1, 21, 3), np.float32)
    smooth.reset()
    behind = np.abs(np.stack([smooth(points) for points in way]) - way)[30:].max()
    slow = OneEuro(rate, beta=0.0)
    assert behind < 15 < np.abs(np.stack([slow(points) for points in way]) - way)[30:].max()


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_steady_shape_keeps_bones_and_place(side: str) -> None:
    layer, generator = HandLayer(load_hand_model()), torch.Generator().manual_seed(1)
    flip = np.array([-1 if side == "left" else 1, 1, 1], np.float32)
    centre, steady, lengths = np.array([20.0, -30.0, 500.0], np.float32), SteadyShape(None), []
    for k in range(60):
        params = HandParams(
            torch.randn(1, 3, generator=generator) * 0.2,
            torch.randn(1, 45, generator=generator) * 0.1,
            torch.randn(1, 10, generator=generator),
            1 + 0.1 * torch.randn(1, 1, generator=generator),
            torch.randn(1, 3, generator=generator) * 0.1,
        )
        mesh = layer(params.rotation, params.pose, params.shape)
        vertices, joints = mesh.placed(params.scale, params.translation, 125.0)
        vertices_mm, joints_mm = ((part[0].numpy() * 125 * flip + centre) for part in (vertices, joints))
        vector = params.vector()[0].numpy()
        hand = HandPrediction(
            str(k),
            "ok",
            0.9,
            side,  # type: ignore[arg-type]
            joints_mm,
            vertices_mm[:778],
            vector,
            centre,
            250.0,
        )
        calm = steady(hand)
        if k == 0:  # of one hand the mean is its own
            assert np.abs(calm.joints_mm - joints_mm).max() < 0.01 and np.abs(calm.params - vector).max() < 1e-3
        assert np.abs(calm.joints_mm.mean(0) - joints_mm.mean(0)).max() < 0.01
        own = HandParams.from_vector(torch.from_numpy(calm.params)[None])
        again, _ = layer(own.rotation, own.pose, own.shape).placed(own.scale, own.translation, 125.0)
        assert np.abs(again[0, :778].numpy() * 125 * flip + centre - calm.vertices_mm).max() < 0.05
        lengths.append((_lengths(hand), _lengths(calm)))
    before, after = (np.array(rows)[30:].std(0) for rows in zip(*lengths, strict=True))
    assert (after < 0.3 * before).all()


def test_smoothed_hands_keep_all_else() -> None:
    frames = _still(3)
    plain = list(HandSequence(HandEstimator(engine=engine())).frames(frames))
    smooth = list(HandSequence(HandEstimator(engine=engine()), smooth=True, steady_shape=True).frames(frames))
    for hand, calm in zip(plain, smooth, strict=True):
        assert calm.frame == hand.frame and calm.status == hand.status and calm.measures == hand.measures
        assert np.abs(calm.joints_mm - hand.joints_mm).max() < 10
