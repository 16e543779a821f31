"""What the benches measure on: rendered hands in crops, always the same ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from config import Experiment
from dataloader.points import box_cut, points_from_crop
from dataloader.rendered import RenderedHands
from dataloader.sample import HandSample
from render.hand_layer import HandLayer, HandParams
from render.hand_model import load_hand_model
from render.spheres import HandSpheres
from training.setup import make_rendered

SEED = 1 << 58


@dataclass(frozen=True)
class Scene:
    """A batch of hands, and points on what a sensor sees of them."""

    rendered: RenderedHands
    """Where they come from."""
    sample: HandSample
    """Crops and labels."""
    layer: HandLayer
    """Their hand model."""
    spheres: HandSpheres
    """Its spheres."""
    params: HandParams
    """Their parameters."""
    vertices_uvz: Tensor
    """Their surface in crop samples and mm, (b, 779, 3): what the rasteriser takes."""
    vertices_xyz: Tensor
    """Their surface in half cubes."""
    joints_xyz: Tensor
    """Their joints in half cubes."""
    points_xyz: Tensor
    """Points on the observed hand, (b, p, 3), half cubes."""
    labels: Tensor
    """Part of each point."""

    @staticmethod
    def of(experiment: Experiment, batch: int, points: int, device: torch.device | None = None) -> "Scene":
        """Draw `batch` hands and `points` points on each, inside the box of its joints; then all goes to the device."""
        rendered = make_rendered(experiment)
        generator = torch.Generator().manual_seed(SEED)
        device = device or torch.device("cpu")
        sample = rendered.batch(batch, generator).to(device)
        layer, crop = HandLayer(load_hand_model(experiment.hand)).to(device), sample.crop
        if sample.vertices_mm is None or sample.joints_mm is None or sample.params is None:
            raise ValueError("rendered hands come with labels")
        vertices_xyz, joints_xyz = crop.xyz_from_mm(sample.vertices_mm), crop.xyz_from_mm(sample.joints_mm)
        drawn, _ = points_from_crop(crop, points, generator, box_cut(crop, joints_xyz))
        spheres = HandSpheres(layer).to(device)
        radii = spheres.radii(joints_xyz, vertices_xyz, crop.cube_mm[:, :1] / 2)
        labels = spheres.label_points(drawn, spheres.centres(joints_xyz), radii)
        pixels = crop.pixels_from_mm(sample.vertices_mm)
        return Scene(rendered, sample, layer, spheres, sample.params, pixels, vertices_xyz, joints_xyz, drawn, labels)
