"""A slow-moving teacher (mean teacher, Tarvainen & Valpola, NIPS 2017) and what its pupil does not get to see.

The teacher is the network with averaged weights. It reads each real crop as it stands in the data set; the pupil has to
say the same of the crop turned, shifted or resized, and with discs cut out of it, which stand for things that hide
parts of a hand. What is cut out of the input stays in what the other losses compare the pupil's hand with.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from config import AugmentConfig
from dataloader.augment import Augmentation
from dataloader.sample import HandSample
from dataloader.store import FrameStore
from model.network import StageOutput
from training.supervised import smooth_l1
from util import draws
from util.draws import Draws
from util.joints import MANO21

AGREEMENT_MM = 10.0
"""Joints of the teacher's two branches that are so far apart count 1/e."""


@torch.no_grad()
def taught_batch(
    teacher: nn.Module,
    frames: FrameStore,
    chosen: Int[Tensor, " b"],
    generator: Draws,
    augment: Augmentation,
    device: torch.device,
) -> tuple[HandSample, Float[Tensor, "b 21"]]:
    """Augmented crops of frames labelled by the teacher with its joints and surface, and how sure it is of each joint.

    teacher: in evaluation mode. Sure: from 0 to 1, by the agreement of its branches.
    """
    plain = frames.batch(chosen).crop.to(device)
    output: StageOutput = teacher(plain)[-1]
    pixel_mm, model_mm, vertices_mm = (
        plain.mm_from_xyz(points) for points in (output.pixel_xyz, output.joints_xyz, output.vertices_xyz)
    )
    sure = (-((pixel_mm - model_mm).square().sum(-1) / AGREEMENT_MM**2)).exp()
    labels = {"joints_mm": pixel_mm.cpu().numpy(), "vertices_mm": vertices_mm.cpu().numpy()}
    told = replace(frames.subset(chosen), **labels, joint_set=MANO21.name)
    return told.batch(range(len(chosen)), generator, augment).to(device), sure


def teacher_terms(sample: HandSample, sure: Float[Tensor, "b 21"], output: StageOutput) -> dict[str, Float[Tensor, ""]]:
    """Unweighted terms: pixel joints (uvd) and surface (xyz) towards the teacher's; joints by how sure it is.

    A surface counts by the mean over its joints. Raises ValueError when the sample has no labels.
    """
    if sample.joints_mm is None or sample.vertices_mm is None:
        raise ValueError("the teacher's joints and surface are missing")
    joints_uvd, vertices_xyz = sample.crop.uvd_from_mm(sample.joints_mm), sample.crop.xyz_from_mm(sample.vertices_mm)
    joints = smooth_l1(output.pixel_uvd - joints_uvd).mean(-1) * sure
    surface = smooth_l1(output.vertices_xyz - vertices_xyz).mean((1, 2)) * sure.mean(1)
    return {"teacher_pixel": joints.mean(), "teacher_surface": surface.mean()}


def with_discs_cut_out(
    depth: Float[Tensor, "b 1 s s"], config: AugmentConfig, generator: Draws
) -> Float[Tensor, "b 1 s s"]:
    """Crops in which up to `config.discs` discs, each around a sample of the foreground, are background.

    A crop without foreground stays as it is. generator: CPU.
    """
    if config.discs == 0:
        return depth
    b, s = len(depth), depth.shape[-1]
    count = draws.randint(generator, 0, config.discs + 1, b, 1)
    radius = config.disc_radius * draws.rand(generator, b, config.discs)
    radius = torch.where(torch.arange(config.discs) < count, radius, -1.0).to(depth.device)
    weight = (depth < 1).flatten(1).cpu() + 1e-12
    middle = draws.row_choice(generator, weight, config.discs).to(depth.device)
    place = torch.arange(s, device=depth.device)
    rows, columns = (middle // s)[..., None], (middle % s)[..., None]
    squared = (place - rows).square()[..., :, None] + (place - columns).square()[..., None, :]
    hidden = (squared < (radius.clamp_min(0) * s / 2).square()[..., None, None]).any(1, keepdim=True)
    return torch.where(hidden, 1.0, depth)
