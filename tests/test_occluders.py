"""Occluders hide what their names say and leave the rest alone."""

from dataclasses import replace

import torch

from config import OccluderConfig
from render.occluders import erased_by_spheres, outside_box, with_object

CONFIG = OccluderConfig()


def test_spheres_lie_near_joints_within_the_published_ranges() -> None:
    generator = torch.Generator().manual_seed(0)
    joints = 0.5 * (2 * torch.rand(40, 21, 3, generator=generator) - 1)
    points = 2 * torch.rand(40, 3000, 3, generator=generator) - 1
    gone = erased_by_spheres(points, joints, CONFIG, generator)
    nearest = torch.cdist(points, joints).amin(-1)
    assert bool(gone.any(1).float().mean() > 0.9)
    reach = CONFIG.sphere_offset * 3**0.5 + CONFIG.sphere_radius
    assert float(nearest[gone].max()) <= reach


def test_one_sphere_against_its_slow_twin() -> None:
    config = replace(CONFIG, spheres=(1, 1))
    joints = torch.tensor([[[0.1, -0.2, 0.3]]]).expand(8, 1, 3)
    points = 2 * torch.rand(8, 5000, 3, generator=torch.Generator().manual_seed(1)) - 1
    gone = erased_by_spheres(points, joints, config, torch.Generator().manual_seed(2))
    for inside, where in zip(gone, points, strict=True):
        if inside.sum() < 5:
            continue
        # the erased points fit into one ball that holds no other point
        centre = (where[inside].amin(0) + where[inside].amax(0)) / 2
        distance = (where - centre).norm(dim=1)
        radius = distance[inside].max()
        assert float(radius) <= 1.2 * config.sphere_radius
        assert float((distance < 0.7 * radius)[~inside].float().mean()) == 0


def test_counts_stay_in_range() -> None:
    many = replace(CONFIG, spheres=(9, 9), sphere_offset=0.0)
    joints = torch.linspace(-0.9, 0.9, 21)[None, :, None].expand(64, 21, 3)
    few = replace(many, spheres=(3, 3))
    generator = torch.Generator().manual_seed(3)
    shares = [erased_by_spheres(joints, joints, config, generator).float().mean() for config in (few, many)]
    assert float(shares[0]) < float(shares[1])


def test_box_keeps_joints_within_positive_margins_and_its_chance() -> None:
    config = replace(CONFIG, box_chance=1.0, box_margin_mm=(0.0, 10.0))
    joints_uv = 30 + 60 * torch.rand(16, 21, 2, generator=torch.Generator().manual_seed(4))
    sample_mm = torch.full((16,), 2.0)
    out = outside_box(joints_uv, 128, sample_mm, config, torch.Generator().manual_seed(5))
    low, high = joints_uv.amin(1), joints_uv.amax(1)
    at = torch.arange(128.0)
    kept_u = (at >= low[:, :1]) & (at <= high[:, :1])
    kept_v = (at >= low[:, 1:]) & (at <= high[:, 1:])
    assert not bool((out & kept_v[:, :, None] & kept_u[:, None, :]).any())
    far_u = (at < low[:, :1] - 5) | (at > high[:, :1] + 5)  # 10 mm are 5 samples
    assert bool(out[far_u[:, None, :].expand_as(out)].all())
    never = outside_box(joints_uv, 128, sample_mm, replace(config, box_chance=0.0), torch.Generator().manual_seed(5))
    assert not bool(never.any())


def test_object_lies_in_the_cube_at_one_side_and_hides_only_what_is_behind_it() -> None:
    depth = torch.zeros(32, 64, 64)
    depth[:, 20:44, 20:44] = 500.0
    seen = with_object(depth, torch.full((32,), 500.0), torch.full((32,), 125.0), torch.Generator().manual_seed(6))
    changed = seen != depth
    assert float(changed.any(2).any(1).float().mean()) > 0.8
    assert bool((seen[changed] < 625).all())
    hand = depth > 0
    assert bool((seen[hand] <= depth[hand]).all())
    assert not bool(changed[:, 28:36, 28:36].any()), "the middle stays free"
