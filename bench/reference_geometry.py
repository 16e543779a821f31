"""Hand layer, renderer, coordinates, spheres and surface distances against the reference."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bench.reference_folder import Arrays, Group, different, worst, worst_relative
from dataloader.camera import Camera
from dataloader.crop import FOREGROUND_BELOW, HandCrop, empty_crop
from dataloader.points import all_points_xyz, box_cut
from render.hand_layer import HandLayer, HandParams
from render.hand_model import load_hand_model
from render.spheres import HandSpheres
from render.surface import part_surface_distance, surface_distance
from training.branches import render_crop
from training.observation import Observation, outside_distance
from training.unlabelled import part_means

UNIT_MM = 125.0
"""Half the cube that the reference's hands are placed in."""
IGNORED_ABOVE = 0.1
"""collision_batch leaves out every sphere whose overlaps together come to this; the project's own loss does not."""
NYU_CAMERA = (588.03, 587.07, 320.0, 240.0)
"""Camera of coordinates.npz: fx, fy, cx, cy."""


def hand_of(folder: Path) -> HandLayer:
    """The folder's hand, read as a user's MANO_RIGHT.pkl is."""
    return HandLayer(load_hand_model(folder / "MANO_RIGHT.pkl"))


def _placed(layer: HandLayer, vector: Tensor) -> tuple[Tensor, Tensor]:
    params = HandParams.from_vector(vector)
    mesh = layer(params.rotation, params.pose, params.shape)
    return mesh.placed(params.scale, params.translation, UNIT_MM)


def _triangles(faces: Tensor) -> set[tuple[int, ...]]:
    """Triangles whatever corner they begin with; the order round a triangle counts."""
    turned = torch.stack([faces.roll(turn, 1) for turn in range(3)], 1)
    first = turned[torch.arange(len(faces)), turned[:, :, 0].argmin(1)]
    return {tuple(row) for row in first.tolist()}


def measure_hand_layer(folder: Path) -> dict[str, float]:
    """Parameters -> surface and joints."""
    layer, known = hand_of(folder), Arrays(folder / "hand_layer.npz")
    params = HandParams.from_vector(known["params"])
    mesh = layer(params.rotation, params.pose, params.shape)
    vertices_xyz, joints_xyz = mesh.placed(params.scale, params.translation, UNIT_MM)
    return {
        "MANO_RIGHT.pkl/chumpy": float("chumpy" in sys.modules),
        "hand_layer/faces": float(len(_triangles(layer.faces) ^ _triangles(known["faces"]))),
        "hand_layer/verts_m": worst(mesh.vertices_m, known["verts_m"]),
        "hand_layer/joints_m": worst(mesh.joints_m, known["joints_m"]),
        "hand_layer/verts_normalised": worst(vertices_xyz, known["verts_normalised"]),
        "hand_layer/joints_normalised": worst(joints_xyz, known["joints_normalised"]),
    }


def measure_render(folder: Path) -> dict[str, float]:
    """Parameters, cube and camera -> crop of the rendered hand; joints and surface in the crop's frames.

    iou is what is missing to 1; depth_mm the median of the difference where both see the hand; each the worst hand's.
    """
    layer, known = hand_of(folder), Arrays(folder / "render.npz")
    fx, fy, cx, cy = known["camera"].tolist()
    crop = empty_crop(Camera.of(fx, fy, cx, cy), known["center_mm"], known["cube_mm"])
    vertices_xyz, joints_xyz = _placed(layer, known["params"])
    ours = render_crop(crop, vertices_xyz, layer.faces)
    seen, theirs = ours.foreground, known["image"] < FOREGROUND_BELOW
    overlap = (seen & theirs).flatten(1).sum(1) / (seen | theirs).flatten(1).sum(1)
    away_mm = (ours.depth - known["image"]).abs() * known["cube_mm"][:, 2].view(-1, 1, 1, 1) / 2
    medians = [float(away[both].median()) for away, both in zip(away_mm, seen & theirs, strict=True)]
    return {
        "render/iou": 1 - float(overlap.min()),
        "render/depth_mm": max(medians),
        "render/crop_from_image": worst_relative(crop.crop_from_image, known["crop_from_image"]),
        "render/mesh_xyz": worst(vertices_xyz, known["mesh_xyz"]),
        "render/joint_xyz": worst(joints_xyz, known["joint_xyz"]),
        "render/joint_uvd": worst(crop.uvd_from_xyz(joints_xyz), known["joint_uvd"]),
    }


def _stretched(crop: HandCrop) -> HandCrop:
    """The crop with its samples at u = 2 j / 127 - 1, where the reference's image -> points puts them."""
    last = (crop.size - 1) / crop.size
    return replace(crop, crop_from_image=torch.diag(torch.tensor([last, last, 1.0])) @ crop.crop_from_image)


