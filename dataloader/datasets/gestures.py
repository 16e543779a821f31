"""Recorded gestures in the layout that SHREC'17 and DHG-14/28 share, each with its own file names.

gesture_{g}/finger_{f}/subject_{s}/essai_{e}/ holds one recording: depth images (640x480, 16 bit, mm), a file with one
row a frame whose numbers after the first are the hand box x y w h, and, where the data set has them, 22 joints a frame
in pixels and in metres. The first column of the box file is an index here and a time there: rows go by their order.
Images are stored mirrored. They are flipped on load (u' = 640 - u) and then show right hands; boxes, centres and joints
of the listing are those of the flipped image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from config import DataConfig
from dataloader import frame
from dataloader.frame import read_depth_png
from dataloader.listing import Listing
from dataloader.locate import Intrinsics
from dataloader.tables import read_table
from util.errors import UserError
from util.joints import SHREC22

SIZE = (640, 480)
"""Width and height of every frame."""
CAMERA: Intrinsics = (463.889, 463.889, 320.0, 240.0)
"""fx, fy, cx, cy in pixels; symmetric, so mirrored frames have the same."""
CUBE_MM = 250.0
"""Edge of the cube around a hand, unless data.cube_mm says otherwise."""
NO_BOX = "no hand box"
"""Why frames are left out: the box is empty, or lies outside the image."""


@dataclass(frozen=True)
class Layout:
    """How a data set names the files of a recording."""

    data_set: str
    """As in `DataConfig.name`."""
    title: str
    """As people call it."""
    image: str
    """Name of an image, with {} for its number."""
    first_image: int
    """Number of the image of a recording's first frame."""
    boxes: str
    """File with the hand boxes."""
    joints_image: str
    """File with u v of 22 joints a row, pixels of the image as stored."""
    joints_world: str
    """File with x y z of 22 joints a row, metres; only z, the depth, is read."""
    test_subjects: tuple[int, ...]
    """Who is tested on when data.test_subjects is unset."""

    @property
    def remedy(self) -> str:
        """What to do about a missing or damaged file."""
        return f"unpack {self.title} again, or point data.root at its folder"


@dataclass(frozen=True)
class Gesture:
    """One recorded gesture."""

    gesture: int
    """1 to 14."""
    finger: int
    """1: made with one finger, 2: with the whole hand."""
    subject: int
    essai: int
    """Which repetition of it by this subject."""
    n_frames: int
    first: int = 0
    """Frame of the recording in which the gesture begins, counted from 0."""

    @property
    def label14(self) -> int:
        """Class of 14: which gesture, 1 to 14."""
        return self.gesture

    @property
    def label28(self) -> int:
        """Class of 28: gesture and finger, 2 (g - 1) + f, 1 to 28."""
        return 2 * (self.gesture - 1) + self.finger

    @property
    def folder(self) -> str:
        """Where its files are, relative to the data set's folder."""
        return f"gesture_{self.gesture}/finger_{self.finger}/subject_{self.subject}/essai_{self.essai}"


def read_image(path: Path) -> np.ndarray:
    """(480, 640) uint16 depth, mm, flipped so that it shows right hands.

    Raises:
        UserError: the image is missing, damaged, or not 640x480 with 16 bits.
    """
    return np.ascontiguousarray(read_depth_png(path, SIZE)[:, ::-1])


def read_whole(path: Path, columns: int, remedy: str) -> np.ndarray:
    """(rows, columns) int64 of a table of whole numbers from 0 on; further columns are cut off.

    Raises:
        UserError: the file is missing, or a row is short or holds something else.
    """
    table = read_table(path, columns, remedy, more=True)
    if (wrong := (table < 0) | (table != np.rint(table))).any():
        raise UserError(f"{path} holds {table[wrong][0]:g} where a count or index belongs: {remedy}.")
    return table.astype(np.int64)


def of_subjects(gestures: Sequence[Gesture], config: DataConfig, split: str, layout: Layout) -> list[Gesture]:
    """Gestures to learn from or to test on: no subject is in both.

    Raises:
        UserError: a subject is in both splits or unknown, or a split is left without one.
    """
    root, known = config.root, sorted({gesture.subject for gesture in gestures})
    choice = f"choose from {', '.join(map(str, known))}"
    test = layout.test_subjects if config.test_subjects is None else config.test_subjects
    if both := sorted(set(config.train_subjects) & set(test)):
        raise UserError(f"Subject {both[0]} is in data.train_subjects and tested on: leave it in one, {choice}.")
    if unknown := sorted({*config.train_subjects, *(config.test_subjects or ())} - set(known)):
        raise UserError(f"{root} has no subject {unknown[0]}: {choice}.")
    chosen = set(test) if split == "test" else set(config.train_subjects or set(known) - set(test))
    if not chosen & set(known):
        names = ", ".join(map(str, test)) or "none"
        raise UserError(
            f"{root} has no subject for the {split} split while subjects to test on are {names}: "
            f"set data.test_subjects, {choice}."
        )
    return [gesture for gesture in gestures if gesture.subject in chosen]


