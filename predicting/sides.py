"""Which hand it is: the side whose fitted hand explains the depth better.

A frame is read twice, as it is and flipped; the side with less to explain away is the likelier one. The odds are a
logistic function of differences between the two fits, without a constant term: what is said of a flipped frame is the
opposite. Both hands are refined against the depth first (predicting/refine.py), which the wrong one gains less from.
bench/sides.py counts how often that names the right side.
"""

import math

WEIGHTS = {"surface_mm": -0.5, "depth_mm": -0.3, "iou": 5.0}
"""Log odds of the right hand for each unit by which the right hand's measure is above the left hand's."""
LIMIT = 8.0
"""Largest log odds that one frame gives."""


def right_log_odds(right: dict[str, float], left: dict[str, float]) -> float:
    """Log odds that a hand is a right one, from the measures of both fits; 0 = undecided."""
    known = [name for name in WEIGHTS if name in right and name in left]
    odds = sum(WEIGHTS[name] * (right[name] - left[name]) for name in known)
    return max(-LIMIT, min(LIMIT, odds))


def side_confidence(log_odds: float) -> float:
    """How sure the likelier side is, 0 (undecided) to 1."""
    return 2 / (1 + math.exp(-abs(log_odds))) - 1
