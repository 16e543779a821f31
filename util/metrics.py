"""How far predicted joints are from true ones, and how measures of many frames are summed up."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class JointErrors:
    """Distances between predicted and true joints.

    Attributes:
        mm: millimetres; NaN where either joint is unknown.
        names: of the joints.
    """

    mm: Float[Tensor, "frames joints"]
    names: tuple[str, ...]

    @classmethod
    def between(
        cls,
        predicted_mm: Float[Tensor, "frames joints 3"],
        true_mm: Float[Tensor, "frames joints 3"],
        names: Sequence[str],
    ) -> "JointErrors":
        """Euclidean distances between joints of the same set, both in the camera frame in millimetres."""
        return cls((predicted_mm - true_mm).norm(dim=-1), tuple(names))

    def only(self, joints: Sequence[int]) -> "JointErrors":
        """The errors of some joints, for benchmarks that score a part of the set."""
        return JointErrors(self.mm[:, list(joints)], tuple(self.names[joint] for joint in joints))

    @property
    def mean_mm(self) -> float:
        """Mean over all frames and joints: the benchmarks' "mean joint error"."""
        return float(self.mm.double().nanmean())

    @property
    def median_mm(self) -> float:
        """Median over frames of a frame's mean error."""
        return _median(self.frame_mm)

    @property
    def frame_mm(self) -> Float[Tensor, " frames"]:
        """Mean error of each frame's known joints."""
        return self.mm.double().nanmean(dim=1)

    @property
    def worst_mm(self) -> Float[Tensor, " frames"]:
        """Largest error of each frame's known joints; NaN for a frame without any."""
        worst = self.mm.double().nan_to_num(-torch.inf).amax(dim=1)
        return worst.masked_fill(worst == -torch.inf, torch.nan)

    @property
    def joint_mm(self) -> dict[str, float]:
        """Mean error of each joint over the frames, by name."""
        return dict(zip(self.names, self.mm.double().nanmean(dim=0).tolist(), strict=True))

    def share_within(self, limit_mm: float) -> float:
        """Share of the scored frames whose worst joint is at most this far off, in 0..1; NaN without frames."""
        return float(self.success_curve([limit_mm])[0])

    def success_curve(self, limits_mm: Sequence[float]) -> Float[Tensor, " limits"]:
        """`share_within` for each limit."""
        worst = self.worst_mm
        worst = worst[~worst.isnan()]
        limits = torch.tensor(list(limits_mm), dtype=torch.float64)
        return (worst[None].cpu() <= limits[:, None]).double().mean(dim=1)


def summary(values: Float[Tensor, " frames"]) -> dict[str, float]:
    """Mean and median of a measure over the frames that have it (NaN: a frame has not), as results.json keeps them."""
    values = values.double()
    return {"mean": float(values.nanmean()), "median": _median(values)}


def _median(values: Tensor) -> float:
    return float(values.nanquantile(0.5)) if values.numel() else float("nan")


def share(mask: Bool[Tensor, " frames"]) -> float:
    """Share of the frames for which something holds, in 0..1; NaN without frames."""
    return float(mask.double().mean())
