"""66 spheres that fill a hand: for collision, and to say which part of the hand a depth point belongs to.

One sphere at the wrist, 4 on each of the 5 wrist-to-knuckle bones (together 21, the palm), 3 on each of the 15 finger
bones (45). Radii come from the surface (DSF, Ren et al., TIP 2022, section on hand-model constraints).
"""

from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from render.hand_layer import HandLayer

N_PALM = 21
KNUCKLES = (1, 4, 7, 10, 13)
"""First joint of index, middle, pinky, ring, thumb."""
TIPS = (16, 17, 18, 19, 20)
THUMB = 4
"""Place of the thumb among the fingers."""
NEAREST = 10
"""A joint's radius is the mean of this many smallest distances to its regressor's vertices."""
TIP_SHRINK = 1.5
WRIST_LESS_MM = 6.25
RADIUS_RANGE_MM = (1.25, 50.0)


class HandSpheres(nn.Module):
    """Sphere centres and radii of posed hands, in whatever frame the joints and vertices are in.

    unit_mm, an argument of the methods, is that frame's unit: 1 for millimetres, half the cube for `xyz`.
    """

    pair_mask: Tensor
    support: Tensor
    blend: Tensor
    sphere_part: Tensor

    def __init__(self, layer: HandLayer) -> None:
        super().__init__()
        self.register_buffer("pair_mask", pair_mask(), persistent=False)
        self.register_buffer("support", (layer.joint_regressor > 0), persistent=False)
        self.register_buffer("blend", sphere_weights().to(layer.template.dtype), persistent=False)
        part = torch.zeros(N_PALM + 45, dtype=torch.long)
        part[N_PALM:] = torch.arange(45) // 3 + 1
        self.register_buffer("sphere_part", part, persistent=False)
        counts = self.support.sum(1).tolist()
        if min(counts) < 1:
            raise ValueError("a joint's regressor uses no vertex: its spheres have no radius")
        self._vertex_ids = [torch.nonzero(row).squeeze(1) for row in self.support]

    def centres(self, joints: Float[Tensor, "*batch 21 3"]) -> Float[Tensor, "*batch 66 3"]:
        """Centres on the bones between the 21 keypoints."""
        return self.blend.to(joints) @ joints

    def radii(
        self,
        joints: Float[Tensor, "*batch 21 3"],
        vertices: Float[Tensor, "*batch v 3"],
        unit_mm: float | Float[Tensor, "*batch 1"],
    ) -> Float[Tensor, "*batch 66"]:
        """Radii, interpolated along the bones between the joints' own."""
        own = []
        for joint, ids in enumerate(self._vertex_ids):
            distance = (vertices[..., ids.to(vertices.device), :] - joints[..., joint : joint + 1, :]).norm(dim=-1)
            nearest = distance.topk(min(NEAREST, len(ids)), -1, largest=False).values
            own.append(nearest.mean(-1))
        at_joints = torch.stack(own, -1)
        last = at_joints[..., [joint + 2 for joint in KNUCKLES]]
        wrist = at_joints[..., :1] - WRIST_LESS_MM / unit_mm
        at_joints = torch.cat([wrist, at_joints[..., 1:], last / TIP_SHRINK], -1)
        low, high = (torch.as_tensor(mm / unit_mm).to(joints) for mm in RADIUS_RANGE_MM)
        at_joints = torch.minimum(torch.maximum(at_joints, low), high)
        return at_joints @ self.blend.to(at_joints).T

    def penetration(
        self, centres: Float[Tensor, "*batch 66 3"], radii: Float[Tensor, "*batch 66"]
    ) -> Float[Tensor, "*batch"]:
        """Sum over ordered pairs that may not overlap of how far they do, divided by 66."""
        return self.overlaps(centres, radii).sum((-1, -2)) / len(self.sphere_part)

    def overlaps(
        self, centres: Float[Tensor, "*batch 66 3"], radii: Float[Tensor, "*batch 66"]
    ) -> Float[Tensor, "*batch 66 66"]:
        """Depth to which each pair that may not overlap does, 0 elsewhere."""
        gap = centres.unsqueeze(-2) - centres.unsqueeze(-3)
        # The square root has no gradient at 0, which every sphere's distance to itself is.
        distance = gap.square().sum(-1).add(1e-12).sqrt()
        return (radii.unsqueeze(-1) + radii.unsqueeze(-2) - distance).clamp_min(0) * self.pair_mask

    def label_points(
        self,
        points: Float[Tensor, "*batch p 3"],
        centres: Float[Tensor, "*batch 66 3"],
        radii: Float[Tensor, "*batch 66"],
    ) -> Int[Tensor, "*batch p"]:
        """Part of each point: that of the sphere whose surface is nearest; 0 palm, 1-15 the finger bones."""
        distance = torch.cdist(points, centres, compute_mode="use_mm_for_euclid_dist_if_necessary")
        return self.sphere_part[(distance - radii.unsqueeze(-2)).abs().argmin(-1)]


def sphere_weights() -> Float[Tensor, "66 21"]:
    """Rows of joint weights: sphere = weights @ joints, for centres and for radii."""
    weights = torch.zeros(N_PALM + 45, 21, dtype=torch.float64)
    weights[0, 0] = 1
    row = 1
    for knuckle in KNUCKLES:
        for step in range(1, 5):
            weights[row, 0], weights[row, knuckle] = 1 - step / 5, step / 5
            row += 1
    for knuckle, tip in zip(KNUCKLES, TIPS, strict=True):
        chain = (knuckle, knuckle + 1, knuckle + 2, tip)
        for near, far in pairwise(chain):
            for step in range(3):
                weights[row, near], weights[row, far] = 1 - step / 3, step / 3
                row += 1
    return weights


def pair_mask() -> Bool[Tensor, "66 66"]:
    """Which pairs of spheres must not overlap.

    Left out: pairs on one bone, on neighbouring bones of a finger, within the palm; a finger's first bone against the
    outermost sphere of its own palm bone; the thumb's first bone, and the first sphere of its second, against the palm.
    """
    finger = torch.full((N_PALM + 45,), -1)
    bone = torch.full((N_PALM + 45,), -1)
    finger[N_PALM:] = torch.arange(45) // 9
    bone[N_PALM:] = torch.arange(45) % 9 // 3
    palm = finger < 0
    same_finger = finger[:, None] == finger[None]
    mask = ~(same_finger & ((bone[:, None] - bone[None]).abs() <= 1))
    mask &= ~(palm[:, None] & palm[None])
    for k in range(5):
        first = torch.arange(N_PALM + 9 * k, N_PALM + 9 * k + 3)
        mask[first, 4 * (k + 1)] = mask[4 * (k + 1), first] = False
    for sphere in range(N_PALM + 9 * THUMB, N_PALM + 9 * THUMB + 4):
        mask[sphere, :N_PALM] = mask[:N_PALM, sphere] = False
    return mask
