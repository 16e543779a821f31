"""Point clouds of recorded gestures, read from the hand boxes of their depth images and kept on disk."""

import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from tqdm import tqdm

from config_gesture import GestureDataConfig
from dataloader.datasets.gestures import CAMERA, Gesture, Layout, hand_boxes, read_image
from gesture.bank import SequenceBank
from gesture.splits import LAYOUTS, gesture_root, label
from util.arrays import read_npy
from util.errors import UserError
from util.files import write_whole

LOG = logging.getLogger(__name__)

DEEP_MM = 200.0
"""What is so far behind the nearest things in a box is no hand."""
NEAREST = 0.05
"""Share of a box's readings that may lie before what counts as nearest: stray ones."""
KEPT_UNIT_MM = 0.1
"""Step of the numbers kept on disk (int16)."""


def point_bank(config: GestureDataConfig, gestures: Sequence[Gesture], learn: bool) -> SequenceBank:
    """Points of recorded gestures; learn: leave out those without any.

    Read from depth the first time, and kept in a folder of the cache, a file a recording; remove it to read them anew.

    Raises:
        UserError: an image or a box file is missing or damaged, or the cache cannot be written to.
    """
    root, layout = gesture_root(config), LAYOUTS[config.name]
    cache = (config.cache or root / ".prepared") / f"gesture-points-{config.points}"
    sequences, labels, empty = [], [], 0
    for gesture in tqdm(gestures, desc="points", mininterval=5, disable=None):
        points_mm = _kept_points(cache, root, gesture, layout, config.points)
        nothing = not np.any(points_mm)
        empty += nothing
        if not (nothing and learn):
            sequences.append(torch.from_numpy(points_mm))
            labels.append(label(gesture, config.classes))
    return SequenceBank.of(sequences, labels, empty=empty)


def read_points(root: Path, gesture: Gesture, layout: Layout, number: int) -> Float32[np.ndarray, "frames n 3"]:
    """`number` points of each frame, mm, camera of the images as stored; the same every time.

    Drawn from the readings in the hand box that are at most `DEEP_MM` behind the nearest, some of them twice where they
    are few. Frames without any are given those of the nearest frame that has some; 0 where none has.

    Raises:
        UserError: an image or the box file is missing or damaged.
    """
    boxes = hand_boxes(root / gesture.folder / layout.boxes, gesture, layout)
    draw = np.random.default_rng([gesture.gesture, gesture.finger, gesture.subject, gesture.essai])
    clouds: list[np.ndarray | None] = []
    for frame, box in enumerate(boxes):
        name = layout.image.format(layout.first_image + gesture.first + frame)
        clouds.append(_cloud(read_image(root / gesture.folder / name), box, number, draw))
    seen = np.array([frame for frame, cloud in enumerate(clouds) if cloud is not None])
    if not len(seen):
        return np.zeros((gesture.n_frames, number, 3), np.float32)
    nearest = [seen[np.abs(seen - frame).argmin()] for frame in range(gesture.n_frames)]
    return np.stack([clouds[frame] for frame in nearest]).astype(np.float32)


def _cloud(
    depth_mm: np.ndarray, box: np.ndarray, number: int, draw: np.random.Generator
) -> Float[np.ndarray, "n 3"] | None:
    left, top, right, bottom = box
    v, u = np.nonzero(depth_mm[top:bottom, left:right])
    if not len(u):
        return None
    u, v = u + left, v + top
    z = depth_mm[v, u].astype(np.float64)
    u, v, z = (values[z <= np.quantile(z, NEAREST) + DEEP_MM] for values in (u, v, z))
    chosen = draw.choice(len(z), number, replace=len(z) < number)
    fx, fy, cx, cy = CAMERA
    u, v, z = u[chosen] + 0.5, v[chosen] + 0.5, z[chosen]
    # images are flipped when they are read; points are those of the image as stored, as skeletons are
    return np.stack([-(u - cx) / fx * z, (v - cy) / fy * z, z], axis=-1)


def _kept_points(cache: Path, root: Path, gesture: Gesture, layout: Layout, number: int) -> np.ndarray:
    """Points in the precision they are kept in, from the cache or from depth."""
    path = cache / f"{gesture.folder.replace('/', '-')}.npy"
    shape = (gesture.n_frames, number, 3)
    if path.is_file():
        kept = read_npy(path, "remove it, and it is made anew")
        if kept.shape != shape or kept.dtype != np.int16:
            raise UserError(f"{path} holds {kept.dtype} of shape {kept.shape}, not {shape}: remove it.")
    else:
        limit = np.iinfo(np.int16).max
        points_mm = read_points(root, gesture, layout, number)
        kept = np.rint(points_mm / KEPT_UNIT_MM).clip(-limit, limit).astype(np.int16)
        content = io.BytesIO()
        np.save(content, kept, allow_pickle=False)
        write_whole(path, content.getvalue())
    return kept.astype(np.float32) * np.float32(KEPT_UNIT_MM)
