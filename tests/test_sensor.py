"""Each kind of sensor noise does what its name says, and nothing else."""

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from config import SensorConfig
from render.sensor import SensorNoise
from render.sensor_draws import GRAZING_SLOPE, REFERENCE_MM

NONE = SensorConfig(**{field.name: 0.0 for field in fields(SensorConfig)})
SIZE = 64
LOSSES = ("erosion", "shadow", "grazing", "speckle", "holes", "lone")


def noisy(depth_mm: Tensor, **strengths: float) -> Tensor:
    sensor = SensorNoise(replace(NONE, **strengths))
    return sensor(depth_mm, torch.Generator().manual_seed(0), torch.full((len(depth_mm),), 2.0))


def plane(b: int = 16, z: float = REFERENCE_MM, slope: float = 0.0) -> Tensor:
    """Images filled by a plane; slope in mm a pixel."""
    u = torch.arange(float(SIZE)) - SIZE / 2
    return (z + slope * u).expand(b, SIZE, SIZE).contiguous()


def steps(b: int = 16) -> Tensor:
    """A palm at 500 mm before nothing, a finger at 440 mm before the palm."""
    depth = torch.zeros(b, SIZE, SIZE)
    depth[:, 8:56, 8:56] = 500.0
    depth[:, 20:40, 28:36] = 440.0
    return depth


def beside(mask: Tensor) -> Tensor:
    """Pixels of a mask and their four neighbours."""
    grown = mask.clone()
    for shift, axis in ((1, 1), (-1, 1), (1, 2), (-1, 2)):
        grown |= mask.roll(shift, axis)
    return grown


def test_no_strength_changes_nothing() -> None:
    depth = steps()
    assert torch.equal(noisy(depth), depth)


