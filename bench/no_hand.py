"""How often a hand is seen where there is none, and where there is one: shares called ok, at the same threshold.

Frames without a hand are made: noise, empty rooms, bodies of ellipsoids, things on a desk. Frames with one are rendered
hands with forearms before a wall. With --kinect, frames of that camera are tested as they are (hands stored mirrored:
side left) and with the hand erased.

python bench/no_hand.py [--frames 200] [--kinect DIR] [--json FILE]
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from config import EXPERIMENTS  # noqa: E402
from dataloader.camera import Camera  # noqa: E402
from dataloader.find_hands import find_hands  # noqa: E402
from dataloader.frame import read_depth_png  # noqa: E402
from predicting.estimator import HandEstimator  # noqa: E402
from predicting.prediction import HandPrediction  # noqa: E402
from training.setup import make_rendered  # noqa: E402
from util.cli import run_entry  # noqa: E402
from util.errors import UserError  # noqa: E402
from util.files import write_json  # noqa: E402

SIZE = (240, 320)
INTRINSICS = (290.0, 290.0, 160.0, 120.0)
KINECT = (363.9, 363.9, 255.4, 206.3)
SEED = 1 << 57


def room(rng: np.random.Generator) -> np.ndarray:
    """(h, w) depth of a slanted wall, sometimes with a desk, with a sensor's noise and losses."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    slant = rng.uniform(-0.6, 0.6, 2)
    depth = rng.uniform(900, 2500) * (1 + slant[0] * (u / SIZE[1] - 0.5) + slant[1] * (v / SIZE[0] - 0.5))
    if rng.random() < 0.5:
        desk = rng.uniform(250, 500) * INTRINSICS[1] / np.maximum(v - INTRINSICS[3], 1)
        depth = np.minimum(depth, desk)
    depth += rng.normal(0, 1, SIZE) * (depth / 700) ** 2
    return np.where(rng.random(SIZE) < 0.02, 0, depth).astype(np.float32)


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


def kinect(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames as they are, and with everything in the nearest hand's cube erased.

    Raises:
        UserError: there is none.
    """
    whole = [read_depth_png(path, (512, 424)).astype(np.float32) for path in sorted(folder.glob("*.png"))]
    if not whole:
        raise UserError(f"{folder} holds no .png image: point --kinect at the folder of Kinect frames.")
    erased = []
    for depth in whole:
        found = next(find_hands(depth, KINECT), None)
        z = found.centre_mm[2] if found is not None else 0.0
        erased.append(np.where(depth < z + 125, 0, depth))
    return whole, erased


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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    asked = parser.parse_args(line)
    right = HandEstimator()
    rng, each = np.random.default_rng(SEED), max(asked.frames // 4, 1)
    sets = {make.__name__: [make(rng) for _ in range(each)] for make in (noise, room, body, things)}
    sets["hands"] = hands(asked.frames)
    table = {name: share_ok(right(d, Camera.of(*INTRINSICS)) for d in frames) for name, frames in sets.items()}
    if asked.kinect is not None:
        left = HandEstimator(side="left")
        for name, frames in zip(("kinect", "kinect_erased"), kinect(asked.kinect), strict=True):
            table[name] = share_ok(left(d, Camera.of(*KINECT)) for d in frames)
    if asked.json is not None:
        write_json(asked.json, table)
    sys.stdout.write(f"{json.dumps(table, indent=1)}\n")


if __name__ == "__main__":
    sys.exit(run_entry(main))
