"""Plain torch twins of what works on images: offset maps, points, and rendered hands' poses and sensor noise."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.sensor_grid import SensorGrid
from config import SamplerConfig, SensorConfig
from dataloader.crop import HandCrop
from model.offset_maps import KERNEL, SHARPNESS, Cells
from render.anatomy import Anatomy
from render.articulation import Articulation
from render.hand_layer import HandLayer
from render.sensor_draws import (
    BLEND_MM,
    FIELD_CELL,
    GRAZING_SLOPE,
    NOTHING_MM,
    REACH_MM,
    REFERENCE_MM,
    STEEP,
    SUPPORT,
    SUPPORT_MM,
)
from render.shapes import draw_shapes
from render.untangle import Untangler


def write_maps(joints_uvd: Tensor, cells: Cells) -> Tensor:
    """Maps (b, 84, cells) of joints (b, 21, 3): unit vectors and closeness, plane by plane, masked at the end."""
    offset = joints_uvd.unsqueeze(-1) - cells.uvd.transpose(1, 2).unsqueeze(1)
    distance = (offset * offset).sum(2).add(1e-8).sqrt()
    closeness = 1 - distance / KERNEL
    mask = (closeness >= 0) & cells.foreground.unsqueeze(1)
    return torch.cat([(offset / distance.unsqueeze(2) * mask.unsqueeze(2)).flatten(1, 2), closeness * mask], 1)


def read_maps(maps: Tensor, cells: Cells) -> Tensor:
    """Joints (b, 21, 3) off maps (b, 84, cells): a softmax over the foreground cells, the others masked out."""
    offset, closeness = maps[:, :63].unflatten(1, (21, 3)), maps[:, 63:]
    closeness = closeness.masked_fill(~cells.foreground.unsqueeze(1), -torch.inf)
    weight = (SHARPNESS * closeness).softmax(-1).unsqueeze(2)
    reach = (KERNEL * (1 - closeness)).nan_to_num(posinf=0).unsqueeze(2)
    return (weight * (cells.uvd.transpose(1, 2).unsqueeze(1) + reach * offset)).sum(-1)


def points(crop: HandCrop, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Every sample of a crop as a point (b, size^2, 3), and n foreground ones (b, n, 3), which may repeat."""
    axis = torch.arange(crop.size, device=crop.depth.device) / (crop.size / 2) - 1
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    depth = crop.depth[:, 0]
    uvd = torch.stack([u.expand_as(depth), v.expand_as(depth), depth], -1).flatten(1, 2)
    everywhere = crop.xyz_from_uvd(uvd)
    weight = crop.foreground.flatten(1).float().cpu()
    chosen = torch.multinomial(weight, n, replacement=True, generator=generator).to(depth.device)
    return everywhere, everywhere.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 3))


