"""Small gestures: hands of the posture sampler on their way from one named posture to another, and their files."""

from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from config import SamplerConfig
from dataloader.datasets.gestures import Gesture, Layout
from gesture.bank import SequenceBank
from render.anatomy import Anatomy
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from render.postures import POSTURES
from render.sampler import HandSampler
from util.joints import SHREC22

PATHS = (
    *(("open", "fist"), ("fist", "open"), ("open", "pinch"), ("pinch", "open")),
    *(("count_1", "count_3"), ("count_3", "count_1"), ("open", "flat"), ("fist", "thumb_up")),
)
"""Posture at the start and at the end of each class."""


def synthetic(
    repetitions: int, frames: int, points: int = 0, seed: int = 0
) -> tuple[list[Float[Tensor, "frames p 3"]], list[int]]:
    """Sequences and their classes: `repetitions` of each of `PATHS`, each by another hand seen from elsewhere, in mm.

    points: so many vertices of the surface, the same in no two frames, in place of `SHREC22`'s joints.
    """
    generator = torch.Generator().manual_seed(seed)
    layer = HandLayer(load_hand_model())
    sampler, anatomy = HandSampler(layer, SamplerConfig()), Anatomy.of(layer)
    labels = [k for k in range(len(PATHS)) for _ in range(repetitions)]
    start, end = (torch.stack([POSTURES[PATHS[k][at]].angles() for k in labels]) for at in (0, 1))
    time = torch.linspace(0, 1, frames).view(1, frames, 1, 1)
    angles = torch.lerp(start.unsqueeze(1), end.unsqueeze(1), time)
    views = sampler.params(start, 0.5 * torch.randn(len(labels), 10, generator=generator), generator)
    pose = layer.coefficients(roma.rotmat_to_rotvec(anatomy.rotations(angles.flatten(0, 1))))
    rotation, shape, scale = (
        x.unsqueeze(1).expand(-1, frames, -1).flatten(0, 1) for x in (views.rotation, views.shape, views.scale)
    )
    with torch.no_grad():
        mesh = layer(rotation, pose, shape)
    vertices_mm, joints_mm = mesh.placed(scale, torch.tensor([0.0, 0.0, 450.0]).expand(len(pose), 3), 1.0)
    if points:
        chosen = torch.rand(len(pose), vertices_mm.shape[1], generator=generator).topk(points).indices
        seen = vertices_mm.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 3))
    else:
        seen = SHREC22.from_mano21(joints_mm)
    return list(seen.unflatten(0, (len(labels), frames)).unbind(0)), labels


def synthetic_bank(repetitions: int = 4, frames: int = 16, points: int = 0) -> SequenceBank:
    """The same as a bank."""
    return SequenceBank.of(*synthetic(repetitions, frames, points))


def write_world(root: Path, layout: Layout, gesture: Gesture, joints_mm: Float[np.ndarray, "frames 22 3"]) -> Path:
    """A recording's folder with a file of 22 joints a frame, metres; returns the folder."""
    folder = root / gesture.folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = (joints_mm / 1000).reshape(len(joints_mm), -1)
    text = "".join(" ".join(f"{number:.7f}" for number in row) + " \n" for row in rows)
    (folder / layout.joints_world).write_text(text)
    return folder
