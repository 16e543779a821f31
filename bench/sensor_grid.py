"""Random numbers in the shape of images, and a sensor's own, coarser pixel grid: for the twin in torch alone."""

import torch
from torch import Tensor


class Draws:
    """Random numbers in the shape of a batch of images, on their device."""

    def __init__(self, like: Tensor, generator: torch.Generator) -> None:
        self.like, self.shape = like, like.shape
        self.generator = generator

    def each(self) -> Tensor:
        """Uniform in [0, 1), one number an image, (b, 1, 1)."""
        return self._rand(len(self.like), 1, 1)

    def strength(self, bound: float) -> Tensor:
        """Each image's own strength, (b, 1, 1)."""
        return bound * self.each()

    def uniform(self) -> Tensor:
        """Uniform in [0, 1) in 65,536 steps: a quarter of the time of torch.rand, since one draw serves four pixels."""
        words = torch.empty((self.like.numel() + 3) // 4, dtype=torch.int64, device=self.like.device)
        words.random_(-(2**63), None, generator=self.generator)
        numbers = words.view(torch.int16)[: self.like.numel()].view(self.shape)
        return numbers.to(self.like.dtype).mul_(2.0**-16).add_(0.5)

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, dtype=self.like.dtype, device=self.like.device)


class SensorGrid:
    """The sensor's pixels over an image: per image a size of at least one sample and a phase."""

    def __init__(self, depth_mm: Tensor, cells: Tensor, generator: torch.Generator) -> None:
        self.depth_mm, self.cells, self.generator = depth_mm, cells, generator
        self.identity = bool((cells == 1).all())
        phases = cells * torch.rand(cells.shape, generator=Draws(depth_mm, generator).generator, device=cells.device)
        self.phases = phases * (cells > 1)
        spans = ((depth_mm.new_tensor(depth_mm.shape[1:]) + self.phases) / cells).ceil().amax(0)
        self.height, self.width = int(spans[0]), int(spans[1])

    def read(self, jitter_px: float) -> Tensor:
        """Depth at the cells' centres, each moved sideways at random, (b, height, width)."""
        depth_mm = self.depth_mm
        if self.identity and jitter_px <= 0:
            return depth_mm
        b, h, w = depth_mm.shape
        v, u = self._axis(self.height, 0)[:, :, None], self._axis(self.width, 1)[:, None, :]
        if jitter_px > 0:
            draw = Draws(depth_mm.new_empty(b, self.height, self.width), self.generator)
            reach_v, reach_u = (draw.strength(2 * jitter_px)[:, None] * self.cells[:, :, None, None]).unbind(1)
            v = (v + (draw.uniform() - 0.5) * reach_v).round()
            u = (u + (draw.uniform() - 0.5) * reach_u).round()
        index = (v.clamp(0, h - 1) * w + u.clamp(0, w - 1)).long()
        return depth_mm.flatten(1).gather(1, index.flatten(1)).view_as(index)

    def _axis(self, n: int, axis: int) -> Tensor:
        """Sample under the middle of each of the first n cells of an axis, (b, n)."""
        steps = torch.arange(n, device=self.cells.device, dtype=self.cells.dtype) + 0.5
        return (steps * self.cells[:, axis, None] - self.phases[:, axis, None]).floor().clamp(min=0)

    def spread(self, cells: Tensor) -> Tensor:
        """Each cell's reading on all the samples that the cell covers, (b, h, w)."""
        if self.identity:
            return cells
        b, h, w = self.depth_mm.shape
        v, u = (
            ((torch.arange(n, device=cells.device) + 0.5 + self.phases[:, k, None]) / self.cells[:, k, None]).long()
            for k, n in enumerate((h, w))
        )
        index = v.clamp(max=self.height - 1)[:, :, None] * self.width + u.clamp(max=self.width - 1)[:, None, :]
        return cells.flatten(1).gather(1, index.flatten(1)).view(b, h, w)
