"""Named hand postures in anatomical angles, and which paths between them pre-training and the demo may each use.

A finger is written (MCP flexion, spread, PIP, DIP), the thumb (leaving the palm's plane, spread, opposition, MCP, IP),
in degrees and as defined in render/anatomy.py. They need not be free of collision: the sampler parts what overlaps.
"""

import zlib
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Finger = tuple[float, float, float, float]
Thumb = tuple[float, float, float, float, float]
Split = Literal["all", "pretrain", "target"]

TARGET_SHARE = 0.25
"""Share of the paths between two postures that is kept for the demo's simulated sensor."""

# Fingers that several postures share.
_CURLED: Finger = (86, 0, 104, 66)
# A curled index bends its tip away from the web of the thumb.
_CURLED_INDEX: Finger = (87, 0, 104, 77)
_HALF: Finger = (45, 0, 60, 36)
_HOOKED: Finger = (8, 0, 88, 55)
_SOFT: Finger = (22, 0, 30, 16)
_THUMB_OUT: Thumb = (22, 45, 0, 2, 0)
_THUMB_FLAT: Thumb = (12, 12, 5, 8, 5)
_THUMB_OVER: Thumb = (43, 24, 34, 40, 43)
_THUMB_ACROSS: Thumb = (42, 7, 38, 41, 30)
_THUMB_TO_PINKY: Thumb = (32, -10, 40, 37, 15)
_THUMB_CLENCHED: Thumb = (43, 22, 44, 36, 42)
_THUMB_RELAXED: Thumb = (32, 25, 15, 12, 12)


def _straight(spread: float = 0.0, lift: float = 0.0) -> Finger:
    return (-lift, spread, 3, 2)


_INDEX, _MIDDLE, _RING, _PINKY = _straight(12), _straight(1), _straight(-8), _straight(-19)
_FLAT = _straight()


@dataclass(frozen=True)
class Posture:
    """One posture, finger by finger."""

    thumb: Thumb
    index: Finger
    middle: Finger
    ring: Finger
    pinky: Finger

    def angles(self) -> Float[Tensor, "15 3"]:
        """Flexion, spread, twist of joints 1-15 in radians."""
        rows: list[tuple[float, float, float]] = []
        for mcp, spread, pip, dip in (self.index, self.middle, self.pinky, self.ring):
            rows += [(mcp, spread, 0.0), (pip, 0.0, 0.0), (dip, 0.0, 0.0)]
        away, spread, opposition, mcp, ip = self.thumb
        rows += [(away, spread, -opposition), (mcp, 0.0, 0.0), (ip, 0.0, 0.0)]
        return torch.tensor(rows).deg2rad()


