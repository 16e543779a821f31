"""Anatomical angles of a hand -> joint rotations: flexion, spread and twist of each joint in its own finger's frame.

Angles are absolute, not offsets from a model's rest pose: 0 is a straight finger in the palm's plane, parallel to the
middle finger at rest, so that a posture means the same on every hand model. Each finger has its own flexion axis (one
axis shared by all fingers would make them collide), derived from where the model's joints lie at rest.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from render.hand_layer import HandLayer

FINGERS = ("index", "middle", "pinky", "ring", "thumb")
"""Fingers in the order of the joints: finger f has joints 1 + 3 f to 3 + 3 f, base first."""

FLEXION, SPREAD, TWIST = 0, 1, 2

_FREE_TWIST = (-8.0, 8.0)
_FINGER = (
    ((-25.0, 92.0), (-28.0, 24.0), _FREE_TWIST),
    ((-8.0, 112.0), (-4.0, 4.0), (-4.0, 4.0)),
    ((-10.0, 82.0), (-4.0, 4.0), (-4.0, 4.0)),
)
_THUMB = (
    ((-5.0, 75.0), (-25.0, 60.0), (-50.0, 15.0)),
    ((-15.0, 65.0), (-12.0, 12.0), (-10.0, 10.0)),
    ((-25.0, 85.0), (-4.0, 4.0), (-4.0, 4.0)),
)
JOINT_LIMITS_DEG = (*_FINGER, *_FINGER, *_FINGER, *_FINGER, *_THUMB)
"""(low, high) of flexion, spread and twist of joints 1-15, degrees.

Fingers: base (MCP), PIP, DIP; spread is positive towards the thumb. Thumb: carpometacarpal, MCP, IP; the flexion of its
base is how far it leaves the palm's plane, its spread how far it points away from the fingers, its negative twist is
opposition. Active ranges after Kapandji, The Physiology of the Joints, vol. 1, and Lin, Wu, Huang, Modeling
the Constraints of Human Hand Motion, 2000."""


def joint_limits(device: torch.device | None = None) -> Float[Tensor, "15 3 2"]:
    """`JOINT_LIMITS_DEG` in radians."""
    return torch.tensor(JOINT_LIMITS_DEG, device=device).deg2rad()


def spread_room(mcp_flexion: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Share of its spread that a finger keeps at this flexion (radians) of its base: 1 straight, 0.35 at 90 degrees."""
    return 1.0 - 0.65 * (mcp_flexion / (torch.pi / 2)).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Anatomy:
    """Frames and rest angles of one hand model."""

    frames: Float[Tensor, "15 3 3"]
    """Columns: forward along the finger, towards the thumb side, towards the back of the finger; orthonormal."""
    rest: Float[Tensor, "15 3"]
    """Flexion and spread of the model's rest pose, radians; its twist is 0 by definition."""
    rest_joints: Float[Tensor, "21 3"]
    """16 joints and 5 tips of the unshaped hand, metres."""
    shape_joints: Float[Tensor, "10 63"]
    """Metres by which a unit of shape moves them."""

    @staticmethod
    def of(layer: HandLayer) -> "Anatomy":
        """Measure a hand model at rest; works for any model with the joint order of `FINGERS`."""
        template = layer.template.detach()
        directions = layer.shapedirs.detach().unflatten(-1, (-1, 3))
        points = _keypoints(layer, template)
        frames, rest = _frames(points)
        return Anatomy(frames, rest, points, _keypoints(layer, directions).flatten(-2))

    def rotations(self, angles: Float[Tensor, "*batch 15 3"]) -> Float[Tensor, "*batch 15 3 3"]:
        """Joint rotations, world-aligned at rest, that bring the rest pose to these angles (radians)."""
        wanted = turn(angles)
        at_rest = turn(self.rest)
        return self.frames @ wanted @ at_rest.mT @ self.frames.mT

    def keypoints(
        self, rotations: Float[Tensor, "*batch 15 3 3"], shape: Float[Tensor, "*batch 10"]
    ) -> Float[Tensor, "*batch 21 3"]:
        """21 keypoints of a posed hand in metres without its surface; tips move rigidly with their last joint.

        Agrees with the hand layer within a few millimetres, which regresses joints from the posed surface instead.
        """
        points = self.rest_joints + (shape @ self.shape_joints).unflatten(-1, (21, 3))
        root, joints, tips = points[..., :1, :], points[..., 1:16, :].unflatten(-2, (5, 3)), points[..., 16:, :]
        turns = rotations.unflatten(-3, (5, 3))
        ends = torch.cat([joints[..., 1:, :], tips.unsqueeze(-2)], -2)
        bones = (ends - joints).unsqueeze(-1)
        world, position, placed = turns[..., 0, :, :], joints[..., 0, :], [joints[..., 0, :]]
        for level in range(3):
            position = position + (world @ bones[..., level, :, :]).squeeze(-1)
            placed.append(position)
            if level < 2:
                world = world @ turns[..., level + 1, :, :]
        chain = torch.stack(placed, -2)
        return torch.cat([root, chain[..., :3, :].flatten(-3, -2), chain[..., 3, :]], -2)


