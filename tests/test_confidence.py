"""bench/confidence.py: weights that say how likely a hand is right, and how often it then is."""

import numpy as np

from bench.confidence import Judged, fitted, reliability
from predicting.judge import WEIGHTS, probability


def judged(n: int, seed: int) -> Judged:
    """Places whose chance of being right falls with the distance between the branches."""
    rng = np.random.default_rng(seed)
    apart = rng.uniform(2, 40, n)
    right = rng.random(n) < 1 / (1 + np.exp(4 * np.log(apart / 12)))
    measures = [
        {"surface_mm": 5.0, "depth_mm": 8.0, "coverage": 0.9, "iou": 0.7, "agreement_mm": float(mm)} for mm in apart
    ]
    return Judged(measures, right.tolist())


def test_only_poor_fits_that_look_like_hands_are_looked_at_twice() -> None:
    good = {"surface_mm": 3.0, "depth_mm": 5.0, "coverage": 1.0, "iou": 0.8, "agreement_mm": 4.0, "presence": 5.0}
    poor = good | {"agreement_mm": 60.0}
    some = Judged([good, poor, poor | {"presence": -1.0}, {"agreement_mm": 5.0}], [True, False, False, False])
    some += Judged([], [], [{"surface_mm": float(k)} for k in range(4)], [False, True, False, False])
    assert some.second_looks(WEIGHTS) == Judged([{"surface_mm": 1.0}], [True])


def test_fitted_weights_find_what_tells_and_are_reliable() -> None:
    weights = fitted([judged(2000, 0), judged(2000, 1)])
    assert 3 < weights["agreement"] < 5 and all(weight >= 0 for name, weight in weights.items() if name != "constant")
    rows = reliability(judged(4000, 2), weights)
    assert sum(row["places"] for row in rows) == 4000
    assert all(abs(row["right"] - row["confidence"]) < 0.08 for row in rows)


def test_places_that_cannot_be_measured_count_as_wrong() -> None:
    rows = reliability(Judged([{"agreement_mm": 5.0}, {"agreement_mm": 5.0}], [False, False]), {})
    assert rows == [{"places": 2, "confidence": 0.0, "right": 0.0}]
    good = {"surface_mm": 3.0, "depth_mm": 5.0, "coverage": 1.0, "iou": 0.8, "agreement_mm": 4.0}
    assert probability(good) > 0.5
