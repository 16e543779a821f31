"""Frames that follow each other: the next crop follows the last hand, and the side is decided by all of them.

Where no hand fits there any more, it is looked for in the whole frame again.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from dataloader.find_hands import find_hands
from dataloader.frame import DepthFrame
from predicting.estimator import HandEstimator
from predicting.prediction import HandPrediction
from predicting.reading import FITTING, Reading, begun, chosen_side
from predicting.sides import LIMIT
from predicting.smoothing import OneEuro, SteadyShape
from predicting.views import Attempt, Hand, View

ROOM = 1.4
"""Edge of the cube that the next hand is looked for in, over the crop's."""
KEPT = 0.9
"""How much of the evidence for a side is left after a frame."""


class HandSequence:
    """The hands of frames in the order in which they were taken."""

    def __init__(
        self,
        estimator: HandEstimator,
        smooth: bool = False,
        steady_shape: bool = False,
        rate: float = 30.0,
        hand: Path | None = None,
    ) -> None:
        """Start anew.

        Args:
            estimator: reads the frames.
            smooth: whether joints and surface go through the One-Euro filter; parameters do not.
            steady_shape: whether all hands get one shape and size.
            rate: frames a second, for the filter.
            hand: file of the hand model, as the estimator has it.
        """
        self.estimator = estimator
        self._smooth = OneEuro(rate) if smooth else None
        self._steady = SteadyShape(hand) if steady_shape else None
        self._centre_mm: np.ndarray | None = None
        self._odds = 0.0

    def frames(self, frames: Iterable[DepthFrame]) -> Iterator[HandPrediction]:
        """The hands, one answer a frame."""
        return (self(frame) for frame in frames)

    def __call__(self, frame: DepthFrame) -> HandPrediction:
        """The hand in the next frame."""
        estimator = self.estimator
        views = [View.of(frame, side) for side in self._sides()]
        readings: dict[Hand, Reading] = {}
        if self._centre_mm is not None:
            followed = [attempt for view in views if (attempt := self._follow(view, self._centre_mm)) is not None]
            readings = estimator.read_best([(place, iter(())) for place in followed], self._odds)[0]
        if not any(reading.status in FITTING for reading in readings.values()):
            found = estimator.read_best(begun(estimator.places(0, view) for view in views), self._odds)[0]
            for side, new in found.items():
                if side not in readings or new.rank > readings[side].rank:
                    readings[side] = new
        if len(views) == 2:
            odds = KEPT * self._odds + estimator.side_odds([readings])[0]
            self._odds = max(-LIMIT, min(LIMIT, odds))
        reading, sure = chosen_side(readings, self._odds)
        return self._calmed(estimator.predicted(frame, estimator.refined([reading])[0], sure))

    def _sides(self) -> tuple[Hand, ...]:
        """Sides that are still read: only one once it is sure."""
        if abs(self._odds) < LIMIT:
            return self.estimator.sides
        return ("right",) if self._odds > 0 else ("left",)

    def _follow(self, view: View, centre_mm: np.ndarray) -> Attempt | None:
        """The hand near the last one, looked for in that part of the view alone."""
        estimator = self.estimator
        centre = view.carried_back(centre_mm)  # the flip is its own inverse
        fx, fy, cx, cy = view.camera
        height, width = view.depth_mm.shape
        reach = ROOM * estimator.cube_mm / 2
        u, v = fx * centre[0] / centre[2] + cx, fy * centre[1] / centre[2] + cy
        half = reach * max(fx, fy) / centre[2]
        left, right = max(int(u - half), 0), min(int(u + half) + 1, width)
        top, bottom = max(int(v - half), 0), min(int(v + half) + 1, height)
        if left >= right or top >= bottom:
            return None
        part = view.depth_mm[top:bottom, left:right]
        part = np.where(np.abs(part - centre[2]) < reach, part, np.float32(0))
        places = list(find_hands(part, (fx, fy, cx - left, cy - top), estimator.cube_mm, estimator.candidates))
        if not places:
            return None
        nearest = min(places, key=lambda place: float(np.linalg.norm(np.array(place.centre_mm) - centre)))
        observed = np.zeros(view.depth_mm.shape, bool)
        observed[top:bottom, left:right] = nearest.observed
        border = bool(observed[0].any() or observed[-1].any() or observed[:, 0].any() or observed[:, -1].any())
        return Attempt(0, view, nearest.centre_mm, observed, border)

    def _calmed(self, hand: HandPrediction) -> HandPrediction:
        """With a steady shape and smoothed; what is needed for the next frame is kept."""
        if hand.status not in FITTING:
            self._centre_mm, self._odds = None, 0.0
            if self._smooth is not None:
                self._smooth.reset()
            return hand
        self._centre_mm = hand.centre_mm
        if self._steady is not None:
            hand = self._steady(hand)
        return hand if self._smooth is None else self._smooth.hand(hand)