def within_limits(angles: Float[Tensor, "*batch 15 3"], slack: float = 1e-4) -> Bool[Tensor, "*batch"]:
    """Whether every angle (radians) respects its limits, and each finger's spread the room its flexion leaves."""
    return ((clamp_to_limits(angles) - angles).abs() <= slack).flatten(-2).all(-1)


def clamp_to_limits(angles: Float[Tensor, "*batch 15 3"]) -> Float[Tensor, "*batch 15 3"]:
    """The nearest angles within the limits; spread is cut to the room that the finger's flexion leaves."""
    limits = joint_limits(angles.device).to(angles.dtype)
    angles = angles.clamp(limits[..., 0], limits[..., 1])
    base = angles[..., :12:3, :]
    room = spread_room(base[..., FLEXION])
    low, high = limits[:12:3, SPREAD, 0] * room, limits[:12:3, SPREAD, 1] * room
    out = angles.clone()
    out[..., :12:3, SPREAD] = base[..., SPREAD].clamp(low, high)
    return out


def turn(angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation in a joint's own frame: twist about forward, then flexion (forward to palm side), then spread."""
    (cf, cs, ct), (sf, ss, st) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    # Columns of Rz(spread) Ry(flexion) Rx(twist) with axes x forward, y thumb side, z back.
    entries = [
        cs * cf, cs * sf * st - ss * ct, cs * sf * ct + ss * st,
        ss * cf, ss * sf * st + cs * ct, ss * sf * ct - cs * st,
        -sf, cf * st, cf * ct,
    ]  # fmt: skip
    return torch.stack(entries, -1).unflatten(-1, (3, 3))


def turn_axes(angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rows: the axes about which flexion, spread and twist turn what hangs from the joint, in the joint's own frame."""
    cs, ss = angles[..., SPREAD].cos(), angles[..., SPREAD].sin()
    cf, sf = angles[..., FLEXION].cos(), angles[..., FLEXION].sin()
    zero, one = torch.zeros_like(cs), torch.ones_like(cs)
    return torch.stack([-ss, cs, zero, zero, zero, one, cs * cf, ss * cf, -sf], -1).unflatten(-1, (3, 3))


def _keypoints(layer: HandLayer, vertices: Tensor) -> Tensor:
    return torch.cat([layer.joint_regressor @ vertices, vertices[..., layer.tip_vertex_ids, :]], -2)


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm(dim=-1, keepdim=True)


def _frame(forward: Tensor, back: Tensor) -> Tensor:
    """Columns forward, towards the thumb side (right hand), back; forward is kept, back made orthogonal to it."""
    forward = _unit(forward)
    back = _unit(back - (back * forward).sum() * forward)
    return torch.stack([forward, torch.linalg.cross(back, forward), back], -1)


def _frames(points: Tensor) -> tuple[Tensor, Tensor]:
    """Frames (15, 3, 3) and rest angles (15, 3) from keypoints at rest.

    The palm's plane holds the middle metacarpal and the line from the pinky's knuckle to the index's; forward is where
    the middle finger points in it. A finger's joints bend in the plane through its own bone and the palm's normal. The
    thumb's nail looks to the thumb side of the palm, so its last two joints bend about the axis orthogonal to that:
    across the palm. What the last two joints of a finger turn sideways at rest is the model's shape, not an angle.
    """
    back = _unit(torch.linalg.cross(points[4] - points[0], points[1] - points[7]))
    middle = points[5] - points[4]
    palm = _frame(middle - (middle * back).sum() * back, back)
    side, back = palm[:, 1], palm[:, 2]
    frames, rest = [], []
    for finger in range(5):
        base = 1 + 3 * finger
        chain = [points[base], points[base + 1], points[base + 2], points[16 + finger]]
        bones = [_unit(end - start) for start, end in pairwise(chain)]
        normal = side if finger == 4 else back
        joint_frames = [palm, _frame(bones[0], normal), _frame(bones[1], normal)]
        for k, (frame, bone) in enumerate(zip(joint_frames, bones, strict=True)):
            along, towards_thumb, outward = (frame.mT @ bone).unbind()
            spread = torch.atan2(towards_thumb, along) if k == 0 else torch.zeros_like(along)
            rest.append(torch.stack([-torch.asin(outward), spread, torch.zeros_like(along)]))
        frames += joint_frames
    return torch.stack(frames), torch.stack(rest)