def test_same_seed_same_noise() -> None:
    depth, sensor = steps(), SensorNoise(SensorConfig())
    first, again, other = (sensor(depth, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.isfinite(first).all()
    assert bool((first >= 0).all())


def test_every_field_is_a_kind_that_acts() -> None:
    depth = steps() + plane(slope=7.0) - REFERENCE_MM  # steep enough for every kind
    depth = torch.where(steps() > 0, depth, 0.0)
    depth[:, 4, 4] = 480.0
    for field in fields(SensorConfig):
        strength = 3.0 if field.name == "coarseness" else 1.0
        assert not torch.equal(noisy(depth, **{field.name: strength}), depth), field.name


def test_axial_noise_is_normal_and_grows_with_the_squared_range() -> None:
    near, far = (noisy(plane(64, z), axial_mm=3.0) - z for z in (500.0, 1000.0))
    spread = near.flatten(1).std(1)
    assert float(spread.max()) < 3.1
    assert float(spread.min()) < 0.8, "every image draws its own strength"
    assert float(spread.mean()) == pytest.approx(1.5, abs=0.3)
    assert float((near / spread[:, None, None]).mean()) == pytest.approx(0, abs=0.01)
    assert float((near[:, :, 1:] * near[:, :, :-1]).mean() / near.square().mean()) == pytest.approx(0, abs=0.02)
    assert torch.allclose(far, 4 * near, atol=1e-3)


def test_wobble_is_smooth_and_of_the_stated_spread() -> None:
    error = noisy(plane(256), wobble_mm=4.0) - REFERENCE_MM
    assert float(error.square().mean().sqrt()) == pytest.approx(4 / 3**0.5, rel=0.15)  # strengths uniform up to 4
    assert float((error[:, :, 1:] - error[:, :, :-1]).abs().max()) < 4.0
    assert float((error[:, :, 1:] * error[:, :, :-1]).mean() / error.square().mean()) > 0.95


def test_quantisation_leaves_equal_steps() -> None:
    depth = plane() + 20 * torch.rand(16, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    seen = noisy(depth, quantisation_mm=4.0)
    for clean, image in zip(depth, seen, strict=True):
        values = image.unique()
        gaps = values.diff()
        assert float(gaps.max()) <= 4.4
        assert float(gaps.max() - gaps.min()) < 1e-2
        assert float((image - clean).abs().max()) <= float(gaps.max()) / 2 + 1e-3


@pytest.mark.parametrize("kind", LOSSES)
def test_losses_only_remove(kind: str) -> None:
    depth = steps()
    seen = noisy(depth, **{kind: 1.0})
    assert bool(((seen == 0) | (seen == depth)).all())


def test_erosion_takes_rims_and_shadow_takes_feet() -> None:
    depth = steps()
    finger, surface = depth == 440.0, depth > 0
    rim = (finger & beside(~finger)) | (surface & beside(~surface))
    foot = surface & ~finger & beside(finger)
    for kind, allowed in (("erosion", rim), ("shadow", foot)):
        lost = surface & (noisy(depth, **{kind: 1.0}) == 0)
        assert bool(lost.any()), kind
        assert not bool((lost & ~allowed).any()), kind
        share = lost.sum((1, 2)) / allowed.sum((1, 2))
        assert 0.25 < float(share.mean()) < 0.65, kind
        assert float(share.max() - share.min()) > 0.3, "every image draws its own strength"


def test_grazing_loses_steep_surfaces_only() -> None:
    assert torch.equal(noisy(plane(slope=2.0), grazing=1.0), plane(slope=2.0))  # 45 degrees
    steep = noisy(plane(slope=2 * GRAZING_SLOPE + 0.1), grazing=1.0) == 0
    assert float(steep[:, :, 1:-1].float().mean()) == pytest.approx(0.5, abs=0.2)


def test_speckle_and_holes_lose_their_share() -> None:
    speckle = (noisy(plane(64), speckle=0.04) == 0).float()
    holes = (noisy(plane(256), holes=0.04) == 0).float()
    for lost in (speckle, holes):
        assert float(lost.mean()) == pytest.approx(0.02, abs=0.008)
    # a lost pixel's right neighbour is lost too in a hole, and hardly ever in speckle
    together = [float((lost[..., 1:] * lost[..., :-1]).sum() / lost[..., 1:].sum()) for lost in (speckle, holes)]
    assert together[0] < 0.1
    assert together[1] > 0.5


def test_jitter_moves_readings_by_at_most_its_reach() -> None:
    depth = plane(slope=1.0)
    moved = noisy(depth, jitter_px=2.0) - depth
    assert float(moved.abs().max()) <= 2.0
    assert 0.2 < float((moved != 0).float().mean()) < 0.9
    assert float(moved.mean()) == pytest.approx(0, abs=0.02)


def test_coarse_pixels_repeat_values_of_the_image() -> None:
    depth = plane(32, slope=1.0)
    seen = noisy(depth, coarseness=3.0)
    assert bool(torch.isin(seen, depth).all())
    assert float((seen - depth).abs().max()) <= 2.0, "a cell reaches at most 1.7 samples from its middle"
    per_cell = SIZE / torch.tensor([len(image[0].unique()) for image in seen]).float()
    assert float(per_cell.max()) > 2.2
    assert float(per_cell.min()) < 1.4


def test_flying_pixels_lie_between_the_surfaces_at_edges() -> None:
    depth = steps()
    seen = noisy(depth, flying=1.0)
    changed = seen != depth
    finger, surface = depth == 440.0, depth > 0
    edge = (finger & beside(~finger)) | (surface & beside(~surface)) | (~surface & beside(surface))
    assert bool(changed.any())
    assert not bool((changed & ~edge).any())
    assert bool(((seen[changed] > 440) & (seen[changed] <= 540)).all())


def test_smoothing_flattens_noise_and_keeps_edges() -> None:
    depth = steps()
    rough = torch.where(depth > 0, depth + torch.randn(depth.shape, generator=torch.Generator().manual_seed(3)), 0.0)
    seen = noisy(rough, smoothing=1.0)
    assert torch.equal(seen > 0, rough > 0)
    assert float((seen - rough).abs().max()) < 6.0, "no edge is pulled far"
    inside = (slice(None), slice(42, 54), slice(10, 54))
    spread = (seen - depth)[inside].flatten(1).std(1)
    assert float(spread.min()) < 0.45
    assert float(spread.max()) < 1.1


def test_lone_pixels_are_dropped() -> None:
    depth = steps()
    depth[:, 3, 3] = 470.0  # nothing around it
    depth[:, 48, 20] = 300.0  # in front of the palm
    seen = noisy(depth, lone=1.0)
    assert bool((seen[:, 3, 3] == 0).all())
    assert bool((seen[:, 48, 20] == 0).all())
    gone = (depth > 0) & (seen == 0)
    assert int(gone.sum()) == 2 * len(depth), "surfaces stay"
    half = noisy(depth.repeat(8, 1, 1), lone=0.5)[:, 3, 3] == 0
    assert 0.3 < float(half.float().mean()) < 0.7


@pytest.mark.parametrize("config", [SensorConfig(), replace(NONE, smoothing=1.0, flying=1.0, lone=0.5)])
def test_kernels_agree_with_their_twin(config: SensorConfig) -> None:
    """On images of steps and slopes, higher than wide."""
    depth = torch.where(steps() > 0, steps() + plane(slope=7.0) - REFERENCE_MM, 0.0)[:, :, :50].contiguous()
    pixel_mm = torch.linspace(1.5, 2.5, len(depth))
    ours, twin = (
        SensorNoise(config, backend)(depth, torch.Generator().manual_seed(5), pixel_mm) for backend in ("warp", "torch")
    )
    assert float((ours > 0).float().mean()) > 0.1
    assert not torch.equal(ours, depth)
    # the two round a logarithm or a sum of seven in their own ways, which may move a reading by a whole step
    assert float(((ours - twin).abs() > 1e-3).float().mean()) < 1e-3
