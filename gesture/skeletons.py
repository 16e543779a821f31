"""Skeletons of a recording, from whichever file holds them, one row a frame, brought into one joint set.

A file lies in a folder named as the recording's is in the data set, gesture_{g}/finger_{f}/subject_{s}/essai_{e}/:

predictions.npz .json    what predict.py writes: 21 keypoints, mm; NaN or null where there is no hand
*.npz                    `joints_mm`, or `joints_uvd` (pixels and mm), of 21 or 22 joints a frame (util/predictions.py)
*_world.txt              the data set's own 22 joints, metres
other .txt               21 or 22 joints, mm: x y z, or u v d when the name ends in _uvd

Everything is in the camera of the images as stored, x right, y down, z forward. Rows whose frames have names go by the
number in the name, others by their order; all of the recording may be there, or its gesture alone.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32

from dataloader.datasets.frames import natural_order
from dataloader.datasets.gestures import CAMERA, Gesture
from dataloader.tables import read_table
from util.arrays import read_npz
from util.errors import UserError
from util.files import read_json
from util.joints import MANO21, SHREC22, JointSet
from util.predictions import LARGEST, read_predictions
from util.reading import read_text

FILES = (
    "predictions.npz",
    "predictions.json",
    "joints_xyz.npz",
    "joints_xyz.txt",
    "skeletons_world.txt",
    "skeleton_world.txt",
)
"""What is looked for when no file is named, in this order."""
SETS = {len(joint_set): joint_set for joint_set in (MANO21, SHREC22)}
"""Joint sets of files, told by the number of joints."""
REMEDY = "write the skeletons again, or name another file with --data.file"


@dataclass(frozen=True)
class Skeletons:
    """Joints of a gesture's frames."""

    path: Path
    """The file they came from."""
    joints_mm: Float32[np.ndarray, "frames joints 3"]
    """Camera frame of the images as stored; finite. Frames without a hand are interpolated from those beside them."""
    filled: int = 0
    """Frames that were interpolated; all of them when the recording shows no hand at all, whose joints are then 0."""

    @property
    def empty(self) -> bool:
        """Whether there is no hand in any frame."""
        return self.filled == len(self.joints_mm)


def find_file(folder: Path, name: str | None = None) -> Path:
    """The file with a recording's skeletons.

    Raises:
        UserError: there is none.
    """
    if name is not None:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing: {REMEDY}, or point --data.skeletons at their folder.")
        return folder / name
    for known in FILES:
        if (folder / known).is_file():
            return folder / known
    raise UserError(
        f"{folder} holds no skeletons ({', '.join(FILES)}): annotate its frames, name the file with --data.file, or "
        "point --data.skeletons at their folder."
    )


def read_skeletons(path: Path, gesture: Gesture, wanted: JointSet) -> Skeletons:
    """Joints of a gesture's frames in the wanted set, `SHREC22` or `MANO21`.

    SHREC22's palm is the mean of the 21 keypoints when the file holds those; MANO21 leaves the palm out.

    Raises:
        UserError: the file is missing, damaged, holds another number of joints, or too few frames.
    """
    joints_mm = _read(path)
    end = gesture.first + gesture.n_frames
    if len(joints_mm) >= end:
        joints_mm = joints_mm[gesture.first : end]
    elif len(joints_mm) != gesture.n_frames:
        raise UserError(f"{path} has {len(joints_mm)} rows for {end} frames: {REMEDY}.")
    whole, filled = interpolated(joints_mm)
    return Skeletons(path, in_joint_set(whole, wanted).astype(np.float32), filled)


def in_joint_set(joints_mm: Float[np.ndarray, "frames joints 3"], wanted: JointSet) -> Float[np.ndarray, "frames _ 3"]:
    """Joints of `SHREC22` or `MANO21`, told by their number, as the other set's."""
    held = SETS[joints_mm.shape[1]]
    if held is wanted:
        return joints_mm
    if wanted is SHREC22:
        return SHREC22.from_mano21(torch.from_numpy(joints_mm)).numpy()
    return SHREC22.to_mano21(torch.from_numpy(joints_mm)).numpy()


