"""Loss terms on real crops without labels (Ren et al., TIP 2022, section on self-supervision), one function a term.

Lengths are in the crop's normalised frames (half cubes). Each function returns the mean over the batch, unweighted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from config import UnlabelledConfig
from dataloader.crop import FOREGROUND_BELOW
from model.network import StageOutput
from render.hand_layer import HandLayer
from render.spheres import HandSpheres
from render.surface import part_surface_distance, surface_distance
from training.branches import masked_mean, render_crop
from training.observation import Observation, outside_at
from training.supervised import smooth_l1

ROOT_AT = 0.016
"""Where the robust distance turns from squared to linear: 2 mm in a 250 mm cube."""
DEPTH_LIMIT = 0.4
"""Largest depth difference that counts on common pixels: beyond it lies another surface."""
LAST_BONES = slice(2, None, 3)
"""Of the parts 1 to 15 those that finger tips belong to."""


@dataclass(frozen=True)
class Fit:
    """How one stage's model branch explains the observed hand: distances that several terms share."""

    rendered: Float[Tensor, "b 1 s s"]
    """The model's hand in the crop."""
    squared: Float[Tensor, "b p"]
    """Squared distance of each observed point to the surface."""
    part_squared: Float[Tensor, "b p"]
    """Squared distance of each finger point to its own part's surface; 0 for palm points, or where not asked for."""

    @staticmethod
    def of(observation: Observation, output: StageOutput, layer: HandLayer) -> "Fit":
        """Render the hand and measure the points against it."""
        return Fit.of_stages(observation, [output], layer)[0]

    @staticmethod
    def of_stages(
        observation: Observation, outputs: Sequence[StageOutput], layer: HandLayer, by_part: bool = True
    ) -> list["Fit"]:
        """The same for the hands of several stages as one batch; by_part: against the points' own parts too."""
        n = len(outputs)
        crop = observation.crop.each(lambda tensor: torch.cat([tensor] * n))
        points, labels = (torch.cat([tensor] * n) for tensor in (observation.points_xyz, observation.labels))
        vertices = torch.cat([output.vertices_xyz for output in outputs])
        rendered = render_crop(crop, vertices, layer.faces).depth
        squared = surface_distance(points, vertices, layer.faces)
        if by_part:
            part_squared = part_surface_distance(points, labels, vertices, layer.faces, layer.part_faces)
        else:
            part_squared = torch.zeros_like(squared)
        return [Fit(*own) for own in zip(*(each.chunk(n) for each in (rendered, squared, part_squared)), strict=True)]


def robust(squared: Tensor) -> Tensor:
    """Root of a squared distance, rounded off near zero: a plain square hardly pulls once it fits."""
    return (squared + ROOT_AT**2).sqrt() - ROOT_AT


def model_to_data(observation: Observation, fit: Fit) -> Float[Tensor, ""]:
    """Mean |I - R| over the samples where the observed or the rendered hand is (the published term)."""
    observed = torch.where(observation.hand, observation.crop.depth, 1.0)
    either = observation.hand | (fit.rendered < FOREGROUND_BELOW)
    return masked_mean((observed - fit.rendered).abs(), either).mean()


def common_depth(observation: Observation, fit: Fit) -> Float[Tensor, " b"]:
    """Mean |I - R| over the samples where both are; 0 where they never meet. One value a crop."""
    common = observation.hand & (fit.rendered < FOREGROUND_BELOW)
    return masked_mean((observation.crop.depth - fit.rendered).abs().clamp_max(DEPTH_LIMIT), common)


def silhouette(observation: Observation, output: StageOutput) -> Float[Tensor, ""]:
    """How far the surface's vertices fall outside the observed silhouette: fingers are not to point into empty air."""
    uv = observation.crop.uvd_from_xyz(output.vertices_xyz)[..., :2]
    return outside_at(observation.outside, uv).mean()


def pixel_outside(observation: Observation, output: StageOutput) -> Float[Tensor, ""]:
    """The same for the joints of the pixel branch."""
    return outside_at(observation.outside, output.pixel_uvd[..., :2]).mean()


def data_to_model(observation: Observation, fit: Fit, config: UnlabelledConfig) -> Float[Tensor, ""]:
    """Mean distance of observed points to the surface, squared as published or robust."""
    distance = robust(fit.squared) if config.robust else fit.squared
    return (distance.mean(1) * observation.seen).mean()


