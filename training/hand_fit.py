"""A few optimisation steps of a hand's parameters against its own depth, from the network's answer.

The losses are those of self-supervision (training/unlabelled.py), with its weights: depth where both are, observed
points to the surface, each finger bone's points to that bone, the surface inside the silhouette, no collision, a
plausible pose and shape, and the joints near those that the pixel branch reads.
"""

from copy import deepcopy
from dataclasses import dataclass

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from config import SamplerConfig, UnlabelledConfig
from dataloader.crop import HandCrop
from dataloader.points import points_from_crop
from model.model_branch import HandEstimate
from model.network import StageOutput
from model.offset_maps import Cells
from render.hand_layer import HandLayer, HandParams
from render.sampler import HandSampler
from render.spheres import HandSpheres
from training.observation import Observation, outside_distance
from training.unlabelled import (
    Fit,
    PosePrior,
    collisions,
    common_depth,
    data_to_model,
    parts,
    pixel_to_model,
    silhouette,
)
from util.streams import stream

PRIOR_POSES = 1024
"""Rendered poses that say what is plausible."""
CELLS = 32
"""Side of the maps that a stage's output speaks of; none of the losses here reads them."""
RATES = {"rotation": 0.02, "pose": 0.04, "shape": 0.05, "size": 0.01, "translation": 0.01}
"""First step sizes: radians, coefficients, coefficients, logarithm, half cubes. They fall to a tenth."""
FIRST_MOMENT, SECOND_MOMENT = 0.8, 0.95
"""Adam's memory: short, for few steps."""


@dataclass
class _Change:
    """What is optimised: how far each hand has gone from the network's answer."""

    rotation: Tensor
    """(b, 3) axis-angle, after the answer's own rotation."""
    pose: Tensor
    shape: Tensor
    size: Tensor
    """(b, 1) logarithm of a factor."""
    translation: Tensor

    @staticmethod
    def none(like: HandParams) -> "_Change":
        rows = (like.rotation, like.pose, like.shape, like.scale, like.translation)
        return _Change(*(torch.zeros_like(row).requires_grad_() for row in rows))

    def applied(self, start: HandParams) -> HandEstimate:
        turn = roma.rotvec_to_rotmat(self.rotation) @ roma.rotvec_to_rotmat(start.rotation)
        return HandEstimate(
            turn,
            start.pose + self.pose,
            start.shape + self.shape,
            start.scale * self.size.exp(),
            start.translation + self.translation,
        )


class HandFit:
    """Fits batches of hands to crops."""

    def __init__(
        self,
        layer: HandLayer,
        steps: int,
        config: UnlabelledConfig | None = None,
        held: tuple[str, ...] = (),
    ) -> None:
        """Args: layer: the hand, on the crops' device; steps: how many; config: weights of the losses; held: what stays
        as it is, of the names of RATES."""
        self.layer, self.steps, self.config, self.held = layer, steps, config or UnlabelledConfig(), held
        self.spheres = HandSpheres(layer)
        poses = HandSampler(deepcopy(layer).cpu(), SamplerConfig()).sample(PRIOR_POSES, stream("pose prior")).pose
        self.prior = PosePrior(poses, self.config.prior_floor).to(layer.faces.device)

    def __call__(
        self,
        crop: HandCrop,
        observed: Bool[Tensor, "b 1 s s"],
        start: HandParams,
        pixel_xyz: Float[Tensor, "b 21 3"],
    ) -> StageOutput:
        """What a model branch would say had it fitted better; the pixel branch's joints stay, and there are no maps.

        Args:
            crop: crops of right hands.
            observed: samples on the hand itself.
            start: where the fit begins.
            pixel_xyz: joints that the pixel branch reads.
        """
        cells, pixel_uvd = Cells.of(crop.depth, CELLS), crop.uvd_from_xyz(pixel_xyz)
        change = _Change.none(start)
        groups = [
            {"params": [getattr(change, name)], "lr": rate} for name, rate in RATES.items() if name not in self.held
        ]
        optimiser = torch.optim.Adam(groups, betas=(FIRST_MOMENT, SECOND_MOMENT))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.1 ** (step / max(self.steps, 1)))
        half_mm = crop.cube_mm[:, 2:] / 2

        def output() -> StageOutput:
            hand = change.applied(start)
            vertices_xyz, joints_xyz = hand.mesh_xyz(self.layer, half_mm)
            rows = vertices_xyz.new_zeros(len(cells.seen), 84)
            return StageOutput(rows, cells, pixel_uvd, pixel_xyz, hand, vertices_xyz, joints_xyz)

        with torch.enable_grad():
            observation = self._observation(crop, observed, output())
            for _ in range(self.steps):
                optimiser.zero_grad()
                self._loss(observation, output()).backward()
                optimiser.step()
                schedule.step()
        with torch.no_grad():
            return output()

    @torch.no_grad()
    def _observation(self, crop: HandCrop, observed: Bool[Tensor, "b 1 s s"], output: StageOutput) -> Observation:
        """As training observes, but the hand is what was seen before any prediction."""
        hand = observed & crop.foreground
        # crop by crop with the same draws: how a hand is fitted does not depend on what is fitted beside it
        drawn = [
            points_from_crop(crop.select(row), self.config.points, stream("refine"), hand[row])
            for row in torch.arange(len(hand), device=hand.device).split(1)
        ]
        points, seen = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        radii = self.spheres.radii(output.joints_xyz, output.vertices_xyz, crop.cube_mm[:, :1] / 2)
        labels = self.spheres.label_points(points, self.spheres.centres(output.pixel_xyz), radii)
        return Observation(crop, hand, points, seen, labels, outside_distance(crop.foreground))

    def _loss(self, observation: Observation, output: StageOutput) -> Float[Tensor, ""]:
        config = self.config
        fit = Fit.of(observation, output, self.layer)
        terms = {
            "common_depth": common_depth(observation, fit).mean(),
            "silhouette": silhouette(observation, output),
            "data_to_model": data_to_model(observation, fit, config),
            "parts": parts(observation, fit, config),
            "collision": collisions([output], self.spheres, observation.crop.cube_mm[:, :1] / 2)[0],
            "pixel_to_model": pixel_to_model(output),
            "pose_prior": self.prior(output.hand.pose),
            "shape_prior": output.hand.shape.square().mean(),
        }
        return len(output.joints_xyz) * sum(
            (getattr(config, name) * value for name, value in terms.items()), torch.zeros(())
        )
