"""What a hand should do: lie on the labelled joints, hold a plausible posture, not pass through itself."""

from dataclasses import dataclass, replace

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.chain import N_ANGLES, N_POSE, Chain, Hands, Points, Rest, box_limits, skew
from fitting.collision import HandCollisions
from fitting.prior import PosturePrior
from fitting.solver import Quadratic, minimise


@dataclass(frozen=True)
class FitWeights:
    """Spreads that weigh the terms of the cost."""

    label_mm: float = 2.0
    """Spread of a label about its joint."""
    robust_mm: float = 30.0
    """A label much farther off than this pulls no more (Geman, McClure, 1987)."""
    overlap_mm: float = 1.0
    """Spread of the depth of an overlap."""
    touch_mm: float = 1.5
    """Depth of an overlap that is let be: skin gives way."""


def pose_limits(like: Tensor) -> Float[Tensor, "51 2"]:
    """Limits of a frame's unknowns: those of the joints, none for turn and shift."""
    free = torch.tensor([-torch.inf, torch.inf]).to(like).expand(N_POSE - N_ANGLES, 2)
    return torch.cat([box_limits(like), free])


@dataclass(frozen=True)
class PoseCost:
    """The cost of frames of one hand; unknowns of a frame: coordinates 45, turn from its start 3, wrist 3."""

    chain: Chain
    rest: Rest
    start: Float[Tensor, "n 3 3"]
    """Rotations that turns are counted from."""
    labels_mm: Float[Tensor, "n 3 m"]
    share: Float[Tensor, " m"]
    """Weight of each label."""
    prior: PosturePrior
    weights: FitWeights
    collisions: HandCollisions | None = None
    """Spheres that must not overlap; the chain's first 21 points are then the keypoints, and the labels' follow."""

    def of(self, rows) -> "PoseCost":
        """The same for some frames."""
        return replace(self, start=self.start[rows], labels_mm=self.labels_mm[rows])

    def hands(self, at: Float[Tensor, "n 51"]) -> Hands:
        """The hands at a place."""
        box, turn, root = at.split([N_ANGLES, 3, 3], -1)
        return Hands(box, roma.rotvec_to_rotmat(turn) @ self.start, root)

    @staticmethod
    def place(hands: Hands) -> Float[Tensor, "n 51"]:
        """Where hands are, turns counted from their own rotations."""
        return torch.cat([hands.box, torch.zeros_like(hands.root_mm), hands.root_mm], -1)

    def labelled(self, at: Float[Tensor, "n 51"]) -> "Labelled":
        """How far the hands at a place are from their labels."""
        points = self.chain.points(self.rest, self.hands(at))
        assert points.jacobian is not None
        turn = points.jacobian[:, N_ANGLES : N_ANGLES + 3]
        by_turn = _left_jacobian(at[:, N_ANGLES : N_ANGLES + 3]).mT @ turn.flatten(2)
        points.jacobian[:, N_ANGLES : N_ANGLES + 3] = by_turn.view_as(turn)
        first = points.mm.shape[-1] - self.labels_mm.shape[-1]
        off = points.mm[..., first:] - self.labels_mm
        limit = self.weights.robust_mm**2
        square = off.square().sum(1)
        kept = limit / (limit + square)
        share = self.share / self.weights.label_mm**2
        pull = (share * kept.square()).sqrt().unsqueeze(1)
        rows = (points.jacobian[..., first:] * pull.unsqueeze(1)).flatten(2)
        return Labelled(points, (share * square * kept).sum(-1), rows, (off * pull).flatten(1), pull)

    def __call__(self, at: Float[Tensor, "n 51"]) -> Quadratic:
        """Cost, half its gradient, and the Gauss-Newton matrix."""
        labelled = self.labelled(at)
        rows, cost = labelled.rows, labelled.cost
        gradient = (rows @ labelled.off.unsqueeze(-1)).squeeze(-1)
        hessian = rows @ rows.mT
        if self.collisions is not None:
            points = labelled.points
            assert points.jacobian is not None
            deep, by = self.collisions.pushes(points.mm[..., :21], points.jacobian[..., :21], self.weights.touch_mm)
            deep, by = deep / self.weights.overlap_mm, by / self.weights.overlap_mm
            cost = cost + deep.square().sum(-1)
            gradient = gradient + (by @ deep.unsqueeze(-1)).squeeze(-1)
            hessian = hessian + by @ by.mT
        away = at[:, :N_ANGLES] - self.prior.mean
        force = away @ self.prior.precision
        gradient[:, :N_ANGLES] += force
        hessian[:, :N_ANGLES, :N_ANGLES] += self.prior.precision
        return Quadratic(cost + (away * force).sum(-1), gradient, hessian)


@dataclass(frozen=True)
class Labelled:
    """The labels' part of the cost."""

    points: Points
    cost: Float[Tensor, " n"]
    rows: Float[Tensor, "n 51 r"]
    """The Jacobian by each unknown, weighed."""
    off: Float[Tensor, "n r"]
    """Distances along x, y and z, weighed."""
    pull: Float[Tensor, "n 1 m"]
    """The weights."""


def solve(cost: PoseCost, hands: Hands, steps: int) -> tuple[Hands, Float[Tensor, " n"]]:
    """Hands of least cost from where they are, and that cost."""
    cost = replace(cost, start=hands.rotation)
    at, least = minimise(lambda place, rows: cost.of(rows)(place), cost.place(hands), pose_limits(hands.box), steps)
    return cost.hands(at), least


def _left_jacobian(turn: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """How a rotation vector's rotation turns further when the vector grows (Chirikjian 2012, equation 10.86)."""
    angle = turn.norm(dim=-1)[:, None, None]
    small = angle < 1e-2
    safe = torch.where(small, torch.ones_like(angle), angle)
    first = torch.where(small, 0.5 - angle**2 / 24, (1 - safe.cos()) / safe**2)
    second = torch.where(small, 1 / 6 - angle**2 / 120, (safe - safe.sin()) / safe**3)
    cross = skew(turn)
    return torch.eye(3).to(turn) + first * cross + second * cross @ cross
