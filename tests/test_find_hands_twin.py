"""What is found is what the plain search finds, pixel for pixel, whole frames and parts of them alike."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dataloader.find_hands import find_hands
from dataloader.frame import read_depth_png
from dataloader.locate import Intrinsics, locate_hand
from dataloader.named_cameras import nominal_intrinsics
from tests import find_hands_twin as twin

CAMERA = (300.0, 305.0, 161.0, 118.0)
DATA = Path(__file__).resolve().parents[2] / "shared/data"


def _frame(seed: int) -> np.ndarray:
    """(240, 320) depth of things of all sizes before a wall, with holes, noise, jumps and flying pixels."""
    rng = np.random.default_rng(seed)
    depth = np.full((240, 320), 1400, np.float32)
    for z in sorted(rng.uniform(350, 1000, 7), reverse=True):
        shape, at = np.zeros(depth.shape, np.uint8), (int(rng.integers(320)), int(rng.integers(240)))
        size = int(rng.uniform(5, 40))
        cv2.circle(shape, at, size, 1, -1)
        for _ in range(int(rng.integers(5))):
            tip = (int(at[0] + rng.normal() * 2 * size), int(at[1] + rng.normal() * 2 * size))
            cv2.line(shape, at, tip, 1, int(rng.uniform(3, size)))
        sloped = z + rng.normal() * 0.5 * (np.mgrid[:240, :320][0] - at[1])
        depth = np.where(shape > 0, sloped, depth).astype(np.float32)
    depth += rng.normal(0, 2, depth.shape).astype(np.float32)
    depth[rng.random(depth.shape) < rng.choice([0.0, 0.02, 0.2])] = 0
    flying = rng.random(depth.shape) < 0.001
    depth[flying] = rng.uniform(200, 1400, int(flying.sum()))
    return depth


def _alike(depth: np.ndarray, camera: Intrinsics, cube_mm: float = 250.0) -> int:
    found = list(find_hands(depth, camera, cube_mm))
    plain = list(twin.find_hands(depth, camera, cube_mm))
    assert len(found) == len(plain)
    for ours, theirs in zip(found, plain, strict=True):
        assert np.array_equal(ours.observed, theirs.observed)
        assert np.allclose(ours.centre_mm, theirs.centre_mm, rtol=0, atol=1e-3)
        assert abs(ours.score - theirs.score) < 1e-6 and ours.touches_border == theirs.touches_border
    return len(found)


def test_random_things_are_found_alike() -> None:
    counts = [_alike(_frame(seed), CAMERA, 250.0 if seed % 3 else 180.0) for seed in range(40)]
    assert sum(counts) > 40


def test_a_close_frame_that_is_skipped_through_is_searched_alike() -> None:
    for seed in range(10):
        depth = _frame(seed) * np.float32(0.4)  # so near that every other pixel is enough
        _alike(np.repeat(np.repeat(depth, 2, 0), 2, 1), (600.0, 610.0, 322.0, 236.0))


def test_a_part_of_a_frame_is_searched_alike() -> None:
    for seed in range(10):
        part = _frame(seed)[40:170, 60:230]
        ours, theirs = locate_hand(part, CAMERA, (60, 40)), twin.locate_hand(part, CAMERA, (60, 40))
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert np.array_equal(ours.observed, theirs.observed) and ours.cut == theirs.cut
            assert np.allclose(ours.centre_mm, theirs.centre_mm, rtol=0, atol=1e-3)


def test_the_frame_stays_as_it_was() -> None:
    depth = _frame(3)
    before = depth.copy()
    list(find_hands(depth, CAMERA))
    assert np.array_equal(depth, before)


def test_real_frames_are_searched_alike() -> None:
    files = sorted((DATA / "sr305").rglob("*.png"))[:2] + sorted((DATA / "kinect2").glob("*.png"))[::13]
    if not files:
        pytest.skip("../shared/data is not here")
    for file in files:
        unit_mm, sensor = (0.125, "sr300") if "sr305" in str(file) else (1.0, "kinect2")
        depth = read_depth_png(file, unit_mm=unit_mm)
        assert _alike(depth.astype(np.float32), nominal_intrinsics(sensor, depth.shape[::-1]))
