"""How often a hand is seen where there is none, and where there is one: shares called ok, at the same threshold.

Frames without a hand are made: noise, empty rooms, bodies of ellipsoids, things on a desk. Frames with one are rendered
hands with forearms before a wall. Real frames of a folder are tested as they are and with the hand erased: --kinect
(V2, stored mirrored: side left), --sr305 (eighths of a millimetre; either side).

python bench/no_hand.py [--frames 200] [--kinect DIR] [--sr305 DIR] [--json FILE]
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import starmap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from config import EXPERIMENTS  # noqa: E402
from dataloader.camera import Camera  # noqa: E402
from dataloader.frame import DepthFrame  # noqa: E402
from dataloader.sources import frames_of  # noqa: E402
from predicting.estimator import HandEstimator  # noqa: E402
from predicting.prediction import HandPrediction  # noqa: E402
from training.setup import make_rendered  # noqa: E402
from util.cli import run_entry  # noqa: E402
from util.files import write_json  # noqa: E402

SIZE = (240, 320)
INTRINSICS = (290.0, 290.0, 160.0, 120.0)
SR305_UNIT = 0.000125
"""Metres that its frames count in."""
SEED = 1 << 57


def room(rng: np.random.Generator) -> np.ndarray:
    """(h, w) depth of a slanted wall, sometimes with a desk."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    slant = rng.uniform(-0.6, 0.6, 2)
    depth = rng.uniform(900, 2500) * (1 + slant[0] * (u / SIZE[1] - 0.5) + slant[1] * (v / SIZE[0] - 0.5))
    if rng.random() < 0.5:
        desk = rng.uniform(250, 500) * INTRINSICS[1] / np.maximum(v - INTRINSICS[3], 1)
        depth = np.minimum(depth, desk)
    return depth.astype(np.float32)


