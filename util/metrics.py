"""How far predicted joints are from true ones, and how measures of many frames are summed up; numpy, float64."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class JointErrors:
    """Distances between predicted and true joints.

    Attributes:
        mm: millimetres; NaN where either joint is unknown.
        names: of the joints.
    """

    mm: Float[np.ndarray, "frames joints"]
    names: tuple[str, ...]

    @classmethod
    def between(
        cls,
        predicted_mm: Float[np.ndarray, "frames joints 3"],
        true_mm: Float[np.ndarray, "frames joints 3"],
        names: Sequence[str],
    ) -> "JointErrors":
        """Euclidean distances between joints of the same set, both in the camera frame in millimetres."""
        difference = np.asarray(predicted_mm, np.float64) - np.asarray(true_mm, np.float64)
        return cls(np.sqrt(np.square(difference).sum(axis=-1)), tuple(names))

    def only(self, joints: Sequence[int]) -> "JointErrors":
        """The errors of some joints, for benchmarks that score a part of the set."""
        return JointErrors(self.mm[:, list(joints)], tuple(self.names[joint] for joint in joints))

    def frames(self, chosen: Bool[np.ndarray, " frames"]) -> "JointErrors":
        """The errors of some frames: of one subject, say."""
        return JointErrors(self.mm[chosen], self.names)

    @property
    def mean_mm(self) -> float:
        """Mean over all frames and joints: the benchmarks' "mean joint error"."""
        return float(_mean(self.mm.reshape(1, -1))[0])

    @property
    def median_mm(self) -> float:
        """Median over frames of a frame's mean error."""
        return _median(self.frame_mm)

    @property
    def frame_mm(self) -> Float[np.ndarray, " frames"]:
        """Mean error of each frame's known joints."""
        return _mean(self.mm)

    @property
    def worst_mm(self) -> Float[np.ndarray, " frames"]:
        """Largest error of each frame's known joints; NaN for a frame without any."""
        worst = np.nan_to_num(self.mm, nan=-np.inf, posinf=np.inf).max(axis=1, initial=-np.inf)
        return np.where(worst == -np.inf, np.nan, worst)

    @property
    def joint_mm(self) -> dict[str, float]:
        """Mean error of each joint over the frames, by name."""
        return dict(zip(self.names, _mean(self.mm.T).tolist(), strict=True))

    def share_within(self, limit_mm: float) -> float:
        """Share of the scored frames whose worst joint is at most this far off, in 0..1; NaN without frames."""
        return float(self.success_curve([limit_mm])[0])

    def success_curve(self, limits_mm: Sequence[float]) -> Float[np.ndarray, " limits"]:
        """`share_within` for each limit."""
        worst = self.worst_mm
        worst = worst[~np.isnan(worst)]
        return np.array([share(worst <= limit) for limit in limits_mm], np.float64)


def summary(values: Float[np.ndarray, " frames"]) -> dict[str, float]:
    """Mean and median of a measure over the frames that have it (NaN: a frame has not), as results.json keeps them."""
    return {"mean": float(_mean(values.reshape(1, -1))[0]), "median": _median(values)}


def share(mask: Bool[np.ndarray, " frames"]) -> float:
    """Share of the frames for which something holds, in 0..1; NaN without frames."""
    return float(mask.mean()) if len(mask) else float("nan")


def _mean(rows: np.ndarray) -> np.ndarray:
    """Mean of the known numbers of each row; NaN for a row without any."""
    known = ~np.isnan(rows)
    total = np.where(known, rows, 0).sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return total / known.sum(axis=1)


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known.astype(np.float64))) if len(known) else float("nan")
