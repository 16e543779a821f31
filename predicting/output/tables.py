"""predictions.npz and predictions.json: one row an input frame.

Columns: frame, status, confidence, side, joints_mm (21, 3), vertices_mm (778, 3), params (62), centre_mm (3), cube_mm,
and measures. Where there is no hand an .npz file has NaN and a .json file null.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from predicting.prediction import JOINTS, PARAMETERS, VERTICES, HandPrediction, Side, Status
from util.arrays import read_npz
from util.errors import UserError
from util.files import finite, write_text, write_whole
from util.joints import MANO_NAMES
from util.predictions import LARGEST
from util.reading import is_plain

SHAPES = {"joints_mm": (JOINTS, 3), "vertices_mm": (VERTICES, 3), "params": (PARAMETERS,), "centre_mm": (3,)}
"""Of a row's arrays."""
WORDS = ("frame", "status", "side")
NUMBERS = ("confidence", "cube_mm")
MEASURE = "measure_"
"""In front of a measure's name in an .npz file."""
DECIMALS = {"joints_mm": 3, "vertices_mm": 2, "params": 5, "centre_mm": 3}
"""Of numbers in a .json file."""


def write_predictions_npz(path: Path, predictions: Sequence[HandPrediction]) -> None:
    """Write an .npz file that `read_predictions_npz` reads (UserError if the folder cannot be written to)."""
    columns: dict[str, np.ndarray] = {
        name: np.array([getattr(p, name) for p in predictions], np.str_).reshape(len(predictions)) for name in WORDS
    }
    columns |= {name: np.array([getattr(p, name) for p in predictions], np.float32) for name in NUMBERS}
    for name, shape in SHAPES.items():
        columns[name] = np.array([getattr(p, name) for p in predictions], np.float32).reshape(-1, *shape)
    for name in measure_names(predictions):
        columns[MEASURE + name] = np.array([p.measures.get(name, np.nan) for p in predictions], np.float32)
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, joint_names=np.array(MANO_NAMES), **columns)
    write_whole(path, content.getvalue())


def read_predictions_npz(path: Path) -> list[HandPrediction]:
    """Read such a file.

    Raises:
        UserError: it does not exist, is no .npz file, or lacks a column of the right shape and kind.
    """
    if not is_plain(path):
        raise UserError(f"{path} does not exist: check the path.")
    columns = read_npz(path, "write the predictions again")
    n = len(columns["frame"]) if columns.get("frame", np.array(0)).ndim == 1 else 0
    wanted = dict.fromkeys(WORDS, ("U", (n,))) | dict.fromkeys(NUMBERS, ("f", (n,)))
    wanted |= {name: ("f", (n, *shape)) for name, shape in SHAPES.items()}
    wanted |= {name: ("f", (n,)) for name in columns if name.startswith(MEASURE)}
    for name, (kind, shape) in wanted.items():
        if name not in columns or columns[name].dtype.kind != kind or columns[name].shape != shape:
            raise UserError(f"{path} has no column {name} of shape {shape}: write the predictions again.")
    for name, known in (("status", get_args(Status)), ("side", get_args(Side))):
        if unknown := set(columns[name].tolist()) - set(known):
            raise UserError(f"{path} holds the {name} '{min(unknown)}', which there is not: write it again.")
    sure = (columns["confidence"] >= 0) & (columns["confidence"] <= 1) & (columns["cube_mm"] > 0)
    wild = [name for name in SHAPES if not (np.nan_to_num(np.abs(columns[name]), nan=0) <= LARGEST).all()]
    if not sure.all() or wild:
        what = ", ".join(wild) or "a confidence or cube"
        raise UserError(f"{path} holds {what} that no prediction has: write the predictions again.")
    return [_row(columns, i) for i in range(n)]


def write_predictions_json(path: Path, predictions: Sequence[HandPrediction]) -> None:
    """Write a list of rows, one a line (UserError if the folder cannot be written to)."""
    rows = ",\n".join(json.dumps(finite(plain(p)), allow_nan=False) for p in predictions)
    write_text(path, f"[\n{rows}\n]\n")


def plain(prediction: HandPrediction) -> dict[str, Any]:
    """A row of words, numbers and lists of numbers; None for an array that is missing."""
    arrays = {name: getattr(prediction, name) for name in SHAPES}
    return {
        "frame": prediction.frame,
        "status": prediction.status,
        "confidence": round(float(prediction.confidence), 4),
        "side": prediction.side,
        **{name: _rounded(array, DECIMALS[name]) for name, array in arrays.items()},
        "cube_mm": float(prediction.cube_mm),
        "measures": {name: round(float(value), 4) for name, value in prediction.measures.items()},
    }


def measure_names(predictions: Sequence[HandPrediction]) -> list[str]:
    """Names of measures that any of them has, in the order in which they come up."""
    return list(dict.fromkeys(name for p in predictions for name in p.measures))


def _row(columns: dict[str, np.ndarray], i: int) -> HandPrediction:
    measures = {name.removeprefix(MEASURE): float(columns[name][i]) for name in columns if name.startswith(MEASURE)}
    return HandPrediction(
        frame=str(columns["frame"][i]),
        status=cast(Status, str(columns["status"][i])),
        confidence=float(columns["confidence"][i]),
        side=cast(Side, str(columns["side"][i])),
        **{name: columns[name][i].astype(np.float32) for name in SHAPES},
        cube_mm=float(columns["cube_mm"][i]),
        measures={name: value for name, value in measures.items() if np.isfinite(value)},
    )


def _rounded(array: np.ndarray, decimals: int) -> list | None:
    """Numbers as short as they may be; float64 first, since the nearest float32 is long."""
    return np.round(array.astype(np.float64), decimals).tolist() if np.isfinite(array).any() else None
