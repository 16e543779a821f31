"""How often `--side auto` names the right side, and what weights of its odds would fit (predicting/sides.py).

Rendered hands of the pre-training's kind as raw frames, half of them flipped; weights are fitted to others than those
that are counted. Kinect frames of a folder (stored mirrored, right hands: the answer is left) are counted too.

python bench/sides.py [--frames 600] [--fit 1000] [--kinect DIR]
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
from predicting.estimator import HandEstimator
from predicting.reading import Reading, chosen_side
from predicting.sides import fit_log_odds
from predicting.views import Hand
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
    """What is known of one frame's side: log odds of a right hand."""

    looks: float
    """By looks."""
    fits: float
    """By both fits, refined; 0 where one is missing."""
    odds: float
    """As predict.py answers."""
    named: str
    """The side that it answers; empty where it sees no hand."""


def looked_at(estimator: HandEstimator, frames: Sequence[DepthFrame]) -> list[Looked]:
    """Frames read as both hands, and as predict.py reads them."""
    found = list[Looked]()
    for start in range(0, len(frames), BATCH):
        some = frames[start : start + BATCH]
        searches = estimator.search(some)
        firsts = estimator.told([first for first, _ in searches], common=True)
        both = defaultdict[int, dict[Hand, Reading]](dict)
        for reading in estimator.read(firsts):
            both[reading.attempt.frame][reading.attempt.view.side] = reading
        looks = {place.frame: place.looks_right for place in firsts}
        fits = estimator.compared([both[k] for k in range(len(some))])
        best = estimator.read_best(searches)
        answers = [best[k] for k in range(len(some))]
        for k, (answer, odds) in enumerate(zip(answers, estimator.side_odds(answers), strict=True)):
            reading, _ = chosen_side(answer, odds)
            named = "" if reading is None else reading.attempt.view.side
            pair = fits[k]
            found.append(Looked(looks.get(k, 0.0), 0.0 if pair is None else fit_log_odds(*pair), odds, named))
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


def turned_frames(n: int, name: str) -> tuple[list[DepthFrame], np.ndarray, np.ndarray]:
    """Frames, every other one flipped; whether they show right hands; whether these are open or half-open."""
    frames, openness, _ = raw_frames(n, name)
    is_right = np.arange(n) % 2 == 0
    turned = [frame if right else frame.mirrored() for frame, right in zip(frames, is_right, strict=True)]
    return turned, is_right, openness > HALF_OPEN


def main() -> None:
    """Print weights and shares; the last line is JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=600, help="frames that are counted")
    parser.add_argument("--fit", type=int, default=0, help="other frames that weights are fitted to")
    parser.add_argument("--kinect", type=Path, metavar="DIR")
    asked = parser.parse_args()
    estimator, results = HandEstimator(side="auto"), {}
    frames, is_right, is_open = turned_frames(asked.frames, "sides")
    everything = np.ones(len(frames), bool)
    looked = looked_at(estimator, frames)
    rows = np.array([[one.looks, one.fits] for one in looked])
    if asked.fit:
        others, theirs, _ = turned_frames(asked.fit, "sides-fit")
        learned = np.array([[one.looks, one.fits] for one in looked_at(estimator, others)])
        for name, columns in (("looks", [0]), ("fits", [1]), ("both", [0, 1])):
            weights = fitted(learned[:, columns], theirs)
            print(f"{name}, fitted:", ", ".join(f"{weight:.3f}" for weight in weights))
            report(f"{name}, all", rows[:, columns] @ weights, is_right, everything)
            report(f"{name}, open and half-open", rows[:, columns] @ weights, is_right, is_open)
    kinds = ("looks", "fits", "odds")
    for kind in kinds:
        odds = np.array([getattr(one, kind) for one in looked])
        results[f"{kind}, all"] = report(f"{kind}, all", odds, is_right, everything)
        results[f"{kind}, open"] = report(f"{kind}, open and half-open", odds, is_right, is_open)
    named = np.array([one.named for one in looked])
    results["named"] = float((named == np.where(is_right, "right", "left")).mean())
    if asked.kinect is not None:
        own = looked_at(estimator, frames_of(str(asked.kinect), "kinect2"))
        left = np.zeros(len(own), bool)
        for kind in kinds:
            odds = np.array([getattr(one, kind) for one in own])
            results[f"{kind}, Kinect"] = report(f"{kind}, Kinect", odds, left, ~left)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
