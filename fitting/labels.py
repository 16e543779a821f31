"""Files of labelled joints -> right hands in the camera frame, and whose hand each is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from util.errors import UserError
from util.joints import JointSet
from util.predictions import CameraNumbers, read_predictions


@dataclass(frozen=True)
class Labels:
    """Labels of n frames."""

    path: Path
    joints_mm: Float[Tensor, "n m 3"]
    """Of right hands, camera frame, y down; left ones are mirrored (x -> -x). float64."""
    subjects: Int[Tensor, " n"]
    """Whose hand each is: 0, 1, ..."""
    names: tuple[str, ...]
    """Of the subjects."""
    frames: tuple[str, ...]
    """Of the frames, where the file has them."""


def read_labels(
    path: Path,
    joints: JointSet,
    camera: CameraNumbers | None = None,
    left: bool = False,
    subjects: tuple[str, ...] = (),
) -> Labels:
    """Read a file of labels, one frame a line (or an .npz that says itself what it holds).

    Args:
        path: u v (pixels) and d (mm) of each joint with a camera, x y z (mm, y down) without.
        joints: the data set's.
        camera: fx, fy, cx, cy; a negative fy means that y grows upwards, and is turned.
        left: hands are left ones.
        subjects: how many frames each subject has, in their order, or one file with a name a frame; none: one subject.

    Raises:
        UserError: a file is missing, damaged or holds something else than it should.
    """
    file = read_predictions(path, len(joints), joints.names)
    kind = file.kind or ("xyz" if camera is None else "uvd")
    if kind == "uvd" and camera is None:
        raise UserError(f"{path} holds pixels: add --camera FX FY CX CY.")
    values = file.values.copy()
    if kind == "uvd":
        assert camera is not None
        fx, fy, cx, cy = camera
        if fx == 0 or fy == 0 or not np.isfinite(camera).all():
            raise UserError(f"{path} cannot be read with --camera {fx:g} {fy:g} {cx:g} {cy:g}: give focal lengths.")
        wrong = (values[..., 2] <= 0).any(1)
        if wrong.any():
            line = _line(path, int(np.flatnonzero(wrong)[0]))
            raise UserError(f"{path} {line} has a joint without depth: remove the frame, or leave --camera out.")
        # A camera with y up has v growing downwards all the same: turned, its fy is positive.
        values[..., :2] = (values[..., :2] - (cx, cy)) * values[..., 2:] / (fx, abs(fy))
    if left:
        values[..., 0] *= -1
    whose, names = _subjects(path, len(values), subjects)
    return Labels(path, torch.from_numpy(values), whose, names, file.frames)


def _subjects(path: Path, frames: int, subjects: tuple[str, ...]) -> tuple[Tensor, tuple[str, ...]]:
    if len(subjects) == 0:
        return torch.zeros(frames, dtype=torch.long), ("1",)
    if all(word.isdecimal() for word in subjects):
        counts = [int(word) for word in subjects]
        if sum(counts) != frames or min(counts) < 1:
            raise UserError(
                f"{path} has {frames:,} frames and --subjects counts {sum(counts):,}: give how many each one has."
            )
        whose = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        return whose, tuple(str(k + 1) for k in range(len(counts)))
    if len(subjects) > 1:
        raise UserError(f"--subjects takes numbers of frames or one file, not {' '.join(subjects)}: give one of them.")
    file = Path(*subjects)
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}): give a file with a subject's name a line.") from None
    if len(lines) != frames:
        raise UserError(f"{file} has {len(lines):,} lines and {path} {frames:,} frames: give a name for each frame.")
    names = tuple(dict.fromkeys(lines))
    return torch.tensor([names.index(name) for name in lines]), names


def _line(path: Path, row: int) -> str:
    """Where a row of numbers stands in its file: lines are counted from 1, blank ones too."""
    if path.suffix == ".npz":
        return f"frame {row} (from 0)"
    filled = [k for k, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if line.strip()]
    return f"line {filled[row]}"
