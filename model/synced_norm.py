"""Batch normalisation by the mean and spread of a batch that lies in several processes, on GPUs and on CPUs."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from util.processes import world


class SyncedNorm(nn.BatchNorm2d):
    """`BatchNorm2d`, whose processes all have parts of the same size; with one process it is no other."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """As `BatchNorm2d`; the statistics are float32."""
        if not self.training or world() == 1:
            return super().forward(input)
        x = input.float()
        many = x.numel() // x.shape[1] * world()
        mean = _Summed.apply(x.sum((0, 2, 3))) / many  # type: ignore[operator]
        apart = x - mean[:, None, None]
        variance = _Summed.apply(apart.square().sum((0, 2, 3))) / many  # type: ignore[operator]
        with torch.no_grad():
            if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
                raise ValueError("SyncedNorm keeps running statistics")
            share = self.momentum if self.momentum is not None else 0.1
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (many / max(many - 1, 1)), share)
            self.num_batches_tracked.add_(1)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (apart * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)


def with_synced_norms(network: nn.Module) -> None:
    """Put a `SyncedNorm` in the place of every `BatchNorm2d`; tensors and their names stay."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                synced = SyncedNorm(child.num_features, child.eps, child.momentum)
                synced.train(child.training)
                for own in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                    setattr(synced, own, getattr(child, own))
                setattr(parent, name, synced)


class _Summed(torch.autograd.Function):
    """A sum over processes; what one process's loss says of it goes back to all."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        whole = own.clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        whole = grad.clone()
        dist.all_reduce(whole)
        return whole
