"""Hand parameters -> surface and joints: shape, pose blend shapes where the model has them, linear blend skinning."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor, nn

from render.hand_model import HandModel

PART_WEIGHT = 0.1
"""A triangle belongs to a joint's part when it touches a vertex with more skinning weight than this for the joint."""


@dataclass(frozen=True)
class HandParams:
    """The 62 numbers of a hand in their published order, any batch shape."""

    rotation: Float[Tensor, "*batch 3"]
    """Global axis-angle, about the shaped wrist joint."""
    pose: Float[Tensor, "*batch 45"]
    """Coefficients of the model's pose basis."""
    shape: Float[Tensor, "*batch 10"]
    """Shape coefficients."""
    scale: Float[Tensor, "*batch 1"]
    """Size factor, 1 = as modelled."""
    translation: Float[Tensor, "*batch 3"]
    """Position, added after scaling; its unit is that of the frame the hand is placed in."""

    def vector(self) -> Float[Tensor, "*batch 62"]:
        """All numbers side by side: axis-angle 3, pose 45, shape 10, scale 1, translation 3."""
        return torch.cat([self.rotation, self.pose, self.shape, self.scale, self.translation], -1)

    @staticmethod
    def from_vector(vector: Float[Tensor, "*batch 62"]) -> "HandParams":
        """Split 62 numbers a hand into named parts."""
        return HandParams(*vector.split([3, 45, 10, 1, 3], -1))

    def __getitem__(self, index) -> "HandParams":
        """Hands chosen along the first batch dimension."""
        return HandParams.from_vector(self.vector()[index])


