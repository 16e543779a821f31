"""The shape of a subject: ten coefficients and a size that all of its frames share, found together with their poses."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from config import SamplerConfig
from fitting.chain import Chain
from fitting.cost import FitWeights, PoseCost, pose_limits, solve
from fitting.prior import PosturePrior, Starts
from fitting.solver import LEAST, factored, held_at_limits

FRAMES = 192
"""Frames that tell a subject's shape, spread evenly over all it has."""
ROUNDS = 8
"""Times that the shape moves, the poses following."""
WORTH = 10
"""Frames that all of them together count as, against what is expected: labels err alike in all frames."""


@dataclass(frozen=True)
class Subject:
    """What all frames of a subject share."""

    shape: Float[Tensor, "10"]
    size: Float[Tensor, ""]


@dataclass(frozen=True)
class ShapePrior:
    """Shapes and sizes of hands as the hand sampler draws them (config_rendered.py)."""

    sampler: SamplerConfig = field(default_factory=SamplerConfig)

    @property
    def size(self) -> float:
        """The usual size."""
        return self.sampler.scale_mean

    def certainty(self) -> Float[Tensor, "11"]:
        """One over the squared spread of the logarithm of the size and of the coefficients; what has none stays 0."""
        spread = torch.tensor([self.sampler.scale_sd / self.size, *self.sampler.shape_sd])
        return spread.clamp_min(1e-4) ** -2

    def away(self, subject: Subject) -> Float[Tensor, "11"]:
        """How far a subject is from the usual."""
        return torch.cat([(subject.size / self.size).log()[None], subject.shape])

    def moved(self, subject: Subject, step: Float[Tensor, "11"]) -> Subject:
        """The subject a step further, within what the sampler draws, the size within what a step can tell."""
        limit = self.sampler.shape_limit * torch.tensor(self.sampler.shape_sd).to(step)
        shape = torch.minimum(torch.maximum(subject.shape + step[1:], -limit), limit)
        return Subject(shape, subject.size * step[0].clamp(-0.3, 0.3).exp())


def find_subject(
    chain: Chain,
    prior: PosturePrior,
    labels_mm: Float[Tensor, "n m 3"],
    share: Float[Tensor, " m"],
    weights: FitWeights,
) -> Subject:
    """Shape and size that let some frames of a subject meet their labels best."""
    some = some_frames(labels_mm)
    sizes = ShapePrior()
    still, usual = torch.zeros(10).to(some), torch.tensor(sizes.size).to(some)
    subject = Subject(still, usual * Starts(chain, chain.rest(still, usual), prior.library).size_of(some))
    rest = chain.rest(subject.shape, subject.size)
    hands = Starts(chain, rest, prior.library).hands(some, (0, 3))
    certainty = sizes.certainty().to(some)
    for turn in range(ROUNDS):
        cost = PoseCost(chain, rest, hands.rotation, some.mT.contiguous(), share, prior, weights)
        hands, _ = solve(cost, hands, 12 if turn == 0 else 4)
        cost = replace(cost, start=hands.rotation)
        gradient, curvature = reduced(cost, cost.place(hands), chain.by_shape(rest, hands))
        force = gradient + certainty * sizes.away(subject)
        subject = sizes.moved(subject, -torch.linalg.solve(curvature + torch.diag(certainty), force))
        rest = chain.rest(subject.shape, subject.size)
    return subject


def some_frames(labels_mm: Float[Tensor, "n m 3"]) -> Float[Tensor, "some m 3"]:
    """`FRAMES` of a subject's frames, or all."""
    return labels_mm[torch.linspace(0, len(labels_mm) - 1, min(FRAMES, len(labels_mm))).long()]


def reduced(
    cost: PoseCost, at: Float[Tensor, "n 51"], by_shared: Float[Tensor, "n p 3 m"]
) -> tuple[Float[Tensor, " p"], Float[Tensor, "p p"]]:
    """Gradient and curvature of unknowns that frames share, each frame's own following (their Schur complement).

    Of the mean frame times `WORTH`, or of all frames where they are fewer.

    Args:
        cost: of the frames.
        at: their own unknowns.
        by_shared: labelled joints by the shared unknowns.
    """
    labelled, model = cost.labelled(at), cost(at)
    shared = (by_shared * labelled.pull.unsqueeze(1)).flatten(2)
    held = held_at_limits(at, model.gradient, pose_limits(at))
    factor, sound = factored(model.hessian, held, torch.full_like(model.cost, LEAST))
    across = (labelled.rows @ shared.mT).masked_fill(held.unsqueeze(-1), 0)[sound]  # (n, 51, p)
    own, shared, off = model.gradient.masked_fill(held, 0)[sound], shared[sound], labelled.off[sound]
    follow = torch.cholesky_solve(across, factor[sound])
    gradient = (shared @ off.unsqueeze(-1) - follow.mT @ own.unsqueeze(-1)).squeeze(-1)
    curvature = shared @ shared.mT - across.mT @ follow
    worth = min(1.0, WORTH / len(at))
    return worth * gradient.sum(0), worth * curvature.sum(0)
