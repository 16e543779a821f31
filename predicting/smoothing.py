"""What makes a sequence of hands calm: smoothed motion, and one shape per person.

Smoothing is the One-Euro filter (Casiez, Roussel, Vogel, CHI 2012): a low-pass whose cut-off rises with speed, so that
a still hand does not tremble and a fast one does not lag.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from predicting.prediction import HandPrediction
from render.hand_layer import HandLayer, HandParams
from render.hand_model import load_hand_model

MIN_CUTOFF = 1.5
"""Cut-off of a point at rest, Hz."""
BETA = 0.02
"""What each mm/s adds to it, Hz."""
SPEED_CUTOFF = 1.0
"""Cut-off of the speed itself, Hz."""
STEADY_FRAMES = 30.0
"""Confident frames until a shape is as good as known: a later one changes it by 1 / STEADY_FRAMES."""


class OneEuro:
    """The One-Euro filter on points: each has its own speed, so its own cut-off.

    Args of the constructor: rate: frames a second; min_cutoff: Hz, of a point at rest; beta: Hz that each unit a second
    adds; speed_cutoff: Hz, of the speed itself.
    """

    def __init__(
        self, rate: float, min_cutoff: float = MIN_CUTOFF, beta: float = BETA, speed_cutoff: float = SPEED_CUTOFF
    ) -> None:
        self.rate, self.min_cutoff, self.beta = rate, min_cutoff, beta
        self._speed_share = self._share(np.float32(speed_cutoff))
        self._last: np.ndarray | None = None
        self._velocity: np.ndarray | None = None

    def __call__(self, points: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
        """The next points, smoothed."""
        if self._last is None or self._velocity is None:
            self._last, self._velocity = points.copy(), np.zeros_like(points)
            return points
        moved = (points - self._last) * np.float32(self.rate)
        self._velocity = self._velocity + self._speed_share * (moved - self._velocity)
        speed = np.linalg.norm(self._velocity, axis=1, keepdims=True)
        self._last = self._last + self._share(self.min_cutoff + self.beta * speed) * (points - self._last)
        return self._last

    def hand(self, hand: HandPrediction) -> HandPrediction:
        """The next hand with joints and surface smoothed."""
        points = self(np.concatenate([hand.joints_mm, hand.vertices_mm]))
        return replace(hand, joints_mm=points[: len(hand.joints_mm)], vertices_mm=points[len(hand.joints_mm) :])

    def reset(self) -> None:
        """Forget what was: the next points come from elsewhere."""
        self._last = self._velocity = None

    def _share(self, cutoff: np.ndarray | np.float32) -> np.ndarray:
        """How much of a new value is taken at a cut-off in Hz."""
        turn = 2 * math.pi * cutoff / self.rate
        return np.asarray(turn / (turn + 1), np.float32)


class SteadyShape:
    """One shape and size per person: the mean of the hands so far, weighted by their confidence."""

    def __init__(self, hand: Path | None) -> None:
        self.layer = HandLayer(load_hand_model(hand))
        self._mean: torch.Tensor | None = None
        self._weight = 0.0

    def __call__(self, hand: HandPrediction) -> HandPrediction:
        """The hand with that shape and size, its joints' middle where it was."""
        params = torch.from_numpy(hand.params)
        own = torch.cat([params[48:58], params[58:59].clamp_min(1e-3).log()])
        weight = max(hand.confidence, 1e-3)
        self._weight = min(self._weight + weight, STEADY_FRAMES)
        self._mean = own if self._mean is None else self._mean + (own - self._mean) * weight / self._weight
        steady = HandParams(params[:3], params[3:48], self._mean[:10], self._mean[10:].exp(), params[59:])
        mesh = self.layer(steady.rotation[None], steady.pose[None], steady.shape[None])
        vertices, joints = (part[0].numpy() for part in mesh.placed(steady.scale[None], torch.zeros(1, 3), 1.0))
        flip = np.array([-1 if hand.side == "left" else 1, 1, 1], np.float32)
        vertices, joints = vertices * flip, joints * flip
        shift = (hand.joints_mm - joints).mean(0)
        moved = (shift - hand.centre_mm) / (hand.cube_mm / 2) * flip
        steady = replace(steady, translation=torch.tensor(moved, dtype=torch.float32))
        return replace(
            hand,
            joints_mm=joints + shift,
            vertices_mm=vertices[: len(hand.vertices_mm)] + shift,
            params=steady.vector().numpy(),
        )
