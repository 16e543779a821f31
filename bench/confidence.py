"""What a confidence means: fit it on simulated frames, count on others how often hands of each confidence are right.

A place of a frame is right if it was read as a hand whose joints are off by less than RIGHT_MM on average. Frames:
rendered hands with forearms, training frames of the benchmark, and frames without any hand (bench/no_hand.py). Weights
are fitted on these; reliability is counted on others, and on the benchmark's test frames.

python bench/confidence.py [--frames 400] [--plot FILE.png]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.no_hand import INTRINSICS, body, noise, room, things  # noqa: E402
from bench.sides import raw_frames  # noqa: E402
from config import EXPERIMENTS  # noqa: E402
from dataloader.camera import Camera  # noqa: E402
from dataloader.crop import HandCrop  # noqa: E402
from dataloader.frame import DepthFrame  # noqa: E402
from predicting.engine import EngineAnswer  # noqa: E402
from predicting.estimator import HandEstimator  # noqa: E402
from predicting.judge import OK_CONFIDENCE, REFINED_WEIGHTS, WEIGHTS, complete, evidence, probability  # noqa: E402
from predicting.views import View, crops_of  # noqa: E402
from training.sources import load_frames  # noqa: E402
from util.cli import run_entry  # noqa: E402

RIGHT_MM = 25.0
"""Mean joint error of a hand that is right: no finger is taken for its neighbour, a few may be bent wrongly."""
STRENGTH = 1e-3
"""Of the penalty on squared weights, in units of the measures' spread."""
BATCH = 16
SEED = 1 << 56


