"""The forearm continues the hand's own wrist, whatever the hand does."""

from collections import Counter
from dataclasses import replace
from typing import Literal

import pytest
import roma
import torch
from torch import Tensor

from config import ForearmConfig
from render.forearm import Forearm
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model

STRAIGHT = ForearmConfig(
    chance=1.0, length_mm=(100.0, 100.0), taper=(0.0, 0.0), flexion_deg=0.0, deviation_deg=0.0, sleeve=0.0
)


def layer(side: Literal["right", "left"] = "right") -> HandLayer:
    return HandLayer(load_hand_model(), side)


def posed(hand: HandLayer, n: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    rotation = roma.unitquat_to_rotvec(torch.nn.functional.normalize(torch.randn(n, 4, generator=generator), dim=-1))
    pose, shape = 0.3 * torch.randn(n, 45, generator=generator), torch.randn(n, 10, generator=generator)
    return hand(rotation, pose, shape).vertices_m * 1000 + torch.tensor([0.0, 0.0, 600.0])


def attached(hand: HandLayer, config: ForearmConfig, seed: int = 0) -> tuple[Forearm, Tensor]:
    forearm = Forearm(hand, config)
    return forearm, forearm.attach(posed(hand), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("side", ["right", "left"])
def test_hand_and_forearm_are_one_closed_surface(side: Literal["right", "left"]) -> None:
    hand = layer(side)
    forearm, vertices = attached(hand, STRAIGHT)
    fan = (hand.faces == len(hand.template)).any(1).nonzero()[:, 0]
    assert torch.equal(forearm.faces[: len(hand.faces)], hand.faces)
    kept = torch.ones(len(forearm.faces), dtype=torch.bool)
    kept[fan] = False  # inside the arm
    outer = forearm.faces[kept]
    edges = Counter((int(a), int(b)) for face in outer for a, b in zip(face, face.roll(-1), strict=True))
    assert set(edges.values()) == {1}, "each edge once in each direction: no gap, one orientation"
    assert all((b, a) in edges for a, b in edges)
    assert int(forearm.faces.max()) == vertices.shape[1] - 1
    a, b, c = (vertices - vertices.mean(1, keepdim=True))[:, outer].unbind(2)
    assert bool(((torch.linalg.cross(a, b) * c).sum((1, 2)) > 0).all()), "triangles look outwards"


def test_the_hand_stays_and_the_arm_leaves_it_straight_away_from_the_fingers() -> None:
    hand = layer()
    _, vertices = attached(hand, STRAIGHT)
    before = posed(hand)
    assert torch.equal(vertices[:, : before.shape[1]], before)
    ring, end = before[:, hand.wrist_ring].mean(1), vertices[:, -1]
    assert (end - ring).norm(dim=1) == pytest.approx(torch.full((len(end),), 100.0), rel=1e-4)
    away = torch.nn.functional.normalize(ring - before.mean(1), dim=1)
    assert bool(((end - ring) / 100 * away).sum(1).gt(0.7).all())


def test_section_width_thickness_taper_and_sleeve() -> None:
    hand = layer()
    ring = posed(hand)[:, hand.wrist_ring]
    for config, factor in (
        (replace(STRAIGHT, width=(1.2, 1.2), thickness=(0.8, 0.8)), 1.0),
        (replace(STRAIGHT, width=(1.2, 1.2), thickness=(0.8, 0.8), taper=(0.3, 0.3)), 1.3),
        (
            replace(
                STRAIGHT,
                width=(1.2, 1.2),
                thickness=(0.8, 0.8),
                sleeve=1.0,
                sleeve_width=(1.5, 1.5),
                sleeve_at_mm=(50.0, 50.0),
            ),
            1.5,
        ),
    ):
        _, vertices = attached(hand, config)
        section = vertices[:, -1 - len(hand.wrist_ring) : -1] - vertices[:, -1:]
        size = section.norm(dim=-1)
        across = (vertices[:, -1] - ring.mean(1)) / 100
        radius = (ring - ring.mean(1, keepdim=True)).norm(dim=-1).mean(1)
        assert float((section * across[:, None]).sum(-1).abs().max()) < 0.1, "a plane section across the arm"
        widest, thinnest = size.amax(1) / radius / factor, size.amin(1) / radius / factor
        assert float((widest - 1.2).abs().max()) < 0.1
        assert float((thinnest - 0.8).abs().max()) < 0.1


def test_bend_is_smooth_and_bounded() -> None:
    hand = layer()
    forearm, vertices = attached(
        hand, replace(STRAIGHT, length_mm=(200.0, 200.0), flexion_deg=20.0, deviation_deg=10.0)
    )
    n = len(hand.wrist_ring)
    rings = vertices[:, 779:-1].unflatten(1, (-1, n)).mean(2)
    steps = torch.nn.functional.normalize(rings.diff(dim=1), dim=-1)
    turned = torch.rad2deg(torch.acos((steps[:, 1:] * steps[:, :-1]).sum(-1).clamp(-1, 1)))
    whole = torch.rad2deg(torch.acos((steps[:, -1] * steps[:, 0]).sum(-1).clamp(-1, 1)))
    assert float(turned[:, -1].max()) < 0.1, "straight behind the wrist"
    assert float(whole.max()) < 46
    assert float(whole.max()) > 5
    assert forearm.widest[0] != forearm.widest[1]


def test_no_forearm_is_one_of_no_length() -> None:
    hand = layer()
    _, vertices = attached(hand, replace(STRAIGHT, chance=0.0))
    ring = posed(hand)[:, hand.wrist_ring]
    assert torch.allclose(vertices[:, -1], ring.mean(1), atol=1e-3)
    section = vertices[:, 779:-1].unflatten(1, (-1, len(hand.wrist_ring)))
    assert torch.allclose(section, ring[:, None].expand_as(section), atol=1e-2)


def test_drawn_anew_and_repeatable() -> None:
    hand = layer()
    (_, first), (_, again), (_, other) = (attached(hand, ForearmConfig(), seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    lengths = (first[:, -1] - first[:, hand.wrist_ring].mean(1)).norm(dim=1)
    assert float(lengths.max()) <= 250.1
    assert len(lengths.round().unique()) > 3
