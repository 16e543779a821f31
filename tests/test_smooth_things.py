"""Balls, cylinders and walls lie on quadrics, hands do not."""

import numpy as np
import pytest

from config import RenderedConfig, SamplerConfig, SensorConfig
from dataloader.rendered import RenderedHands
from predicting.judge import SMOOTH_MM
from predicting.smooth_things import quadric_mm
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.streams import stream

CAMERA = (300.0, 300.0, 64.0, 64.0)
SIZE = 128


def _thing(radii_mm: tuple[float, float, float], noise_mm: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(128, 128) depth of an ellipsoid 600 mm away, without background, and where it is."""
    v, u = np.mgrid[:SIZE, :SIZE]
    ray = np.stack([(u + 0.5 - 64) / 300, (v + 0.5 - 64) / 300, np.ones((SIZE, SIZE))], -1) / radii_mm
    b, square = ray[..., 2] * 600 / radii_mm[2], (ray**2).sum(-1)
    inside = b**2 - square * ((600 / radii_mm[2]) ** 2 - 1)
    z = (b - np.sqrt(inside.clip(0))) / square + np.random.default_rng(0).normal(0, noise_mm, inside.shape)
    return np.where(inside > 0, z, 0).astype(np.float32), inside > 0


def _measured(depth: np.ndarray, thing: np.ndarray) -> float | None:
    return quadric_mm(depth, CAMERA, thing)


@pytest.mark.parametrize("radii_mm", [(40, 40, 40), (30, 60, 45), (35, 1e6, 35), (50, 50, 5)])
def test_round_things_lie_on_a_quadric(radii_mm: tuple[float, float, float]) -> None:
    exact, noisy = _measured(*_thing(radii_mm)), _measured(*_thing(radii_mm, 1.0))
    assert exact is not None and exact < 0.05
    assert noisy is not None and 0.4 < noisy < 1.4


def test_bumps_are_measured_in_millimetres() -> None:
    depth, thing = _thing((50, 50, 50))
    depth += np.where(thing, 4 * np.sin(np.arange(SIZE) / 2), 0).astype(np.float32)
    found = _measured(depth, thing)
    assert found is not None and 1.5 < found < 4


def test_what_hides_part_of_a_thing_makes_no_dent() -> None:
    depth, thing = _thing((50, 50, 50))
    middle = np.abs(np.arange(SIZE) - 64) < 8
    bitten = thing & ~(middle & (np.arange(SIZE) > 64)[:, None])
    assert _measured(np.where(bitten, depth, 0), bitten) is None
    found = _measured(np.where(bitten, depth, 400).astype(np.float32), bitten)
    assert found is not None and found < 0.05


def test_specks_are_not_measured() -> None:
    depth, thing = _thing((50, 50, 50))
    assert _measured(depth, np.zeros_like(thing)) is None
    few = np.zeros_like(thing)
    few[60:67, 60:67] = True
    assert _measured(depth, few) is None


def test_hands_are_no_round_things() -> None:
    layer = HandLayer(load_hand_model())
    hands = RenderedHands(layer, SamplerConfig(), SensorConfig(), RenderedConfig(noise=False)).batch(
        32, stream("round things")
    )
    camera = (SIZE * 2.4, SIZE * 2.4, SIZE / 2, SIZE / 2)
    found = [
        quadric_mm(depth[0].numpy(), camera, thing[0].numpy())
        for depth, thing in zip(hands.crop.depth_mm, hands.crop.foreground, strict=True)
    ]
    assert sum(mm is not None and mm < SMOOTH_MM for mm in found) <= 1