@dataclass
class Judged:
    """Places that were read, each with what was measured and whether it was read rightly."""

    measures: list[dict[str, float]] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    refined: list[dict[str, float]] = field(default_factory=list)
    """Measures after a second look's optimisation."""
    refined_right: list[bool] = field(default_factory=list)

    def __add__(self, other: "Judged") -> "Judged":
        return Judged(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def add(
        self,
        estimator: HandEstimator,
        crop: HandCrop,
        observed: Bool[Tensor, "b 1 s s"],
        joints_mm: Float[Tensor, "b 21 3"] | None,
    ) -> None:
        """Read crops; joints_mm: true joints, None where no crop shows a hand."""

        def is_right(answer: EngineAnswer) -> list[bool]:
            if joints_mm is None:
                return [False] * len(answer.params)
            return ((answer.joints_mm - joints_mm).norm(dim=-1).mean(1) < RIGHT_MM).tolist()

        answer = estimator.engine(crop)
        better = estimator.improved(crop, observed, answer)
        self.measures += estimator.measured(crop, answer, observed)
        self.right += is_right(answer)
        self.refined += estimator.measured(crop, better, observed)
        self.refined_right += is_right(better)

    def second_looks(self, weights: dict[str, float]) -> "Judged":
        """What looks like a hand and fits poorly as it was read: refined."""
        rows = [
            k
            for k, found in enumerate(self.measures)
            if complete(found) and found["presence"] > 0 and probability(found, weights) < OK_CONFIDENCE
        ]
        return Judged([self.refined[k] for k in rows], [self.refined_right[k] for k in rows])


def in_frames(estimator: HandEstimator, frames: Sequence[DepthFrame], joints_mm: Tensor | None) -> Judged:
    """All places of raw frames; joints_mm: (n, 21, 3) true joints, None where no frame shows a hand."""
    judged = Judged()
    for start in range(0, len(frames), BATCH):
        some = range(start, min(start + BATCH, len(frames)))
        places = [place for k in some for place in estimator.places(k, View.of(frames[k], "right"))]
        if places:
            crop, observed = crops_of(places, estimator.cube_mm)
            judged.add(estimator, crop, observed, None if joints_mm is None else joints_mm[[p.frame for p in places]])
    return judged


def in_benchmark(estimator: HandEstimator, split: Literal["train", "test"], n: int) -> Judged:
    """Crops of the benchmark, spread over a split."""
    store = load_frames(EXPERIMENTS["ladder-supervised"], split)
    rows = np.linspace(0, len(store) - 1, n).round().astype(int).tolist()
    judged = Judged()
    for start in range(0, n, BATCH):
        sample = store.batch(rows[start : start + BATCH])
        observed = sample.crop.foreground if sample.observed is None else sample.observed
        judged.add(estimator, sample.crop, observed, sample.joints_mm)
    return judged


def rendered(estimator: HandEstimator, n: int, name: str) -> Judged:
    """Rendered hands with forearms as raw frames."""
    frames, _, joints_mm = raw_frames(n, name)
    return in_frames(estimator, frames, joints_mm)


def without_hands(estimator: HandEstimator, n: int, seed: int) -> Judged:
    """Noise, rooms, bodies and round things."""
    rng = np.random.default_rng(seed)
    camera = Camera.of(*INTRINSICS)
    frames = [
        DepthFrame(make(rng), camera, make.__name__) for make in (noise, room, body, things) for _ in range(n // 4)
    ]
    return in_frames(estimator, frames, None)


def fitted(judged: Sequence[Judged]) -> dict[str, float]:
    """Weights of the logistic function, each of the kinds of frames counting as much as another."""
    rows, sign, weight = [], [], []
    for some in judged:
        known = [
            (evidence(found), is_right)
            for found, is_right in zip(some.measures, some.right, strict=True)
            if complete(found)
        ]
        rows += [list(found.values()) for found, _ in known]
        sign += [1.0 if is_right else -1.0 for _, is_right in known]
        weight += [1 / len(known)] * len(known)
    table, signs, weights = np.array(rows), np.array(sign), np.array(weight) / len(judged)
    spread = np.where(table.std(0) > 0, table.std(0), 1.0)

    def loss(at: np.ndarray) -> float:
        return float((weights * np.logaddexp(0, -signs * (table / spread @ at))).sum() + STRENGTH * (at**2).sum())

    # more evidence never speaks against a hand: every measure has its sign, and the constant is free
    bounds = [(None, None) if name == "constant" else (0, None) for name in WEIGHTS]
    found = minimize(loss, np.zeros(table.shape[1]), bounds=bounds).x / spread
    return dict(zip(WEIGHTS, found.round(3).tolist(), strict=True))


def reliability(judged: Judged, weights: dict[str, float], bins: int = 5) -> list[dict[str, float]]:
    """By confidence: places, their mean confidence, and the share that is right."""
    sure = np.array([probability(found, weights) if complete(found) else 0.0 for found in judged.measures])
    which = np.minimum((sure * bins).astype(int), bins - 1)
    is_right = np.array(judged.right, float)
    return [
        {"places": int(own.sum()), "confidence": float(sure[own].mean()), "right": float(is_right[own].mean())}
        for own in (which == k for k in range(bins))
        if own.any()
    ]


def plot(table: dict[str, list[dict[str, float]]], file: Path) -> None:
    """Share of right hands over confidence, areas of the marks by the number of places."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.75", linestyle="--", zorder=0)
    for name, rows in table.items():
        x, y = [row["confidence"] for row in rows], [row["right"] for row in rows]
        (line,) = axes.plot(x, y, label=name)
        axes.scatter(x, y, s=[4 * row["places"] ** 0.5 for row in rows], color=line.get_color())
    axes.set(
        xlabel="confidence", ylabel=f"share with a mean joint error below {RIGHT_MM:g} mm", xlim=(0, 1), ylim=(0, 1)
    )
    axes.legend(frameon=False)
    figure.savefig(file, dpi=120)


def main(line: Sequence[str]) -> None:
    """Fit, count, print; the last line is JSON."""
    parser = argparse.ArgumentParser(prog="python bench/confidence.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=400, metavar="N", help="frames of each kind (400)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the reliability plot there")
    asked = parser.parse_args(line)
    estimator, n = HandEstimator(), asked.frames
    learned = [
        rendered(estimator, n, "confidence"),
        in_benchmark(estimator, "train", n),
        without_hands(estimator, n, SEED),
    ]
    weights = fitted(learned)
    looked_twice = [some.second_looks(weights) for some in learned]
    refined_weights = fitted([looked_twice[0] + looked_twice[1] + looked_twice[2]])
    sys.stdout.write(f"fitted: {weights}\nshipped: {WEIGHTS}\n")
    sys.stdout.write(f"fitted, refined: {refined_weights}\nshipped: {REFINED_WEIGHTS}\n")
    hands, nothing = rendered(estimator, n, "confidence, counted"), without_hands(estimator, n, SEED + 1)
    simulated = in_benchmark(estimator, "test", n)
    counted = {"rendered hands, and frames without": hands + nothing, "the benchmark's test frames": simulated}
    table = {name: reliability(judged, WEIGHTS) for name, judged in counted.items()}
    again = (hands + nothing + simulated).second_looks(WEIGHTS)
    table["poor fits, refined"] = reliability(again, REFINED_WEIGHTS)
    for name, rows in table.items():
        sys.stdout.write(f"{name}:\n")
        for row in rows:
            sys.stdout.write(f"  {row['places']:5d} of confidence {row['confidence']:.2f}: {row['right']:.2f} right\n")
    for name, some in zip(("rendered hands", "the benchmark's frames"), learned[:2], strict=True):
        sure = [probability(found) for found, is_right in zip(some.measures, some.right, strict=True) if is_right]
        passing = float(np.mean(np.array(sure) >= OK_CONFIDENCE))
        sys.stdout.write(f"right hands that reach {OK_CONFIDENCE:g}, {name} that were learned from: {passing:.3f}\n")
    if asked.plot is not None:
        plot(table, asked.plot)
    sys.stdout.write(f"{json.dumps({'weights': weights, 'refined_weights': refined_weights, 'reliability': table})}\n")


if __name__ == "__main__":
    sys.exit(run_entry(main))
