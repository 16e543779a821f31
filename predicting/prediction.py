"""One frame's answer: where the hand is, in the camera of the image as given, and how far to trust it."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float32

Status = Literal["ok", "no hand", "touches the border", "too far", "poor fit"]
Side = Literal["right", "left", ""]

JOINTS, VERTICES, PARAMETERS = 21, 778, 62


@dataclass(frozen=True)
class HandPrediction:
    """The hand in one frame. Lengths are millimetres in the camera of the image as given: x right, y down, z away.

    joints_mm, in the order of util.joints (MANO21), vertices_mm and params are NaN where there is no hand. A left
    hand's vertices are the mirrored right hand's in the same order, so its faces are turned round; its params are those
    of the right hand in the mirrored crop: global rotation 3, pose 45, shape 10, scale 1, translation 3 (half cubes).
    measures, without labels: those of predicting/judge.py, and quadric_mm of predicting/smooth_things.py; what could
    not be measured is left out.
    """

    frame: str
    status: Status
    confidence: float
    side: Side
    joints_mm: Float32[np.ndarray, "21 3"]
    vertices_mm: Float32[np.ndarray, "778 3"]
    params: Float32[np.ndarray, "62"]
    centre_mm: Float32[np.ndarray, "3"]
    cube_mm: float
    measures: dict[str, float] = field(default_factory=dict)


def no_hand(frame: str, cube_mm: float) -> HandPrediction:
    """A frame without a hand: NaN throughout, confidence 0."""
    return HandPrediction(
        frame=frame,
        status="no hand",
        confidence=0.0,
        side="",
        joints_mm=_missing(JOINTS, 3),
        vertices_mm=_missing(VERTICES, 3),
        params=_missing(PARAMETERS),
        centre_mm=_missing(3),
        cube_mm=cube_mm,
    )


def _missing(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, dtype=np.float32)
