"""What was predicted for the frames of a source: one row a frame, and what can be made of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import get_args

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from predicting.engine import SURFACE
from predicting.prediction import JOINTS, PARAMETERS, HandPrediction, Side, Status
from predicting.reading import FITTING
from predicting.views import MIRROR
from render.hand_layer import HandLayer, HandParams
from util.joints import JOINT_SETS
from util.shards import Columns, kinds

MEASURES = ("surface_mm", "coverage", "depth_mm", "iou", "agreement_mm", "window_px", "quadric_mm")
"""Of predicting/judge.py and predicting/smooth_things.py; NaN where one was not taken."""
CHUNK = 256
"""Hands that are decoded at once."""


@dataclass(frozen=True)
class Annotations:
    """n frames, in the camera of their source; NaN where there is no hand. See HandPrediction for the columns."""

    status: np.ndarray
    """(n,) words."""
    why: np.ndarray
    """(n,) words: why a frame without a hand is without one."""
    side: np.ndarray
    """(n,) words."""
    confidence: Float32[np.ndarray, " n"]
    joints_mm: Float32[np.ndarray, "n 21 3"]
    params: Float32[np.ndarray, "n 62"]
    centre_mm: Float32[np.ndarray, "n 3"]
    cube_mm: Float32[np.ndarray, " n"]
    measures: Float32[np.ndarray, "n 7"]
    """In the order of MEASURES."""

    @staticmethod
    def of_predictions(hands: Sequence[HandPrediction], why: Sequence[str]) -> "Annotations":
        """Rows of predictions, with the reasons of those without a hand."""
        n = len(hands)
        own = {
            name: np.array([getattr(hand, name) for hand in hands], np.float32).reshape(n, *shape)
            for name, shape in (("joints_mm", (21, 3)), ("params", (62,)), ("centre_mm", (3,)))
        }
        return Annotations(
            status=np.array([hand.status for hand in hands], np.str_),
            why=np.array(why, np.str_),
            side=np.array([hand.side for hand in hands], np.str_),
            confidence=np.array([hand.confidence for hand in hands], np.float32),
            cube_mm=np.array([hand.cube_mm for hand in hands], np.float32),
            measures=np.array(
                [[hand.measures.get(name, np.nan) for name in MEASURES] for hand in hands], np.float32
            ).reshape(n, len(MEASURES)),
            **own,
        )

    @staticmethod
    def of_columns(columns: Columns) -> "Annotations":
        """What `columns` gave."""
        return Annotations(**columns)

    @staticmethod
    def fit(columns: Columns) -> bool:
        """Whether columns may be what `columns` gave."""
        words = {"status": get_args(Status), "side": get_args(Side)}
        wanted = dict.fromkeys((*words, "why"), ("U", ())) | dict.fromkeys(("confidence", "cube_mm"), ("f", ()))
        wanted |= {"joints_mm": ("f", (JOINTS, 3)), "params": ("f", (PARAMETERS,)), "centre_mm": ("f", (3,))}
        wanted |= {"measures": ("f", (len(MEASURES),))}
        return kinds(columns) == wanted and not any(set(columns[it].tolist()) - set(words[it]) for it in words)

    def columns(self) -> Columns:
        """An array a field."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def __len__(self) -> int:
        return len(self.status)

    @property
    def seen(self) -> Bool[np.ndarray, " n"]:
        """Frames with a hand, whatever its status says of it."""
        return np.asarray(np.isfinite(self.joints_mm).all(axis=(1, 2)))

    @property
    def fitting(self) -> Bool[np.ndarray, " n"]:
        """Frames whose hand explains the depth."""
        return np.isin(self.status, FITTING)

    def joints_of(self, joint_set: str) -> np.ndarray:
        """(n, joints, 3) float64 joints of a set; NaN where there is no hand."""
        keypoints = torch.from_numpy(self.joints_mm.astype(np.float64))
        return JOINT_SETS[joint_set].from_mano21(keypoints).numpy()

    def hands_mm(self, rows: Int64[np.ndarray, " m"] | None = None) -> HandParams:
        """Parameters of right hands, of mirrored frames where they are left ones: scale 1 = as modelled, translation in
        mm of the camera. Zeros, a hand of no size, where there is no hand."""
        chosen = np.arange(len(self)) if rows is None else rows
        params = HandParams.from_vector(torch.from_numpy(np.nan_to_num(self.params[chosen])))
        flip = np.where((self.side[chosen] == "left")[:, None], MIRROR, np.float32(1))
        centre_mm = torch.from_numpy(np.nan_to_num(self.centre_mm[chosen]) * flip)
        half_mm = torch.from_numpy(self.cube_mm[chosen, None] / 2)
        return HandParams(
            params.rotation, params.pose, params.shape, params.scale, params.translation * half_mm + centre_mm
        )

    def surfaces(self, layer: HandLayer, rows: Sequence[int]) -> Iterator[tuple[int, Float32[np.ndarray, "778 3"]]]:
        """Each of some rows with a hand, and its surface, mm; `CHUNK` rows are decoded together."""
        seen = self.seen
        for at in range(0, len(rows), CHUNK):
            some = np.array([row for row in rows[at : at + CHUNK] if seen[row]], np.int64)
            hands = self.hands_mm(some)
            with torch.no_grad():
                mesh = layer(hands.rotation, hands.pose, hands.shape)
                vertices_mm, _ = mesh.placed(hands.scale, hands.translation, 1.0)
            for row, vertices in zip(some.tolist(), vertices_mm[:, :SURFACE].numpy(), strict=True):
                yield row, vertices * MIRROR if self.side[row] == "left" else vertices

    def predictions(self, names: Sequence[str], layer: HandLayer, rows: Sequence[int]) -> list[HandPrediction]:
        """Some rows as predict.py has them."""
        surfaces = dict(self.surfaces(layer, rows))
        nothing = np.full((SURFACE, 3), np.nan, np.float32)
        return [self._prediction(row, names[row], surfaces.get(row, nothing)) for row in rows]

    def _prediction(self, row: int, name: str, vertices_mm: np.ndarray) -> HandPrediction:
        status: Status = str(self.status[row])  # type: ignore[assignment]
        side: Side = str(self.side[row])  # type: ignore[assignment]
        known = zip(MEASURES, self.measures[row].tolist(), strict=True)
        return HandPrediction(
            frame=name,
            status=status,
            confidence=float(self.confidence[row]),
            side=side,
            joints_mm=self.joints_mm[row],
            vertices_mm=vertices_mm,
            params=self.params[row],
            centre_mm=self.centre_mm[row],
            cube_mm=float(self.cube_mm[row]),
            measures={name: value for name, value in known if np.isfinite(value)},
        )
