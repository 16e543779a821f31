"""Keypoints of posed hands and their Jacobian in closed form, without the surface.

A keypoint is a fixed combination of vertices (Romero et al. 2017, equation 2: linear blend skinning), so that it is one
of 16 bone transforms too: sum over bones k of W_k d_k + w_k P_k, with W_k the bone's turn, P_k where its joint is, w_k
the keypoint's own skinning weight and d_k its lever: what the vertices have to add. Weights and levers do not depend on
the pose, apart from pose blend shapes, where a model has them. That is exact, and a hundredth of the work.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from render.anatomy import FLEXION, SPREAD, Anatomy, joint_limits, spread_room, turn, turn_axes
from render.hand_layer import HandLayer

N_ANGLES = 45
N_POSE = N_ANGLES + 6
"""Unknowns of a frame: 45 coordinates of the joints, a turn (axis-angle, radians) and the place of the wrist (mm)."""
BASES = slice(0, 12, 3)
"""The base joints of the four fingers, whose spread shrinks with their flexion."""


@dataclass(frozen=True)
class Hands:
    """n posed hands of one shape."""

    box: Float[Tensor, "n 45"]
    """Flexion, spread and twist of joints 1-15, radians; a finger base's spread is divided by the room that its flexion
    leaves, so that the limits of all are numbers."""
    rotation: Float[Tensor, "n 3 3"]
    """Of the whole hand, about the wrist."""
    root_mm: Float[Tensor, "n 3"]
    """Where the wrist's joint lies, camera frame."""

    def __len__(self) -> int:
        return len(self.box)

    def __getitem__(self, rows) -> "Hands":
        return Hands(self.box[rows], self.rotation[rows], self.root_mm[rows])

    def replaced(self, rows: Int[Tensor, " k"], others: "Hands") -> "Hands":
        """The same with other hands in some rows."""
        return Hands(
            self.box.index_copy(0, rows, others.box),
            self.rotation.index_copy(0, rows, others.rotation),
            self.root_mm.index_copy(0, rows, others.root_mm),
        )

    def angles(self) -> Float[Tensor, "n 15 3"]:
        """Anatomical angles, radians."""
        angles = self.box.unflatten(-1, (15, 3)).clone()
        angles[:, BASES, SPREAD] *= spread_room(angles[:, BASES, FLEXION])
        return angles


def box_of(angles: Float[Tensor, "n 15 3"]) -> Float[Tensor, "n 45"]:
    """Coordinates of anatomical angles, the inverse of `Hands.angles`."""
    box = angles.clone()
    box[:, BASES, SPREAD] /= spread_room(angles[:, BASES, FLEXION])
    return box.flatten(1)


def box_limits(like: Tensor) -> Float[Tensor, "45 2"]:
    """(low, high) of each coordinate: `JOINT_LIMITS_DEG`, radians."""
    return joint_limits().to(like).flatten(0, 1)


@dataclass(frozen=True)
class Rest:
    """One shaped hand at rest, in mm."""

    joints_mm: Float[Tensor, "16 3"]
    levers_mm: Float[Tensor, "16 3 m"]
    """d_k of each of m points."""
    unit_mm: Float[Tensor, ""]
    """Millimetres that a metre of the model is: 1000 times the size."""


@dataclass(frozen=True)
class Points:
    """m points of n posed hands."""

    mm: Float[Tensor, "n 3 m"]
    jacobian: Float[Tensor, "n 51 3 m"] | None = None
    """mm by each unknown of a frame; None where it was not asked for."""