def sensed(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Depth with a sensor's noise and losses: 1 mm at 70 cm, 2 % of the readings."""
    noisy = depth + rng.normal(0, 1, SIZE) * (depth / 700) ** 2
    return np.where(rng.random(SIZE) < 0.02, 0, noisy).astype(np.float32)


def with_ellipsoid(depth: np.ndarray, centre_mm: Sequence[float], radii_mm: Sequence[float]) -> np.ndarray:
    """Depth with an ellipsoid, upright, before it."""
    fx, fy, cx, cy = INTRINSICS
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    ray = np.stack([(u + 0.5 - cx) / fx, (v + 0.5 - cy) / fy, np.ones(SIZE)], -1) / np.asarray(radii_mm)
    middle = np.asarray(centre_mm, np.float64) / np.asarray(radii_mm)
    a, b, c = (ray**2).sum(-1), ray @ middle, float(middle @ middle) - 1
    inside = b**2 - a * c
    near = np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
    return np.where((inside > 0) & ((near < depth) | (depth == 0)), near, depth).astype(np.float32)


def body(rng: np.random.Generator) -> np.ndarray:
    """A room with a head, neck and torso in it, arms out of sight."""
    x, y, z = rng.uniform(-120, 120), rng.uniform(-120, 60), rng.uniform(500, 1100)
    depth = with_ellipsoid(room(rng), (x, y, z), (rng.uniform(68, 85), rng.uniform(100, 130), rng.uniform(85, 105)))
    depth = with_ellipsoid(depth, (x, y + 150, z + 40), (60, 90, 60))
    return with_ellipsoid(depth, (x, y + 480, z + 60), (rng.uniform(190, 250), 330, 130))


def things(rng: np.random.Generator) -> np.ndarray:
    """A room with one to four round things of all sizes in it."""
    depth = room(rng)
    for _ in range(int(rng.integers(1, 5))):
        where = (rng.uniform(-150, 150), rng.uniform(-120, 120), rng.uniform(400, 900))
        depth = with_ellipsoid(depth, where, rng.uniform(20, 120, 3).tolist())
    return depth


def noise(rng: np.random.Generator) -> np.ndarray:
    """Readings that mean nothing: independent, or in patches."""
    grain = int(rng.choice([1, 4, 16]))
    small = rng.uniform(300, 1500, (SIZE[0] // grain, SIZE[1] // grain))
    depth = np.kron(small, np.ones((grain, grain)))
    return np.where(rng.random(SIZE) < 0.3, 0, depth).astype(np.float32)


def hands(n: int) -> list[np.ndarray]:
    """n rendered hands with forearms, noise and occluders, before a wall: right hands."""
    sample = make_rendered(EXPERIMENTS["ladder-self"]).batch(n, torch.Generator().manual_seed(SEED + 1))
    fx, fy, cx, cy = INTRINSICS
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    frames = []
    for k in range(n):
        z = float(sample.crop.centre_mm[k, 2])
        size, cube = sample.crop.size, float(sample.crop.cube_mm[k, 0])
        # the crop as a picture that stands upright about the optical axis, seen by this camera
        across = np.floor(((u + 0.5 - cx) * z / fx / cube + 0.5) * size).astype(int)
        down = np.floor(((v + 0.5 - cy) * z / fy / cube + 0.5) * size).astype(int)
        inside = (across >= 0) & (across < size) & (down >= 0) & (down < size)
        crop = sample.crop.depth_mm[k, 0].numpy()
        seen = np.where(inside, crop[down.clip(0, size - 1), across.clip(0, size - 1)], 0)
        frames.append(np.where(seen > 0, seen, z + 600).astype(np.float32))
    return frames


def erased(frame: DepthFrame, hand: HandPrediction) -> DepthFrame:
    """A frame without everything in the cube of the hand that was found in it, and before it."""
    back = float(hand.centre_mm[2]) + hand.cube_mm / 2
    return replace(frame, depth_mm=np.where(frame.depth_mm < back, 0, frame.depth_mm))


def share_ok(answers: Iterable[HandPrediction]) -> dict[str, float]:
    """Number of frames, how many are ok, and the middle confidence."""
    rows = list(answers)
    ok = sum(row.status == "ok" for row in rows)
    return {"frames": len(rows), "ok": ok, "median_confidence": float(np.median([row.confidence for row in rows]))}


def main(line: Sequence[str]) -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python bench/no_hand.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=200, metavar="N", help="frames of each kind in all (200)")
    parser.add_argument("--kinect", type=Path, metavar="DIR", help="also test frames of a Kinect V2")
    parser.add_argument("--sr305", type=Path, metavar="DIR", help="also test frames of an SR305")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    asked = parser.parse_args(line)
    rng, each, camera = np.random.default_rng(SEED), max(asked.frames // 4, 1), Camera.of(*INTRINSICS)
    made = {make.__name__: [sensed(make(rng), rng) for _ in range(each)] for make in (room, body, things)}
    made |= {"noise": [noise(rng) for _ in range(each)], "hands": hands(asked.frames)}
    right = HandEstimator()
    table = {name: share_ok(right(depth, camera) for depth in frames) for name, frames in made.items()}
    for name, folder, sensor, unit, side in (
        ("kinect", asked.kinect, "kinect2", None, "left"),
        ("sr305", asked.sr305, "sr305", SR305_UNIT, "auto"),
    ):
        if folder is not None:
            frames, estimator = frames_of(str(folder), sensor, unit), HandEstimator(side=side)
            answers = list(estimator.frames(frames))
            table[name] = share_ok(answers)
            found = [(frame, hand) for frame, hand in zip(frames, answers, strict=True) if hand.status != "no hand"]
            table[f"{name}_erased"] = share_ok(estimator.frames(starmap(erased, found)))
    if asked.json is not None:
        write_json(asked.json, table)
    sys.stdout.write(f"{json.dumps(table, indent=1)}\n")


if __name__ == "__main__":
    sys.exit(run_entry(main))