def measure_coordinates(folder: Path) -> dict[str, float]:
    """uvd <-> xyz; cut by the joints' box, and image -> points, both on the reference's own grid."""
    known = Arrays(folder / "coordinates.npz")
    window = empty_crop(Camera.of(*NYU_CAMERA), known["center_mm"], known["cube_mm"])
    crop = _stretched(window.with_depth(known["image"]))
    points = all_points_xyz(crop)
    errors = {
        "coordinates/crop_from_image": worst_relative(window.crop_from_image, known["crop_from_image"]),
        "coordinates/xyz": worst(window.xyz_from_uvd(known["uvd"]), known["xyz"]),
        "coordinates/uvd_back": worst(window.uvd_from_xyz(known["xyz"]), known["uvd_back"]),
        "coordinates/cropped": worst(
            torch.where(box_cut(crop, known["joints_for_crop"]), crop.depth, 1.0), known["cropped"]
        ),
    }
    for index in range(2):
        ours = points[index][crop.foreground[index].flatten()]
        errors[f"coordinates/points_{index}"] = worst(ours, known[f"points_{index}"])
    return errors


def measure_losses(folder: Path) -> dict[str, float]:
    """Spheres of a hand, part labels of points, distances of points to the surface and to their own part's."""
    layer, known = hand_of(folder), Arrays(folder / "losses.npz")
    spheres = HandSpheres(layer)
    vertices, joints = _placed(layer, known["params"])
    centres, radii = spheres.centres(known["joints"]), spheres.radii(known["joints"], known["verts"], UNIT_MM)
    points, labels = known["points"], known["segment"]
    part_squared = part_surface_distance(points, labels, known["verts"], layer.faces, layer.part_faces)
    means, _ = part_means(_observed(points, labels), part_squared)
    squared = surface_distance(points, known["verts"], layer.faces)
    of_each = spheres.overlaps(centres, radii).sum(-1)
    kept = torch.where(of_each < IGNORED_ABOVE, of_each, 0.0)
    return {
        "losses/joints": worst(joints, known["joints"]),
        "losses/verts": worst(vertices, known["verts"]),
        "losses/sphere_centre": worst(centres, known["sphere_centre"]),
        "losses/sphere_radius": worst(radii, known["sphere_radius"]),
        "losses/collision_batch": worst(kept.mean(), known["collision_batch"]),
        "losses/segment": different(spheres.label_points(points, centres, radii), labels),
        "losses/n_part_faces": different(torch.tensor([len(ids) for ids in layer.part_faces]), known["n_part_faces"]),
        "losses/surface": worst(squared.mean(1), known["surface"]),
        "losses/part_surface": worst(means, known["part_surface"]),
    }


def _observed(points_xyz: Tensor, labels: Tensor) -> Observation:
    """An observation of nothing but labelled points."""
    n = len(points_xyz)
    centre, cube = torch.tensor([[0.0, 0.0, 600.0]]).expand(n, 3), torch.full((n, 3), 2 * UNIT_MM)
    crop = empty_crop(Camera.of(*NYU_CAMERA), centre, cube)
    outside = outside_distance(crop.foreground)
    return Observation(crop, crop.foreground, points_xyz, torch.ones(n, dtype=torch.bool), labels, outside)


def measure_collision(folder: Path) -> dict[str, float]:
    """Spheres, which pairs may collide, and how far they do."""
    spheres, known = HandSpheres(hand_of(folder)), Arrays(folder / "collision.npz")
    centres, radii = spheres.centres(known["joints"]), spheres.radii(known["joints"], known["verts"], UNIT_MM)
    return {
        "collision/sphere_centre": worst(centres, known["sphere_centre"]),
        "collision/sphere_radius": worst(radii, known["sphere_radius"]),
        "collision/pair_mask": different(spheres.pair_mask, known["pair_mask"]),
        "collision/penetration_each": worst(spheres.penetration(centres, radii), known["penetration_each"]),
    }


GROUPS = {
    "hand_layer": Group(
        measure_hand_layer,
        {
            "MANO_RIGHT.pkl/chumpy": 0,
            "hand_layer/faces": 0,
            "hand_layer/verts_m": 1e-5,
            "hand_layer/joints_m": 1e-5,
            "hand_layer/verts_normalised": 1e-5,
            "hand_layer/joints_normalised": 1e-5,
        },
    ),
    "render": Group(
        measure_render,
        {
            "render/iou": 0.03,
            "render/depth_mm": 0.5,
            "render/crop_from_image": 1e-4,
            "render/mesh_xyz": 1e-4,
            "render/joint_xyz": 1e-4,
            "render/joint_uvd": 1e-4,
        },
    ),
    "coordinates": Group(
        measure_coordinates,
        {
            "coordinates/crop_from_image": 1e-5,
            "coordinates/xyz": 1e-5,
            "coordinates/uvd_back": 1e-5,
            "coordinates/cropped": 1e-5,
            "coordinates/points_0": 1e-5,
            "coordinates/points_1": 1e-5,
        },
    ),
    "losses": Group(
        measure_losses,
        {
            "losses/joints": 1e-5,
            "losses/verts": 1e-5,
            "losses/sphere_centre": 1e-5,
            "losses/sphere_radius": 1e-5,
            "losses/collision_batch": 1e-5,
            "losses/segment": 0,
            "losses/n_part_faces": 0,
            "losses/surface": 1e-5,
            "losses/part_surface": 1e-5,
        },
    ),
    "collision": Group(
        measure_collision,
        {
            "collision/sphere_centre": 1e-5,
            "collision/sphere_radius": 1e-5,
            "collision/pair_mask": 0,
            "collision/penetration_each": 1e-5,
        },
    ),
}
"""By file."""
