"""A forearm on the wrist of a posed hand: a bent, tapered tube of elliptic section, as real arms go on."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from config import ForearmConfig
from render.hand_layer import HandLayer
from util import draws
from util.draws import Draws

SECTIONS = 7
"""Rings of the tube after the wrist ring."""
CROWDING = 1.6
"""Sections lie at (k / SECTIONS) ** CROWDING of the length: closer together near the wrist, where the shape changes."""
BEND_MM = 45.0
"""Length over which the tube takes up the bend of the wrist, and the wrist ring's shape turns into the ellipse."""
CUFF_MM = 8.0
"""Length over which a sleeve opens."""


class Forearm:
    """Adds a random forearm to hands of one layer.

    The tube starts at the hand's own wrist ring, so no gap can open; its direction is the normal of the ring, away
    from the hand. `faces` index the vertices that `attach` returns; the hand's own faces come first, unchanged.
    """

    faces: Int[Tensor, "f 3"]

    def __init__(self, layer: HandLayer, config: ForearmConfig) -> None:
        self.config = config
        self.ring = layer.wrist_ring
        n, first = len(self.ring), layer.weights.shape[0]
        ids = torch.cat([self.ring, first + torch.arange(SECTIONS * n, device=self.ring.device)]).view(SECTIONS + 1, n)
        a, b = ids[:-1], ids[:-1].roll(-1, 1)
        c, d = ids[1:], ids[1:].roll(-1, 1)
        tube = torch.stack([torch.stack([b, a, c], -1), torch.stack([b, c, d], -1)], 2).view(-1, 3)
        end = torch.full_like(self.ring, first + SECTIONS * n)
        cap = torch.stack([ids[-1].roll(-1), ids[-1], end], -1)
        own = torch.cat([tube, cap]) if layer.side == "right" else torch.cat([tube, cap]).flip(1)
        self.faces = torch.cat([layer.faces, own])
        at_rest = layer.template[self.ring]
        apart = torch.cdist(at_rest, at_rest).flatten().argmax()
        self.widest = int(apart) // n, int(apart) % n

    def attach(self, vertices_mm: Float[Tensor, "b v 3"], generator: Draws) -> Float[Tensor, "b w 3"]:
        """Hand vertices -> hand and forearm vertices, mm, same frame; a hand without forearm gets one of no length.

        generator: CPU. Output: v hand vertices, SECTIONS x ring vertices of the tube, one that closes its end.
        """
        config, b = self.config, len(vertices_mm)
        drawn = draws.rand(generator, b, 9).to(vertices_mm)
        within = [
            low + (high - low) * drawn[:, k]
            for k, (low, high) in enumerate(
                (
                    config.length_mm,
                    config.width,
                    config.thickness,
                    config.taper,
                    config.sleeve_at_mm,
                    config.sleeve_width,
                )
            )
        ]
        length, width, thickness, taper, sleeve_at, sleeve_width = within
        length = length * (drawn[:, 6] < config.chance)
        sleeve = (sleeve_width - 1) * (drawn[:, 7] < config.sleeve)
        bend = draws.randn(generator, b, 2).clamp(-2, 2).to(vertices_mm)
        bend = torch.deg2rad(bend * bend.new_tensor([config.flexion_deg, config.deviation_deg]))

        ring = vertices_mm[:, self.ring]
        centre, frame = self._wrist_frame(vertices_mm, ring)
        local = (ring - centre[:, None]) @ frame  # (b, n, 3): across, through, along
        radius = local[..., :2].norm(dim=-1).mean(1)
        angle = torch.atan2(local[..., 1], local[..., 0])

        at = (torch.arange(1, SECTIONS + 1, device=ring.device) / SECTIONS) ** CROWDING * length[:, None]  # (b, k) mm
        ease = _smoothstep(at / BEND_MM)
        grow = 1 + taper[:, None] * at / 100 + sleeve[:, None] * _smoothstep((at - sleeve_at[:, None]) / CUFF_MM)
        half = torch.stack([width, thickness], -1)[:, None, None] * radius[:, None, None, None]
        ellipse = half * torch.stack([angle.cos(), angle.sin()], -1)[:, None]
        section = torch.lerp(local[:, None, :, :2], ellipse, ease[..., None, None]) * grow[..., None, None]
        offset = torch.cat([section, (1 - ease)[..., None, None] * local[:, None, :, 2:]], -1)  # (b, k, n, 3)

        turn = _turned(frame, bend[:, None] * ease[..., None])  # (b, k, 3, 3)
        steps = torch.diff(at, dim=1, prepend=at.new_zeros(b, 1))
        middle = centre[:, None] + (turn[..., 2] * steps[..., None]).cumsum(1)
        tube = middle[:, :, None] + offset @ turn.transpose(-1, -2)
        return torch.cat([vertices_mm, tube.flatten(1, 2), middle[:, -1:]], 1)

    def _wrist_frame(self, vertices_mm: Tensor, ring: Tensor) -> tuple[Tensor, Tensor]:
        """Ring centre (b, 3) and axes as columns (b, 3, 3): across the wrist, through it, along the forearm."""
        centre = ring.mean(1)
        spokes = ring - centre[:, None]
        along = torch.linalg.cross(spokes, spokes.roll(-1, 1)).sum(1)
        outward = ((centre - vertices_mm.mean(1)) * along).sum(-1, keepdim=True)
        along = torch.nn.functional.normalize(along * outward.sign(), dim=-1)
        across = ring[:, self.widest[1]] - ring[:, self.widest[0]]
        across = torch.nn.functional.normalize(across - (across * along).sum(-1, keepdim=True) * along, dim=-1)
        return centre, torch.stack([across, torch.linalg.cross(along, across), along], -1)


def _smoothstep(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def _turned(frame: Tensor, angles: Tensor) -> Tensor:
    """Frames (b, 3, 3) turned about their first axis (flexion), then their second; angles (b, k, 2), rad."""
    (sf, sd), (cf, cd) = angles.sin().unbind(-1), angles.cos().unbind(-1)
    one, nil = torch.ones_like(sf), torch.zeros_like(sf)
    flexion = torch.stack([one, nil, nil, nil, cf, -sf, nil, sf, cf], -1).unflatten(-1, (3, 3))
    deviation = torch.stack([cd, nil, sd, nil, one, nil, -sd, nil, cd], -1).unflatten(-1, (3, 3))
    return frame[:, None] @ flexion @ deviation
