"""Judging fitted hands: true hands lie on what is seen of them, moved ones do not."""

import torch

from config import RenderedConfig, SamplerConfig, SensorConfig
from dataloader.rendered import RenderedHands
from predicting.judge import REFINED_WEIGHTS, WEIGHTS, evidence, judge, measure, probability
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model

GOOD = {"surface_mm": 3.0, "coverage": 0.95, "depth_mm": 4.0, "iou": 0.8, "agreement_mm": 6.0, "window_px": 180.0}
GOOD |= {"presence": 6.0}


def _measured(shift_mm: float, pixel_shift_mm: float = 0.0) -> list[dict[str, float]]:
    layer = HandLayer(load_hand_model())
    rendered = RenderedHands(layer, SamplerConfig(), SensorConfig(), RenderedConfig(noise=False))
    sample = rendered.batch(3, torch.Generator().manual_seed(3))
    assert sample.vertices_mm is not None and sample.joints_mm is not None and sample.params is not None
    move = torch.tensor([shift_mm, 0.0, 0.0])
    joints, vertices = sample.joints_mm + move, sample.vertices_mm[:, :778] + move
    pixel = joints + torch.tensor([0.0, 0.0, pixel_shift_mm])
    return measure(sample.crop, pixel, joints, vertices, sample.params.vector(), sample.crop.foreground, layer.faces)


def test_a_moved_hand_is_trusted_less() -> None:
    for right, moved in zip(_measured(0.0), _measured(60.0), strict=True):
        assert right["iou"] > moved["iou"] and right["surface_mm"] < moved["surface_mm"]
        assert judge(right)[1] > judge(moved)[1]


def test_branches_that_disagree_are_trusted_less() -> None:
    apart = _measured(0.0, 40.0)[0]
    assert abs(apart["agreement_mm"] - 40) < 1e-3
    assert judge(GOOD)[0] == "ok"
    assert judge(GOOD | {"agreement_mm": 60.0})[0] == "poor fit"


def test_a_probability_falls_with_less_evidence() -> None:
    sure = probability(GOOD)
    assert 0.5 < sure < 1
    for name, worse in (("surface_mm", 12.0), ("iou", 0.3), ("agreement_mm", 25.0)):
        assert 0 < probability(GOOD | {name: worse}) < sure
    assert set(evidence(GOOD)) == set(WEIGHTS)


def test_what_does_not_look_like_a_hand_is_trusted_less() -> None:
    poor = GOOD | {"agreement_mm": 20.0, "iou": 0.6}
    assert judge(poor)[0] == "ok" and judge(poor | {"presence": -6.0})[0] == "poor fit"
    assert probability(poor | {"presence": 60.0}) == probability(poor)  # looks alone settle nothing
    assert judge(poor | {"presence": -6.0}, weights=REFINED_WEIGHTS)[1] == probability(poor, REFINED_WEIGHTS)


def test_statuses() -> None:
    assert judge(GOOD, touches_border=True)[0] == "touches the border"
    assert judge(GOOD | {"window_px": 20.0})[0] == "too far"
    assert judge(GOOD | {"surface_mm": 22.0})[0] == "poor fit"
    assert judge(GOOD | {"iou": 0.1, "agreement_mm": 30.0, "surface_mm": 12.0, "depth_mm": 20.0})[0] == "poor fit"
    assert judge({"window_px": 180.0}) == ("no hand", 0.0)
