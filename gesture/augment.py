"""Augmentation of sequences: size, place, time and noise, each drawn for a part of them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from config_gesture import GestureAugmentConfig


@dataclass(frozen=True)
class Augmentation:
    """What is done to one batch; all draws come from the generator, on the CPU, so that each device gets the same."""

    config: GestureAugmentConfig
    generator: torch.Generator

    def jitter(self, n: int, frames: int) -> Float[Tensor, "n frames"]:
        """How far each frame is read beside its time, in shares of the sampling interval."""
        return self.config.time * self._between(n, frames) * self._acts(n)

    def moved(self, positions: Float[Tensor, "n frames p 3"], unit_mm: float) -> Float[Tensor, "n frames p 3"]:
        """Larger or smaller, elsewhere, and with noise; unit_mm: length that positions call 1."""
        n, frames, p, _ = positions.shape
        config = self.config
        size = 1 + config.scale * self._between(n, 1) * self._acts(n)
        shift = config.shift_mm / unit_mm * self._between(n, 3) * self._acts(n)
        amount = config.noise_mm / unit_mm * self._acts(n)
        size, shift, amount = (x[:, None, None].to(positions.device) for x in (size, shift, amount))
        moved = positions * size + shift
        if config.noise_mm == 0:
            return moved
        noise = torch.randn(n, frames, p, 3, generator=self.generator).to(positions.device)
        return moved + amount * noise

    def _between(self, *shape: int) -> Tensor:
        """Uniform in -1 to 1."""
        return 2 * torch.rand(*shape, generator=self.generator) - 1

    def _acts(self, n: int) -> Tensor:
        """(n, 1) 1 where a kind of change acts, else 0."""
        return (torch.rand(n, 1, generator=self.generator) < self.config.chance).float()
