"""Small recordings of gestures in the real layout, and frames with something like a hand in them."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dataloader.datasets.gestures import Layout

EMPTY = np.zeros((480, 640), np.uint16)


def hand_image(left: int, top: int, z: int = 450) -> np.ndarray:
    """(480, 640) a thumb-like bar on the stored image's right of a palm, before a wall."""
    image = np.full((480, 640), 1400, np.uint16)
    image[top : top + 120, left : left + 90] = z
    image[top + 60 : top + 85, left + 90 : left + 150] = z - 20
    return image


def write_recording(root: Path, layout: Layout, place: str, frames: Sequence[tuple[np.ndarray, str]]) -> Path:
    """Images and box rows of a recording, in gesture_{g}/finger_{f}/..., `place` being "g f subject essai"."""
    g, f, subject, essai = place.split()
    folder = root / f"gesture_{g}/finger_{f}/subject_{subject}/essai_{essai}"
    folder.mkdir(parents=True)
    for i, (image, _) in enumerate(frames):
        cv2.imwrite(str(folder / layout.image.format(layout.first_image + i)), image)
    (folder / layout.boxes).write_text("".join(f"{row}\n" for _, row in frames))
    return folder


def write_skeleton(folder: Path, layout: Layout, uvz: np.ndarray) -> None:
    """Skeleton files of (n, 22, 3) joints: u v in pixels as stored, z in metres."""
    world = np.concatenate([np.full_like(uvz[..., :2], 7.0), uvz[..., 2:]], axis=-1)
    for name, table in ((layout.joints_image, uvz[..., :2]), (layout.joints_world, world)):
        rows = table.reshape(len(uvz), -1)
        (folder / name).write_text("".join(" ".join(f"{number:.6f}" for number in row) + " \n" for row in rows))
