"""SHREC'17 Track: real depth of hand gestures, 28 subjects, no labels needed; prepared once, then read from a cache.

Layout: gesture_{g}/finger_{f}/subject_{s}/essai_{e}/{i}_depth.png (640x480, 16 bit, mm) with general_informations.txt,
one row a frame, whose last four numbers are the hand box x y w h; the first column is an index or a time, so rows go by
their order. train_gestures.txt (and test_gestures.txt, if any) lists `g f subject essai label14 label28 frames`.
Frames are stored mirrored: they are flipped on load (u' = 640 - u), and then show right hands.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from tqdm import tqdm

from config import DataConfig
from dataloader import crop, frame, locate, store
from dataloader.frame import read_depth_png
from dataloader.locate import Intrinsics, locate_hand
from dataloader.store import FrameStore, StoredFrame, cut_patch
from util.errors import UserError

SIZE = (640, 480)
"""Width and height of every frame."""
CAMERA: Intrinsics = (463.889, 463.889, 320.0, 240.0)
"""fx, fy, cx, cy in pixels; symmetric, so mirrored frames have the same."""
FEW_SEQUENCES = 40
"""Up to this many are prepared without starting other processes."""

NO_BOX, NO_HAND, TOO_SMALL = "no hand box", "no reading in the hand box", "too few hand pixels"


@dataclass(frozen=True)
class Sequence17:
    """One recorded gesture."""

    gesture: int
    finger: int
    subject: int
    essai: int
    n_frames: int

    def folder(self, root: Path) -> Path:
        """Where its frames are."""
        return root / f"gesture_{self.gesture}/finger_{self.finger}/subject_{self.subject}/essai_{self.essai}"


def _rows(path: Path, columns: int) -> list[list[float]]:
    """Numbers of a text file, `columns` at least a row; UserError that names the file and row otherwise."""
    if not path.is_file():
        raise UserError(f"{path} is missing: point data.root at the folder of the unpacked SHREC'17 data set.")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append([float(word) for word in line.split()])
        except ValueError as error:
            raise UserError(f"{path} holds something else than numbers in row {number}: unpack it again.") from error
        if len(rows[-1]) < columns:
            raise UserError(f"{path} has {len(rows[-1])} numbers in row {number}, not {columns}: unpack it again.")
    return rows


def read_sequences(root: Path) -> list[Sequence17]:
    """All listed sequences, in the lists' order.

    Raises:
        UserError: the folder or the list is missing, or a row of it is short.
    """
    if not root.is_dir():
        raise UserError(f"{root} is no folder: point data.root at the unpacked SHREC'17 data set.")
    rows = _rows(root / "train_gestures.txt", 7)
    if (root / "test_gestures.txt").is_file():
        rows += _rows(root / "test_gestures.txt", 7)
    return [Sequence17(int(g), int(f), int(s), int(e), int(n)) for g, f, s, e, _, _, n, *_ in rows]


def hand_boxes(path: Path, n_frames: int) -> np.ndarray:
    """(n_frames, 4) hand boxes x y w h (pixels, as stored) of a general_informations.txt, by row order.

    Raises:
        UserError: the file is missing, a row is short, or there are fewer rows than frames.
    """
    rows = _rows(path, 5)
    if len(rows) < n_frames:
        raise UserError(f"{path} has {len(rows)} rows for {n_frames} frames: unpack it again.")
    return np.array([row[1:5] for row in rows[:n_frames]], np.int64).reshape(-1, 4)


def skeleton_centres(folder: Path, n_frames: int) -> np.ndarray | None:
    """(n_frames, 3) mean joint in the mirrored camera frame, mm, where the data set has its skeleton files; else None.

    Raises:
        UserError: a file is short.
    """
    paths = [folder / name for name in ("skeletons_image.txt", "skeletons_world.txt")]
    if not all(path.is_file() for path in paths):
        return None
    tables = [np.array(_rows(path, columns)) for path, columns in zip(paths, (44, 66), strict=True)]
    for path, table in zip(paths, tables, strict=True):
        if len(table) < n_frames:
            raise UserError(f"{path} has {len(table)} rows for {n_frames} frames: unpack it again.")
    u, v = tables[0][:n_frames].reshape(n_frames, 22, 2).mean(axis=1).T
    z = 1000 * tables[1][:n_frames].reshape(n_frames, 22, 3)[..., 2].mean(axis=1)
    fx, fy, cx, cy = CAMERA
    return np.stack([(SIZE[0] - u - cx) / fx * z, (v - cy) / fy * z, z], axis=-1)


def read_sequence(
    sequence: Sequence17, root: Path, cube_mm: float, min_pixels: int, size: int
) -> tuple[list[StoredFrame], Counter]:
    """Prepared frames of one sequence, and how many were left out for which reason.

    Raises:
        UserError: a file is missing or damaged.
    """
    folder = sequence.folder(root)
    boxes = hand_boxes(folder / "general_informations.txt", sequence.n_frames)
    centres = skeleton_centres(folder, sequence.n_frames)
    frames, dropped = [], Counter()
    for i, (x, y, w, h) in enumerate(boxes):
        path = folder / f"{i}_depth.png"
        depth = read_depth_png(path, SIZE)
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, SIZE[0]), min(y + h, SIZE[1])
        if right <= left or bottom <= top:
            dropped[NO_BOX] += 1
            continue
        flipped = np.ascontiguousarray(depth[:, ::-1])
        left, right = SIZE[0] - right, SIZE[0] - left
        hand = locate_hand(flipped[top:bottom, left:right], CAMERA, (int(left), int(top)), cube_mm)
        if hand is None:
            dropped[NO_HAND] += 1
            continue
        # what one pixel of the hand becomes in the crop: samples a millimetre over pixels a millimetre, squared
        if hand.observed.sum() * (size / cube_mm * hand.centre_mm[2] / CAMERA[0]) ** 2 < min_pixels:
            dropped[TOO_SMALL] += 1
            continue
        centre = hand.centre_mm
        if centres is not None and np.isfinite(centres[i]).all() and centres[i, 2] > 0:
            centre = (float(centres[i, 0]), float(centres[i, 1]), float(centres[i, 2]))
        observed = np.zeros(flipped.shape, bool)
        observed[top:bottom, left:right] = hand.observed
        name = path.relative_to(root).as_posix()
        frames.append(cut_patch(flipped, CAMERA, centre, (cube_mm, cube_mm, cube_mm), name, observed))
    return frames, dropped


def load_shrec(
    root: Path,
    subjects: Sequence[int] | None = None,
    cube_mm: float = 250.0,
    min_pixels: int = 600,
    size: int = 128,
    workers: int = 2,
    cache: Path | None = None,
) -> FrameStore:
    """Frames of some subjects (None = all), with the hand's centre and the mask of the observed hand of each.

    The first call prepares every frame (minutes) and keeps the result in `cache` (unset: root/.prepared); later calls
    with the same files and settings read it back. Frames that show too little are left out; `dropped` counts them.

    Raises:
        UserError: a file is missing or damaged, a subject has no sequence, or no frame is left.
    """
    listed = read_sequences(root)
    known = sorted({sequence.subject for sequence in listed})
    if unknown := sorted(set(subjects or ()) - set(known)):
        raise UserError(f"{root} has no subject {unknown[0]}: choose from {', '.join(map(str, known))}.")
    chosen = [sequence for sequence in listed if subjects is None or sequence.subject in subjects]
    prepared = (cache or root / ".prepared") / f"shrec_{_key(root, chosen, (cube_mm, min_pixels, size))}.npz"
    if prepared.is_file():
        return FrameStore.load(prepared)
    work = partial(read_sequence, root=root, cube_mm=cube_mm, min_pixels=min_pixels, size=size)
    frames, dropped = _prepare(chosen, work, workers)
    if not frames:
        raise UserError(f"{root} has no frame with {min_pixels} hand pixels for these subjects: lower data.min_pixels.")
    kept = FrameStore.from_frames(frames, size, tuple(sorted(dropped.items())))
    try:
        kept.save(prepared)
    except OSError as error:
        logging.getLogger(__name__).warning("prepared frames are not kept: %s", error)
    return kept


def load_shrec_split(config: DataConfig, split: Literal["train", "test"], size: int = 128) -> FrameStore:
    """Frames to learn from or to test on: no subject is in both.

    Raises:
        UserError: no root, a subject in both splits, or whatever `load_shrec` raises.
    """
    if config.root is None:
        raise UserError("data.root is not set: point it at the folder of the unpacked SHREC'17 data set.")
    if both := sorted(set(config.train_subjects) & set(config.test_subjects)):
        raise UserError(f"subject {both[0]} is in data.train_subjects and in data.test_subjects: leave it in one.")
    subjects = config.test_subjects if split == "test" else config.train_subjects
    if split == "train" and not subjects:
        everyone = {sequence.subject for sequence in read_sequences(config.root)}
        subjects = tuple(sorted(everyone - set(config.test_subjects)))
    return load_shrec(config.root, subjects, config.cube_mm, config.min_pixels, size, config.workers, config.cache)


def _prepare(sequences: list[Sequence17], work: partial, workers: int) -> tuple[list[StoredFrame], Counter]:
    """Prepare sequences, in several processes when there are many, and show how far it is."""
    frames: list[StoredFrame] = []
    dropped: Counter = Counter()

    def collect(results: Iterable[tuple[list[StoredFrame], Counter]]) -> None:
        for found, left_out in tqdm(results, "preparing SHREC'17", len(sequences), unit="sequence", disable=None):
            frames.extend(found)
            dropped.update(left_out)

    if workers <= 1 or len(sequences) <= FEW_SEQUENCES:
        collect(map(work, sequences))
    else:
        # spawn: a forked child would inherit torch's and OpenCV's threads in whatever state they are in
        with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
            collect(pool.map(work, sequences, chunksize=8))
    return frames, dropped


def _key(root: Path, sequences: list[Sequence17], settings: tuple[float, int, int]) -> str:
    """Changes with the files, the settings, and the rules by which frames are prepared."""
    digest = hashlib.sha256(repr((settings, sequences)).encode())
    for module in (crop, frame, locate, store):
        digest.update(Path(module.__file__ or "").read_bytes())
    digest.update(Path(__file__).read_bytes())
    for sequence in sequences:
        folder = sequence.folder(root)
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        digest.update(repr([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]).encode())
    return digest.hexdigest()[:16]
