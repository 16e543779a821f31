"""Part the fingers of a hand that overlap: collision spheres push each other, the pushes turn the joints.

Each overlap is a force along the line between two spheres; its torque on a joint moves the joint's angles. That is
gradient descent on half the sum of squared overlaps, in closed form (a transposed Jacobian), scaled by the levers.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from render.anatomy import FLEXION, SPREAD, Anatomy, clamp_to_limits, turn_axes
from render.hand_layer import HandLayer
from render.spheres import N_PALM, HandSpheres

STEPS = (0.3,) * 5 + (0.8,) * 4
"""Share of an overlap that each step would remove if one joint acted alone; gentle first: tips keep touching."""
_SLACK_M = 5e-4
_WEB = (
    (0.6, 0.8, 0.3, 0.75),
    (0.6, 0.8, 0.5, 0.75),
    (0.6, 0.8, 0.7, 0.75),
    (0.75, 0.8, 0.5, 0.6),
    (0.75, 0.8, 0.7, 0.6),
)
"""Spheres of the web between index and thumb: how far along the index's metacarpal, along the thumb's, from the first
to the second, and the size against the palm's sphere next to the index's knuckle. They lie inside most postures."""
_FIXED = len(_WEB) + N_PALM
"""Spheres of web and palm, which come before those of the fingers and are not pushed."""
_INDEX_PALM = 4
"""The sphere of the palm next to the index's knuckle."""
_LAST = [N_PALM + 9 * finger + 8 for finger in range(5)]
"""The last sphere of each finger: it ends short of the tip, so that another is added there for the check."""
_TIP_AT, _TIP_SIZE = 0.85, 0.9
"""Where on the last bone that sphere lies, and its size against the one before."""
_HINGE_GIVE = 0.15
"""Twist, and the sideways angle of hinge joints, give way this much less readily than flexion."""


class Untangler:
    """Collision check and repair on joints alone, without posing the surface."""

    def __init__(self, layer: HandLayer, anatomy: Anatomy, touch_mm: float) -> None:
        self.anatomy = anatomy
        self._layer = layer
        self._spheres = HandSpheres(layer)
        self._blend, pairs, self._moves = _more_spheres(self._spheres, anatomy.rest_joints)
        straight = torch.zeros(1, 15, 3, dtype=anatomy.rest.dtype)
        straight[:, 12, :2] = torch.tensor([0.4, 0.8])
        # Knuckles and webs overlap in every hand: what a flat hand does is allowed, and `touch_mm` more.
        shape = torch.zeros(1, 10, dtype=straight.dtype)
        radii = self.radii(shape)
        bare = _reach(radii)
        usual = torch.maximum(
            _overlap(self._centres(straight, shape), bare), _overlap(self._centres(anatomy.rest[None], shape), bare)
        ).squeeze(0)
        # Pairs that may touch as they like get an allowance larger than any hand.
        self._allowed = torch.where(pairs[_FIXED:], usual + touch_mm / 1000, torch.ones(()))
        give = torch.full((15, 3), _HINGE_GIVE)
        give[:, FLEXION] = 1.0
        give[::3, SPREAD] = 1.0
        self._give = give

    def radii(self, shape: Float[Tensor, "n 10"]) -> Float[Tensor, "n 76"]:
        """Sphere radii of shaped hands at rest, metres."""
        layer = self._layer
        vertices = layer.template + (shape @ layer.shapedirs).unflatten(-1, (-1, 3))
        joints = self.anatomy.rest_joints + (shape @ self.anatomy.shape_joints).unflatten(-1, (21, 3))
        radii = self._spheres.radii(joints, vertices, 1000.0)
        web = radii[:, _INDEX_PALM : _INDEX_PALM + 1] * torch.tensor([size for *_, size in _WEB])
        return torch.cat([web, radii, _TIP_SIZE * radii[:, _LAST]], -1)

    def free(
        self, angles: Float[Tensor, "n 15 3"], shape: Float[Tensor, "n 10"], radii: Float[Tensor, "n 76"]
    ) -> Bool[Tensor, "n"]:
        """Whether no pair of spheres overlaps by more than allowed, half a millimetre of slack aside."""
        overlap = _overlap(self._centres(angles, shape), _reach(radii) - self._allowed)
        return overlap.flatten(1).amax(1) <= _SLACK_M

    def untangle(
        self, angles: Float[Tensor, "n 15 3"], shape: Float[Tensor, "n 10"], radii: Float[Tensor, "n 76"]
    ) -> tuple[Float[Tensor, "n 15 3"], Bool[Tensor, "n"]]:
        """Angles with overlaps pushed apart, within limits, and which hands ended free."""
        angles = angles.clone()
        todo, reach = torch.arange(len(angles)), _reach(radii) - self._allowed
        for share in STEPS:
            overlap = _overlap(self._centres(angles[todo], shape[todo]), reach)
            stuck = overlap.flatten(1).amax(1) > _SLACK_M
            todo, reach, overlap = todo[stuck], reach[stuck], overlap[stuck]
            if not len(todo):
                break
            step = self._step(angles[todo], shape[todo], overlap, reach)
            angles[todo] = clamp_to_limits(angles[todo] + share * step)
        free = torch.ones(len(angles), dtype=torch.bool)
        if len(todo):
            free[todo] = self.free(angles[todo], shape[todo], radii[todo])
        return angles, free

    def _centres(self, angles: Tensor, shape: Tensor) -> Tensor:
        return self._blend @ self.anatomy.keypoints(self.anatomy.rotations(angles), shape)

    def _step(self, angles: Tensor, shape: Tensor, overlap: Tensor, reach: Tensor) -> Tensor:
        """Change of the angles (n, 15, 3) that these overlaps (n, 50 finger spheres, 76 spheres) ask for."""
        anatomy = self.anatomy
        rotations = anatomy.rotations(angles)
        keypoints = anatomy.keypoints(rotations, shape)
        everything = self._blend @ keypoints
        centres = everything[:, _FIXED:]
        distance = (reach - overlap).clamp_min(1e-4)  # where there is an overlap; elsewhere the pull is 0 anyway
        pull = overlap / distance
        force = centres * pull.sum(-1, keepdim=True) - pull @ everything  # away from whatever is too near
        pressed = (overlap.amax(-1, keepdim=True) > 0).to(centres.dtype)

        axes = self._axes(angles, rotations)  # (n, 15 joints, 3 angles, xyz)
        # Sums over the spheres that a joint moves, of (centre - joint) x force and |centre - joint|^2, multiplied out.
        pivots, moves = keypoints[:, 1:16], self._moves
        torque = moves @ torch.linalg.cross(centres, force) - torch.linalg.cross(pivots, moves @ force)
        powers = torch.cat([centres.square().sum(-1, keepdim=True), centres, torch.ones_like(pressed)], -1)
        weighed = moves @ (powers * pressed)
        lever = weighed[..., :1] - 2 * (pivots * weighed[..., 1:4]).sum(-1, keepdim=True)
        lever = lever + pivots.square().sum(-1, keepdim=True) * weighed[..., 4:]
        step = (axes @ torque.unsqueeze(-1)).squeeze(-1) / lever.clamp_min(1e-4) * self._give
        return step.clamp(-0.25, 0.25)

    def _axes(self, angles: Tensor, rotations: Tensor) -> Tensor:
        """World axes about which each joint's flexion, spread and twist turn (rows), root unturned."""
        in_parent = turn_axes(angles) @ self.anatomy.frames.mT
        parents = rotations.unflatten(1, (5, 3))
        first = parents[:, :, 0]
        turned = torch.stack([torch.eye(3).expand_as(first), first, first @ parents[:, :, 1]], 2)
        return in_parent @ turned.flatten(1, 2).mT


