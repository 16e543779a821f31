"""Finding the hand and cutting its forearm, on drawn hands whose truth is known and on real frames."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dataloader.frame import read_depth_png
from dataloader.locate import LocatedHand, locate_hand

FOCAL = 460.0
CAMERA = (FOCAL, FOCAL, 320.0, 240.0)


def _scene(z: float = 500.0, arm: bool = True, turn: float = 0.0, body: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """(480, 640) depth and truth: palm, five fingers, an arm that runs out of the image; a body 400 mm behind.

    turn: degrees about the palm. The truth covers the hand to 65 mm behind the palm's centre, where the arm begins.
    """
    scale = FOCAL / z
    middle = np.array([320.0, 200.0])
    angle = np.radians(turn)
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def at(x: float, y: float) -> tuple[int, int]:
        u, v = middle + scale * (np.array([x, y]) @ axes)
        return round(u), round(v)

    hand = np.zeros((480, 640), np.uint8)
    for x, length in ((-33, 75), (-11, 90), (11, 85), (33, 65)):
        cv2.line(hand, at(x, -30), at(1.4 * x, -40 - length), 1, round(16 * scale))
    cv2.line(hand, at(20, 10), at(75, -30), 1, round(18 * scale))
    cv2.circle(hand, at(0, 0), round(42 * scale), 1, -1)
    cv2.line(hand, at(0, 20), at(0, 65), 1, round(52 * scale))
    forearm = np.zeros_like(hand)
    if arm:
        cv2.line(forearm, at(0, 65), at(0, 900), 1, round(58 * scale))
    depth = np.zeros(hand.shape, np.float32)
    if body:
        depth[:] = z + 400
    v, u = np.mgrid[:480, :640]
    along = ((u - middle[0]) * -np.sin(angle) + (v - middle[1]) * np.cos(angle)) / scale
    depth[forearm > 0] = (z + 0.2 * along.clip(0))[forearm > 0]
    depth[hand > 0] = (z + 0.1 * np.abs(along))[hand > 0]
    return depth, hand > 0


def _overlap(found: LocatedHand | None, truth: np.ndarray) -> float:
    assert found is not None
    return (found.observed & truth).sum() / (found.observed | truth).sum()


@pytest.mark.parametrize("turn", [0.0, 35.0, -60.0, 180.0])
@pytest.mark.parametrize("z", [350.0, 500.0, 700.0])
def test_hand_is_found_and_its_forearm_cut(z: float, turn: float) -> None:
    depth, truth = _scene(z, turn=turn)
    found = locate_hand(depth, CAMERA)
    assert found is not None and found.cut
    assert _overlap(found, truth) > 0.85
    assert abs(found.centre_mm[2] - z) < 15


def test_a_hand_without_an_arm_is_left_whole() -> None:
    depth, truth = _scene(arm=False)
    found = locate_hand(depth, CAMERA)
    assert found is not None and not found.cut
    assert _overlap(found, truth) > 0.98


def test_a_tight_box_gives_the_same_hand() -> None:
    depth, truth = _scene()
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    found = locate_hand(depth[part], CAMERA, (int(columns[0]), int(rows[0])))
    assert _overlap(found, truth[part]) > 0.85
    whole = locate_hand(depth, CAMERA)
    assert found is not None and whole is not None
    assert np.linalg.norm(np.subtract(found.centre_mm, whole.centre_mm)) < 12


def test_specks_before_the_hand_and_gaps_in_it_do_no_harm() -> None:
    depth, truth = _scene()
    rng = np.random.default_rng(0)
    depth[rng.integers(0, 480, 40), rng.integers(0, 640, 40)] = 250
    depth[95:99, :] = 0
    found = locate_hand(depth, CAMERA)
    assert _overlap(found, truth & (depth > 300)) > 0.8


def test_the_same_frame_gives_the_same_hand() -> None:
    depth, _ = _scene(turn=20)
    first, second = locate_hand(depth, CAMERA), locate_hand(depth.copy(), CAMERA)
    assert first is not None and second is not None
    assert first.centre_mm == second.centre_mm and np.array_equal(first.observed, second.observed)


def test_nothing_to_see_is_no_hand() -> None:
    assert locate_hand(np.zeros((50, 60), np.uint16), CAMERA) is None
    speck = np.zeros((50, 60), np.uint16)
    speck[20, 30] = 400
    found = locate_hand(speck, CAMERA)
    assert found is None or found.observed.sum() <= 1


def test_real_kinect_hands(shared: Path) -> None:
    camera = (363.9, 363.9, 255.4, 206.3)
    cut = []
    for path in sorted((shared / "data/kinect2").glob("*.png"))[::4]:
        found = locate_hand(read_depth_png(path, (512, 424)), camera)
        assert found is not None
        area = found.observed.sum() * (found.centre_mm[2] / camera[0]) ** 2
        assert 5_000 < area < 20_000, "mm2: a fist to an open hand"
        assert 550 < found.centre_mm[2] < 750
        cut.append(found.cut)
    assert np.mean(cut) > 0.7, "an arm is in view in most of these frames"