class Chain:
    """Points that hang on the bones of one hand model: combinations of its 21 keypoints, and offsets from them."""

    def __init__(
        self,
        layer: HandLayer,
        combinations: Float[Tensor, "m 21"],
        bones: Int[Tensor, " m"] | None = None,
        offsets_mm: Float[Tensor, "m 3"] | None = None,
    ) -> None:
        """
        Args:
            layer: a right hand; its device and precision are those of everything here.
            combinations: each point as a weighted sum of the 21 keypoints.
            bones: the joint (0-15) in whose frame a point's offset stands.
            offsets_mm: forward, towards the thumb, towards the back of the bone, at size 1.
        """
        like = layer.template
        self.anatomy = Anatomy.of(layer)
        tips = torch.zeros(5, len(layer.template)).to(like)
        tips[range(5), layer.tip_vertex_ids] = 1
        rows = combinations.to(like) @ torch.cat([layer.joint_regressor, tips])  # (m, 778)
        skin = layer.weights[:-1]
        self.weights = (rows @ skin).T  # (16, m)
        self.beyond = self.weights[1:].unflatten(0, (5, 3)).flip(1).cumsum(1).flip(1).flatten(0, 1)
        surfaces = torch.cat([layer.template[None], layer.shapedirs.unflatten(-1, (-1, 3))])
        self.joints_m = layer.joint_regressor @ surfaces  # (11, 16, 3): the template's, and by shape
        held = torch.einsum("mv,vk,bvx->bkxm", rows, skin, surfaces)
        self.levers_m = held - self.joints_m.unsqueeze(-1) * self.weights[:, None]  # (11, 16, 3, m)
        self.correctives = None
        if layer.posedirs is not None:
            directions = layer.posedirs.unflatten(-1, (-1, 3))  # (135, v, 3)
            self.correctives = torch.einsum("mv,vk,pvx->pkxm", rows, skin, directions).flatten(1)
        frames = self.anatomy.frames
        self.frames = torch.cat([frames[:1], frames])  # of the 16 joints: the palm's is its first finger's
        self.undo = turn(self.anatomy.rest).mT @ frames.mT
        self.bones = torch.zeros(len(rows), dtype=torch.long) if bones is None else bones
        self.bones = self.bones.to(like.device)
        self.offsets_mm = torch.zeros(len(rows), 3).to(like) if offsets_mm is None else offsets_mm.to(like)

    def with_offsets(self, offsets_mm: Float[Tensor, "m 3"]) -> "Chain":
        """The same points, elsewhere beside the keypoints."""
        other = object.__new__(Chain)
        other.__dict__.update(self.__dict__)
        other.offsets_mm = offsets_mm.to(self.offsets_mm)
        return other

    def rest(self, shape: Float[Tensor, "10"], size: Float[Tensor, ""]) -> Rest:
        """A shaped hand; size is the factor on everything."""
        unit_mm = 1000 * size
        levers = unit_mm * (self.levers_m[0] + torch.tensordot(shape, self.levers_m[1:], 1))
        beside = (self.frames[self.bones] @ self.offsets_mm.unsqueeze(-1)).squeeze(-1) * size  # (m, 3)
        own = torch.nn.functional.one_hot(self.bones, 16).T.to(levers)  # (16, m)
        joints = unit_mm * (self.joints_m[0] + torch.tensordot(shape, self.joints_m[1:], 1))
        return Rest(joints, levers + own[:, None] * beside.T, unit_mm)

    def points(self, rest: Rest, hands: Hands, jacobian: bool = True) -> Points:
        """Where the points of posed hands are, camera frame, and how they move with each unknown."""
        n, m = len(hands), rest.levers_mm.shape[-1]
        angles = hands.angles()
        chain = self._pose(rest, hands, angles)
        levers = rest.levers_mm
        if self.correctives is not None:
            bend = (chain.local - torch.eye(3).to(levers)).flatten(1) @ self.correctives  # (n, 16 * 3 * m)
            levers = levers[:, None] + rest.unit_mm * bend.view(n, 16, 3, m).transpose(0, 1)
            held = chain.turns @ levers
        else:
            held = (chain.turns.flatten(1, 2) @ levers).view(16, n, 3, m)
        held = held + chain.places_mm.unsqueeze(-1) * self.weights[:, None, None]
        mm = held.sum(0) + hands.root_mm.unsqueeze(-1)
        if not jacobian:
            return Points(mm)
        beyond = held[1:].unflatten(0, (5, 3))
        last = beyond[:, 2]
        middle = last + beyond[:, 1]
        moved = torch.stack([middle + beyond[:, 0], middle, last], 1).flatten(0, 1)  # (15, n, 3, m)
        arms = moved - chain.places_mm[1:].unsqueeze(-1) * self.beyond[:, None, None]
        rows = (skew(chain.axes).flatten(-3, -2) @ arms).view(15, n, 3, 3, m)  # joint, frame, angle, xyz, point
        out = mm.new_empty(n, N_POSE, 3, m)
        out[:, :N_ANGLES].unflatten(1, (15, 3)).copy_(rows.transpose(0, 1))
        if self.correctives is not None:
            out[:, :N_ANGLES] += rest.unit_mm * self._bend_jacobian(chain, angles, m)
        self._as_box(out, hands, angles)
        unit = torch.eye(3).to(mm)
        arm = mm - hands.root_mm.unsqueeze(-1)
        out[:, N_ANGLES : N_ANGLES + 3] = (skew(unit).flatten(0, 1) @ arm).view(n, 3, 3, m)
        out[:, N_ANGLES + 3 :] = unit.unsqueeze(-1)
        return Points(mm, out)

    def by_shape(self, rest: Rest, hands: Hands) -> Float[Tensor, "n 11 3 m"]:
        """How the points move with the logarithm of the size, then with the ten shape coefficients; the wrist stays."""
        n = len(hands)
        at_wrist = replace(hands, root_mm=torch.zeros_like(hands.root_mm))
        rows = [self.points(rest, at_wrist, jacobian=False).mm]  # linear in all that a rest holds
        for joints, levers in zip(self.joints_m[1:], self.levers_m[1:], strict=True):
            one = Rest(rest.unit_mm * joints, rest.unit_mm * levers, torch.zeros_like(rest.unit_mm))
            rows.append(self.points(one, at_wrist, jacobian=False).mm)
        return torch.stack(rows, 1).view(n, 11, 3, -1)

    def by_offset(self, rest: Rest, hands: Hands) -> Float[Tensor, "n m 3 3"]:
        """How each point moves (third dimension) with its own offset (last), mm at size 1."""
        turns = self._pose(rest, hands, hands.angles()).turns[self.bones]  # (m, n, 3, 3)
        return (turns @ self.frames[self.bones].unsqueeze(1)).transpose(0, 1) * (rest.unit_mm / 1000)

    def _pose(self, rest: Rest, hands: Hands, angles: Tensor) -> "_Posed":
        n = len(hands)
        bent = turn(angles).transpose(0, 1).unflatten(0, (5, 3))  # (finger, level, n, 3, 3)
        local_axes = turn_axes(angles).transpose(0, 1).unflatten(0, (5, 3))
        frames, undo = self.frames[1:].unflatten(0, (5, 3)), self.undo.unflatten(0, (5, 3))
        joints = rest.joints_mm
        starts = joints[1:].unflatten(0, (5, 3))
        bones = torch.stack([starts[:, 0] - joints[0], starts[:, 1] - starts[:, 0], starts[:, 2] - starts[:, 1]], 1)
        parent, place = hands.rotation.expand(5, n, 3, 3), torch.zeros_like(hands.root_mm).expand(5, n, 3)
        turns, places, axes = [], [], []
        for level in range(3):
            place = place + (parent.flatten(1, 2) @ bones[:, level, :, None]).view(5, n, 3)
            frame = (parent.flatten(1, 2) @ frames[:, level]).view(5, n, 3, 3)
            axes.append(local_axes[:, level] @ frame.mT)
            parent = ((frame @ bent[:, level]).flatten(1, 2) @ undo[:, level]).view(5, n, 3, 3)
            turns.append(parent)
            places.append(place)
        below = [torch.stack(parts, 1).flatten(0, 1) for parts in (turns, places, axes)]
        local = torch.zeros(0).to(angles)
        if self.correctives is not None:
            local = self.frames[1:] @ turn(angles) @ self.undo
        at_wrist = torch.zeros_like(hands.root_mm)[None]
        return _Posed(torch.cat([hands.rotation[None], below[0]]), torch.cat([at_wrist, below[1]]), below[2], local)

    def _bend_jacobian(self, chain: "_Posed", angles: Tensor, m: int) -> Float[Tensor, "n 45 3 m"]:
        """What the pose blend shapes add to the Jacobian, for a unit of 1 mm."""
        assert self.correctives is not None
        n = len(angles)
        axes = turn_axes(angles) @ self.frames[1:].mT  # of each joint's own turn, in its parent
        bends = skew(axes) @ chain.local.unsqueeze(-3)  # (n, 15, angle, 3, 3)
        by_joint = self.correctives.view(15, 9, -1)
        levers = torch.einsum("niar,irc->niac", bends.flatten(-2), by_joint).reshape(n, N_ANGLES, 16, 3, m)
        return torch.einsum("knxy,npkym->npxm", chain.turns, levers)

    @staticmethod
    def _as_box(jacobian: Tensor, hands: Hands, angles: Tensor) -> None:
        """From angles to coordinates, in place: a finger base's flexion takes room from its spread."""
        rows = jacobian[:, :N_ANGLES].unflatten(1, (15, 3))
        flexion = angles[:, BASES, FLEXION]
        share = hands.box.unflatten(-1, (15, 3))[:, BASES, SPREAD]
        bent = (flexion > 0) & (flexion < torch.pi / 2)
        less = bent * (spread_room(torch.full_like(flexion, torch.pi / 2)) - 1) / (torch.pi / 2)
        by_spread = rows[:, BASES, SPREAD]
        rows[:, BASES, FLEXION] += by_spread * (share * less)[..., None, None]
        rows[:, BASES, SPREAD] = by_spread * spread_room(flexion)[..., None, None]


@dataclass(frozen=True)
class _Posed:
    """Bones of n posed hands, bones first."""

    turns: Float[Tensor, "16 n 3 3"]
    places_mm: Float[Tensor, "16 n 3"]
    """From the wrist's joint."""
    axes: Float[Tensor, "15 n 3 3"]
    """Rows: what flexion, spread and twist turn about, camera frame."""
    local: Tensor
    """(n, 15, 3, 3) turns of the joints in their parents, where a model has pose blend shapes."""


def skew(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Matrices that take the cross product from the left."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
