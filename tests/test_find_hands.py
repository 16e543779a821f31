"""Finding hands in whole frames, with nearer things in view, and what is refused outright."""

import cv2
import numpy as np

from dataloader.find_hands import HandCandidate, find_hands

FOCAL = 300.0
CAMERA = (FOCAL, FOCAL, 160.0, 120.0)


def _hand(z: float = 600.0, at: tuple[int, int] = (100, 120)) -> tuple[np.ndarray, np.ndarray]:
    """(240, 320) depth of a palm with four fingers before a wall, and which pixels are hand."""
    scale, hand = FOCAL / z, np.zeros((240, 320), np.uint8)
    cv2.circle(hand, at, round(42 * scale), 1, -1)
    for x in (-33, -11, 11, 33):
        tip = (round(at[0] + 1.4 * x * scale), round(at[1] - 115 * scale))
        cv2.line(hand, (round(at[0] + x * scale), at[1]), tip, 1, round(15 * scale))
    return np.where(hand > 0, z, 1500).astype(np.float32), hand > 0


def _found(depth: np.ndarray, most: int = 3) -> list[HandCandidate]:
    return list(find_hands(depth, CAMERA, most=most))


def test_a_nearer_board_leaves_the_hand_among_the_candidates() -> None:
    depth, truth = _hand()
    depth[40:220, 190:310] = 450  # 180 mm x 270 mm: no hand
    found = _found(depth)
    hand = max(found, key=lambda c: (c.observed & truth).sum())
    assert (hand.observed & truth).sum() / (hand.observed | truth).sum() > 0.9
    assert abs(hand.centre_mm[2] - 600) < 10 and not hand.touches_border


def test_two_hands_are_two_candidates() -> None:
    depth, left = _hand(at=(80, 120))
    other, right = _hand(z=650, at=(240, 120))
    found = _found(np.minimum(depth, other), most=2)
    assert len(found) == 2
    assert not (found[0].observed & found[1].observed).any()
    for truth in (left, right):
        assert max((c.observed & truth).sum() / truth.sum() for c in found) > 0.9


def test_the_arm_behind_a_hand_is_no_second_hand() -> None:
    depth, truth = _hand()
    rows, columns = np.mgrid[:240, :320]
    arm = (np.abs(columns - 100) < 16) & (rows > 120) & ~truth
    depth[arm] = 600 + 0.8 * (rows[arm] - 120)  # goes on from the palm to the lower border, longer than a cube
    found = _found(depth)
    assert (found[0].observed & truth).sum() / truth.sum() > 0.8
    assert all((candidate.observed & arm).sum() == 0 for candidate in found[1:])


def test_a_hand_on_the_border_says_so() -> None:
    depth, _ = _hand(at=(10, 120))
    assert _found(depth)[0].touches_border


def test_nothing_of_a_hands_size_is_no_candidate() -> None:
    assert _found(np.zeros((240, 320), np.uint16)) == []
    speck = np.zeros((240, 320), np.float32)
    speck[100:104, 100:104] = 500
    assert _found(speck) == []


def test_the_frame_is_left_as_it_was() -> None:
    depth, _ = _hand()
    before = depth.copy()
    _found(depth)
    assert np.array_equal(depth, before)


def test_a_wall_is_no_hand() -> None:
    wall = np.full((240, 320), 1500.0, np.float32)
    wall += 20 * np.random.default_rng(0).normal(size=wall.shape).astype(np.float32).cumsum(1) / 18
    assert _found(wall) == []
