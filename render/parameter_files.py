"""Hand-parameter files in the published layout: FOLDER/NAME-{pose,glb,shape,scale,trans}.txt, one frame a line."""

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from render.hand_layer import HandParams
from util.errors import UserError
from util.files import write_text
from util.reading import read_text, readable

LARGEST = 1e6
"""No parameter is larger, in whichever unit."""
COLUMNS = {"glb": 3, "pose": 45, "shape": 10, "scale": 1, "trans": 3}
"""Numbers a line of each file; glb is the global axis-angle."""


def read_parameter_files(prefix: Path) -> HandParams:
    """All frames of FOLDER/NAME-*.txt, given as FOLDER/NAME (`posePara_lm_collosion/nyu-train-0`, say).

    Pose, glb and shape must be there; without scale or trans, sizes are 1 and translations 0. Units are those of the
    files. Raises UserError when a file is missing, damaged, of the wrong width, not finite, or files differ in length.
    """
    prefix = Path(prefix)
    parts: dict[str, Tensor] = {}
    for part, columns in COLUMNS.items():
        path = prefix.parent / f"{prefix.name}-{part}.txt"
        if path.is_file():
            parts[part] = _read(path, columns)
        elif part in ("pose", "glb", "shape"):
            raise UserError(
                f"{path} does not exist: give hand-parameter files as FOLDER/NAME of FOLDER/NAME-pose.txt, "
                "NAME-glb.txt and NAME-shape.txt."
            )
    n = len(parts["pose"])
    for part, rows in parts.items():
        if len(rows) != n:
            raise UserError(
                f"{prefix.parent / f'{prefix.name}-{part}.txt'} has {len(rows)} lines and the pose file {n}: "
                "take files of one recording."
            )
    return HandParams(
        rotation=parts["glb"],
        pose=parts["pose"],
        shape=parts["shape"],
        scale=parts.get("scale", torch.ones(n, 1)),
        translation=parts.get("trans", torch.zeros(n, 3)),
    )


def write_parameter_files(prefix: Path, params: HandParams) -> list[Path]:
    """Write n frames as FOLDER/NAME-*.txt, each file whole or not at all, and say which were written.

    Raises UserError when the folder cannot be written to.
    """
    prefix, written = Path(prefix), []
    for part, rows in zip(
        COLUMNS, (params.rotation, params.pose, params.shape, params.scale, params.translation), strict=True
    ):
        content = io.StringIO()
        np.savetxt(content, rows.detach().cpu().numpy(), fmt="%.6f")
        path = prefix.parent / f"{prefix.name}-{part}.txt"
        write_text(path, content.getvalue())
        written.append(path)
    return written


def _read(path: Path, columns: int) -> Tensor:
    text = read_text(path, "take a fresh copy")
    try:
        rows = np.array([[float(word) for word in line.split()] for line in text.splitlines() if line.strip()])
    except ValueError as error:
        raise UserError(
            f"{path} cannot be read as rows of {columns} numbers ({readable(error)}): take a fresh copy."
        ) from None
    if rows.ndim != 2 or rows.shape[1] != columns:
        found = f"{rows.shape[1]} columns" if rows.ndim == 2 else "no rows"
        raise UserError(f"{path} has {found} and should have {columns}: is it another file of the set?")
    sound = (np.abs(rows) <= LARGEST).all(axis=1)
    if not sound.all():
        wrong = f"a number that is not finite, or beyond {LARGEST:,.0f}, in frame {int(sound.argmin()) + 1}"
        raise UserError(f"{path} has {wrong}: remove the frame from all files.")
    return torch.tensor(rows, dtype=torch.float32)
