"""How often `--side auto` names the right side, and what weights of its odds would fit (predicting/sides.py).

Rendered hands of the pre-training's kind as raw frames, half of them flipped; odds are fitted on one half of the frames
and counted on the other. Kinect frames of a folder (stored mirrored, right hands: the answer is left) are counted too.

python bench/sides.py [--frames 600] [--kinect DIR]
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import RenderedConfig, SamplerConfig, SensorConfig
from dataloader.camera import Camera
from dataloader.frame import DepthFrame
from dataloader.rendered import RenderedHands
from dataloader.sources import frames_of
from predicting.estimator import SIDES, HandEstimator, Reading, chosen_side
from predicting.judge import complete, evidence
from predicting.sides import WEIGHTS
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.streams import stream

FINGERS = ((0, 1, 2, 3, 16), (0, 4, 5, 6, 17), (0, 10, 11, 12, 19), (0, 7, 8, 9, 18))
HALF_OPEN = 0.75
"""Wrist to tip over the length of the bones between, mean of four fingers: a fist has 0.4, a flat hand 1."""
SURENESS = (2.0, 4.0)
"""Log odds from which on hands are counted apart: right in 88 % and in 98 % of all cases, at least."""
STRENGTH = 0.0005
"""Of the penalty on squared weights, in units of the measures' spread."""
BATCH = 16
DRAWN = 100
"""Hands drawn at once."""


def raw_frames(n: int, generator_name: str) -> tuple[list[DepthFrame], np.ndarray, Tensor]:
    """Rendered hands as frames of a small sensor, how open each hand is, and its joints (n, 21, 3), mm."""
    layer = HandLayer(load_hand_model())
    rendered = RenderedHands(layer, SamplerConfig(), SensorConfig(), RenderedConfig(cube_scale=(1.1, 1.3)))
    frames, joints_mm = list[DepthFrame](), list[Tensor]()
    for start in range(0, n, DRAWN):
        hands = rendered.batch(min(DRAWN, n - start), stream(generator_name, start))
        assert hands.joints_mm is not None
        joints_mm.append(hands.joints_mm)
        crop, depth_mm = hands.crop, hands.crop.depth_mm[:, 0].numpy()
        for k, matrix in enumerate((crop.crop_from_image @ crop.camera.matrix()).tolist()):
            # sample j of a crop becomes pixel j, whose centre lies at j + 0.5
            camera = Camera.of(matrix[0][0], matrix[1][1], matrix[0][2] + 0.5, matrix[1][2] + 0.5)
            frames.append(DepthFrame(depth_mm[k], camera, str(start + k)))
    joints = torch.cat(joints_mm)
    return frames, straightness(joints.numpy()), joints


def straightness(joints: np.ndarray) -> np.ndarray:
    """How open hands are, (n,), of joints (n, 21, 3): wrist to tip over the bones between, mean of four fingers."""

    def of(chain: Sequence[int]) -> np.ndarray:
        bones = sum(np.linalg.norm(joints[:, a] - joints[:, b], axis=1) for a, b in pairwise(chain))
        return np.linalg.norm(joints[:, chain[0]] - joints[:, chain[-1]], axis=1) / bones

    return np.mean([of(chain) for chain in FINGERS], axis=0)


@dataclass(frozen=True)
class Looked:
    """What is known of one frame's side."""

    looks: float
    """Log odds by looks."""
    fits: np.ndarray
    """Evidence for the right hand's fit less that for the left's, by the names of WEIGHTS; 0 where one is missing."""
    named: str
    """The side that an estimator answers with; empty where it sees no hand."""
    odds: float
    """Its log odds."""


def looked_at(estimator: HandEstimator, frames: Sequence[DepthFrame]) -> list[Looked]:
    """Frames read as both hands, and as the estimator reads them."""
    found = list[Looked]()
    for start in range(0, len(frames), BATCH):
        some = frames[start : start + BATCH]
        firsts = estimator.told([first for first, _ in estimator.search(some)], common=True)
        both = defaultdict[int, dict[str, Reading]](dict)
        for reading in estimator.read(firsts):
            both[reading.attempt.frame][reading.attempt.view.side] = reading
        best = estimator.read_best(estimator.search(some))
        answers = [best[k] for k in range(len(some))]
        for k, (answer, odds) in enumerate(zip(answers, estimator.side_odds(answers), strict=True)):
            reading, _ = chosen_side(answer, odds)
            sides = [both[k][side] for side in SIDES["auto"] if side in both[k]]
            fits = np.zeros(len(WEIGHTS))
            if len(sides) == 2 and all(complete(side.measures) for side in sides):
                right, left = (evidence(side.measures) for side in sides)
                fits = np.array([right[name] - left[name] for name in WEIGHTS])
            looks = float(np.mean([side.attempt.looks_right for side in sides])) if sides else 0.0
            found.append(Looked(looks, fits, "" if reading is None else reading.attempt.view.side, odds))
    return found


def fitted(evidence: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """Weights of a logistic function without constant; evidence: (n, k), the more, the likelier a right hand."""
    spread = evidence.std(0)
    scaled, sign = evidence / spread, np.where(is_right, 1.0, -1.0)

    def loss(weights: np.ndarray) -> float:
        return float(np.logaddexp(0, -sign * (scaled @ weights)).mean() + STRENGTH * (weights**2).sum())

    return minimize(loss, np.zeros(evidence.shape[1])).x / spread


def report(name: str, odds: np.ndarray, is_right: np.ndarray, counted: np.ndarray) -> dict[str, float]:
    """Print and return how often the odds are on the right side, among the frames that are counted."""
    correct, sureness = ((odds > 0) == is_right)[counted], np.abs(odds[counted])
    row = {"frames": len(correct), "right": float(correct.mean())}
    for least in SURENESS:
        sure = sureness > least
        row |= {
            f"odds {least:g}": float(sure.mean()),
            f"right at {least:g}": float(correct[sure].mean()) if sure.any() else float("nan"),
        }
    print(f"{name}:", ", ".join(f"{key} {value:.3g}" for key, value in row.items()), flush=True)
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
    looked = looked_at(estimator, frames)
    looks, fits = np.array([[one.looks] for one in looked]), np.stack([one.fits for one in looked])
    learned, open_ones = np.arange(len(frames)) % 4 < 2, openness > HALF_OPEN
    results = {}
    for name, known in (("looks", looks), ("fits", fits), ("both", np.hstack([looks, fits]))):
        weights = fitted(known[learned], is_right[learned])
        print(f"{name}, fitted:", ", ".join(f"{weight:.3f}" for weight in weights))
        report(f"{name}, all", known @ weights, is_right, ~learned)
        report(f"{name}, open and half-open", known @ weights, is_right, ~learned & open_ones)
    odds = np.array([one.odds for one in looked])
    results["all"] = report("as shipped, all", odds, is_right, ~learned)
    results["open"] = report("as shipped, open and half-open", odds, is_right, ~learned & open_ones)
    results["open, both halves"] = report("as shipped, open and half-open, both halves", odds, is_right, open_ones)
    if asked.kinect is not None:
        own = looked_at(estimator, frames_of(str(asked.kinect), "kinect2"))
        left = np.zeros(len(own), bool)
        report("looks, Kinect", np.array([one.looks for one in own]), left, ~left)
        results["kinect"] = report("as shipped, Kinect", np.array([one.odds for one in own]), left, ~left)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
