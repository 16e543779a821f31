"""Noise of depth sensors on rendered depth, so that a network trained on renders meets nothing new on a real sensor.

The kinds follow what is known of structured-light and time-of-flight cameras (Khoshelham and Elberink 2012 for noise
and step growing with the squared range; Nguyen et al. 2012 for lateral noise and losses at grazing angles). An image is
first read onto the sensor's own, coarser grid, where one cell is one sensor pixel; all kinds act there; then cells are
repeated over the samples they cover.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from config import SensorConfig
from render.sensor_grid import Draws, SensorGrid

REFERENCE_MM = 500.0
"""Range at which strengths in millimetres hold."""
NOTHING_MM = 1e5
"""Stands for the depth of what reads nothing when depths are compared."""
BLEND_MM = 10.0
"""Smoothing pulls less on what differs from its neighbourhood by more than this."""
REACH_MM = 40.0
"""A flying pixel lies at most this far behind the surface it belongs to."""
STEEP, GRAZING = 1.4, 3.7
"""Slopes (mm of depth per mm sideways) at which grazing losses start and are complete: 55 and 75 degrees."""
SUPPORT_MM, SUPPORT = 15.0, 3
"""A pixel is supported by a neighbour within this depth; that many of eight are enough to keep it."""
CHUNK = 8
"""Images that are worked on at once."""


class SensorNoise:
    """Callable that turns clean depth into what a sensor might report."""

    def __init__(self, config: SensorConfig) -> None:
        self.config = config

    def __call__(
        self,
        depth_mm: Float[Tensor, "b h w"],
        generator: torch.Generator,
        pixel_mm: Float[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b h w"]:
        """Noisy copies of depth images, each with strengths of its own.

        depth_mm: 0 = no reading, before and after. generator: CPU; the same state gives the same noise.
        pixel_mm: side of an image pixel at the surface, mm; 2 mm where not given (a 250 mm cube on 128 pixels).
        """
        if pixel_mm is None:
            pixel_mm = depth_mm.new_full((len(depth_mm),), 2.0)
        draw = Draws(depth_mm, generator)
        cells = self._cells(draw)
        noisy = torch.empty_like(depth_mm)
        # images of like grids together: a coarse grid has few cells to work on, and a small chunk stays in the cache
        for chunk in cells.amin(1).argsort(descending=True).split(CHUNK):
            noisy[chunk] = self._noisy(depth_mm[chunk], cells[chunk], pixel_mm[chunk, None, None], generator)
        return noisy

    def _cells(self, draw: Draws) -> Tensor:
        """Height and width of a sensor pixel in samples, (b, 2), each at least 1."""
        if self.config.coarseness <= 1:
            return draw.like.new_ones(len(draw.like), 2)
        size = 1 + draw.strength(self.config.coarseness - 1)[:, 0]
        aspect = 0.85 + 0.3 * draw.each()[:, 0]  # a hand box stretched to a square stretches its pixels
        return torch.cat([size * aspect, size / aspect], 1).clamp(min=1)

    def _noisy(self, depth_mm: Tensor, cells: Tensor, pixel_mm: Tensor, generator: torch.Generator) -> Tensor:
        config = self.config
        grid = SensorGrid(depth_mm, cells, generator)
        z = grid.read(config.jitter_px)
        draw = Draws(z, generator)
        cell_mm = pixel_mm * cells.prod(1).sqrt()[:, None, None]
        seen = (z > 0).sum((1, 2)).clamp(min=1)
        growth = (z.sum((1, 2)) / seen / REFERENCE_MM).square()[:, None, None]
        if config.smoothing > 0:
            z = _smoothed(z, draw.strength(config.smoothing))
        kept = None
        if config.flying > 0 or config.erosion > 0 or config.shadow > 0 or config.grazing > 0:
            edges = _Edges(z, 8 + 2 * cell_mm)  # no surface of a hand steps so far between neighbours
            kept = self._kept(edges, draw, cell_mm)
            if config.flying > 0:
                z = edges.with_flying(draw.strength(config.flying), draw)
        has = (z > 0).to(z.dtype)
        if kept is not None:
            has = has * kept
        if config.speckle > 0:
            has = has * (draw.uniform() >= draw.strength(config.speckle))
        if config.holes > 0:
            has = has * (draw.blobs() >= draw.strength(config.holes))
        if config.axial_mm > 0:
            z = z + draw.strength(config.axial_mm) * growth * draw.normal()
        if config.wobble_mm > 0:  # a mean of uniform nodes varies less than a node: 0.19 is the spread of the field
            z = z + draw.strength(config.wobble_mm) * growth * (draw.field() - 0.5) / 0.19
        if config.quantisation_mm > 0:
            step = (draw.strength(config.quantisation_mm) * growth).clamp(min=1e-3)
            z = (z / step).round() * step
        z = z.clamp(min=1.0) * has
        if config.lone > 0:
            chosen = (draw.each() < config.lone).to(z.dtype)
            z = z * (1 - chosen * (1 - _supported(z)))
        return grid.spread(z)

    def _kept(self, edges: "_Edges", draw: Draws, cell_mm: Tensor) -> Tensor:
        """1 where a reading survives rims, shadows and grazing angles, else 0; losses at edges come in stretches."""
        config, z = self.config, edges.z
        rim = (edges.farthest - z > edges.jump_mm) * draw.strength(config.erosion)
        foot = (z - edges.nearest > edges.jump_mm) * draw.strength(config.shadow)
        steep = ((_slope(z) / cell_mm - STEEP) / (GRAZING - STEEP)).clamp(0, 1) * draw.strength(config.grazing)
        # one uniform number a pixel decides, against the likeliest of the losses
        loss = torch.maximum(torch.maximum(rim, foot) * (2 * draw.field()), steep)
        return (draw.uniform() >= loss).to(z.dtype)


class _Edges:
    """Where depth steps between neighbours."""

    def __init__(self, z: Tensor, jump_mm: Tensor) -> None:
        self.z, self.jump_mm = z, jump_mm
        far = z + (z <= 0) * NOTHING_MM
        self.nearest, self.farthest = far.clone(), far.clone()
        for axis in (1, 2):  # smallest and largest depth of a pixel and its four neighbours
            n = z.shape[axis] - 1
            first, last = far.narrow(axis, 0, n), far.narrow(axis, 1, n)
            for target, pick in ((self.nearest, torch.minimum), (self.farthest, torch.maximum)):
                for side, other in ((target.narrow(axis, 0, n), last), (target.narrow(axis, 1, n), first)):
                    pick(side, other, out=side)

    def with_flying(self, share: Tensor, draw: Draws) -> Tensor:
        """The depth, where pixels on either side of an edge, at random, read something between the two surfaces."""
        has = self.z > 0
        inside = has & (self.farthest - self.z > self.jump_mm)
        outside = ~has & (self.nearest < NOTHING_MM)
        chosen = (inside | outside) & (draw.uniform() < share)
        surface = torch.where(has, self.z, self.nearest)
        mixed = surface + draw.uniform() * (self.farthest - surface).clamp(max=REACH_MM)
        return torch.where(chosen, mixed, self.z)


def _slope(z: Tensor) -> Tensor:
    """Depth change to the next pixel on the smoother side, both axes together; steps at edges do not count."""
    squares = torch.zeros_like(z)
    for axis in (1, 2):
        step = (z.narrow(axis, 1, z.shape[axis] - 1) - z.narrow(axis, 0, z.shape[axis] - 1)).abs()
        middle = torch.minimum(step.narrow(axis, 1, step.shape[axis] - 1), step.narrow(axis, 0, step.shape[axis] - 1))
        squares.narrow(axis, 1, middle.shape[axis]).add_(middle.square())
    return squares.sqrt()


def _smoothed(z: Tensor, share: Tensor) -> Tensor:
    """Blend towards a low-pass over what has a reading (7 x 7, à trous binomial); full edges stay."""
    has = (z > 0).to(z.dtype)
    total = torch.stack([z, has])
    for axis in (2, 3):
        for reach in (1, 2):
            n = total.shape[axis] - reach
            grown = 2 * total
            grown.narrow(axis, 0, n).add_(total.narrow(axis, reach, n))
            grown.narrow(axis, reach, n).add_(total.narrow(axis, 0, n))
            total = grown
    change = total[0] / total[1].clamp(min=0.5) - z
    return z + has * share * change / (1 + (change / BLEND_MM).square())


def _supported(z: Tensor) -> Tensor:
    """1 where enough of the eight neighbours lie at nearly the same depth, else 0."""
    _, h, w = z.shape
    count = torch.zeros_like(z)
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(None), slice(0, h - dy), slice(max(-dx, 0), w - max(dx, 0)))
        there = (slice(None), slice(dy, h), slice(max(dx, 0), w + min(dx, 0)))
        close = ((z[here] - z[there]).abs() <= SUPPORT_MM).to(z.dtype)
        count[here] += close
        count[there] += close
    return (count >= SUPPORT).to(z.dtype)