class RejectingSampler:
    """Hands free of overlaps by drawing and throwing away, without parting fingers."""

    def __init__(self, layer: HandLayer, config: SamplerConfig) -> None:
        self.config, self.anatomy = config, Anatomy.of(layer)
        self.articulation, self.untangler = Articulation(config), Untangler(layer, self.anatomy, config.touch_mm)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Anatomical angles (n, 15, 3), radians, and shapes (n, 10)."""
        angles, shapes = [torch.empty(0, 15, 3)], [torch.empty(0, 10)]
        while sum(map(len, angles)) < n:
            angle = self.articulation.draw(n, generator)
            shape = draw_shapes(self.config, n, generator)
            free = self.untangler.free(angle, shape, self.untangler.radii(shape))
            angles.append(angle[free])
            shapes.append(shape[free])
        return torch.cat(angles)[:n], torch.cat(shapes)[:n]


@torch.no_grad()
def sensor_noise(config: SensorConfig, depth_mm: Tensor, pixel_mm: Tensor, generator: torch.Generator) -> Tensor:
    """The kinds of noise of render/sensor.py on the whole batch at once, by convolution and unfolding."""
    b = len(depth_mm)

    def each(bound: float) -> Tensor:
        return bound * torch.rand(b, 1, 1, generator=generator)

    size, aspect = 1 + each(config.coarseness - 1)[:, 0], 0.85 + each(0.3)[:, 0]
    cells = torch.cat([size * aspect, size / aspect], 1).clamp_min(1)
    grid = SensorGrid(depth_mm, cells, generator)
    z = grid.read(config.jitter_px)
    shape = z.shape

    def uniform() -> Tensor:
        return torch.rand(shape, generator=generator)

    def field(cell: float, noise=torch.rand) -> Tensor:
        nodes = noise(b, 1, int(shape[1] / cell) + 2, int(shape[2] / cell) + 2, generator=generator)
        return F.interpolate(nodes, size=shape[1:], mode="bilinear")[:, 0]

    cell_mm = pixel_mm.view(b, 1, 1) * cells.prod(1).sqrt().view(b, 1, 1)
    growth = (z.sum((1, 2)) / (z > 0).sum((1, 2)).clamp_min(1) / REFERENCE_MM).square().view(b, 1, 1)
    binomial = torch.tensor([1.0, 2, 3, 4, 3, 2, 1])
    window = (binomial[:, None] * binomial).view(1, 1, 7, 7)
    low = F.conv2d(torch.stack([z, (z > 0).float()], 1).flatten(0, 1).unsqueeze(1), window, padding=3).view(
        b, 2, *shape[1:]
    )
    change = low[:, 0] / low[:, 1].clamp_min(0.5) - z
    z = z + (z > 0) * each(config.smoothing) * change / (1 + (change / BLEND_MM).square())

    far, jump = torch.where(z > 0, z, NOTHING_MM), 8 + 2 * cell_mm
    cross = [F.pad(far, pad, mode="replicate") for pad in ((1, 1, 0, 0), (0, 0, 1, 1))]
    planes = [far, cross[0][..., :-2], cross[0][..., 2:], cross[1][:, :-2], cross[1][:, 2:]]
    around = torch.stack(planes)
    nearest, farthest = around.amin(0), around.amax(0)
    rim, foot = (farthest - z > jump) * each(config.erosion), (z - nearest > jump) * each(config.shadow)
    steps = [torch.minimum((left - z).abs(), (right - z).abs()) for left, right in (planes[1:3], planes[3:5])]
    slope = (steps[0].square() + steps[1].square()).sqrt() / cell_mm
    steep = ((slope - STEEP) / (GRAZING_SLOPE - STEEP)).clamp(0, 1) * each(config.grazing)
    kept = uniform() >= torch.maximum(torch.maximum(rim, foot) * (2 * field(FIELD_CELL)), steep)
    edge = torch.where(z > 0, farthest - z > jump, nearest < NOTHING_MM)
    surface = torch.where(z > 0, z, nearest)
    mixed = surface + uniform() * (farthest - surface).clamp_max(REACH_MM)
    z = torch.where(edge & (uniform() < each(config.flying)), mixed, z)

    kept = kept & (z > 0) & (uniform() >= each(config.speckle))
    kept = kept & (torch.special.ndtr(1.5 * field(FIELD_CELL / 2, torch.randn)) >= each(config.holes))
    z = z + each(config.axial_mm) * growth * torch.randn(shape, generator=generator)
    z = z + each(config.wobble_mm) * growth * (field(FIELD_CELL) - 0.5) / 0.19
    step = (each(config.quantisation_mm) * growth).clamp_min(1e-3)
    z = ((z / step).round() * step).clamp_min(1) * kept
    close = (F.unfold(z.unsqueeze(1), 3, padding=1).unflatten(-1, shape[1:]) - z.unsqueeze(1)).abs() <= SUPPORT_MM
    lone = (each(1.0) < config.lone) & (close.sum(1) - 1 < SUPPORT)
    return grid.spread(z * ~lone)
