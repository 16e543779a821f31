"""Poses of every frame of SHREC'17 by one network, one file a recording: what recognisers of gestures learn from."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from config import EXPERIMENTS
from dataloader.datasets.shrec import LAYOUT, LISTS, read_gestures
from dataloader.store import FrameStore
from predicting.engine import TorchEngine
from predicting.refine import Refinement
from predicting.views import MIRROR
from training.sources import load_frames
from util.files import write_whole

TOGETHER = 4
"""Recordings that are read at once."""
FILE = "predictions.npz"
"""What the folder of a recording gets, as predict.py writes it."""


def shrec_subjects(root: Path) -> list[int]:
    """Sorted subjects of SHREC'17's training list.

    Raises:
        UserError: the list is missing or damaged.
    """
    return sorted({gesture.subject for gesture in read_gestures(root / LISTS["train"])})


def shrec_frames(root: Path) -> FrameStore:
    """All frames of all subjects, ready to be read.

    Raises:
        UserError: the data set cannot be read.
    """
    experiment = EXPERIMENTS["shrec-train"]
    data = replace(experiment.data, root=root, test_subjects=tuple(shrec_subjects(root)))
    return load_frames(replace(experiment, data=data), "test")


def write_poses(root: Path, frames: FrameStore, weights: Path, folder: Path, refine: int = 0) -> int:
    """Write the keypoints of frames, recording by recording, in the camera of the images as stored; returns how many.

    Recordings that are there already are kept. A file holds the names of all frames of a recording and their keypoints,
    (n, 21, 3) mm, NaN where no hand is seen.

    Args:
        root: the data set.
        frames: all of it that shows a hand.
        weights: of the network.
        folder: where the folders of recordings go.
        refine: 0: the pixel branch's joints; otherwise those of the model branch after so many steps of optimisation.

    Raises:
        UserError: weights are absent or of something else, or a file cannot be read or written.
    """
    row_of = {str(name): row for row, name in enumerate(frames.names)}
    engine, better = TorchEngine(weights), Refinement(None, refine) if refine else None
    left = [g for g in read_gestures(root / LISTS["train"]) if not (folder / g.folder / FILE).is_file()]
    written = 0
    for some in tqdm(
        [left[at : at + TOGETHER] for at in range(0, len(left), TOGETHER)], desc=folder.name, mininterval=5
    ):
        names = [f"{g.folder}/{LAYOUT.image.format(LAYOUT.first_image + i)}" for g in some for i in range(g.n_frames)]
        rows = {name: row_of[name] for name in names if name in row_of}
        joints_mm = np.full((len(names), 21, 3), np.nan, np.float32)
        joints_mm[[name in rows for name in names]] = _joints_mm(frames, list(rows.values()), engine, better)
        for gesture, own in zip(some, np.split(joints_mm, np.cumsum([g.n_frames for g in some])[:-1]), strict=True):
            _write(folder / gesture.folder / FILE, own)
        written += len(rows)
    return written


def _joints_mm(frames: FrameStore, rows: list[int], engine: TorchEngine, better: Refinement | None) -> np.ndarray:
    """(n, 21, 3) keypoints of some frames, in the camera of the images as stored."""
    sample = frames.batch(rows)
    answer = engine(sample.crop)
    if better is not None:
        observed = sample.crop.foreground if sample.observed is None else sample.observed
        answer = better(sample.crop, observed, answer)
    joints_mm = (answer.pixel_mm if better is None else answer.joints_mm).numpy()
    return joints_mm * MIRROR if frames.mirrored_width else joints_mm


def _write(path: Path, joints_mm: np.ndarray) -> None:
    content = io.BytesIO()
    names = [LAYOUT.image.format(LAYOUT.first_image + i) for i in range(len(joints_mm))]
    np.savez(content, frame=np.array(names), joints_mm=joints_mm)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.getvalue())