def _reach(radii: Tensor) -> Tensor:
    """Distance (n, 50, 76) at which the spheres of fingers and all spheres touch."""
    return radii[:, _FIXED:].unsqueeze(-1) + radii.unsqueeze(-2)


def _overlap(centres: Tensor, reach: Tensor) -> Tensor:
    """How much nearer than their reach spheres of fingers are to all spheres, (n, 50, 76)."""
    distance = torch.cdist(centres[:, _FIXED:], centres, compute_mode="donot_use_mm_for_euclid_dist")
    return (reach - distance).clamp_min(0)


def _more_spheres(spheres: HandSpheres, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centres from keypoints (76, 21), pairs that must not overlap (76, 76), finger spheres a joint moves (15, 50).

    Five spheres fill the web between index and thumb, which the 66 leave open, and one each the finger tips. A joint
    moves the spheres of its own bone, but for the one on the joint, and those of the bones beyond.
    """
    web, tips = torch.zeros(len(_WEB), 21).to(like), torch.zeros(len(_LAST), 21).to(like)
    for row, (index, thumb, share, _) in zip(web, _WEB, strict=True):
        row[0], row[1] = (1 - share) * (1 - index), (1 - share) * index
        row[13], row[14] = share * (1 - thumb), share * thumb
    moves = torch.zeros(15, N_PALM + 45).to(like)
    for finger in range(len(_LAST)):
        tips[finger, 3 + 3 * finger], tips[finger, 16 + finger] = 1 - _TIP_AT, _TIP_AT
        first = N_PALM + 9 * finger
        for bone in range(3):
            moves[3 * finger + bone, first + 3 * bone + 1 : first + 9] = 1
    # A sphere added may touch what the one it is like may touch; the web, the thumb too.
    alike = [*[_INDEX_PALM] * len(_WEB), *range(N_PALM + 45), *_LAST]
    pairs = spheres.pair_mask[alike][:, alike]
    of_thumb = torch.tensor([sphere >= N_PALM + 36 for sphere in alike])
    pairs[: len(_WEB), of_thumb] = pairs[of_thumb, : len(_WEB)] = False
    blend = torch.cat([web, spheres.blend.to(like), tips])
    return blend, pairs, moves[:, alike[_FIXED:]]
