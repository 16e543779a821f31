"""Hands and other things: random solids have the shapes that they should have, and looks tell them from hands."""

import numpy as np
import pytest
import torch

from config import EXPERIMENTS
from dataloader.crop import HandCrop
from dataloader.other_things import OtherThings
from dataloader.rendered import RenderedHands
from predicting.looks import load_looks
from predicting.presence import SHIPPED_PRESENCE, PresenceReader
from predicting.sides import SHIPPED_SIDE
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from render.solids import near_side_mm, solids_mm
from util.errors import UserError
from util.streams import stream


def grid(size: int, reach_mm: float) -> tuple[torch.Tensor, torch.Tensor]:
    at = (torch.arange(size, dtype=torch.float64) + 0.5) / size * reach_mm - reach_mm / 2
    return at.expand(1, size, size), at[:, None].expand(1, size, size)


def test_a_turned_ellipsoid_and_a_turned_box_are_met_where_a_walk_along_the_ray_meets_them() -> None:
    x, y = grid(24, 120.0)
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=stream("test solids")))
    rotation = (q * q.det().sign())[None]
    centre, radii = torch.tensor([[6.0, -9.0, 15.0]]).double(), torch.tensor([[40.0, 22.0, 31.0]]).double()
    steps = torch.arange(-80.0, 80.0, 0.05, dtype=torch.float64)
    points = torch.stack(
        [
            x[..., None].expand(1, 24, 24, len(steps)),
            y[..., None].expand(1, 24, 24, len(steps)),
            steps.expand(1, 24, 24, -1),
        ],
        -1,
    )
    own = (points - centre[:, None, None, None]) @ rotation[:, None, None] / radii[:, None, None, None]
    for flat, inside in ((False, own.square().sum(-1) < 1), (True, own.abs().amax(-1) < 1)):
        met = torch.where(inside.any(-1), steps[inside.int().argmax(-1)], torch.inf)
        found = near_side_mm(x, y, centre, radii, rotation, torch.tensor([flat]))
        both = torch.isfinite(met) & torch.isfinite(found)
        assert both.sum() > 60 and (torch.isfinite(met) ^ torch.isfinite(found)).sum() <= 4  # grazing rays, half a step
        assert (met - found)[both].abs().max() < 0.06


def test_solids_are_drawn_again_by_the_same_generator_and_differ_by_another() -> None:
    first, again, other = (solids_mm(6, 32, 250.0, stream("solids", name)) for name in ("a", "a", "b"))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.isfinite(first).flatten(1).any(1).all() and (first[torch.isfinite(first)].abs() < 600).all()


def crops(hands: bool, n: int) -> HandCrop:
    experiment, layer = EXPERIMENTS["pretrain-sensor"], HandLayer(load_hand_model())
    drawn_by = layer, experiment.sampler, experiment.sensor, experiment.rendered
    generator = stream("test presence", n)
    return RenderedHands(*drawn_by).batch(n, generator).crop if hands else OtherThings(*drawn_by).batch(n, generator)


def test_looks_tell_hands_from_other_things() -> None:
    reader = PresenceReader()
    hands, things = crops(True, 96), crops(False, 96)
    yes, no = (reader(crop.depth) for crop in (hands, things))
    assert (yes > 0).float().mean() > 0.93 and (no < 0).float().mean() > 0.9
    assert torch.allclose(reader(hands.depth.flip(-1)), yes, atol=1e-4)


def test_weights_for_sides_are_told_from_these() -> None:
    with pytest.raises(UserError, match="does not tell hands from other things"):
        load_looks(SHIPPED_SIDE, "presence")
    with pytest.raises(UserError, match="does not tell right hands from left ones"):
        load_looks(SHIPPED_PRESENCE, "side")


def test_bare_arms_and_solids_have_a_hands_size() -> None:
    crop = crops(False, 64)
    area_mm2 = crop.foreground.flatten(1).float().mean(1).numpy() * crop.cube_mm[:, 0].numpy() ** 2
    assert np.median(area_mm2) > 2500 and (area_mm2 > 300).mean() > 0.9