POSTURES: dict[str, Posture] = {
    # Open and flat hands.
    "open": Posture(_THUMB_OUT, _INDEX, _MIDDLE, _RING, _PINKY),
    "open_wide": Posture((20, 56, 0, -5, -12), _straight(18, 8), _straight(2, 8), _straight(-12, 8), _straight(-25, 8)),
    "flat": Posture(_THUMB_FLAT, _FLAT, _FLAT, _FLAT, _FLAT),
    "flat_thumb_out": Posture(_THUMB_OUT, _FLAT, _FLAT, _FLAT, _FLAT),
    "flat_bent": Posture(_THUMB_FLAT, (55, 0, 6, 4), (58, 0, 6, 4), (58, 0, 6, 4), (56, 0, 6, 4)),
    "relaxed": Posture(_THUMB_RELAXED, (18, 3, 24, 12), (26, 0, 32, 16), (30, -2, 36, 18), (32, -6, 36, 18)),
    "soft": Posture(_THUMB_RELAXED, _SOFT, _SOFT, _SOFT, _SOFT),
    "vulcan": Posture(_THUMB_OUT, _straight(8), _straight(7), _straight(-8), _straight(-12)),
    # Counting.
    "count_1": Posture(_THUMB_OVER, _straight(2), _CURLED, _CURLED, _CURLED),
    "count_2": Posture(_THUMB_ACROSS, _straight(13), _straight(-6), _CURLED, _CURLED),
    "count_3": Posture(_THUMB_TO_PINKY, _INDEX, _MIDDLE, _straight(-9), _CURLED),
    "count_4": Posture((16, 2, 48, 44, 20), _INDEX, _MIDDLE, _RING, _PINKY),
    "thumb_and_index": Posture((18, 48, 0, 0, 0), _straight(6), _CURLED, _CURLED, _CURLED),
    "thumb_and_two": Posture((20, 46, 0, 0, 0), _straight(13), _straight(-4), _CURLED, _CURLED),
    "two_together": Posture(_THUMB_ACROSS, _FLAT, _FLAT, _CURLED, _CURLED),
    "three_together": Posture(_THUMB_TO_PINKY, _FLAT, _FLAT, _FLAT, _CURLED),
    # Signs.
    "fist": Posture(_THUMB_CLENCHED, _CURLED_INDEX, _CURLED, _CURLED, _CURLED),
    "fist_thumb_side": Posture((25, 28, 25, 7, 43), _CURLED_INDEX, _CURLED, _CURLED, _CURLED),
    "thumb_up": Posture((10, 50, 0, -5, -10), _CURLED_INDEX, _CURLED, _CURLED, _CURLED),
    "gun": Posture((12, 50, 0, -5, -10), _straight(0), _straight(0), _CURLED, _CURLED),
    "call": Posture((18, 52, 0, -5, -8), _CURLED_INDEX, _CURLED, _CURLED, _straight(-20)),
    "rock": Posture((43, 16, 36, 40, 38), _straight(8), _CURLED, _CURLED, _straight(-15)),
    "spider": Posture((18, 50, 0, 0, 0), _straight(8), _CURLED, _CURLED, _straight(-15)),
    "pinky_up": Posture(_THUMB_CLENCHED, _CURLED_INDEX, _CURLED, _CURLED, _straight(-8)),
    "crooked_index": Posture(_THUMB_OVER, (25, 2, 75, 45), _CURLED, _CURLED, _CURLED),
    # Pinches.
    "pinch": Posture((39, 9, 43, 10, -15), (54, 4, 45, 13), (50, 0, 50, 28), (52, -2, 52, 30), (52, -4, 50, 28)),
    "pinch_fist": Posture((39, 8, 44, 8, -15), (55, 4, 43, 13), _CURLED, _CURLED, _CURLED),
    "ok": Posture((39, 9, 43, 10, -15), (55, 4, 43, 14), (14, 0, 16, 8), _straight(-8), _straight(-19)),
    "pinch_middle": Posture((43, -4, 50, 15, -15), (12, 10, 14, 8), (60, 0, 48, 9), _straight(-6), _straight(-16)),
    "pinch_open": Posture((40, 28, 22, 5, 5), (38, 4, 30, 16), (52, 0, 50, 28), (58, 0, 55, 30), (58, -2, 55, 30)),
    "tripod": Posture((48, 8, 47, 23, -8), (60, 4, 45, 4), (62, 0, 46, 10), (66, 0, 66, 38), (66, -2, 66, 38)),
    "beak": Posture((44, 9, 47, 21, 1), (56, 0, 38, 22), (58, 0, 42, 30), (58, 0, 44, 30), (64, 2, 26, 12)),
    "lateral": Posture((10, 23, -5, 31, 42), (55, 4, 62, 36), (64, 0, 74, 42), (68, 0, 78, 45), (70, 0, 78, 45)),
    # Grasps.
    "claw": Posture((34, 42, 10, 12, 40), (0, 10, 68, 42), (0, 0, 70, 42), (0, -8, 70, 42), (2, -18, 66, 40)),
    "half_curled": Posture(_THUMB_RELAXED, _HALF, _HALF, _HALF, _HALF),
    "hook": Posture(_THUMB_FLAT, _HOOKED, _HOOKED, _HOOKED, _HOOKED),
    "cylinder": Posture((52, 18, 32, 15, 22), (48, 2, 44, 26), (50, 0, 46, 28), (50, -2, 46, 28), (48, -5, 44, 26)),
    "cylinder_thin": Posture((50, 12, 34, 28, 35), (62, 2, 68, 42), (64, 0, 70, 44), (64, 0, 70, 44), (62, -2, 68, 42)),
    "sphere": Posture((46, 30, 22, 10, 18), (34, 12, 36, 22), (36, 1, 38, 24), (36, -8, 38, 24), (34, -18, 36, 22)),
    "disk": Posture((36, 44, 12, 8, 24), (14, 14, 42, 26), (14, 1, 44, 28), (14, -10, 44, 28), (14, -22, 42, 26)),
    "cup": Posture((40, 20, 20, 10, 12), (36, 0, 22, 12), (38, 0, 24, 12), (38, 0, 24, 12), (38, -2, 24, 12)),
    "tap": Posture(_THUMB_OVER, (38, 2, 22, 12), _CURLED, _CURLED, _CURLED),
    "mouse": Posture((22, 30, 8, 6, 8), (16, 6, 20, 12), (16, 0, 22, 14), (24, -4, 34, 22), (28, -12, 36, 22)),
}
"""Every named posture."""

COMMON: dict[str, float] = {
    "open": 4.0,
    "flat": 4.0,
    "flat_thumb_out": 3.0,
    "relaxed": 2.5,
    "soft": 2.0,
    "fist": 2.0,
    "count_1": 2.5,
    "pinch": 2.0,
    "half_curled": 1.5,
}
"""Postures met more often than the others, and how much: hands at rest, flat or pointing fill real recordings."""


def path_split(first: str, second: str) -> Literal["pretrain", "target"]:
    """Who may use the path between two postures, in either direction: fixed by their names alone.

    Raises KeyError for a name that is not in `POSTURES`.
    """
    for name in (first, second):
        if name not in POSTURES:
            raise KeyError(name)
    key = "/".join(sorted((first, second)))
    return "target" if zlib.crc32(key.encode()) % 1000 < 1000 * TARGET_SHARE else "pretrain"


def paths(split: Split = "all") -> list[tuple[str, str]]:
    """Pairs of postures that a split may travel between, in the library's order."""
    pairs = combinations(POSTURES, 2)
    return [pair for pair in pairs if split == "all" or path_split(*pair) == split]
