"""What hides parts of a rendered hand: spheres around joints, a tight box cut, an object in the view."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from config import OccluderConfig
from util import draws
from util.draws import Draws


def erased_by_spheres(
    surface_xyz: Float[Tensor, "b n 3"],
    joints_xyz: Float[Tensor, "b j 3"],
    config: OccluderConfig,
    generator: Draws,
) -> Bool[Tensor, "b n"]:
    """Which surface points lie in one of 3 to 9 random spheres near joints (Ren et al. 2022, pre-training).

    surface_xyz, joints_xyz: offsets from the crop's centre in half cubes. generator: CPU. The count, each sphere's
    joint, offset per axis and radius are uniform in the config's ranges; `spheres_chance` is for the caller to apply.
    """
    b, low, high = len(joints_xyz), *config.spheres
    joint = draws.randint(generator, 0, joints_xyz.shape[1], b, high).to(joints_xyz.device)
    drawn = draws.rand(generator, b, high, 5).to(joints_xyz)
    centre = joints_xyz.gather(1, joint[..., None].expand(-1, -1, 3))
    centre = centre + (2 * drawn[..., :3] - 1) * config.sphere_offset
    count = low + (drawn[:, :1, 4] * (high - low + 1)).floor()
    used = torch.arange(high, device=centre.device) < count
    radius = drawn[..., 3] * config.sphere_radius
    # |p - c|^2 < r^2 as a product of matrices: 2 c p + r^2 - c^2 > p^2, several times faster than differences
    limit = torch.where(used, radius.square() - centre.square().sum(-1), -torch.inf)
    reach = torch.baddbmm(limit[..., None], 2 * centre, surface_xyz.transpose(1, 2))  # (b, spheres, n)
    return reach.amax(1) > surface_xyz.square().sum(-1)


def outside_box(
    joints_uv: Float[Tensor, "b j 2"],
    size: int,
    sample_mm: Float[Tensor, " b"],
    config: OccluderConfig,
    generator: Draws,
) -> Bool[Tensor, "b size size"]:
    """Samples outside an upright box around the joints: data sets that store hand boxes cut fingers and wrists so.

    joints_uv: crop samples. sample_mm: side of a crop sample at the hand. Each side has its own margin, uniform in
    `config.box_margin_mm`; images left uncut have nothing outside.
    """
    b = len(joints_uv)
    drawn = draws.rand(generator, b, 5).to(joints_uv)
    low, high = config.box_margin_mm
    margin = (low + (high - low) * drawn[:, :4]) / sample_mm[:, None]
    margin = torch.where(drawn[:, 4:] < config.box_chance, margin, float(4 * size))
    first = (joints_uv.amin(1) - margin[:, :2])[..., None]
    last = (joints_uv.amax(1) + margin[:, 2:])[..., None]
    at = torch.arange(size, device=joints_uv.device, dtype=joints_uv.dtype)
    out = (at < first) | (at > last)  # (b, 2, size): columns, rows
    return out[:, 1, :, None] | out[:, 0, None, :]


def with_object(
    depth_mm: Float[Tensor, "b s s"],
    centre_z: Float[Tensor, " b"],
    half_mm: Float[Tensor, " b"],
    generator: Draws,
) -> Float[Tensor, "b s s"]:
    """Put a tilted slab of random outline into each view, in front of the hand or behind it.

    depth_mm: 0 = nothing. centre_z, half_mm: middle and half depth of the cube. The slab covers one side of the crop:
    what lies beyond a straight line that passes the middle at 40 % of half the crop or more.
    """
    b, s = depth_mm.shape[:2]
    drawn = draws.rand(generator, b, 5, 1, 1).to(depth_mm).unbind(1)
    at = (torch.arange(s, device=depth_mm.device, dtype=depth_mm.dtype) / (s / 2) - 1).expand(b, s)
    u, v = at[:, None, :], at[:, :, None]
    angle = drawn[0] * (2 * torch.pi)
    across = u * angle.cos() + v * angle.sin()
    inside = across > 0.4 + 0.9 * drawn[1]
    half, centre = half_mm[:, None, None], centre_z[:, None, None]
    z = centre + half * ((2 * drawn[2] - 1) * 0.9 + (drawn[3] - 0.5) * across + (drawn[4] - 0.5) * (u - v) * 0.5)
    shown = inside & (z < centre + half)
    nearest = torch.where((depth_mm > 0) & (depth_mm < z), depth_mm, z)
    return torch.where(shown, nearest, depth_mm)
