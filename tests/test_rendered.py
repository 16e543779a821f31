"""Rendered samples: images and labels belong together."""

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from config import ForearmConfig, OccluderConfig, RenderedConfig, SamplerConfig, SensorConfig
from dataloader.crop import HandCrop
from dataloader.points import all_points_xyz
from dataloader.rendered import RenderedHands
from render.hand_layer import HandLayer, HandParams
from render.hand_model import load_hand_model
from render.rasterise import rasterise

BARE = RenderedConfig(
    centre_shift_mm=0.0,
    noise=False,
    forearm=ForearmConfig(chance=0.0),
    occluders=OccluderConfig(spheres_chance=0.0, box_chance=0.0, object_chance=0.0),
)


@pytest.fixture(scope="module")
def layer() -> HandLayer:
    return HandLayer(load_hand_model())


class Labelled(NamedTuple):
    """A sample whose labels are known."""

    crop: HandCrop
    joints_mm: Tensor
    vertices_mm: Tensor
    params: HandParams


def draw(layer: HandLayer, config: RenderedConfig, n: int = 12, seed: int = 0) -> Labelled:
    source = RenderedHands(layer, SamplerConfig(), SensorConfig(), config)
    sample = source.batch(n, torch.Generator().manual_seed(seed))
    assert sample.joints_mm is not None
    assert sample.vertices_mm is not None
    assert sample.params is not None
    return Labelled(sample.crop, sample.joints_mm, sample.vertices_mm, sample.params)


def test_params_give_the_labels(layer: HandLayer) -> None:
    sample = draw(layer, RenderedConfig())
    mesh = layer(sample.params.rotation, sample.params.pose, sample.params.shape)
    vertices_xyz, joints_xyz = mesh.placed(
        sample.params.scale, sample.params.translation, sample.crop.cube_mm[:, :1] / 2
    )
    assert torch.allclose(sample.crop.mm_from_xyz(vertices_xyz), sample.vertices_mm, atol=5e-3)
    assert torch.allclose(sample.crop.mm_from_xyz(joints_xyz), sample.joints_mm, atol=5e-3)


def test_image_shows_the_labelled_surface(layer: HandLayer) -> None:
    sample = draw(layer, BARE)
    crop = sample.crop
    depth_mm = rasterise(crop.pixels_from_mm(sample.vertices_mm), layer.faces, crop.size)
    assert torch.allclose(crop.with_depth_mm(depth_mm).depth, crop.depth, atol=1e-3)
    # a vertex in view lies on the image's surface or behind it
    u, v, z = crop.pixels_from_mm(sample.vertices_mm).unbind(-1)
    at = v.round().clamp(0, 127) * 128 + u.round().clamp(0, 127)
    there = crop.depth_mm.flatten(1).gather(1, at.long())
    behind = (z - there)[(there > 0) & (crop.uvd_from_mm(sample.vertices_mm).abs() < 0.95).all(-1)]
    assert float((behind > -4).float().mean()) > 0.95
    assert float((behind.abs() < 4).float().mean()) > 0.25


def test_centre_is_the_middle_of_what_is_seen(layer: HandLayer) -> None:
    crop = draw(layer, BARE, 32).crop
    points, seen = all_points_xyz(crop), crop.foreground.flatten(1)[..., None]
    offset_mm = ((points * seen).sum(1) / seen.sum(1)) * crop.cube_mm / 2
    assert float(offset_mm.abs().median()) < 5
    assert float(offset_mm.abs().max()) < 35
    near, far = draw(layer, replace(BARE, centre_shift_mm=20.0), 32).crop, crop
    shift = near.centre_mm - far.centre_mm
    assert 15 < float(shift.abs().max()) <= 20.01


def test_placement_stays_in_its_ranges(layer: HandLayer) -> None:
    config = replace(BARE, cube_mm=200.0, cube_scale=(0.9, 1.1), range_mm=(400.0, 500.0), focal_px=(300.0, 310.0))
    sample = draw(layer, config, 32)
    assert bool(((sample.crop.cube_mm >= 180) & (sample.crop.cube_mm <= 220)).all())
    assert bool(((sample.crop.camera.focal >= 300) & (sample.crop.camera.focal <= 310)).all())
    middle = sample.vertices_mm.mean(1)
    assert bool(((middle[:, 2] > 399) & (middle[:, 2] < 501)).all())
    angle = torch.rad2deg(torch.atan2(middle[:, :2], middle[:, 2:]))
    assert float(angle.abs().max()) < config.aside_deg + 0.1


def test_forearm_and_occluders_show_only_in_the_image(layer: HandLayer) -> None:
    bare = draw(layer, BARE)
    armed = draw(layer, replace(BARE, forearm=ForearmConfig(chance=1.0, length_mm=(150.0, 250.0))))
    assert torch.equal(bare.joints_mm, armed.joints_mm)
    assert torch.equal(bare.crop.centre_mm, armed.crop.centre_mm)
    assert bool((armed.crop.depth <= bare.crop.depth + 1e-5).all()), "an arm only adds surface"
    assert int(armed.crop.foreground.sum()) > 1.1 * int(bare.crop.foreground.sum())
    cut = draw(layer, replace(BARE, occluders=OccluderConfig(spheres_chance=1.0, box_chance=1.0, object_chance=0.0)))
    same = cut.crop.depth == bare.crop.depth
    assert bool((same | ~cut.crop.foreground).all()), "occluders only erase"
    assert not bool(same.all())


def test_noise_is_a_switch(layer: HandLayer) -> None:
    bare, noisy = draw(layer, BARE), draw(layer, replace(BARE, noise=True))
    assert torch.equal(bare.vertices_mm, noisy.vertices_mm)
    both = bare.crop.foreground & noisy.crop.foreground
    assert float(both.sum() / bare.crop.foreground.sum()) > 0.7
    difference = (bare.crop.depth_mm - noisy.crop.depth_mm)[both].abs()
    assert 0.1 < float(difference.median()) < 6


def test_repeatable(layer: HandLayer) -> None:
    first, again, other = (draw(layer, RenderedConfig(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.crop.depth, again.crop.depth)
    assert torch.equal(first.params.vector(), again.params.vector())
    assert not torch.equal(first.crop.depth, other.crop.depth)
    assert torch.isfinite(first.crop.depth).all()
    assert float(first.crop.depth.abs().max()) <= 1
