"""Frames in, hands out: on rendered frames whose hands are known, and on frames without one."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from dataloader.crop import HandCrop
from dataloader.frame import DepthFrame
from predicting.engine import EngineAnswer, TorchEngine
from predicting.estimator import HandEstimator
from predicting.prediction import HandPrediction
from predicting.reading import FITTING, chosen_side
from predicting.refine import Refinements
from predicting.views import View, crops_of
from render.hand_layer import HandLayer, HandParams
from render.hand_model import load_hand_model
from tests.hand_frames import rendered_frames
from util.errors import UserError

FLIP = np.array([-1, 1, 1], np.float32)


@cache
def engine() -> TorchEngine:
    return TorchEngine(device="cpu", precision="fp32")


@cache
def predictions(side: str = "right", refine: int = 0) -> list[HandPrediction]:
    frames, _ = rendered_frames()
    return HandEstimator(side=side, refine=refine, engine=engine()).batch(frames)


def _errors(hands: list[HandPrediction]) -> np.ndarray:
    """Mean joint error of each frame, mm."""
    _, joints_mm = rendered_frames()
    found = np.stack([hand.joints_mm for hand in hands])
    return np.linalg.norm(found - joints_mm, axis=-1).mean(1)


def test_rendered_hands_are_found_where_they_are() -> None:
    frames, _ = rendered_frames()
    hands = predictions()
    assert [hand.frame for hand in hands] == [frame.name for frame in frames]
    assert np.median(_errors(hands)) < 20
    for hand in hands:
        assert hand.side == "right" and 0 < hand.confidence <= 1 and hand.cube_mm == 250
        assert {"surface_mm", "coverage", "depth_mm", "iou"} <= hand.measures.keys()
        assert np.linalg.norm(hand.joints_mm - hand.vertices_mm.mean(0), axis=1).max() < 200


@pytest.mark.parametrize("side", ["right", "auto"])
def test_mirrored_frames_give_mirrored_hands(side: str) -> None:
    frames, _ = rendered_frames()
    other = {"right": "left", "left": "right"}
    mirrored = HandEstimator(side=other.get(side, side), engine=engine()).batch([frame.mirrored() for frame in frames])
    for hand, twin in zip(predictions(side), mirrored, strict=True):
        assert twin.side == other[hand.side] and twin.status == hand.status
        assert abs(twin.confidence - hand.confidence) < 1e-3
        assert np.abs(twin.joints_mm - hand.joints_mm * FLIP).max() < 0.1
        assert np.abs(twin.vertices_mm - hand.vertices_mm * FLIP).max() < 0.1
        assert np.abs(twin.centre_mm - hand.centre_mm * FLIP).max() < 0.1


def test_the_side_is_read_off_the_depth() -> None:
    hands = predictions("auto")
    sure = [hand for hand in hands if hand.confidence > 0.3]
    assert len(sure) >= 3 and sum(hand.side == "right" for hand in sure) >= len(sure) - 1


def test_params_are_those_of_the_hand_layer() -> None:
    layer = HandLayer(load_hand_model())
    for hand in predictions():
        params = HandParams.from_vector(torch.from_numpy(hand.params)[None])
        mesh = layer(params.rotation, params.pose, params.shape)
        vertices, joints = mesh.placed(params.scale, params.translation, hand.cube_mm / 2)
        for found, own in ((vertices[0, :778], hand.vertices_mm), (joints[0], hand.joints_mm)):
            assert np.abs(found.numpy() * (hand.cube_mm / 2) + hand.centre_mm - own).max() < 0.05


def test_one_at_a_time_is_as_in_a_batch() -> None:
    frames, _ = rendered_frames()
    estimator = HandEstimator(engine=engine())
    for hand, alone in zip(predictions(), estimator.frames(iter(frames), batch=1), strict=True):
        assert alone.frame == hand.frame and alone.status == hand.status
        assert np.abs(alone.joints_mm - hand.joints_mm).max() < 0.05
    camera = tuple(frames[0].camera.focal.tolist() + frames[0].camera.principal.tolist())
    called = estimator(frames[0].depth_mm, camera, "x")  # type: ignore[arg-type]
    assert called.frame == "x" and np.abs(called.joints_mm - predictions()[0].joints_mm).max() < 0.05


def test_no_hand_is_a_status(recwarn: pytest.WarningsRecorder) -> None:
    frames, _ = rendered_frames()
    camera = frames[0].camera
    speck = np.zeros((128, 128), np.uint16)
    speck[60, 60] = 500
    wall = np.full((128, 128), 900, np.uint16)
    empty = [np.zeros((128, 128), np.uint16), np.zeros((128, 128), np.float32), speck, wall]
    hands = HandEstimator(side="auto", engine=engine()).batch(
        [DepthFrame(d, camera, f"{k}") for k, d in enumerate(empty)]
    )
    for hand in hands[:2]:
        assert hand.status == "no hand" and hand.confidence == 0 and hand.side == "" and not hand.measures
        assert np.isnan(hand.joints_mm).all() and np.isnan(hand.vertices_mm).all() and np.isnan(hand.params).all()
    assert all(hand.status != "ok" for hand in hands)


def test_a_second_crop_is_centred_on_the_hand() -> None:
    frames, _ = rendered_frames()
    again = HandEstimator(recrop=True, engine=engine()).batch(frames)
    assert all(hand.status in ("no hand", "poor fit", "too far", *FITTING) for hand in again)
    moved = [np.linalg.norm(new.centre_mm - old.centre_mm) for new, old in zip(again, predictions(), strict=True)]
    assert 0 < max(moved) < 80 and np.median(_errors(again)) < 20


def test_refinement_explains_the_depth_better_and_moves_no_joint_away() -> None:
    rough, fine = predictions(), predictions(refine=15)
    for name, sign in (("surface_mm", -1), ("depth_mm", -1), ("iou", 1)):
        gain = [sign * (new.measures[name] - old.measures[name]) for new, old in zip(fine, rough, strict=True)]
        assert np.mean(gain) > 0, name
    assert [hand.status for hand in fine] == [hand.status for hand in rough]
    assert _errors(fine).mean() < _errors(rough).mean() + 1.0


def test_refinement_of_no_steps_changes_nothing() -> None:
    frames, _ = rendered_frames()
    crop, observed = crops_of([first for first, _ in HandEstimator(engine=engine()).search(frames)], 250.0)
    answer = engine()(crop)
    same = Refinements(None, ())(0)(crop, observed, answer)
    assert (answer.joints_mm - same.joints_mm).abs().max() < 0.05


def test_what_looks_like_a_hand_and_was_read_badly_gets_a_second_chance() -> None:
    class Clumsy:
        """An engine whose hands are turned by half a radian, and too small."""

        faces = engine().faces

        def __call__(self, crop: HandCrop) -> EngineAnswer:
            answer = engine()(crop)
            params = HandParams.from_vector(answer.params)
            worse = replace(params, rotation=params.rotation + 0.3, scale=params.scale * 0.9)
            placed = Refinements(None, ())(0)(crop, crop.foreground, answer._replace(params=worse.vector()))
            return placed._replace(pixel_mm=answer.pixel_mm)

    frames, _ = rendered_frames()
    clumsy = HandEstimator(engine=Clumsy())
    first = clumsy.read([first for first, _ in clumsy.search(frames)])
    again = clumsy.batch(frames)
    poor = [k for k, reading in enumerate(first) if reading.deserves_a_second]
    accepted = [k for k in poor if again[k].status in FITTING]
    assert len(poor) >= 3 and len(accepted) >= 1
    plain = predictions()
    for k in accepted:
        before, after = (
            np.linalg.norm(joints - plain[k].joints_mm, axis=1).mean()
            for joints in (first[k].answer.joints_mm[0].numpy(), again[k].joints_mm)
        )
        assert after < before - 3 and again[k].measures["surface_mm"] < first[k].measures["surface_mm"]


def test_no_reading_is_no_side() -> None:
    assert chosen_side({}, 0.0) == (None, 1.0)


def test_views_carry_points_back() -> None:
    frames, _ = rendered_frames()
    point = np.array([[10.0, 20.0, 500.0]], np.float32)
    left = View.of(frames[0], "left")
    assert left.carried_back(point).tolist() == [[-10, 20, 500]]
    assert np.array_equal(left.depth_mm[:, ::-1], View.of(frames[0], "right").depth_mm)


@pytest.mark.parametrize("wrong", [{"side": "up"}, {"refine": -1}, {"candidates": 0}, {"engine": "steam"}])
def test_wrong_options_are_said(wrong: dict) -> None:
    with pytest.raises(UserError):
        HandEstimator(**wrong)
