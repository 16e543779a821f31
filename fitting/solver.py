"""Batched Levenberg-Marquardt: many small problems side by side, each with its own damping, limits and end."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

DAMPING, LEAST, MOST = 1e-3, 1e-6, 1e6
"""Damping at the start, and its limits."""
SOFTER, HARDER = 0.2, 8.0
"""What damping is multiplied with after a step that helped, and after one that did not."""
ENOUGH = 1e-4
"""A frame is done when a step lowers its cost by less than this share."""


@dataclass(frozen=True)
class Quadratic:
    """The cost of n problems at one place and its Gauss-Newton model there."""

    cost: Float[Tensor, " n"]
    gradient: Float[Tensor, "n d"]
    hessian: Float[Tensor, "n d d"]

    def __getitem__(self, rows) -> "Quadratic":
        return Quadratic(self.cost[rows], self.gradient[rows], self.hessian[rows])

    def better_of(self, other: "Quadratic", chosen: Bool[Tensor, " n"]) -> "Quadratic":
        """The other's where chosen."""
        return Quadratic(
            torch.where(chosen, other.cost, self.cost),
            torch.where(chosen[:, None], other.gradient, self.gradient),
            torch.where(chosen[:, None, None], other.hessian, self.hessian),
        )


def held_at_limits(
    at: Float[Tensor, "n d"], gradient: Float[Tensor, "n d"], limits: Float[Tensor, "d 2"]
) -> Bool[Tensor, "n d"]:
    """Unknowns that stand at a limit and would leave it downhill."""
    low, high = limits.unbind(-1)
    return ((at <= low) & (gradient > 0)) | ((at >= high) & (gradient < 0))


def factored(
    hessian: Float[Tensor, "n d d"], held: Bool[Tensor, "n d"], damping: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "n d d"], Bool[Tensor, " n"]]:
    """Cholesky factors of damped matrices (Marquardt: in units of their diagonal), and which there are.

    Rows and columns of held unknowns are those of a unit matrix.
    """
    free = (~held).to(hessian)
    matrix = hessian * free.unsqueeze(-1) * free.unsqueeze(-2)
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    diagonal.mul_(1 + damping.unsqueeze(-1)).add_(held)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return factor, failed == 0


def newton_step(model: Quadratic, held: Bool[Tensor, "n d"], damping: Float[Tensor, " n"]) -> Float[Tensor, "n d"]:
    """The damped step that leaves held unknowns where they are."""
    factor, _ = factored(model.hessian, held, damping)  # a step of no sense does not help, and damping grows
    return -torch.cholesky_solve(model.gradient.masked_fill(held, 0).unsqueeze(-1), factor).squeeze(-1)


def minimise(
    evaluate: Callable[[Float[Tensor, "n d"], Int[Tensor, " n"]], Quadratic],
    start: Float[Tensor, "n d"],
    limits: Float[Tensor, "d 2"],
    steps: int,
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """Where each of n problems has its least cost within the limits, and that cost.

    Args:
        evaluate: cost, gradient and curvature of some problems (second argument) at some places; it must be right for
            the places as they are, whatever it was called with before.
        start: where to begin.
        limits: low and high of each unknown, infinite for those without.
        steps: at most.
    """
    low, high = limits.unbind(-1)
    found = start.clamp(low, high)
    rows = torch.arange(len(start), device=start.device)
    at = found
    model = evaluate(at, rows)
    costs = model.cost.clone()
    damping = torch.full_like(costs, DAMPING)
    for _ in range(steps):
        held = held_at_limits(at, model.gradient, limits)
        there = (at + newton_step(model, held, damping)).clamp(low, high)
        tried = evaluate(there, rows)
        helped = tried.cost < model.cost  # NaN never does
        done = helped & (model.cost - tried.cost <= ENOUGH * model.cost)
        damping = (damping * torch.where(helped, SOFTER, HARDER)).clamp(LEAST, MOST)
        done |= ~helped & (damping >= 1e3)
        at = torch.where(helped.unsqueeze(-1), there, at)
        model = model.better_of(tried, helped)
        found[rows], costs[rows] = at, model.cost
        if done.all():
            break
        if done.float().mean() > 0.15:  # sorting out costs a copy of everything
            left = (~done).nonzero().squeeze(1)
            rows, at, model, damping = rows[left], at[left], model[left], damping[left]
    return found, costs
