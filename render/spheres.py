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
    ring_ids: Tensor
    padding: Tensor
    ring_of: Tensor
    shrink: Tensor
    less_mm: Tensor
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
        rings = [torch.nonzero(row).squeeze(1) for row in self.support]
        if min(map(len, rings)) < 1:
            raise ValueError("a joint's regressor uses no vertex: its spheres have no radius")
        ring_ids = nn.utils.rnn.pad_sequence(rings, batch_first=True, padding_value=-1)
        self.register_buffer("ring_ids", ring_ids.clamp_min(0), persistent=False)
        self.register_buffer("padding", ring_ids < 0, persistent=False)
        # The finger tips have no ring of their own: theirs is that of the finger's last joint, shrunk.
        ring_of = torch.cat([torch.arange(len(rings)), torch.tensor([joint + 2 for joint in KNUCKLES])])
        self.register_buffer("ring_of", ring_of, persistent=False)
        shrink = torch.ones(len(ring_of), dtype=self.blend.dtype)
        less_mm = torch.zeros_like(shrink)
        shrink[list(TIPS)], less_mm[0] = TIP_SHRINK, WRIST_LESS_MM
        self.register_buffer("shrink", shrink, persistent=False)
        self.register_buffer("less_mm", less_mm, persistent=False)

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
        rings = vertices.index_select(-2, self.ring_ids.flatten()).unflatten(-2, self.ring_ids.shape)
        distance = (rings - joints[..., : len(self.ring_ids), None, :]).norm(dim=-1)
        # Rings of few vertices are padded by NaN: it sorts behind all numbers, and means leave it out.
        distance = distance.masked_fill(self.padding, torch.nan)
        own = distance.topk(min(NEAREST, distance.shape[-1]), -1, largest=False).values.nanmean(-1)
        at_joints = own.index_select(-1, self.ring_of) / self.shrink.to(own) - self.less_mm.to(own) / unit_mm
        low, high = (mm / unit_mm for mm in RADIUS_RANGE_MM)
        at_joints = at_joints.clamp(low, high)  # type: ignore[arg-type]  (two numbers or two tensors)
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
        # Not by a matrix product: that loses digits where spheres are close. Its gradient is 0 at 0, the distance of
        # every sphere to itself.
        distance = torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")
        return (radii.unsqueeze(-1) + radii.unsqueeze(-2) - distance).clamp_min(0) * self.pair_mask

    @torch.no_grad()
    def label_points(
        self,
        points: Float[Tensor, "*batch p 3"],
        centres: Float[Tensor, "*batch 66 3"],
        radii: Float[Tensor, "*batch 66"],
    ) -> Int[Tensor, "*batch p"]:
        """Part of each point: that of the sphere whose surface is nearest; 0 palm, 1-15 the finger bones."""
        distance = torch.cdist(points, centres, compute_mode="use_mm_for_euclid_dist_if_necessary")
        # in place, and least with its index: several passes over millions of numbers less
        return self.sphere_part[distance.sub_(radii.unsqueeze(-2)).abs_().min(-1).indices]


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
