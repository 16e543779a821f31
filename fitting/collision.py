"""Overlaps of a hand's collision spheres, and how they change with the pose.

Knuckles overlap in every hand, so that a pair may be as deep as it is in the open hand at rest, and no more counts.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from render.hand_layer import HandLayer
from render.spheres import HandSpheres

PAIRS = 12
"""Deepest overlaps that a step looks at."""


class HandCollisions:
    """Collision spheres of one shaped hand, millimetres."""

    def __init__(self, layer: HandLayer, shape: Float[Tensor, "10"], size: Float[Tensor, ""]) -> None:
        self.spheres = HandSpheres(layer).to(shape.device)
        still = layer.coefficients(torch.zeros(15, 3).to(shape))
        mesh = layer(torch.zeros(3).to(shape), still, shape)
        joints, vertices = 1000 * size * mesh.joints_m, 1000 * size * mesh.vertices_m
        self.radii_mm = self.spheres.radii(joints, vertices, 1.0)
        self.usual_mm = self.spheres.overlaps(self.spheres.centres(joints), self.radii_mm)
        self.first, self.second = self.spheres.pair_mask.triu().nonzero().unbind(1)
        self.blend = self.spheres.blend.to(shape)

    def depth(
        self, joints_mm: Float[Tensor, "n 21 3"], vertices_mm: Float[Tensor, "n v 3"] | None = None
    ) -> Float[Tensor, " n"]:
        """How deep the worst pair of each hand is, beyond the usual; radii of the posed surface where it is given."""
        radii = self.radii_mm if vertices_mm is None else self.spheres.radii(joints_mm, vertices_mm, 1.0)
        overlaps = self.spheres.overlaps(self.spheres.centres(joints_mm), radii.expand(len(joints_mm), -1))
        return (overlaps - self.usual_mm).flatten(1).amax(1).clamp_min(0)

    def pushes(
        self, points_mm: Float[Tensor, "n 3 21"], jacobian: Float[Tensor, "n d 3 21"], touch_mm: float
    ) -> tuple[Float[Tensor, "n pairs"], Float[Tensor, "n d pairs"]]:
        """How deep the deepest pairs are beyond the usual and a touch, 0 where they are not, and by each unknown."""
        centres = points_mm @ self.blend.T
        apart = centres[..., self.first] - centres[..., self.second]  # (n, 3, pairs)
        distance = apart.square().sum(1).sqrt()
        reach = (self.radii_mm[self.first] + self.radii_mm[self.second]) - touch_mm
        deep, chosen = (reach - self.usual_mm[self.first, self.second] - distance).topk(PAIRS, -1)
        along = apart.gather(2, chosen.unsqueeze(1).expand(-1, 3, -1))
        along = along / distance.gather(1, chosen).clamp_min(1e-3).unsqueeze(1) * (deep > 0).unsqueeze(1)
        hold = (self.blend[self.first] - self.blend[self.second])[chosen].mT  # (n, 21, pairs)
        spread = along.unsqueeze(2) * hold.unsqueeze(1)  # (n, 3, 21, pairs)
        return deep.clamp_min(0), -(jacobian.flatten(2) @ spread.flatten(1, 2))
