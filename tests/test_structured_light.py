"""The demo's sensor: triangulation, shadow of the projector, block matching."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from config import StructuredLightConfig
from render.structured_light import StructuredLight, in_shadow

EXACT = StructuredLightConfig(error_px=0.0, window_px=0, failing=0.0, gradient_limit=100.0)


def box_before_wall(b: int = 2) -> Tensor:
    depth = torch.full((b, 40, 80), 700.0)
    depth[:, 10:30, 40:50] = 500.0
    return depth


def test_shadow_agrees_with_its_slow_twin() -> None:
    disparity = 20 + 15 * torch.rand(3, 4, 30, generator=torch.Generator().manual_seed(0))
    disparity[0, :, 10:14] = 0.0
    dark = in_shadow(disparity)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in disparity.shape)).tolist():
        i, v, u = index
        row = disparity[i, v]
        at = u - row[u]
        blocked = any(row[k] > 0 and k - row[k] < at for k in range(u + 1, len(row)))
        assert bool(dark[i, v, u]) == (bool(row[u] > 0) and blocked)


def test_shadow_lies_left_of_a_near_box_and_is_as_wide_as_the_disparities_differ() -> None:
    seen = StructuredLight(EXACT)(box_before_wall(), torch.Generator().manual_seed(0))
    lost = seen == 0
    constant = EXACT.focal_px * EXACT.baseline_mm
    width = constant / 500 - constant / 700
    assert int(lost[0, 20].sum()) == pytest.approx(width, abs=1)
    assert bool(lost[0, 20, 39])
    assert not bool(lost[0, :10].any())
    assert not bool(lost[0, :, 40:].any())


def test_readings_stand_at_whole_disparity_steps() -> None:
    depth = torch.linspace(450, 800, 80).expand(2, 40, 80).contiguous()
    seen = StructuredLight(EXACT)(depth, torch.Generator().manual_seed(0))
    constant = EXACT.focal_px * EXACT.baseline_mm
    steps = constant * EXACT.steps_per_px / seen
    assert float((steps - steps.round()).abs().max()) < 1e-2
    assert float((constant / seen - constant / depth).abs().max()) <= 0.5 / EXACT.steps_per_px + 1e-4


def test_errors_have_the_stated_spread_and_grow_with_the_squared_range() -> None:
    fine = replace(EXACT, error_px=0.1, steps_per_px=1e4)
    spreads = []
    for z in (500.0, 1000.0):
        seen = StructuredLight(fine)(torch.full((4, 60, 60), z), torch.Generator().manual_seed(1))
        constant = fine.focal_px * fine.baseline_mm
        assert float((constant / seen).std()) == pytest.approx(0.1, rel=0.1)
        spreads.append(float(seen.std()))
    assert spreads[1] / spreads[0] == pytest.approx(4, rel=0.15)


def test_matching_moves_edges_by_half_a_window_at_most() -> None:
    depth = torch.zeros(8, 60, 60)
    depth[:, 20:40, 20:40] = 600.0
    window = 6
    seen = StructuredLight(replace(EXACT, window_px=window))(depth, torch.Generator().manual_seed(2)) > 0
    assert bool(seen[:, 23:37, 23:37].all())
    grown = seen.clone()
    grown[:, 17:43, 17:43] = False
    assert not bool(grown.any())
    assert bool((seen != (depth > 0)).any())


def test_steep_surfaces_and_failing_blocks_are_lost() -> None:
    u = torch.arange(60.0)
    constant = EXACT.focal_px * EXACT.baseline_mm
    steep = (constant / (30 + 0.9 * u)).expand(2, 60, 60).contiguous()
    for limit, share in ((0.8, 0.9), (1.0, 0.0)):
        seen = StructuredLight(replace(EXACT, gradient_limit=limit))(steep, torch.Generator().manual_seed(3))
        assert float((seen == 0).float().mean()) == pytest.approx(share, abs=0.1)
    flat = torch.full((16, 60, 60), 600.0)
    failing = StructuredLight(replace(EXACT, failing=0.05))(flat, torch.Generator().manual_seed(4))
    assert float((failing == 0).float().mean()) == pytest.approx(0.05, abs=0.015)


def test_deterministic() -> None:
    sensor, depth = StructuredLight(StructuredLightConfig()), box_before_wall()
    first, again = (sensor(depth, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
