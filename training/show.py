"""Pictures of what a network makes of crops, for TensorBoard and for the run folder."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from dataloader.points import all_points_xyz
from dataloader.sample import HandSample
from model.network import StageOutput
from render.spheres import HandSpheres
from training.branches import render_model
from util.draw import PAGE, Picture, depth_picture, draw_skeleton, draw_text, grid, part_picture, shaded_picture

COLUMNS = ("input", "pixel joints", "model joints", "model render", "parts")
ROWS = 16
"""Rows of a picture before crops stand side by side."""
NAME = 36
"""Letters of a frame's name that fit on its crop, from its end."""


@torch.no_grad()
def outputs_picture(network: nn.Module, sample: HandSample, most: int = 8, zoom: int = 2) -> Picture:
    """Input with the frame's name, joints of both branches over it, the model branch's hand, part labels; last stage.

    One row a crop; where that makes more than ROWS, as many crops side by side as it takes.
    """
    device = next(network.parameters()).device
    sample = sample.select(torch.arange(min(most, len(sample)))).to(device)
    output: StageOutput = network(sample.crop)[-1]
    crop, layer = sample.crop, network.layer
    rendered = render_model(crop, output, layer.faces)  # type: ignore[union-attr, arg-type]
    labels = part_labels(sample, output, HandSpheres(layer).to(device))  # type: ignore[arg-type]
    model_uvd = crop.uvd_from_xyz(output.joints_xyz)
    cells: list[np.ndarray] = []
    for i in range(len(sample)):
        image = depth_picture(crop.depth[i, 0], zoom)
        named = image.copy()
        if sample.frames:
            draw_text(named, sample.frames[i][-NAME:], (4, 12), 0.35, PAGE)
        cells += [
            named,
            draw_skeleton(image, output.pixel_uvd[i]),
            draw_skeleton(image, model_uvd[i]),
            shaded_picture(rendered[i, 0], zoom),
            part_picture(labels[i], zoom),
        ]
    across = -(-len(sample) // ROWS)
    return grid(cells, across * len(COLUMNS), titles=across * COLUMNS)


def part_labels(sample: HandSample, output: StageOutput, spheres: HandSpheres) -> Tensor:
    """Part of each foreground sample by pixel-branch joints and model-branch radii, (b, s, s); -1 on background."""
    crop = sample.crop
    unit = crop.cube_mm[:, :1] / 2
    radii = spheres.radii(output.joints_xyz, output.vertices_xyz, unit)
    labels = spheres.label_points(all_points_xyz(crop), spheres.centres(output.pixel_xyz), radii)
    return torch.where(crop.foreground[:, 0], labels.view(-1, crop.size, crop.size), -1)


def show_outputs(
    writer: SummaryWriter, network: nn.Module, sample: HandSample, step: int, tag: str = "held_out"
) -> None:
    """Put such a picture into TensorBoard."""
    writer.add_image(tag, outputs_picture(network, sample), step, dataformats="HWC")
