"""Poses of every frame of SHREC'17 by one network, one file a recording: what recognisers of gestures learn from."""

import io
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from config import EXPERIMENTS
from dataloader.datasets.shrec import LISTS, read_gestures
from dataloader.store import FrameStore
from predicting.engine import TorchEngine
from predicting.refine import Refinement
from training.sources import load_frames
from util.files import write_whole

BATCH = 64
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


def write_poses(frames: FrameStore, weights: Path, folder: Path, refine: int = 0) -> int:
    """Write the keypoints of frames, recording by recording, in the camera of the images as stored; returns how many.

    Recordings that are there already are kept. A file holds the names of its frames and their keypoints, (n, 21, 3) mm.

    Args:
        frames: of the whole data set.
        weights: of the network.
        folder: where the folders of recordings go.
        refine: 0: the pixel branch's joints; otherwise those of the model branch after so many steps of optimisation.

    Raises:
        UserError: weights are absent or of something else, or a file cannot be written.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(frames.names):
        rows[str(name).rpartition("/")[0]].append(row)
    left = [recording for recording in rows if not (folder / recording / FILE).is_file()]
    if not left:
        return 0
    engine = TorchEngine(weights)
    better = Refinement(None, refine) if refine else None
    wanted, recordings = [row for recording in left for row in rows[recording]], iter(left)
    recording, done = next(recordings), np.zeros((0, 21, 3), np.float32)
    for at in tqdm(range(0, len(wanted), BATCH), unit="batch", desc=folder.name, mininterval=5):
        sample = frames.batch(wanted[at : at + BATCH])
        answer = engine(sample.crop)
        if better is not None:
            observed = sample.crop.foreground if sample.observed is None else sample.observed
            answer = better(sample.crop, observed, answer)
        joints_mm = (answer.pixel_mm if better is None else answer.joints_mm).numpy()
        done = np.concatenate([done, joints_mm * _flip(frames)])
        while len(done) >= len(rows[recording]) and len(done):
            n = len(rows[recording])
            _write(folder / recording / FILE, [str(frames.names[row]) for row in rows[recording]], done[:n])
            done, recording = done[n:], next(recordings, recording)
    return len(wanted)


def _flip(frames: FrameStore) -> np.ndarray:
    """What brings joints of frames that are flipped on load back; their camera's centre is the image's."""
    return np.array([-1 if frames.mirrored_width else 1, 1, 1], np.float32)


def _write(path: Path, names: list[str], joints_mm: np.ndarray) -> None:
    content = io.BytesIO()
    np.savez(content, frame=np.array(names), joints_mm=joints_mm)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.getvalue())
