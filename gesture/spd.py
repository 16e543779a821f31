"""Symmetric positive definite matrices: Gaussians as points among them, rectified logarithms, and back to vectors.

Nguyen, Brun, Lezoray, Bougleux, "A Neural Network Based on SPD Manifold Learning for Skeleton-Based Hand Gesture
Recognition", CVPR 2019; ReEig and LogEig after Huang, Van Gool, "A Riemannian Network for SPD Matrix Learning", AAAI
2017.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class RectifiedLog(torch.autograd.Function):
    """LogEig of ReEig: the matrix logarithm, eigenvalues below a floor raised to it.

    One eigendecomposition for both. The gradient is that of a function of a symmetric matrix (Daleckii and Krein): it
    takes divided differences of the function, and so stays finite where eigenvalues meet, as they do at the floor.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, floor: float) -> Tensor:  # type: ignore[override]
        """matrix: (..., n, n) symmetric; floor: smallest eigenvalue that is let through."""
        values, vectors = torch.linalg.eigh(matrix)
        logs = values.clamp_min(floor).log()
        ctx.save_for_backward(values, vectors, logs)
        ctx.floor = floor
        return (vectors * logs.unsqueeze(-2)) @ vectors.mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        values, vectors, logs = ctx.saved_tensors
        slope = torch.where(values > ctx.floor, 1 / values.clamp_min(ctx.floor), torch.zeros_like(values))
        apart = values.unsqueeze(-1) - values.unsqueeze(-2)
        scale = values.abs().unsqueeze(-1) + values.abs().unsqueeze(-2) + ctx.floor
        near = apart.abs() <= torch.finfo(values.dtype).eps ** 0.5 * scale
        mean_slope = (slope.unsqueeze(-1) + slope.unsqueeze(-2)) / 2
        divided = (logs.unsqueeze(-1) - logs.unsqueeze(-2)) / torch.where(near, torch.ones_like(apart), apart)
        inner = torch.where(near, mean_slope, divided) * (vectors.mT @ _symmetric(gradient) @ vectors)
        return vectors @ inner @ vectors.mT, None


def rectified_log(matrix: Float[Tensor, "*batch n n"], floor: float = 1e-4) -> Float[Tensor, "*batch n n"]:
    """Logarithm of symmetric matrices whose eigenvalues below `floor` count as `floor`."""
    logarithm: Any = RectifiedLog.apply(matrix, floor)
    return logarithm


def gaussian(samples: Float[Tensor, "*batch n d"]) -> Float[Tensor, "*batch d_1 d_1"]:
    """The Gaussian of n samples as one matrix [[covariance + mean mean', mean], [mean', 1]], d + 1 wide.

    As the covariance is over n, that is the mean of the outer products of (sample, 1).
    """
    extended = torch.cat([samples, torch.ones_like(samples[..., :1])], -1)
    return extended.mT @ extended / samples.shape[-2]


def as_vector(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch m"]:
    """Symmetric matrices as n (n + 1) / 2 numbers, those beside the diagonal times sqrt 2, so that lengths are kept."""
    n = matrix.shape[-1]
    row, column = torch.triu_indices(n, n, device=matrix.device)
    weight = torch.where(row == column, 1.0, math.sqrt(2.0)).to(matrix)
    return matrix[..., row, column] * weight


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2