def interpolated(
    joints_mm: Float[np.ndarray, "frames joints 3"],
) -> tuple[Float[np.ndarray, "frames joints 3"], int]:
    """Frames with a joint that is not finite, from the frames before and behind; and their number.

    At the ends the nearest frame is repeated; zeros when there is no frame to go by.
    """
    known = np.isfinite(joints_mm).all(axis=(1, 2))
    if not known.any():
        return np.zeros_like(joints_mm), len(joints_mm)
    if known.all():
        return joints_mm, 0
    flat, time = joints_mm.reshape(len(joints_mm), -1), np.arange(len(joints_mm))
    columns = [np.interp(time, time[known], column) for column in flat[known].T]
    return np.stack(columns, axis=1).reshape(joints_mm.shape), int((~known).sum())


def _read(path: Path) -> np.ndarray:
    """(rows, 21 or 22, 3) float64 mm; NaN where there is no hand."""
    if path.suffix == ".npz":
        return _read_npz(path)
    if path.suffix == ".json":
        return _read_json(path)
    if path.name.endswith("_world.txt"):
        joints_mm = 1000 * read_table(path, 66, REMEDY, more=True).reshape(-1, 22, 3)
        joints_mm[(joints_mm[..., 2] <= 0).any(axis=1)] = np.nan  # a joint at no depth was not seen
        return joints_mm
    first = read_text(path, REMEDY).split("\n", 1)[0].replace(",", " ").split()
    n_joints = 22 if len(first) in (66, 67) else 21
    values = read_predictions(path, n_joints).values
    return _unprojected(values) if path.stem.endswith("_uvd") else values


def _read_npz(path: Path) -> np.ndarray:
    arrays = read_npz(path, REMEDY, ("joints_mm", "joints_uvd", "frame"))
    held = [name for name in ("joints_mm", "joints_uvd") if name in arrays]
    if len(held) != 1:
        raise UserError(f"{path} holds {' and '.join(held) or 'neither'} of joints_mm and joints_uvd: {REMEDY}.")
    values = _checked(arrays[held[0]], path)
    if held[0] == "joints_uvd":
        values = _unprojected(values)
    return (
        _in_order(values, [str(name) for name in np.atleast_1d(arrays["frame"])], path) if "frame" in arrays else values
    )


def _read_json(path: Path) -> np.ndarray:
    rows = read_json(path)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and "joints_mm" in row for row in rows):
        raise UserError(f"{path} is no list of rows with joints_mm: {REMEDY}.")
    known = next((row["joints_mm"] for row in rows if row["joints_mm"] is not None), None)
    try:
        missing = np.full((21 if known is None else len(known), 3), np.nan)
        values = np.array([missing if row["joints_mm"] is None else row["joints_mm"] for row in rows], np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{path} has rows whose joints_mm are not all 21 or 22 times x y z: {REMEDY}.") from None
    values = _checked(values, path)
    named = all(isinstance(row.get("frame"), str) for row in rows)
    return _in_order(values, [row["frame"] for row in rows], path) if named else values


def _checked(values: np.ndarray, path: Path) -> np.ndarray:
    if values.ndim != 3 or values.shape[1] not in SETS or values.shape[2] != 3 or values.dtype.kind not in "fiu":
        raise UserError(f"{path} has joints of shape {values.shape}, not (frames, 21 or 22, 3): {REMEDY}.")
    values = values.astype(np.float64)
    if (np.abs(values) > LARGEST).any():
        raise UserError(f"{path} has joints beyond {LARGEST:,.0f} mm or pixels: {REMEDY}.")
    return values


def _in_order(values: np.ndarray, frames: list[str], path: Path) -> np.ndarray:
    """Rows by the numbers in their frames' names, 2 before 10."""
    if len(frames) != len(values):
        raise UserError(f"{path} names {len(frames)} frames and has {len(values)} rows: {REMEDY}.")
    return values[sorted(range(len(frames)), key=lambda row: natural_order(frames[row]))]


def _unprojected(uvz: np.ndarray) -> np.ndarray:
    """Pixels of the images as stored and depth -> camera frame, mm."""
    fx, fy, cx, cy = CAMERA
    u, v, z = np.moveaxis(uvz, -1, 0)
    return np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], axis=-1)
