"""Files of predicted (or labelled) joints, one frame a line: written by the phase `test`, read by evaluate.py.

Text: `u v d` of each joint (pixels and mm) or `x y z` (mm), numbers alone or with the frame's name in front.
.npz: an array `joints_uvd` or `joints_mm` of (frames, joints, 3), and `names` of the joints where they are known.
Files are in the orientation of the data set's own images, whether or not these are mirrored on load; millimetres are
those of the camera frame, x right, y down, z forward.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from util.arrays import read_npz
from util.errors import UserError
from util.files import write_whole
from util.reading import is_plain, read_text, readable

Kind = Literal["uvd", "xyz"]
CameraNumbers = tuple[float, float, float, float]
"""fx, fy, cx, cy in pixels."""
ARRAYS: dict[str, Kind] = {"joints_uvd": "uvd", "joints_mm": "xyz"}
"""What the arrays of an .npz file hold."""
LARGEST = 1e6
"""No joint lies further off, in pixels or millimetres: a kilometre."""
WILD = f"a number that is not finite, or beyond {LARGEST:,.0f}"
REMEDY = "write the file again, or take a fresh copy"


@dataclass(frozen=True)
class JointFile:
    """Joints as they stand in a file."""

    path: Path
    values: Float[np.ndarray, "frames joints 3"]
    """float64, finite."""
    kind: Kind | None
    """What the numbers are; None where the file does not say."""
    frames: tuple[str, ...] = ()
    """Name of each frame, where the lines begin with one."""


def write_predictions(
    path: Path,
    joints_mm: Float[np.ndarray, "frames joints 3"],
    camera: CameraNumbers,
    mirrored_width: int | None = None,
    names: Sequence[str] = (),
) -> None:
    """Write joints, whole or not at all; `uvd` when the path's stem ends in `_uvd`, `xyz` when it ends in `_xyz`.

    Args:
        path: a .txt or .npz file.
        joints_mm: in the camera frame of the images as loaded.
        camera: of the images as loaded.
        mirrored_width: width of the images where they are flipped on load; the joints are then flipped back.
        names: of the joints, kept in .npz files.

    Raises:
        ValueError: a joint is missing (not finite) or has no depth, or the path says neither what to write nor how.
        UserError: the folder cannot be written to.
    """
    kind = path.stem.rpartition("_")[2]
    if kind not in ARRAYS.values() or path.suffix not in (".txt", ".npz"):
        raise ValueError(f"{path} does not end in _uvd or _xyz, .txt or .npz")
    values = np.array(joints_mm, np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{path} takes every joint of every frame, and some are missing")
    if kind == "uvd":
        if (values[..., 2] == 0).any():
            raise ValueError(f"{path} takes joints that have a depth, and some have not")
        fx, fy, cx, cy = camera
        values[..., :2] = values[..., :2] / values[..., 2:] * (fx, abs(fy)) + (cx, cy)
    if mirrored_width:
        values[..., 0] = (mirrored_width if kind == "uvd" else 0) - values[..., 0]
    content = io.BytesIO()
    if path.suffix == ".npz":
        array = next(name for name, of in ARRAYS.items() if of == kind)
        arrays: dict[str, np.ndarray] = {array: values, "names": np.array(list(names), str)}
        np.savez_compressed(content, allow_pickle=False, **arrays)
    else:
        np.savetxt(content, values.reshape(len(values), -1), fmt="%.4f")
    write_whole(path, content.getvalue())


def read_predictions(path: Path, n_joints: int, names: Sequence[str] = ()) -> JointFile:
    """Read a .txt (any suffix but .npz) or .npz file.

    Args:
        path: the file.
        n_joints: joints a frame.
        names: what the joints are called; an .npz file that says otherwise is refused.

    Raises:
        UserError: the file is missing, holds no frames, anything but finite numbers, or another number of joints.
    """
    if not is_plain(path):
        raise UserError(f"{readable(path)} does not exist: check the path.")
    if path.suffix == ".npz":
        return _read_npz(path, n_joints, names)
    text = read_text(path, REMEDY)
    lines = [
        (number, line)
        for number, line in enumerate(text.replace(",", " ").replace("\t", " ").splitlines(), 1)
        if line.strip()
    ]
    if not lines:
        raise UserError(f"{path} holds no frames: {REMEDY}.")
    frames: tuple[str, ...] = ()
    first = lines[0][1].split()
    if len(first) == 3 * n_joints + 1 and not _is_number(first[0]):
        split = [(number, *line.strip().partition(" ")) for number, line in lines]
        frames = tuple(name for _, name, _, _ in split)
        lines = [(number, row) for number, _, _, row in split]
    try:
        values = np.loadtxt([line for _, line in lines], np.float64, comments=None, ndmin=2)
    except ValueError:
        values = None
    if values is None or values.shape != (len(lines), 3 * n_joints) or not (np.abs(values) <= LARGEST).all():
        raise _complaint(path, lines, n_joints)
    return JointFile(path, values.reshape(-1, n_joints, 3), None, frames)


def _read_npz(path: Path, n_joints: int, names: Sequence[str]) -> JointFile:
    arrays = read_npz(path, REMEDY, (*ARRAYS, "names"))
    found = [name for name in ARRAYS if name in arrays]
    if len(found) != 1:
        raise UserError(f"{path} holds {' and '.join(found) or 'neither'} of {' and '.join(ARRAYS)}: keep one of them.")
    values = arrays[found[0]]
    if values.ndim != 3 or values.shape[1:] != (n_joints, 3) or values.dtype.kind not in "fiu":
        raise UserError(
            f"{path} has numbers {found[0]} of shape {values.shape}, not (frames, {n_joints}, 3): check the data set "
            "and its joints."
        )
    if len(values) == 0:
        raise UserError(f"{path} holds no frames: {REMEDY}.")
    sound = (np.abs(values) <= LARGEST).all(axis=(1, 2))
    if not sound.all():
        raise UserError(f"{path} frame {int(sound.argmin())} (from 0) holds {WILD}: {REMEDY}.")
    told = tuple(str(name) for name in np.atleast_1d(arrays.get("names", ())))
    if told and names and told != tuple(names):
        raise UserError(
            f"{path} holds the joints {', '.join(told)}, not {', '.join(names)}: bring them into this order."
        )
    return JointFile(path, values.astype(np.float64), ARRAYS[found[0]])


def _complaint(path: Path, lines: list[tuple[int, str]], n_joints: int) -> UserError:
    """What is wrong with the first line of a text file that is not as it should be."""
    for number, line in lines:
        words = line.split()
        wrong = next((word for word in words if not _is_number(word)), None)
        if wrong is not None:
            return UserError(f"{path} line {number} holds '{wrong[:20]}', which is no number: {REMEDY}.")
        if len(words) != 3 * n_joints:
            return UserError(
                f"{path} line {number} has {len(words)} numbers, not {3 * n_joints} for {n_joints} joints: check the "
                "data set and its joints."
            )
        if not all(abs(float(word)) <= LARGEST for word in words):
            return UserError(f"{path} line {number} holds {WILD}: {REMEDY}.")
    return UserError(f"{path} is no table of numbers: {REMEDY}.")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