def part_means(observation: Observation, values: Float[Tensor, "b p"]) -> tuple[Tensor, Tensor]:
    """(mean over the points of each of 15 parts, number of points), each (b, 15); an empty part's mean is 0."""
    batch = len(values)
    total = values.new_zeros(batch, 16).scatter_add(1, observation.labels, values)
    count = values.new_zeros(batch, 16).scatter_add(1, observation.labels, torch.ones_like(values))
    return (total / count.clamp_min(1))[:, 1:], count[:, 1:] * observation.seen.unsqueeze(1)


def parts(observation: Observation, fit: Fit, config: UnlabelledConfig) -> Float[Tensor, ""]:
    """Each finger bone's points to that bone's own surface, mean over all 15 parts."""
    values = robust(fit.part_squared) if config.robust else fit.part_squared
    means, _ = part_means(observation, values)
    return (means.mean(1) * observation.seen).mean()


def collisions(
    outputs: Sequence[StageOutput], spheres: HandSpheres, unit: Float[Tensor, "b 1"]
) -> list[Float[Tensor, ""]]:
    """Penetration of the hand's spheres, of each stage."""
    joints, vertices = (torch.cat(own) for own in zip(*((o.joints_xyz, o.vertices_xyz) for o in outputs), strict=True))
    radii = spheres.radii(joints, vertices, torch.cat([unit] * len(outputs)))
    return [own.mean() for own in spheres.penetration(spheres.centres(joints), radii).chunk(len(outputs))]


def pixel_to_model(output: StageOutput) -> Float[Tensor, ""]:
    """The model branch follows the pixel branch's joints, held fixed."""
    return smooth_l1(output.joints_xyz - output.pixel_xyz.detach()).mean()


def model_to_pixel(observation: Observation, output: StageOutput, taught: Bool[Tensor, "b 21"]) -> Float[Tensor, ""]:
    """The pixel branch follows the model branch's joints, held fixed, where `taught`."""
    wanted = observation.crop.uvd_from_xyz(output.joints_xyz.detach())
    return (smooth_l1(output.pixel_uvd - wanted).mean(-1) * taught).mean()


@torch.no_grad()
def fitting_joints(
    observation: Observation, output: StageOutput, fit: Fit, config: UnlabelledConfig, looseness: float
) -> Bool[Tensor, "b 21"]:
    """Joints of which the model branch may teach the pixel branch.

    The whole hand must fit (depth on common samples, distance of points, silhouette), and the joint's own part: its
    points near its surface, and the joint inside the silhouette. looseness: factor on the distances, 1 = as published.
    """
    crop = observation.crop
    depth_fits = common_depth(observation, fit) < config.fit_depth * looseness
    surface_fits = fit.squared.mean(1) < config.fit_squared * looseness**2
    means, counts = part_means(observation, fit.part_squared)
    part_fits = means < config.fit_squared * looseness**2
    if not config.teach_empty_parts:
        part_fits = part_fits & (counts > 0)
    joint_fits = torch.cat([torch.ones_like(part_fits[:, :1]), part_fits], 1)
    joint_fits = torch.cat([joint_fits, part_fits[:, LAST_BONES]], 1)
    outside = outside_at(observation.outside, crop.uvd_from_xyz(output.joints_xyz)[..., :2])
    rendered = fit.rendered < FOREGROUND_BELOW
    overlap = (rendered & observation.hand).flatten(1).sum(1) / (rendered | observation.hand).flatten(1).sum(
        1
    ).clamp_min(1)
    whole = depth_fits & surface_fits & (overlap > config.fit_iou) & observation.seen
    return whole.unsqueeze(1) & joint_fits & (outside < config.fit_outside)


class PosePrior(nn.Module):
    """Mahalanobis distance of a pose to the poses of rendered hands.

    The covariance has a floor on its diagonal and is never clamped: a clamp has no gradient.
    """

    mean: Tensor
    whiten: Tensor

    def __init__(self, poses: Float[Tensor, "n 45"], floor: float) -> None:
        super().__init__()
        wide = poses.double()
        covariance = torch.cov(wide.T) + floor**2 * torch.eye(45, dtype=wide.dtype, device=wide.device)
        whiten = torch.linalg.inv(torch.linalg.cholesky(covariance)).to(poses.dtype)
        self.register_buffer("mean", poses.mean(0), persistent=False)
        self.register_buffer("whiten", whiten, persistent=False)

    def forward(self, pose: Float[Tensor, "b 45"]) -> Float[Tensor, ""]:
        """Mean squared deviation in standard deviations, per coefficient."""
        return ((pose - self.mean) @ self.whiten.T).square().mean()