def list_gestures(
    gestures: Sequence[Gesture],
    layout: Layout,
    root: Path,
    config: DataConfig,
    split: Literal["train", "test"],
    rules: tuple[Path, ...] = (),
) -> Listing:
    """All frames of some gestures; those without a hand box are left out and counted.

    Raises:
        UserError: a file of boxes or joints is missing, damaged or too short.
    """
    files: list[str] = []
    groups: list[str] = []
    boxes, joints, centres = [np.zeros((0, 4), np.int64)], [np.zeros((0, 22, 3))], [np.zeros((0, 3))]
    without_skeleton = empty = 0
    for gesture in gestures:
        folder = root / gesture.folder
        found = hand_boxes(folder / layout.boxes, gesture, layout)
        kept = (found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])
        empty += int((~kept).sum())
        skeleton = read_skeleton(folder, gesture, layout)
        if skeleton is None:
            without_skeleton += 1
            n = gesture.n_frames
            skeleton = np.full((n, 22, 3), np.nan), np.full((n, 3), np.nan)
        boxes.append(found[kept])
        joints.append(skeleton[0][kept])
        centres.append(skeleton[1][kept])
        numbers = layout.first_image + gesture.first + np.flatnonzero(kept)
        files += [f"{gesture.folder}/{layout.image.format(number)}" for number in numbers]
        groups += [f"subject {gesture.subject}"] * len(numbers)
    labelled = without_skeleton < len(gestures)
    notices = ()
    if without_skeleton:
        what = "No gesture has" if not labelled else f"{without_skeleton} of {len(gestures)} gestures have no"
        notices = (
            f"{what} {layout.joints_image} and {layout.joints_world} in {root}: "
            "there the hand is located by its depth, and joints are not known.",
        )
    return Listing(
        data_set=layout.data_set,
        split=split,
        root=root,
        files=tuple(files),
        read=read_image,
        camera=CAMERA,
        cubes_mm=np.full((len(files), 3), CUBE_MM if config.cube_mm is None else config.cube_mm),
        centres_mm=np.concatenate(centres) if labelled else None,
        mirrored_width=SIZE[0],
        boxes=np.concatenate(boxes),
        joint_set=SHREC22.name,
        joints_mm=np.concatenate(joints) if labelled else None,
        groups=tuple(groups),
        dropped={NO_BOX: empty} if empty else {},
        notices=notices,
        rules=(Path(__file__), Path(frame.__file__), *rules),
    )


def hand_boxes(path: Path, gesture: Gesture, layout: Layout) -> np.ndarray:
    """(n_frames, 4) int64 hand boxes left top right bottom in the flipped image, cut at its borders.

    Raises:
        UserError: the file is missing, a row is short, or there are fewer rows than frames.
    """
    rows = _rows_of(read_table(path, 5, layout.remedy, more=True, unread=1), gesture, path, layout)
    x, y, w, h = rows[:, 1:].astype(np.int64).T
    left, right = SIZE[0] - (x + w), SIZE[0] - x
    return np.stack([left.clip(0), y.clip(0), right.clip(max=SIZE[0]), (y + h).clip(max=SIZE[1])], axis=-1)


def read_skeleton(folder: Path, gesture: Gesture, layout: Layout) -> tuple[np.ndarray, np.ndarray] | None:
    """(n_frames, 22, 3) joints and (n_frames, 3) their mean pixel at their mean depth, both mm in the flipped camera.

    None where the recording has no skeleton files; NaN in frames with a joint that is not in front of the camera.

    Raises:
        UserError: a file is damaged or has fewer rows than there are frames.
    """
    image, world = folder / layout.joints_image, folder / layout.joints_world
    if not (image.is_file() and world.is_file()):
        return None
    uv, xyz = (
        _rows_of(read_table(path, columns, layout.remedy, more=True), gesture, path, layout).reshape(
            -1, 22, columns // 22
        )
        for path, columns in ((image, 44), (world, 66))
    )
    uvz = np.concatenate([SIZE[0] - uv[..., :1], uv[..., 1:], 1000 * xyz[..., 2:]], axis=-1)
    uvz[(uvz[..., 2] <= 0).any(axis=1)] = np.nan
    return _unprojected(uvz), _unprojected(uvz.mean(axis=1))


def _rows_of(table: np.ndarray, gesture: Gesture, path: Path, layout: Layout) -> np.ndarray:
    """The rows of a gesture's frames."""
    end = gesture.first + gesture.n_frames
    if len(table) < end:
        raise UserError(f"{path} has {len(table)} rows for {end} frames: {layout.remedy}.")
    return table[gesture.first : end]


def _unprojected(uvz: np.ndarray) -> np.ndarray:
    """(..., 3) u px, v px, z mm -> camera frame, mm."""
    fx, fy, cx, cy = CAMERA
    u, v, z = np.moveaxis(uvz, -1, 0)
    return np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], axis=-1)
