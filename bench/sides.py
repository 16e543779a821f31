"""How often `--side auto` names the right side, and what weights of its odds would fit (predicting/sides.py).

Rendered hands of the pre-training's kind as raw frames, half of them flipped; odds are fitted on one half of the frames
and counted on the other. Kinect frames of a folder (stored mirrored, right hands: the answer is left) are counted too.

python bench/sides.py [--frames 600] [--kinect DIR]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import RenderedConfig, SamplerConfig, SensorConfig
from dataloader.camera import Camera
from dataloader.frame import DepthFrame
from dataloader.rendered import RenderedHands
from dataloader.sources import frames_of
from predicting.estimator import HandEstimator, begun
from predicting.sides import WEIGHTS, right_log_odds
from predicting.views import Hand, View
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.streams import stream

FINGERS = ((0, 1, 2, 3, 16), (0, 4, 5, 6, 17), (0, 10, 11, 12, 19), (0, 7, 8, 9, 18))
HALF_OPEN = 0.75
"""Wrist to tip over the length of the bones between, mean of four fingers: a fist has 0.4, a flat hand 1."""
STRENGTH = 0.01
"""Of the penalty on squared weights, in units of the measures' spread."""
BATCH = 16


def raw_frames(n: int, generator_name: str) -> tuple[list[DepthFrame], np.ndarray, Tensor]:
    """Rendered hands as frames of a small sensor, how open each hand is, and its joints (n, 21, 3), mm."""
    layer = HandLayer(load_hand_model())
    config = RenderedConfig(cube_scale=(1.1, 1.3))
    hands = RenderedHands(layer, SamplerConfig(), SensorConfig(), config).batch(n, stream(generator_name))
    crop, frames = hands.crop, []
    matrices = (crop.crop_from_image @ crop.camera.matrix()).tolist()
    for k, matrix in enumerate(matrices):
        # sample j of a crop becomes pixel j, whose centre lies at j + 0.5
        camera = Camera.of(matrix[0][0], matrix[1][1], matrix[0][2] + 0.5, matrix[1][2] + 0.5)
        frames.append(DepthFrame(crop.depth_mm[k, 0].numpy(), camera, str(k)))
    assert hands.joints_mm is not None
    joints = hands.joints_mm.numpy()

    def straightness(chain: Sequence[int]) -> np.ndarray:
        bones = sum(np.linalg.norm(joints[:, a] - joints[:, b], axis=1) for a, b in pairwise(chain))
        return np.linalg.norm(joints[:, chain[0]] - joints[:, chain[-1]], axis=1) / bones

    return frames, np.mean([straightness(chain) for chain in FINGERS], axis=0), hands.joints_mm


def both_sides(
    estimator: HandEstimator, frames: Sequence[DepthFrame]
) -> list[tuple[dict[str, float], dict[str, float]] | None]:
    """Measures of the right and of the left hand that each frame was read as; None where one shows no hand."""
    found: list[tuple[dict[str, float], dict[str, float]] | None] = []
    sides: tuple[Hand, ...] = ("right", "left")
    for start in range(0, len(frames), BATCH):
        some = frames[start : start + BATCH]
        views = [(k, View.of(frame, side)) for k, frame in enumerate(some) for side in sides]
        best = estimator.read_best(begun(estimator.places(k, view) for k, view in views))
        found += estimator.compared([best[k] for k in range(len(some))])
    return found


def fitted(differences: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """Weights of a logistic function without constant; differences: (n, measures), right hand's less left hand's."""
    spread = differences.std(0)
    scaled, sign = differences / spread, np.where(is_right, 1.0, -1.0)

    def loss(weights: np.ndarray) -> float:
        return float(np.logaddexp(0, -sign * (scaled @ weights)).mean() + STRENGTH * (weights**2).sum())

    return minimize(loss, np.zeros(differences.shape[1])).x / spread


def report(name: str, odds: np.ndarray, is_right: np.ndarray) -> dict[str, float]:
    """Print and return how often the odds are on the right side."""
    correct = (odds > 0) == is_right
    sure = np.abs(odds) > 2
    row = {"frames": len(odds), "right": float(correct.mean()), "sure": float(sure.mean())}
    row["right_where_sure"] = float(correct[sure].mean()) if sure.any() else float("nan")
    print(name, ", ".join(f"{key} {value:.3g}" for key, value in row.items()))
    return row


def main() -> None:
    """Print weights and shares; the last line is JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--kinect", type=Path, metavar="DIR")
    asked = parser.parse_args()
    estimator = HandEstimator(side="auto")
    frames, openness, _ = raw_frames(asked.frames, "sides")
    is_right = np.arange(len(frames)) % 2 == 0
    frames = [frame if right else frame.mirrored() for frame, right in zip(frames, is_right, strict=True)]
    pairs = both_sides(estimator, frames)
    kept = np.array([k for k, pair in enumerate(pairs) if pair is not None])
    known = [pair for pair in pairs if pair is not None]
    differences = np.array([[right[name] - left[name] for name in WEIGHTS] for right, left in known])
    is_right, openness = is_right[kept], openness[kept]
    learned, counted = kept % 4 < 2, kept % 4 >= 2
    weights = fitted(differences[learned], is_right[learned])
    print("fitted:", {name: round(float(weight), 3) for name, weight in zip(WEIGHTS, weights, strict=True)})
    for name, odds in (
        ("as fitted", differences @ weights),
        ("as shipped", np.array([right_log_odds(*p) for p in known])),
    ):
        results = {"all": report(f"{name}, all:", odds[counted], is_right[counted])}
        open_ones = counted & (openness > HALF_OPEN)
        results["open"] = report(f"{name}, open and half-open:", odds[open_ones], is_right[open_ones])
    if asked.kinect is not None:
        own = [pair for pair in both_sides(estimator, frames_of(str(asked.kinect), "kinect2")) if pair is not None]
        rows = np.array([[right[name] - left[name] for name in WEIGHTS] for right, left in own])
        report("as fitted, Kinect:", rows @ weights, np.zeros(len(own), bool))
        odds = np.array([right_log_odds(*pair) for pair in own])
        results["kinect"] = report("as shipped, Kinect:", odds, np.zeros(len(own), bool))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