@dataclass(frozen=True)
class HandMesh:
    """A posed hand in metres, wrist near the origin."""

    vertices_m: Float[Tensor, "*batch v 3"]
    """Surface; the last vertex closes the wrist."""
    joints_m: Float[Tensor, "*batch 21 3"]
    """Keypoints in mano21 order."""

    def placed(
        self, scale: Float[Tensor, "*batch 1"], translation: Float[Tensor, "*batch 3"], unit_mm: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """(vertices, joints) times 1000 / unit_mm times scale plus translation, in the frame whose unit is unit_mm.

        unit_mm: 1 for millimetres; half the cube for `xyz` (125 for published checkpoints), a number or (*batch, 1).
        """
        if isinstance(unit_mm, Tensor):
            unit_mm = unit_mm.unsqueeze(-1)
        factor = scale.unsqueeze(-1) * (1000.0 / unit_mm)
        offset = translation.unsqueeze(-2)
        return self.vertices_m * factor + offset, self.joints_m * factor + offset


class HandLayer(nn.Module):
    """Differentiable hand of one model, any batch shape, float32 or float64 (`layer.double()`).

    Left hands: the mirror image (x -> -x) of the right hand with the same pose and shape coefficients; the global
    rotation is given in the camera frame for both sides.
    """

    template: Tensor
    shapedirs: Tensor
    posedirs: Tensor | None
    joint_regressor: Tensor
    weights: Tensor
    pose_basis: Tensor
    pose_mean: Tensor
    faces: Tensor
    tip_vertex_ids: Tensor
    wrist_ring: Tensor
    part_face_ids: Tensor
    by_level: Tensor
    parent_of: Tensor
    parent_in_level: Tensor
    place_of_joint: Tensor
    mirror: Tensor

    def __init__(self, model: HandModel, side: Literal["right", "left"] = "right") -> None:
        super().__init__()
        self.side = side
        self.parents = [int(parent) for parent in model.parents]
        self.levels = _levels(self.parents)
        ring = boundary_ring(model.faces)
        centre = len(model.v_template)
        fan = np.stack([np.roll(ring, -1), ring, np.full_like(ring, centre)], axis=1)
        faces = np.concatenate([model.faces, fan])
        weights = np.concatenate([model.weights, model.weights[ring].mean(0, keepdims=True)])
        floats = {
            "template": model.v_template,
            "shapedirs": model.shapedirs.reshape(-1, model.shapedirs.shape[-1]).T,
            "joint_regressor": model.joint_regressor,
            "weights": weights,
            "pose_basis": model.hands_components,
            "pose_mean": model.hands_mean,
            "mirror": np.array([-1.0 if side == "left" else 1.0, 1.0, 1.0]),
        }
        if model.posedirs is not None:
            floats["posedirs"] = model.posedirs.reshape(-1, model.posedirs.shape[-1]).T
        else:
            self.posedirs = None
        for name, array in floats.items():
            self.register_buffer(name, torch.tensor(array, dtype=torch.float32), persistent=False)
        self._exact = {name: torch.tensor(array, dtype=torch.float64) for name, array in floats.items()}
        whole = {"faces": faces if side == "right" else faces[:, ::-1], "tip_vertex_ids": model.tip_vertex_ids}
        for name, array in {**whole, "wrist_ring": ring, **_places(self.levels, self.parents)}.items():
            self.register_buffer(name, torch.tensor(np.ascontiguousarray(array), dtype=torch.long), persistent=False)
        touched = weights[faces].max(axis=1)  # (f, 16): the largest weight for each joint over a triangle's corners
        parts = [np.flatnonzero(touched[:, j] > PART_WEIGHT) for j in range(1, 16)]
        self._part_sizes = [len(part) for part in parts]
        self.register_buffer("part_face_ids", torch.from_numpy(np.concatenate(parts)), persistent=False)

    def double(self) -> "HandLayer":
        """Switch to float64, from the file's own precision rather than from rounded buffers."""
        super().double()
        for name, value in self._exact.items():
            setattr(self, name, value.to(self.template.device))
        return self

    @property
    def part_faces(self) -> tuple[Tensor, ...]:
        """Ids of the triangles of each finger bone, joints 1-15; a triangle may be in several parts."""
        return self.part_face_ids.split(self._part_sizes)

    def axis_angles(self, pose: Float[Tensor, "*batch 45"]) -> Float[Tensor, "*batch 15 3"]:
        """Joint rotations of pose coefficients."""
        return (pose @ self.pose_basis + self.pose_mean).unflatten(-1, (15, 3))

    def coefficients(self, axis_angles: Float[Tensor, "*batch 15 3"]) -> Float[Tensor, "*batch 45"]:
        """Pose coefficients of joint rotations (inverse of `axis_angles`)."""
        bent = (axis_angles.flatten(-2) - self.pose_mean).unsqueeze(-1)
        return torch.linalg.solve(self.pose_basis.T, bent).squeeze(-1)

    def rest_joints(self, shape: Float[Tensor, "*batch 10"]) -> Float[Tensor, "*batch 16 3"]:
        """Joints of the unposed hand, metres."""
        return self.joint_regressor @ self._shaped(shape)

    def _shaped(self, shape: Tensor) -> Tensor:
        return self.template + (shape @ self.shapedirs).unflatten(-1, (-1, 3))

    def forward(
        self,
        rotation: Float[Tensor, "..."],
        pose: Float[Tensor, "*batch 45"],
        shape: Float[Tensor, "*batch 10"],
    ) -> HandMesh:
        """Pose a hand (Romero et al. 2017, equations 2-4, with joints regressed from the posed surface).

        rotation: axis-angle (*batch, 3), or matrix (*batch, 3, 3), told by its having one dimension more than the pose.
        """
        shaped = self._shaped(shape)
        rest = self.joint_regressor @ shaped
        root = rotation if rotation.ndim > pose.ndim else roma.rotvec_to_rotmat(rotation)
        root = root * self.mirror.unsqueeze(-1) * self.mirror
        rotations = torch.cat([root.unsqueeze(-3), roma.rotvec_to_rotmat(self.axis_angles(pose))], -3)
        if self.posedirs is not None:
            bend = (rotations[..., 1:, :, :] - torch.eye(3, dtype=shaped.dtype, device=shaped.device)).flatten(-3)
            shaped = shaped + (bend @ self.posedirs).unflatten(-1, (-1, 3))
        transforms = self._skin_transforms(rotations, rest)
        # Vertices last: a few sums over long rows in place of thousands of products of a 3 x 3 matrix and a vector.
        blended = (transforms.transpose(-3, -1).flatten(-3, -2) @ self.weights[:-1].T).unflatten(-2, (4, 3))
        turned = blended[..., :3, :, :] * shaped.transpose(-1, -2).unsqueeze(-2)
        vertices = turned[..., 0, :, :] + turned[..., 1, :, :] + turned[..., 2, :, :] + blended[..., 3, :, :]
        tips, ring = vertices.index_select(-1, self.tip_vertex_ids), vertices.index_select(-1, self.wrist_ring)
        joints = torch.cat([vertices @ self.joint_regressor.T, tips], -1)
        vertices = torch.cat([vertices, ring.mean(-1, keepdim=True)], -1)
        return HandMesh(*((rows.transpose(-1, -2) * self.mirror).contiguous() for rows in (vertices, joints)))

    def _skin_transforms(
        self, rotations: Float[Tensor, "*batch 16 3 3"], rest: Float[Tensor, "*batch 16 3"]
    ) -> Float[Tensor, "*batch 16 3 4"]:
        """Rotation and shift of each joint relative to the rest pose, level by level."""
        bones = rest.index_select(-2, self.by_level) - rest.index_select(-2, self.parent_of)
        local = torch.cat([rotations.index_select(-3, self.by_level), bones.unsqueeze(-1)], -1)
        world = [torch.cat([rotations[..., :1, :, :], rest[..., :1, :].unsqueeze(-1)], -1)]
        sizes = [len(level) for level in self.levels]
        for joints, place in zip(local.split(sizes, -3), self.parent_in_level.split(sizes), strict=True):
            parent = world[-1].index_select(-3, place)
            moved = parent[..., :3] @ joints
            world.append(torch.cat([moved[..., :3], moved[..., 3:] + parent[..., 3:]], -1))
        transforms = torch.cat(world, -3).index_select(-3, self.place_of_joint)
        turn = transforms[..., :3]
        return torch.cat([turn, transforms[..., 3:] - turn @ rest.unsqueeze(-1)], -1)


def _levels(parents: list[int]) -> list[list[int]]:
    """Joints by distance from the wrist, the wrist left out: what can be turned at once."""
    depth = [0] * len(parents)
    for joint, parent in enumerate(parents):
        depth[joint] = 0 if parent < 0 else depth[parent] + 1
    return [[j for j, d in enumerate(depth) if d == level] for level in range(1, max(depth) + 1)]


def _places(levels: list[list[int]], parents: list[int]) -> dict[str, np.ndarray]:
    """Joints as the levels hold them, the wrist left out, their parents, and where each parent is in the level before.

    Last, the place of each joint among the wrist and the levels.
    """
    before = [[0], *levels]
    by_level = [joint for level in levels for joint in level]
    in_level = [upper.index(parents[joint]) for upper, level in zip(before, levels, strict=False) for joint in level]
    return {
        "by_level": np.array(by_level),
        "parent_of": np.array([parents[joint] for joint in by_level]),
        "parent_in_level": np.array(in_level),
        "place_of_joint": np.argsort([0, *by_level]),
    }


def boundary_ring(faces: np.ndarray) -> np.ndarray:
    """The one closed boundary of a surface, its vertices in order along the edges of the triangles that own them.

    faces: (f, 3). Raises ValueError when the surface has no boundary or more than one.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    own = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in own if (b, a) not in own}
    if not following:
        raise ValueError("the surface is closed: it has no wrist to close")
    ring = [min(following)]
    while following[ring[-1]] != ring[0]:
        ring.append(following[ring[-1]])
    if len(ring) != len(following):
        raise ValueError("the surface has more than one opening")
    return np.array(ring)
